"""Limits of the files behind media links: type, bytes, pixels, seconds. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MB = 1024 * 1024
MAX_UPLOAD = 100 * MB  # EvoLink's pages state no limit of the files API; its clients stop at 95 and at 100 MB
_KINDS = {"video": "a video", "image": "an image", "audio": "audio"}
_SLACK = 0.1  # seconds: containers count the length of a clip in frames
CONTENT_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
}


@dataclass(frozen=True)
class InputFile:
    """
    A file to be used as an input.

    :param sha256: Its checksum, in hexadecimal.
    :param size: Bytes.
    :param content_type: By the content, e.g. ``video/mp4``.
    :param extension: By the content, e.g. ``.mp4``.
    :param width: Pixels, as a player shows it; ``None`` here and below: not known, or no such thing.
    :param height: Pixels, likewise.
    :param seconds: Length of a clip or sound.
    :param has_sound: Whether it has a track of sound.
    :param has_transparency: Whether an image has an alpha channel or a transparent color.
    :param verified: How far it was read: ``structure``, ``packets`` or ``length``.
    """

    sha256: str
    size: int
    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    has_sound: bool | None = None
    has_transparency: bool | None = None
    verified: str = "length"

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]


class Media(BaseModel):
    """
    Limits of the files that a field takes. A limit that is not stated does not apply.

    :param types: Extensions of the types that are allowed.
    :param opaque: Extensions of the types that must have no transparency.
    :param max_mb: Maximum size of a file in megabytes of 1024 x 1024 bytes.
    :param min_side: Minimum pixels of a side.
    :param max_side: Maximum pixels of a side.
    :param max_short_side: Maximum pixels of the shorter side.
    :param max_ratio: Maximum ratio of the longer side to the shorter one.
    :param min_seconds: Minimum length.
    :param max_seconds: Maximum length.
    :param within: Field with the maximum number of seconds of a clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    max_mb: int | None = None
    min_side: int | None = None
    max_side: int | None = None
    max_short_side: int | None = None
    max_ratio: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    within: str | None = None

    def unknown(self, file: InputFile) -> list[str]:
        """
        Return what must be known of a file to check it, and is not.

        :param file: The file.
        """
        sides = (self.min_side, self.max_side, self.max_short_side, self.max_ratio)
        needed = {
            "dimensions": file.width is None and any(limit is not None for limit in sides),
            "duration": file.seconds is None
            and any(limit is not None for limit in (self.min_seconds, self.max_seconds, self.within)),
        }
        return [name for name, is_missing in needed.items() if is_missing]

    def faults(self, file: InputFile, kind: str | None, *, longest: float | None = None) -> Iterator[tuple[str, str]]:
        """
        Yield the limits a file breaks, each with what it has instead.

        :param file: The file.
        :param kind: ``video``, ``image`` or ``audio``, by the name of the field.
        :param longest: Value of the field that ``within`` names.
        """
        wanted = {CONTENT_TYPES[name] for name in self.types if name in CONTENT_TYPES}
        if wanted and file.content_type not in wanted:
            yield f"must be {' or '.join(self.types)}", file.content_type
        elif kind is not None and file.kind != kind:
            yield f"must be {_KINDS[kind]}", file.content_type
        if file.has_transparency and file.content_type in {CONTENT_TYPES[name] for name in self.opaque}:
            yield "must have no transparency (no alpha channel)", file.content_type
        max_size = min(self.max_mb * MB if self.max_mb else MAX_UPLOAD, MAX_UPLOAD)
        if file.size > max_size:
            yield f"must be at most {max_size // MB} MB", f"{file.size / MB:.1f} MB"
        yield from self._pixel_faults(file)
        yield from self._length_faults(file, longest)

    def _pixel_faults(self, file: InputFile) -> Iterator[tuple[str, str]]:
        if file.width is None or file.height is None:
            return
        short, long = sorted((file.width, file.height))
        given = f"{file.width}x{file.height}"
        if self.min_side is not None and short < self.min_side:
            yield f"must have sides of at least {self.min_side} pixels", given
        if self.max_side is not None and long > self.max_side:
            yield f"must have sides of at most {self.max_side} pixels", given
        if self.max_short_side is not None and short > self.max_short_side:
            yield f"must have a shorter side of at most {self.max_short_side} pixels", given
        if self.max_ratio is not None and long > self.max_ratio * short:
            yield f"must have a ratio of at most {self.max_ratio:g}:1", given

    def _length_faults(self, file: InputFile, longest: float | None) -> Iterator[tuple[str, str]]:
        if file.seconds is None:
            return
        given = f"{file.seconds:.1f} s"
        if self.min_seconds is not None and file.seconds < self.min_seconds - _SLACK:
            yield f"must be at least {self.min_seconds:g} s long", given
        if self.max_seconds is not None and file.seconds > self.max_seconds + _SLACK:
            yield f"must be at most {self.max_seconds:g} s long", given
        if longest is not None and file.seconds > longest + _SLACK:
            yield f"must not be longer than {self.within}, which is {longest:g} s", given

"""What EvoLink's pages say of the files behind media links: type, bytes, pixels, seconds. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

MB = 1024 * 1024
MAX_UPLOAD = 100 * MB  # EvoLink's pages state no limit of the files API; its clients stop at 95 and at 100 MB
_SLACK = 0.1  # seconds: containers count the length of a clip in frames
CONTENT_TYPES = {
    "gif": "image/gif",
    "heic": "image/heic",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
}


@dataclass(frozen=True)
class InputFile:
    """
    A file that is to be an input.

    :param sha256: Its checksum, in hexadecimal.
    :param size: Bytes.
    :param content_type: Told by the content, e.g. ``video/mp4``.
    :param extension: Told by the content, e.g. ``.mp4``.
    :param width: Pixels; as height and seconds known only with the extra ``media``.
    """

    sha256: str
    size: int
    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]


class Media(BaseModel):
    """
    Limits of the files that a field takes. A limit that is not stated does not hold.

    :param types: Endings of the types it takes.
    :param max_mb: Most megabytes (of 1024 x 1024 bytes) of a file.
    :param min_side: Least pixels of a side.
    :param max_side: Most pixels of a side.
    :param max_short_side: Most pixels of the shorter side.
    :param max_ratio: Longer side by the shorter one, at the most.
    :param min_seconds: Least length.
    :param max_seconds: Most length.
    :param within: Field with the seconds that a clip may have at the most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[str, ...] = ()
    max_mb: int | None = None
    min_side: int | None = None
    max_side: int | None = None
    max_short_side: int | None = None
    max_ratio: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    within: str | None = None

    @property
    def needs_probing(self) -> bool:
        """Whether it has limits that only a look into the media can hold."""
        sides = self.min_side, self.max_side, self.max_short_side, self.max_ratio
        return any(limit is not None for limit in (*sides, self.min_seconds, self.max_seconds, self.within))

    def faults(self, file: InputFile, kind: str | None, *, longest: float | None = None) -> Iterator[tuple[str, str]]:
        """
        Say which limits a file breaks, and what it has instead.

        :param file: The file.
        :param kind: ``video``, ``image`` or ``audio``, by the name of the field.
        :param longest: Value of the field that ``within`` names.
        """
        wanted = {CONTENT_TYPES[name] for name in self.types if name in CONTENT_TYPES}
        if wanted and file.content_type not in wanted:
            yield f"takes {', '.join(self.types)}", file.content_type
        elif kind is not None and file.kind != kind:
            yield f"takes {kind}", file.content_type
        most = min(self.max_mb * MB if self.max_mb else MAX_UPLOAD, MAX_UPLOAD)
        if file.size > most:
            yield f"takes files up to {most // MB} MB", f"{file.size / MB:.1f} MB"
        yield from self._pixel_faults(file)
        yield from self._length_faults(file, longest)

    def _pixel_faults(self, file: InputFile) -> Iterator[tuple[str, str]]:
        if file.width is None or file.height is None:
            return
        short, long = sorted((file.width, file.height))
        given = f"{file.width}x{file.height}"
        if self.min_side is not None and short < self.min_side:
            yield f"takes sides of at least {self.min_side} pixels", given
        if self.max_side is not None and long > self.max_side:
            yield f"takes sides of at most {self.max_side} pixels", given
        if self.max_short_side is not None and short > self.max_short_side:
            yield f"takes a shorter side of at most {self.max_short_side} pixels", given
        if self.max_ratio is not None and long > self.max_ratio * short:
            yield f"takes a ratio up to {self.max_ratio:g}:1", given

    def _length_faults(self, file: InputFile, longest: float | None) -> Iterator[tuple[str, str]]:
        if file.seconds is None:
            return
        given = f"{file.seconds:.1f} s"
        if self.min_seconds is not None and file.seconds < self.min_seconds - _SLACK:
            yield f"takes a length of at least {self.min_seconds:g} s", given
        if self.max_seconds is not None and file.seconds > self.max_seconds + _SLACK:
            yield f"takes a length of at most {self.max_seconds:g} s", given
        if longest is not None and file.seconds > longest + _SLACK:
            yield f"may not be longer than {self.within}, which is {longest:g} s", given

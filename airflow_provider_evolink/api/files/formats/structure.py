"""What the structure of a file proves."""

from __future__ import annotations

from dataclasses import dataclass

EXTENSIONS = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/ogg": ".ogv",
    "audio/x-msvideo": ".avi",
    "audio/mp4": ".m4a",
    "audio/webm": ".weba",
    "audio/x-matroska": ".mka",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/aac": ".aac",
    "audio/pcm": ".pcm",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/heic": ".heic",
    "image/avif": ".avif",
}


@dataclass(frozen=True)
class Structure:
    """
    What the parts of a whole file show.

    :param content_type: Its media type; one of ``EXTENSIONS``.
    :param end: Where the container ends; bytes behind it belong to nobody.
    :param start: Where it starts.
    :param width: In pixels, as a player shows it.
    :param height: In pixels, likewise.
    :param seconds: Length of a clip or sound.
    :param has_sound: Whether there is a track of sound.
    :param has_transparency: Whether an image has an alpha channel or a transparent color.
    :param demuxer: FFmpeg's name of the container, where only its packets prove that the file is whole.
    """

    content_type: str
    end: int
    start: int = 0
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    has_sound: bool | None = None
    has_transparency: bool | None = None
    demuxer: str | None = None

    @property
    def kind(self) -> str:
        """``video``, ``image`` or ``audio``."""
        return self.content_type.partition("/")[0]

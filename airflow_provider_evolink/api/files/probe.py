"""Width, height and duration of a media file, as its headers state them. Nothing is decoded."""

from __future__ import annotations

import logging
from typing import BinaryIO

from airflow_provider_evolink.api.files.image_size import image_size

_TIMEOUT = 30.0  # seconds to measure a file

log = logging.getLogger(__name__)

# FFmpeg must not guess the format: it takes a text for a playlist or a session, and opens what that names.
_DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
}

_NOTHING_ELSE = {"protocol_whitelist": "", "codec_whitelist": ""}  # no other file or host, and no decoder


def can_measure() -> bool:
    """Return whether the extra ``media`` is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def probe(file: BinaryIO, content_type: str) -> tuple[int | None, int | None, float | None]:
    """
    Return width, height and duration of a media file; ``None`` for what is not known.

    :param file: The file, open for reading.
    :param content_type: Its media type, by content. Video and audio need PyAV (extra ``media``).
    """
    if content_type.startswith("image/"):
        return (*(image_size(file, content_type) or (None, None)), None)
    try:
        import av
    except ImportError:
        return None, None, None
    if content_type not in _DEMUXERS:
        return None, None, None
    file.seek(0)
    try:
        with av.open(
            file, "r", format=_DEMUXERS[content_type], container_options=_NOTHING_ELSE, timeout=_TIMEOUT
        ) as container:
            video = next(iter(container.streams.video), None)
            seconds = None if container.duration is None else round(container.duration / 1_000_000, 3)
            return (video.width or None, video.height or None, seconds) if video else (None, None, seconds)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        log.info("Could not measure the file (%s)", type(error).__name__)
        return None, None, None

"""What a media file is by its own account: width, height and duration. Nothing of it is decoded."""

from __future__ import annotations

import logging
from typing import BinaryIO

from airflow_provider_evolink.api.files.image_size import sides

_PATIENCE = 30.0  # seconds for a file to be measured

log = logging.getLogger(__name__)

# FFmpeg is told what to read. Left to guess, it takes a text for a playlist or a session, and opens what that names.
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

_NOTHING_ELSE = {"protocol_whitelist": "", "codec_whitelist": ""}  # no file or host beside the one, and no decoder


def can_measure() -> bool:
    """Tell whether the extra ``media`` is there."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def probe(file: BinaryIO, content_type: str) -> tuple[int | None, int | None, float | None]:
    """
    Return width, height and duration of a media file, as it says itself: nothing of it is decoded.

    :param file: The file, open for reading.
    :param content_type: What it was recognised as. Clips and sounds need PyAV (extra ``media``).
    """
    if content_type.startswith("image/"):
        return (*(sides(file, content_type) or (None, None)), None)
    try:
        import av
    except ImportError:
        return None, None, None
    if content_type not in _DEMUXERS:
        return None, None, None
    file.seek(0)
    try:
        with av.open(
            file, "r", format=_DEMUXERS[content_type], container_options=_NOTHING_ELSE, timeout=_PATIENCE
        ) as container:
            video = next(iter(container.streams.video), None)
            seconds = None if container.duration is None else round(container.duration / 1_000_000, 3)
            return (video.width or None, video.height or None, seconds) if video else (None, None, seconds)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        log.info("The file could not be measured (%s)", type(error).__name__)
        return None, None, None

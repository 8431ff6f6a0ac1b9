"""The tracks of a media file and a small picture of it, read in a bounded child process. Nothing here can fail."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airflow_provider_evolink.api.files.packets import can_measure, run_reader

SIDE = 640  # pixels
MAX_JPEG = 1024 * 1024
_MEMORY = 400 * 1024 * 1024  # bytes: frames of 8K in the decoder's queue
_CPU_SECONDS = 10
_SCRIPT = Path(__file__).with_name("frame_reader.py")
_DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
    "audio/mp4": "mov",
    "audio/webm": "matroska",
    "audio/x-matroska": "matroska",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "image/png": "png_pipe",
    "image/jpeg": "jpeg_pipe",
    "image/gif": "gif",
    "image/webp": "webp_pipe",
    "image/bmp": "bmp_pipe",
    "image/heic": "mov",
    "image/avif": "mov",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Poster:
    """
    What a file shows.

    :param jpeg: A small picture of it; ``None``: it is a sound, or none could be made.
    :param codecs: FFmpeg's names of the codecs of its tracks.
    :param frame_rate: Frames per second of a clip.
    :param audio: Whether it has sound; ``None``: a picture.
    """

    jpeg: bytes | None
    codecs: tuple[str, ...]
    frame_rate: float | None
    audio: bool | None


def can_show(content_type: str) -> bool:
    """
    Return whether a poster can be made here.

    :param content_type: Media type of the file.
    """
    return content_type in _DEMUXERS and can_measure()


def make_poster(file: BinaryIO, content_type: str) -> Poster | None:
    """
    Return what a file shows; ``None`` where it cannot be read here. It never raises for what is in the file.

    :param file: The file, on this machine.
    :param content_type: Its media type.
    """
    kind = content_type.partition("/")[0]
    try:
        found = run_reader(
            _SCRIPT,
            file.fileno(),
            end=os.fstat(file.fileno()).st_size,
            demuxer=_DEMUXERS[content_type],
            side=0 if kind == "audio" else SIDE,
            memory=_MEMORY,
            seconds=_CPU_SECONDS,
        )
        jpeg = base64.b64decode(found["jpeg"]) if found["jpeg"] else None
        return Poster(
            jpeg=jpeg if jpeg and len(jpeg) <= MAX_JPEG else None,
            codecs=tuple(str(name)[:32] for name in found["codecs"][:16]),
            frame_rate=found["frame_rate"] if kind == "video" else None,
            audio=None if kind == "image" else bool(found["audio"]),
        )
    except (OSError, subprocess.SubprocessError, KeyError, TypeError, ValueError) as error:
        log.info("No poster of a file of %s could be made here (%s)", content_type, type(error).__name__)
        return None

"""Small files of every container, made by real encoders once per session; and parts to build broken ones from."""

from __future__ import annotations

import functools
import io
import random
import tempfile
from pathlib import Path
from typing import Any

import av
from PIL import Image

SIDES = (64, 48)
# Name: container, video codec, audio codec, options of the muxer.
_TRACKS: dict[str, tuple[str, str | None, str | None, dict[str, str]]] = {
    "mp4": ("mp4", "libx264", "aac", {}),
    "mp4 for streaming": ("mp4", "libx264", "aac", {"movflags": "+faststart"}),
    "mp4 without sound": ("mp4", "mpeg4", None, {}),
    "mp4 in fragments": ("mp4", "libx264", "aac", {"movflags": "frag_every_frame+empty_moov+default_base_moof"}),
    "mp4 for dash": ("mp4", "libx264", "aac", {"movflags": "dash+frag_keyframe+empty_moov+global_sidx"}),
    "mov": ("mov", "mpeg4", "pcm_s16le", {}),
    "3gp": ("3gp", "mpeg4", "aac", {}),
    "webm": ("webm", "libvpx", "libopus", {}),
    "live webm": ("webm", "libvpx", "libopus", {"live": "1"}),
    "mkv": ("matroska", "libx264", "aac", {}),
    "avi": ("avi", "mpeg4", "libmp3lame", {}),
    "m4a": ("ipod", None, "aac", {}),
    "mp4 of sound": ("mp4", None, "aac", {}),
    "mp4 of sound in fragments": ("mp4", None, "aac", {"movflags": "frag_every_frame+empty_moov"}),
    "mov of sound": ("mov", None, "pcm_s16le", {}),
    "3gp of sound": ("3gp", None, "aac", {}),
    "webm of sound": ("webm", None, "libopus", {}),
    "mka": ("matroska", None, "aac", {}),
    "mp3": ("mp3", None, "libmp3lame", {}),
    "mp3 without tags": ("mp3", None, "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
    "mp2": ("mp2", None, "mp2", {}),
    "wav": ("wav", None, "pcm_s16le", {}),
    "rf64": ("wav", None, "pcm_s16le", {"rf64": "always"}),
    "flac": ("flac", None, "flac", {}),
    "ogg": ("ogg", None, "libopus", {}),
    "ogg flac": ("ogg", None, "flac", {}),
    "aac": ("adts", None, "aac", {}),
}
_PICTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("PNG", "RGB", {}),
    "png with alpha": ("PNG", "RGBA", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "gif": ("GIF", "P", {}),
    "webp": ("WEBP", "RGB", {}),
    "lossless webp": ("WEBP", "RGBA", {"lossless": True}),
    "bmp": ("BMP", "RGB", {}),
    "avif": ("AVIF", "RGB", {}),
}
TYPES = {
    "mp4": "video/mp4",
    "mp4 for streaming": "video/mp4",
    "mp4 without sound": "video/mp4",
    "mp4 in fragments": "video/mp4",
    "mp4 for dash": "video/mp4",
    "mov": "video/quicktime",
    "3gp": "video/mp4",
    "webm": "video/webm",
    "live webm": "video/webm",
    "mkv": "video/x-matroska",
    "avi": "video/x-msvideo",
    "m4a": "audio/mp4",
    "mp4 of sound": "audio/mp4",
    "mp4 of sound in fragments": "audio/mp4",
    "mov of sound": "audio/mp4",
    "3gp of sound": "audio/mp4",
    "webm of sound": "audio/webm",
    "mka": "audio/x-matroska",
    "mp3": "audio/mpeg",
    "mp3 without tags": "audio/mpeg",
    "mp2": "audio/mpeg",
    "wav": "audio/wav",
    "rf64": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "ogg flac": "audio/ogg",
    "aac": "audio/aac",
    "png": "image/png",
    "png with alpha": "image/png",
    "jpeg": "image/jpeg",
    "progressive jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "lossless webp": "image/webp",
    "bmp": "image/bmp",
    "avif": "image/avif",
    "heic": "image/heic",
}


@functools.cache
def sample(name: str) -> bytes:
    """Return a whole file; see ``TYPES`` for the names."""
    if name in _PICTURES:
        form, mode, options = _PICTURES[name]
        return picture(form, mode, **options)
    return heic() if name == "heic" else recording(*_TRACKS[name])


def picture(form: str, mode: str = "RGB", sides: tuple[int, int] = (96, 64), **options: Any) -> bytes:
    """Return a picture of noise, with an alpha channel of noise where the mode has one."""
    noise = random.Random(form + mode).randbytes(sides[0] * sides[1] * (4 if mode == "RGBA" else 3))
    image = Image.frombytes("RGBA" if mode == "RGBA" else "RGB", sides, noise)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def recording(
    form: str, video: str | None, audio: str | None, options: dict[str, str] | None = None, frames: int = 12
) -> bytes:
    """Return frames of noise at 10 a second, and a sound of noise as long, encoded and muxed."""
    chance = random.Random(form)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        with av.open(str(path), "w", format=form, options=options or {}) as container:
            streams = [_video(container, video)] if video else []
            streams += [_audio(container, audio)] if audio else []
            for stream in streams:
                for number in range(frames if stream.type == "video" else frames * 5):
                    frame = _picture(chance) if stream.type == "video" else _sound(stream, chance)
                    frame.pts = number * (1 if stream.type == "video" else frame.samples)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        return path.read_bytes()


def _video(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec, rate=10, options={"threads": "1"})
    stream.width, stream.height, stream.pix_fmt = *SIDES, "yuv420p"
    return stream


def _audio(container: Any, codec: str) -> Any:
    return container.add_stream(codec, rate=48000, layout="mono")


def _picture(chance: random.Random) -> Any:
    frame = av.VideoFrame(*SIDES, "yuv420p")
    for plane in frame.planes:
        plane.update(chance.randbytes(plane.buffer_size))
    return frame


def _sound(stream: Any, chance: random.Random) -> Any:
    context = stream.codec_context
    frame = av.AudioFrame(context.format.name, "mono", context.frame_size or 960)
    frame.sample_rate = 48000
    is_float = context.format.name.startswith("flt")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size) if is_float else chance.randbytes(plane.buffer_size))
    return frame


def box(name: bytes, *content: bytes) -> bytes:
    """Return a box of MP4."""
    inner = b"".join(content)
    return (len(inner) + 8).to_bytes(4, "big") + name + inner


def numbers(*values: int, size: int = 4) -> bytes:
    """Return numbers, highest byte first."""
    return b"".join(value.to_bytes(size, "big") for value in values)


def heic(brand: bytes = b"heic", *, turn: int = 0, item: bytes = b"hvc1", tile: bytes = b"") -> bytes:
    """Return a picture in ISO boxes as phones make it; no library here writes HEIC."""
    ftyp = box(b"ftyp", brand, bytes(4), b"mif1", b"heic" if item == b"hvc1" else b"avif")
    data = random.Random(1).randbytes(3000)

    def meta(at: int) -> bytes:
        extents = numbers(1, size=2) + numbers(at, len(data))
        iloc = box(b"iloc", numbers(0), b"\x44\x00", numbers(1, 1, 0, size=2), extents)
        infe = box(b"infe", b"\x02\0\0\0", numbers(1, 0, size=2), item, b"\0")
        shape = tile + box(b"ispe", numbers(0, 640, 360)) + (box(b"irot", bytes([turn])) if turn else b"")
        props = box(b"iprp", box(b"ipco", shape))
        return box(b"meta", numbers(0), box(b"iinf", numbers(0), numbers(1, size=2), infe), iloc, props)

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", data)

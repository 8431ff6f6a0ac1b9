"""Dimensions and duration of media, by its headers: nothing is decoded, and FFmpeg opens no other file."""

from __future__ import annotations

import functools
import io
import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_evolink.storage.input_files import InputSource, InvalidInputFile

MIB = 1024 * 1024
SIDE = 6000  # decoded, a picture of this size takes 103 MiB
SESSION = b"\xff\xfb\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 40002 RTP/AVP 0\n"
MEASURE = """
import json, sys
import av
from airflow_provider_evolink.storage import results as media
from airflow_provider_evolink.storage.input_files import InputSource

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

rows = []
for path in sys.argv[1:]:
    source = InputSource(path)
    source.checksum()
    before = peak()
    found = source.inspect()
    rows.append([found.width, found.height, peak() - before])
print(json.dumps(rows))
"""


def measured_apart(*paths: Path) -> list[list[int]]:
    """Measure files in a process of its own; return the sides of each, and by how much the memory grew."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, timeout=90, check=True
    )
    rows: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return rows


@functools.cache
def large_png() -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * SIDE)
    pixels = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def large_clip() -> bytes:
    """Return a clip whose one frame is the large picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "rgb24"
        packet = av.Packet(large_png())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        container.mux(packet)
    return buffer.getvalue()


def clip(form: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(320, 240, "yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


def sound(form: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=48000, layout="mono")
        shape = stream.codec_context.format.name
        for number in range(100):
            frame = av.AudioFrame(shape, "mono", 960)
            frame.sample_rate, frame.pts = 48000, 960 * number
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_a_text_that_begins_like_a_song_opens_no_port_and_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_bytes(SESSION)
    began = time.monotonic()
    with pytest.raises(InvalidInputFile, match="not in a known media format"):
        InputSource(str(path)).inspect()
    assert time.monotonic() - began < 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell the peak of a process")
def test_the_size_of_a_picture_does_not_count_for_the_memory(tmp_path: Path) -> None:
    paths = []
    for make in (large_png, large_clip):
        paths.append(tmp_path / make.__name__)
        paths[-1].write_bytes(make())
    for width, height, grown in measured_apart(*paths):
        assert [width, height] == [SIDE, SIDE]
        assert grown < 64 * MIB


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"),
        ("mp4", "libx265"),
        ("mov", "libx264"),
        ("webm", "libvpx-vp9"),
        ("matroska", "libx264"),
        ("avi", "mpeg4"),
    ],
)
def test_a_clip_is_measured(tmp_path: Path, form: str, codec: str) -> None:
    path = tmp_path / "clip"
    path.write_bytes(clip(form, codec))
    found = InputSource(str(path)).inspect()
    assert (found.kind, found.width, found.height) == ("video", 320, 240)
    assert found.seconds == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp3", "libmp3lame"),
        ("wav", "pcm_s16le"),
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("ipod", "aac"),
        ("adts", "aac"),
    ],
)
def test_a_sound_is_measured(tmp_path: Path, form: str, codec: str) -> None:
    path = tmp_path / "sound"
    path.write_bytes(sound(form, codec))
    found = InputSource(str(path)).inspect()
    assert (found.kind, found.width, found.height) == ("audio", None, None)
    assert found.seconds == pytest.approx(2, abs=0.15)

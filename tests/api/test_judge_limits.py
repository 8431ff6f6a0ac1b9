"""What a file claims costs nothing: lying tables are refused before FFmpeg reads them, and its process is limited."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from media_samples import box, numbers, sample
from media_server import mp4
from PIL import Image

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files import packets
from airflow_provider_evolink.api.files.containers import read_structure
from airflow_provider_evolink.api.files.formats.source import Source
from airflow_provider_evolink.api.files.formats.structure import Structure
from airflow_provider_evolink.api.files.inspection import MediaInfo, inspect_media

MANY = 80_000_000
MIB = 1024 * 1024


def inspect(content: bytes) -> MediaInfo:
    return inspect_media(io.BytesIO(content), len(content))


def clip(more: bytes = b"", **tables: bytes) -> bytes:
    """Return a clip of one sample, with some of its tables replaced, added, or left out (empty)."""
    ftyp, data = box(b"ftyp", b"isom\0\0\2\0"), bytes(100)

    def moov(at: int) -> bytes:
        whole = {
            "stsd": numbers(0, 1) + box(b"mp4v", numbers(0, 1), bytes(16), numbers(64 << 16 | 48), bytes(50)),
            "stts": numbers(0, 1, 1, 100),
            "stsc": numbers(0, 1, 1, 1, 1),
            "stsz": numbers(0, 0, 1, 100),
            "stco": numbers(0, 1, at),
            **tables,
        }
        stbl = box(b"stbl", *(box(name.encode(), content) for name, content in whole.items() if content))
        url = box(b"dinf", box(b"dref", numbers(0, 1), box(b"url ", numbers(1))))
        minf = box(b"minf", box(b"vmhd", numbers(1, 0, 0)), url, stbl)
        mdia = box(
            b"mdia", box(b"mdhd", numbers(0, 0, 0, 1000, 100, 0)), box(b"hdlr", numbers(0, 0), b"vide", bytes(13)), minf
        )
        tkhd = box(
            b"tkhd", numbers(1, 0, 0, 1, 0, 100), bytes(16), numbers(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30, 0, 0)
        )
        return box(
            b"moov",
            box(b"mvhd", numbers(0, 0, 0, 1000, 100, 1 << 16), bytes(76), numbers(2)),
            box(b"trak", tkhd, mdia),
            more,
        )

    return ftyp + moov(len(ftyp) + len(moov(0)) + 8) + box(b"mdat", data)  # fmt: skip


def fragment(*, flags: int, count: int, size: int = 0) -> bytes:
    """Return a clip with one fragment that claims samples."""
    tfhd = box(b"tfhd", numbers(0x10, 1, size))
    trun = box(b"trun", numbers(flags, count))
    trex = box(b"mvex", box(b"trex", numbers(0, 1, 1, 100, 0, 0)))
    return clip(trex) + box(b"moof", box(b"mfhd", numbers(0, 1)), box(b"traf", tfhd, trun)) + box(b"mdat", bytes(10))


LIES = {
    "times": lambda: clip(stts=numbers(0, 1, MANY, 1)),
    "many times": lambda: clip(stts=numbers(0, 3, MANY, 1, MANY, 1, MANY, 1)),
    "shifts": lambda: clip(ctts=numbers(0, 1, MANY, 1)),
    "sizes, one for all": lambda: clip(stsz=numbers(0, 1, MANY)),
    "sizes, each its own": lambda: clip(stsz=numbers(0, 0, MANY, 100)),
    "small sizes": lambda: clip(stsz=b"", stz2=numbers(0, 4, MANY)),
    "runs of chunks": lambda: clip(stsc=numbers(0, MANY, 1, 1, 1)),
    "chunks": lambda: clip(stco=numbers(0, MANY, 99)),
    "long chunks": lambda: clip(stco=b"", co64=numbers(0, MANY, 0, 99)),
    "key frames": lambda: clip(stss=numbers(0, 20, 1)),
    "entries of times": lambda: clip(stts=numbers(0, MANY, 1, 1)),
    "a sample behind the end": lambda: clip(stsz=numbers(0, 0, 1, 101)),
    "a chunk before the data": lambda: clip(stco=numbers(0, 1, 30)),
    "a chunk far away": lambda: clip(stco=b"", co64=numbers(0, 1, 1, 0)),
    "samples without chunks": lambda: clip(stco=numbers(0, 0)),
    "samples without runs": lambda: clip(stsc=numbers(0, 0)),
    "more samples than chunks hold": lambda: clip(stsz=numbers(0, 0, 3, 10, 10, 10), stts=numbers(0, 1, 3, 1)),
    "no samples": lambda: clip(stsz=numbers(0, 0, 0), stts=numbers(0, 0)),
    "samples of no bytes": lambda: clip(stsz=numbers(0, 0, 1, 0)),
    "a fragment": lambda: fragment(flags=0, count=MANY),
    "a fragment of bytes": lambda: fragment(flags=0, count=5, size=MANY),
    "a fragment of sizes": lambda: fragment(flags=0x200, count=MANY),
    "a fragment that is not there": lambda: fragment(flags=0, count=5, size=3),
}


def test_the_clip_that_lies_is_whole_when_it_does_not() -> None:
    assert len(clip()) < 800
    assert inspect(clip()).content_type == "video/mp4"
    assert inspect(fragment(flags=0, count=5, size=2)).content_type == "video/mp4"


@pytest.mark.parametrize("name", LIES)
def test_tables_that_claim_what_the_file_does_not_hold_are_refused_at_once(name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(packets.subprocess, "run", lambda *_, **__: pytest.fail("FFmpeg was to read it"))
    content, began = LIES[name](), time.process_time()
    with pytest.raises(EvoLinkMediaError):
        inspect(content)
    assert time.process_time() - began < 1


PEAK = """
import os, runpy, sys
os._exit = lambda code: None
runpy.run_path(sys.argv[1], run_name="__main__")
with open("/proc/self/status") as file:
    print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))
"""


def read_apart(path: Path, structure: Structure, **changes: Any) -> tuple[dict[str, Any], int]:
    """Return what the process that reads packets finds, and its peak of memory."""
    with path.open("rb") as file:
        order = {
            "file": file.fileno(),
            "start": 0,
            "end": structure.end,
            "demuxer": structure.demuxer,
            "memory": packets._MEMORY,
            "seconds": packets._CPU_SECONDS,
            "path": sys.path,
            **changes,
        }
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", PEAK, str(packets._SCRIPT)],
            input=json.dumps(order) + "\n",
            capture_output=True,
            pass_fds=[file.fileno()],
            text=True,
            timeout=60,
            check=True,
        )
    found, peak = done.stdout.splitlines()
    return json.loads(found), int(peak)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not show the peak of a process")
@pytest.mark.parametrize(("frame", "is_read"), [(50_000, True), (5_000_000, True), (25_000_000, False)])
def test_the_process_that_reads_packets_stays_below_64_mb(
    tmp_path: Path, monkeypatch: Any, frame: int, is_read: bool
) -> None:
    """5 MB is a frame of 4K in ProRes; 25 MB is one that nobody compressed."""
    monkeypatch.setattr("media_server._SAMPLE", frame)
    path = tmp_path / "clip"
    path.write_bytes(mp4(30 * MIB))
    with path.open("rb") as file:
        structure = read_structure(Source(file, path.stat().st_size))
    found, peak = read_apart(path, structure)
    assert ("streams" in found) is is_read
    assert peak < 64 * MIB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not show the peak of a process")
@pytest.mark.parametrize("name", ["times", "sizes, one for all", "a fragment"])
def test_even_a_lie_that_passes_costs_no_more(tmp_path: Path, name: str) -> None:
    path = tmp_path / "clip"
    path.write_bytes(LIES[name]())
    _, peak = read_apart(path, Structure("video/mp4", path.stat().st_size, demuxer="mov"))
    assert peak < 64 * MIB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not show the peak of a process")
def test_no_picture_is_decoded(tmp_path: Path) -> None:
    """A clip of 100 kB, whose one picture takes 75 MB."""
    buffer = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(buffer, "PNG", compress_level=1)
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w", format="mov") as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 5000, 5000, "rgb24"
        packet = av.Packet(buffer.getvalue())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        container.mux(packet)
    found, peak = read_apart(path, Structure("video/quicktime", path.stat().st_size, demuxer="mov"), memory=200 * MIB)
    assert found["streams"][0]["packets"] == 1
    assert peak < 64 * MIB


def test_a_clip_that_needs_too_much_memory_is_verified_by_its_length(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr("media_server._SAMPLE", 25_000_000)
    with caplog.at_level(logging.WARNING):
        found = inspect(mp4(30 * MIB))
    assert (found.verified, found.width, found.height) == ("length", 320, 240)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "MemoryError" in caplog.text


def _no_interpreter(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")


def _no_media(monkeypatch: Any) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(packets, "find_spec", lambda name: None if name == "av" else found(name))


def _blocked_media(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


def _broken_media(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", [])


def _no_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(packets, "_SECONDS", 0.001)


@pytest.mark.parametrize("hinder", [_no_interpreter, _no_media, _blocked_media, _broken_media, _no_time])
def test_where_packets_cannot_be_read_a_whole_file_passes_with_one_warning(
    hinder: Any, monkeypatch: Any, caplog: Any
) -> None:
    hinder(monkeypatch)
    with caplog.at_level(logging.WARNING):
        found = inspect(sample("mp4"))
    assert (found.content_type, found.verified, found.seconds) == ("video/mp4", "length", 1.2)
    assert len(caplog.records) == 1
    with pytest.raises(EvoLinkMediaError):
        inspect(sample("mp4")[:-40])


def test_a_sound_that_needs_too_much_time_is_verified_by_its_length(monkeypatch: Any, caplog: Any) -> None:
    """A million and a half of packets, in 12 MB."""
    monkeypatch.setattr(packets, "_CPU_SECONDS", 1)
    cluster = b"\xe7\x81\x00" + b"\xa3\x85\x81\x00\x00\x80x" * 1000
    cluster = b"\x1f\x43\xb6\x75\x08" + (len(cluster)).to_bytes(4, "big") + cluster
    start = sample("mka").partition(b"\x1f\x43\xb6\x75")[0]
    at = start.index(b"\x18\x53\x80\x67") + 4
    content = start[:at] + b"\x01" + b"\xff" * 7 + start[at + 8 :] + cluster * 1500
    with caplog.at_level(logging.WARNING):
        assert inspect(content).verified == "length"
    assert "CalledProcessError" in caplog.text


def test_packets_that_cannot_be_read_are_refused() -> None:
    """Sizes and tables of this file are right, but its clusters hold rubbish."""
    content = bytearray(sample("webm"))
    at = content.index(b"\x1f\x43\xb6\x75")
    content[at + 20 : at + 2000] = bytes(1980)
    with pytest.raises(EvoLinkMediaError):
        inspect(bytes(content))


@pytest.mark.parametrize("name", ["mp4 for streaming", "mp4 for dash", "avi"])
def test_packets_that_end_too_early_are_refused(name: str) -> None:
    """As if the structure had not shown that the file is cut."""
    whole = sample(name)
    content = whole[: len(whole) * 2 // 3]
    with io.BytesIO(whole) as file:
        structure = read_structure(Source(file, len(whole)))
    with pytest.raises(EvoLinkMediaError):
        packets.read_packets(io.BytesIO(content), replace(structure, end=len(content)))


def test_ffmpeg_opens_nothing_that_the_file_names(tmp_path: Path) -> None:
    """A text that begins like a song, but names a port to listen on."""
    text = b"\xff\xfb\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 40002 RTP/AVP 0\n"
    path = tmp_path / "song"
    path.write_bytes(text)
    began = time.monotonic()
    found, _ = read_apart(path, Structure("audio/mpeg", len(text), demuxer="mp3"))
    assert found.get("streams", []) == [] or not found["streams"][0]["packets"]
    assert time.monotonic() - began < 5


def test_a_file_that_is_no_file_of_this_machine_is_copied() -> None:
    class Remote(io.BytesIO):
        def fileno(self) -> int:
            raise io.UnsupportedOperation

    content = sample("webm")
    assert inspect_media(Remote(content), len(content)).verified == "packets"

"""What a file is and whether it is whole: each container whole, cut, with rubbish behind it, and under wrong names."""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import media_samples as samples
import pytest
from media_samples import TYPES, box, heic, picture, sample

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.containers import read_structure
from airflow_provider_evolink.api.files.formats.source import Source
from airflow_provider_evolink.api.files.formats.structure import EXTENSIONS
from airflow_provider_evolink.api.files.inspection import inspect_media

CUTS = 10
# Each frame of these is complete by itself, so between two of them no cut shows.
CHAINS = frozenset({"mp3 without tags", "mp2", "aac", "mp4 in fragments", "mp4 of sound in fragments"})
STREAMS = ("mp4", "mp4 for streaming", "mp4 without sound", "3gp", "mp4 for dash")
SOUNDS = ("m4a", "mp4 of sound", "3gp of sound", "mp4 of sound in fragments")
BRANDS = (b"isom", b"mp42", b"dash", b"iso6", b"3gp4", b"M4V ", b"avc1", b"XXXX")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
TAILS = {"72 bytes": bytes(range(1, 73)), "a line": b"\n", "text": b"<!-- made by a machine -->", "zeros": bytes(5000)}


class Case(NamedTuple):
    """A file, and what it is; nothing: refused."""

    kind: str
    name: str
    make: Callable[[], bytes]
    content_type: str | None
    expect: str | None = None


def cut(name: str, number: int) -> bytes:
    content = sample(name)
    end = len(content) * number // (CUTS + 1)
    # Frames of these are shorter than 2,000 bytes, and their heads differ from their ends.
    return content[: end + 1] if name in CHAINS and is_whole(content[:end]) else content[:end]


def is_whole(content: bytes) -> bool:
    try:
        read_structure(Source(io.BytesIO(content), len(content)))
    except EvoLinkMediaError:
        return False
    return True


def branded(name: str, brand: bytes) -> bytes:
    content = sample(name)
    return content[:8] + brand + content[12:]


def renamed(name: str, old: bytes, new: bytes) -> bytes:
    content = sample(name)
    assert old in content
    return content.replace(old, new)


def without(name: str, part: bytes) -> bytes:
    """Return a file of boxes without one of them."""
    content, found = sample(name), b""
    while content:
        length = int.from_bytes(content[:4], "big")
        found += b"" if content[4:8] == part else content[:length]
        content = content[length:]
    return found


def changed(content: bytes, part: bytes) -> bytes:
    """Return a file with another byte behind some others."""
    at = content.index(part) + len(part) + 9
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def open_flac(content: bytes) -> bytes:
    """Return a FLAC as a stream is written: its head does not state the number of samples."""
    return content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]


def open_wav(size: int, riff: int) -> bytes:
    content = bytearray(sample("wav"))
    at = content.index(b"data") + 4
    content[4:8], content[at : at + 4] = riff.to_bytes(4, "little"), size.to_bytes(4, "little")
    return bytes(content)


def tagged(content: bytes, padding: int = 0) -> bytes:
    return b"ID3\x04\0\0" + bytes([0, 0, 1, 0]) + bytes(128 + padding) + content


def avif(brand: bytes) -> bytes:
    return branded("avif", brand)


WHOLE = [Case("whole", name, functools.partial(sample, name), kind) for name, kind in TYPES.items()]
CUT = [
    Case("cut", f"{name}, {number} of {CUTS + 1}", functools.partial(cut, name, number), None)
    for name in TYPES
    for number in range(1, CUTS + 1)
]
CUT += [
    Case("cut", "mp3 between two frames", lambda: sample("mp3")[: -192 * 3], None),
    *(
        Case("cut", f"flac of unknown length, {n} of 11", lambda n=n: open_flac(cut("flac", n)), None)
        for n in range(1, CUTS + 1)
    ),
    Case("cut", "ogg between two pages", lambda: sample("ogg")[: sample("ogg").rindex(b"OggS")], None),
    Case(
        "cut",
        "dash between two segments",
        lambda: sample("mp4 for dash")[: sample("mp4 for dash").rindex(b"moof") - 4],
        None,
    ),
]
BEHIND = [
    Case("bytes behind", f"{name}, {tail}", lambda name=name, tail=tail: sample(name) + TAILS[tail], kind)
    for name, kind in TYPES.items()
    for tail in TAILS
]
ANNOUNCED = [
    Case("wrong kind announced", f"{name} as {expect}", functools.partial(sample, name), kind, expect)
    for name, kind in TYPES.items()
    for expect in ("video", "audio", "image")
    if not kind.startswith(expect)
]
OTHER_BRANDS = [
    *(
        Case("other brands", f"{name} as {brand!r}", functools.partial(branded, name, brand), TYPES[name])
        for name in (*STREAMS, *SOUNDS)
        for brand in BRANDS
    ),
    *(
        Case("other brands", f"{name} as M4A", functools.partial(branded, name, b"M4A "), TYPES[name])
        for name in STREAMS
    ),
    *(
        Case("other brands", f"heic as {brand!r}", functools.partial(heic, brand), "image/heic")
        for brand in HEIC_BRANDS
    ),
    *(
        Case("other brands", f"avif as {brand!r}", functools.partial(avif, brand), "image/avif")
        for brand in (b"avif", b"mif1", b"avis", b"msf1")
    ),
    Case("other brands", "avif of another encoder", functools.partial(heic, b"mif1", item=b"av01"), "image/avif"),
    *(
        Case(
            "other brands",
            f"mov begins with {name!r}",
            functools.partial(renamed, "mov", b"ftyp", name),
            "video/quicktime",
        )
        for name in (b"free", b"skip", b"wide")
    ),
]


def odd(name: str, make: Callable[[], bytes], content_type: str) -> Case:
    return Case("odd but whole", name, make, content_type)


def refused(name: str, make: Callable[[], bytes]) -> Case:
    return Case("no media", name, make, None)


ODD = [
    *(
        odd(
            f"{name} behind {count} zero bytes", lambda name=name, count=count: bytes(count) + sample(name), TYPES[name]
        )
        for name in ("mp3", "mp3 without tags", "aac")
        for count in (1, 417, 5000, 100_000)
    ),
    *(
        odd(f"{name} behind tags", lambda name=name: tagged(sample(name)), TYPES[name])
        for name in ("mp3 without tags", "flac", "aac")
    ),
    odd("mp3 behind tags and zero bytes", lambda: tagged(sample("mp3"), 999), "audio/mpeg"),
    odd("two mp3 in one", lambda: 2 * sample("mp3 without tags"), "audio/mpeg"),
    odd("rubbish inside an mp3", lambda: sample("mp3 without tags") + b"x" * 99 + sample("mp3"), "audio/mpeg"),
    odd("mp3 with a title", lambda: sample("mp3") + b"TAG" + bytes(125), "audio/mpeg"),
    odd("a streamed wav", lambda: open_wav(2**32 - 1, 2**32 - 1), "audio/wav"),
    odd("a wav of zeros in its head", lambda: open_wav(0, 0), "audio/wav"),
    odd("a flac of unknown length", lambda: open_flac(sample("flac")), "audio/flac"),
    odd("a clip behind a photo", lambda: sample("jpeg") + sample("mp4"), "image/jpeg"),
    odd("a photo with a thumbnail", lambda: picture("JPEG", exif=b"Exif\0\0" + sample("jpeg")), "image/jpeg"),
    odd("a moving gif", lambda: moving("GIF"), "image/gif"),
    odd("a moving webp", lambda: moving("WEBP"), "image/webp"),
    odd("a moving png", lambda: moving("PNG"), "image/png"),
]
MAGIC = {
    "png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff\xe0", "gif": b"GIF89a", "webp": b"RIFF\x24\x00\x00\x00WEBP",
    "wav": b"RIFF\x24\x00\x00\x00WAVE", "avi": b"RIFF\x24\x00\x00\x00AVI ", "rf64": b"RF64\xff\xff\xff\xffWAVE",
    "ogg": b"OggS", "flac": b"fLaC",
    "mp3": b"ID3\x04\0\0\0\0\0\0", "mp3 frame": b"\xff\xfb\x90\x64", "aac": b"\xff\xf1\x50\x80",
    "webm": b"\x1a\x45\xdf\xa3\x8f\x42\x82\x84webm", "mp4": box(b"ftyp", b"isom\0\0\2\0"),
    "mov": box(b"wide"), "bmp": b"BM",
    "heic": box(b"ftyp", b"heic\0\0\0\0"), "avif": box(b"ftyp", b"avif\0\0\0\0"), "nothing": b"",
}  # fmt: skip
NO_MEDIA = [
    *(refused(f"only the mark of {name}", lambda n=name: MAGIC[n]) for name in MAGIC),
    *(
        refused(f"{text} behind the mark of {name}", lambda n=name, t=text: MAGIC[n] + TEXTS[t])
        for name in MAGIC
        for text in ("words", "JSON", "zeros")
    ),
    *(refused(f"{name} without mdat", functools.partial(without, name, b"mdat")) for name in (*STREAMS, *SOUNDS)),
    *(refused(f"{name} without moov", functools.partial(without, name, b"moov")) for name in (*STREAMS, *SOUNDS)),
    refused("fragments without their media data", lambda: without("mp4 in fragments", b"mdat")),
    refused("no fragments", lambda: without("mp4 in fragments", b"moof")),
    refused("a png with other pixels", lambda: changed(sample("png"), b"IDAT")),
    refused("a flac whose last frame was changed", lambda: changed(sample("flac"), sample("flac")[-300:-290])),
    refused("an html page", lambda: b"<!doctype html><p>Not here" + bytes(5000)),
    refused("zeros", lambda: bytes(10_000)),
    refused("an svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    refused("a program", lambda: b"\x7fELF" + bytes(5000)),
    refused("an archive", lambda: b"PK\x03\x04" + bytes(5000)),
]
TEXTS = {
    "words": b"The quick brown fox jumps over the lazy dog. " * 60,
    "JSON": b'{"error": "gone"}',
    "zeros": bytes(3000),
}
CASES = [*WHOLE, *CUT, *BEHIND, *ANNOUNCED, *OTHER_BRANDS, *ODD, *NO_MEDIA]


def moving(form: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    frames = [Image.new("P", (20, 20), color) for color in (1, 5, 9)]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_file_is_what_it_holds_or_is_refused(case: Case) -> None:
    """By its structure alone; the packets are read in the tests below, once for each container."""
    content = case.make()
    source = Source(io.BytesIO(content), len(content))
    if case.content_type is None:
        with pytest.raises(EvoLinkMediaError):
            read_structure(source, case.expect)
    else:
        found = read_structure(source, case.expect)
        assert (found.content_type, found.content_type in EXTENSIONS) == (case.content_type, True)


def test_the_table_has_every_kind(capsys: Any) -> None:
    counts = Counter(case.kind for case in CASES)
    with capsys.disabled():
        print("\nfiles judged:", ", ".join(f"{count} {kind}" for kind, count in counts.items()), f"= {len(CASES)}")
    assert len(CASES) > 800
    assert {case.content_type for case in WHOLE} == set(EXTENSIONS) - {"video/ogg", "audio/x-msvideo", "audio/pcm"}


@pytest.mark.parametrize("name", ["m4a", "mka", "3gp of sound", "webp", "heic", "avif", "gif", "jpeg"])
def test_every_cut_is_found(name: str) -> None:
    content = sample(name)
    assert [end for end in range(len(content)) if is_whole(content[:end])] == []


@pytest.mark.parametrize("name", TYPES)
def test_a_whole_file_passes_down_to_its_packets(name: str) -> None:
    """With rubbish behind it, which nothing may read."""
    content = sample(name) + TAILS["72 bytes"]
    found = inspect_media(io.BytesIO(content), len(content))
    kind = TYPES[name]
    is_chain = kind.startswith("image/") or kind in ("audio/mpeg", "audio/aac", "audio/wav")
    assert (found.content_type, found.verified) == (kind, "structure" if is_chain else "packets")
    assert found.has_sound is (None if found.kind == "image" else name != "mp4 without sound")
    if found.kind == "video":
        assert (found.width, found.height) == samples.SIDES
    if found.kind != "image" and "flac" not in name:
        assert found.seconds == pytest.approx(1.2, abs=0.27)

"""Sides as a player shows them, lengths by packets, sound, transparency, and what the announced kind decides."""

from __future__ import annotations

import io
from typing import Any

import media_samples as samples
import pytest
from media_samples import box, heic, numbers, picture, recording, sample
from PIL import Image

from airflow_provider_evolink.api.files.containers import read_structure
from airflow_provider_evolink.api.files.formats.source import Source
from airflow_provider_evolink.api.files.formats.structure import Structure
from airflow_provider_evolink.api.files.inspection import MediaInfo, inspect_media

PLAIN, TURNED = (96, 64), (64, 96)


def inspect(content: bytes, expect: str | None = None) -> MediaInfo:
    return inspect_media(io.BytesIO(content), len(content), expect)


def structure(content: bytes, expect: str | None = None) -> Structure:
    """Without the packets, which take a process of their own."""
    return read_structure(Source(io.BytesIO(content), len(content)), expect)


def exif(orientation: int) -> Any:
    tags = Image.Exif()
    tags[0x010F] = "a maker of phones"
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_measured_as_it_is_shown(form: str, orientation: int) -> None:
    found = inspect(picture(form, exif=exif(orientation)))
    assert (found.width, found.height) == (TURNED if orientation > 4 else PLAIN)


def test_the_other_order_of_bytes_turns_as_well() -> None:
    tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    found = inspect(picture("JPEG", exif=b"Exif\0\0" + tiff))
    assert (found.width, found.height) == TURNED


@pytest.mark.parametrize(
    "tags", [b"", b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(99)]
)
def test_broken_tags_turn_nothing(tags: bytes) -> None:
    found = inspect(picture("JPEG", exif=tags))
    assert (found.width, found.height) == PLAIN


@pytest.mark.parametrize(("turn", "sides"), [(0, (640, 360)), (1, (360, 640)), (2, (640, 360)), (3, (360, 640))])
def test_a_heic_is_measured_as_it_is_shown(turn: int, sides: tuple[int, int]) -> None:
    found = inspect(heic(turn=turn))
    assert (found.width, found.height) == sides


def matrix(*values: int) -> bytes:
    return b"".join((value % 2**32).to_bytes(4, "big") for value in values)


ONE = 1 << 16
UPRIGHT = matrix(ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("turn", "is_turned"),
    [
        (UPRIGHT, False),
        (matrix(0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), True),
        (matrix(0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), True),
        (matrix(-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), False),
    ],
)
@pytest.mark.parametrize("name", ["mp4", "mov", "mp4 for dash"])
def test_a_clip_is_measured_as_it_is_shown(name: str, turn: bytes, is_turned: bool) -> None:
    content = sample(name)
    at = content.index(UPRIGHT, content.index(b"tkhd"))
    found = structure(content[:at] + turn + content[at + len(turn) :])
    assert (found.width, found.height) == (samples.SIDES[::-1] if is_turned else samples.SIDES)


@pytest.mark.parametrize(
    ("make", "has_transparency"),
    [
        (lambda: picture("PNG"), False),
        (lambda: picture("PNG", "RGBA"), True),
        (lambda: picture("PNG", "LA"), True),
        (lambda: picture("PNG", "P", transparency=3), True),
        (lambda: picture("GIF", "P"), False),
        (lambda: picture("GIF", "P", transparency=20), True),
        (lambda: picture("WEBP"), False),
        (lambda: picture("WEBP", "RGBA"), True),
        (lambda: picture("WEBP", "RGBA", lossless=True), True),
        (lambda: picture("JPEG"), False),
        (lambda: picture("BMP"), False),
        (lambda: picture("AVIF", "RGBA"), True),
        (lambda: picture("AVIF"), False),
        (lambda: sample("mp4"), None),
    ],
)
def test_transparency_is_found(make: Any, has_transparency: bool | None) -> None:
    assert inspect(make()).has_transparency is has_transparency


def test_an_mp3_is_as_long_as_its_frames() -> None:
    """Its loud end has six times the bit rate of its silent beginning, and no table states how long it is."""
    silent = recording_of("libmp3lame", frames=500, loud=False)
    loud = recording_of("libmp3lame", frames=200, loud=True)
    assert len(loud) > len(silent)
    found = inspect(silent + loud)
    assert found.seconds == pytest.approx(700 * 1152 / 48000, abs=0.2)


def recording_of(codec: str, *, frames: int, loud: bool) -> bytes:
    """Return an MP3 of a variable bit rate."""
    import random

    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream: Any = container.add_stream(
            codec, rate=48000, layout="mono", options={"q": "0", "compression_level": "9"}
        )
        stream.codec_context.qscale = True
        stream.codec_context.global_quality = 1
        for number in range(frames):
            frame = av.AudioFrame("s16p", "mono", 1152)
            frame.sample_rate, frame.pts = 48000, number * 1152
            size = frame.planes[0].buffer_size
            frame.planes[0].update(random.Random(number).randbytes(size) if loud else bytes(size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def with_cover(brand: bytes) -> bytes:
    """Return a sound with a track of one picture, as shops for music sell it."""
    content = recording("mp4", "mpeg4", "aac", frames=1)
    return content[:8] + brand + content[12:]


@pytest.mark.parametrize(
    ("brand", "expect", "content_type"),
    [
        (b"isom", "audio", "audio/mp4"),
        (b"isom", "video", "video/mp4"),
        (b"isom", None, "video/mp4"),
        (b"M4A ", None, "audio/mp4"),
        (b"M4A ", "video", "audio/mp4"),
    ],
)
def test_a_sound_with_a_cover_is_what_was_announced(brand: bytes, expect: str | None, content_type: str) -> None:
    assert structure(with_cover(brand), expect).content_type == content_type


@pytest.mark.parametrize("expect", ["video", "image", None])
def test_a_clip_with_many_pictures_is_no_sound(expect: str | None) -> None:
    assert structure(sample("mp4"), expect).content_type == "video/mp4"
    assert structure(sample("mp4"), "audio").content_type == "video/mp4"


def test_a_tile_is_not_the_picture() -> None:
    """A HEIC of a phone has the sides of its tiles first."""
    found = inspect(heic(tile=box(b"ispe", numbers(0, 64, 36))))
    assert (found.width, found.height) == (640, 360)

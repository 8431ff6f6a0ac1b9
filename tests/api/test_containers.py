"""What an answer and a file are: tables, and files of a real encoder."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import containers, download_response
from airflow_provider_evolink.api.files.download_response import NextStep

EBML = b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82"


def box(name: bytes, content: bytes = b"") -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + name + content


FTYP, MOOV, MDAT = box(b"ftyp", b"isom\0\0\2\0"), box(b"moov", bytes(40)), box(b"mdat", bytes(99))


def check(data: bytes, expect: str | None = None) -> containers.Container:
    return containers.check_media(io.BytesIO(data), len(data), expect)


@pytest.mark.parametrize(
    ("head", "content_type", "extension"),
    [
        (FTYP, "video/mp4", ".mp4"),
        (box(b"ftyp", b"mp42\0\0\0\0"), "video/mp4", ".mp4"),
        (box(b"ftyp", b"qt  \0\0\0\0"), "video/quicktime", ".mov"),
        (box(b"ftyp", b"M4A \0\0\0\0"), "audio/mp4", ".m4a"),
        (box(b"ftyp", b"avif\0\0\0\0"), "image/avif", ".avif"),
        (box(b"ftyp", b"heic\0\0\0\0"), "image/heic", ".heic"),
        (EBML + b"\x84webm", "video/webm", ".webm"),
        (EBML + b"\x88matroska", "video/x-matroska", ".mkv"),
        (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo", ".avi"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav", ".wav"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp", ".webp"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png", ".png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg", ".jpg"),
        (b"GIF87a....", "image/gif", ".gif"),
        (b"GIF89a....", "image/gif", ".gif"),
        (b"ID3\x04\0\0", "audio/mpeg", ".mp3"),
        (b"\xff\xfb\x90\x64", "audio/mpeg", ".mp3"),
        (b"\xff\xf3\x40\xc0", "audio/mpeg", ".mp3"),
        (b"\xff\xf1\x50\x80", "audio/aac", ".aac"),
        (b"fLaC\0\0\0\x22", "audio/flac", ".flac"),
        (b"OggS\0\x02", "audio/ogg", ".ogg"),
    ],
)
def test_a_container_is_recognized_by_content(head, content_type, extension):
    found = containers.recognize(head)
    assert (found.content_type, found.extension) == (content_type, extension)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0" * 64,
        b"{}",
        b"#!/bin/sh\n",
        b"MZ\x90\0",
        b"\x7fELF",
        b"PK\x03\x04",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"RIFF\x24\0\0\0",
        b"RIFF\x24\0\0\0XXXX",
        b"xftypisom",
        b"\xff\xfeh\0t\0m\0l\0",
        b"\x89PNG",
        EBML,
        EBML + bytes(100) + b"webm",
    ],
)
def test_other_content_is_not_media(head):
    assert containers.recognize(head) is None


@pytest.mark.parametrize(
    ("fmt", "codec", "content_type"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("mov", "mpeg4", "video/quicktime"),
        ("matroska", "mpeg4", "video/x-matroska"),
        ("webm", "libvpx", "video/webm"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("ipod", "aac", "audio/mp4"),
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("wav", "pcm_s16le", "audio/wav"),
        ("flac", "flac", "audio/flac"),
        ("ogg", "libopus", "audio/ogg"),
        ("adts", "aac", "audio/aac"),
    ],
)
def test_files_of_a_real_encoder_pass(tmp_path, fmt, codec, content_type):
    av = pytest.importorskip("av")
    kind = content_type.partition("/")[0]
    path = tmp_path / "made"
    with av.open(str(path), "w", format=fmt) as output:
        if kind == "video":
            stream = output.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frames = [av.VideoFrame(64, 48, "yuv420p") for _ in range(3)]
        else:
            stream = output.add_stream(codec, rate=48000, layout="mono")
            sample_format = stream.codec_context.format.name
            frames = [av.AudioFrame(sample_format, "mono", stream.codec_context.frame_size or 1024)]
            frames[0].sample_rate = 48000
            for plane in frames[0].planes:
                plane.update(bytes(plane.buffer_size))
        for pts, frame in enumerate(frames):
            frame.pts = pts
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = path.read_bytes()
    assert check(data, kind).content_type == content_type


@pytest.mark.parametrize(
    "data",
    [
        FTYP + MOOV + MDAT,
        FTYP + MDAT + MOOV,
        FTYP + MOOV + (0).to_bytes(4, "big") + b"mdat" + bytes(77),
        FTYP + (1).to_bytes(4, "big") + b"mdat" + (16 + 5).to_bytes(8, "big") + bytes(5) + MOOV,
        FTYP + MOOV + box(b"moof", bytes(9)) + MDAT + box(b"free"),
    ],
    ids=["moov first", "moov last", "last box open-ended", "64-bit length", "fragments"],
)
def test_a_whole_mp4_passes(data):
    assert check(data, "video").extension == ".mp4"


@pytest.mark.parametrize(
    "data",
    [
        FTYP,
        FTYP + MDAT,
        FTYP + MOOV[:-1],
        FTYP + MOOV + MDAT[:-1],
        FTYP + MDAT + MOOV[:4],
        FTYP + MOOV + MDAT + b"\0",
        FTYP + MOOV + MDAT + b"\0\0\0\x07free",
        FTYP + MOOV + MDAT + b"\0\0\0\x01free\0\0\0\0",
        FTYP + MOOV + b"\0\0\0\x04" + box(b"free"),
        FTYP + MOOV + b"\0\0\0\x01mdat" + (2**64 - 1).to_bytes(8, "big"),
        FTYP + MDAT + b"\0\0\0\0mdat" + MOOV,
    ],
)
def test_a_cut_or_broken_mp4_is_refused(data):
    with pytest.raises(EvoLinkMediaError):
        check(data)


def test_every_cut_of_an_mp4_is_found():
    data = FTYP + MOOV + MDAT
    for end in range(len(data)):
        if end != len(FTYP + MOOV):
            with pytest.raises(EvoLinkMediaError):
                check(data[:end])


@given(st.binary(max_size=300), st.sampled_from([b"", FTYP, FTYP + MOOV, b"<Error>", b"<?xml"]))
def test_any_bytes_are_judged_in_our_words(data, start):
    with suppress(EvoLinkMediaError):
        assert check(start + data).kind in ("video", "image", "audio")


def test_a_file_of_very_many_boxes_is_given_up():
    with pytest.raises(EvoLinkMediaError):
        check(FTYP + MOOV + box(b"free") * 150_000)


@pytest.mark.parametrize(("expect", "passes"), [("image", True), (None, True), ("video", False), ("audio", False)])
def test_the_kind_of_media_is_compared(expect, passes):
    png = b"\x89PNG\r\n\x1a\nrest"
    if passes:
        assert check(png, expect).kind == "image"
    else:
        with pytest.raises(EvoLinkMediaError, match=f"expected {expect}, got image/png"):
            check(png, expect)


@pytest.mark.parametrize(
    ("head", "page"),
    [
        (b"<!DOCTYPE html><html>", "html"),
        (b"\xef\xbb\xbf \r\n<!doctype  HTML>", "html"),
        (b"<html lang=en>", "html"),
        (b"<!-- x --><html>", "html"),
        (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "expired"),
        (b"<Error><Code>ExpiredToken</Code></Error>", "expired"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error><Message>no code</Message></Error>", "expired"),
        (b"<Error><Code>SlowDown</Code></Error>", "busy"),
        (b"<?xml version='1.0'?><svg/>", None),
        (b"<Errors/>", None),
        (FTYP + b"<html>", None),
        (b"", None),
    ],
)
def test_a_page_is_distinguished_from_a_file(head, page):
    assert containers.error_page(head) == page


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"<html>", EvoLinkMediaError),
        (b"<Error><Code>AccessDenied</Code></Error>", EvoLinkLinkExpired),
        (b"<Error><Code>SlowDown</Code></Error>", EvoLinkMediaError),
        (b"", EvoLinkMediaError),
    ],
)
def test_a_page_in_place_of_a_file_is_refused(head, error):
    with pytest.raises(EvoLinkMediaError) as caught:
        check(head)
    assert type(caught.value) is error


HAVE = {"size": 10, "total": 100, "validator": '"v1"'}


@pytest.mark.parametrize(
    ("status", "headers", "have", "meaning"),
    [
        (200, {}, {}, NextStep.WHOLE),
        (200, {}, HAVE, NextStep.WHOLE),
        (206, {"content-range": "bytes 10-99/100"}, HAVE, NextStep.REST),
        (206, {"content-range": "bytes 10-99/100", "etag": '"v1"'}, HAVE, NextStep.REST),
        (206, {"content-range": "bytes 10-49/50"}, HAVE | {"total": None}, NextStep.REST),
        (206, {"content-range": "bytes 10-99/100", "etag": '"v2"'}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 9-99/100"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 11-99/100"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-98/100"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-100/101"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-99/*"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-99/100, x"}, HAVE, NextStep.WRONG_RANGE),
        (206, {}, HAVE, NextStep.WRONG_RANGE),
        (416, {"content-range": "bytes */100"}, HAVE, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 0-99/100"}, {}, NextStep.UNUSABLE),
        (416, {}, {}, NextStep.UNUSABLE),
        *((status, {}, HAVE, NextStep.GONE) for status in (401, 403, 404, 410)),
        *((status, {}, HAVE, NextStep.BUSY) for status in (408, 425, 429, 500, 502, 503, 504, 520, 599)),
        *((status, {}, HAVE, NextStep.UNUSABLE) for status in (201, 204, 300, 304, 302, 400, 405, 451)),
    ],
)
def test_what_an_answer_means(status, headers, have, meaning):
    assert download_response.next_step(status, headers, **have) is meaning


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({"content-length": "0"}, 0),
        ({"content-length": "17", "content-type": "video/mp4", "content-encoding": "identity"}, 17),
        ({"content-length": "17", "transfer-encoding": "chunked"}, 17),
        ({"transfer-encoding": "Chunked"}, None),
    ],
)
def test_the_length_of_a_body(headers, length):
    assert download_response.body_length(headers) == length


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "cannot be verified"),
        ({"transfer-encoding": "gzip"}, "cannot be verified"),
        ({"content-length": "5, 6"}, "invalid length"),
        ({"content-length": "-5"}, "invalid length"),
        ({"content-length": "1" * 30}, "invalid length"),
        ({"content-length": "٣"}, "invalid length"),
        ({"content-length": "5", "content-encoding": "gzip"}, "encoded"),
        ({"content-length": "5", "content-encoding": "br\x1b[0m"}, "encoded"),
        ({"content-length": "5", "content-type": "Text/HTML; charset=x"}, "HTML"),
    ],
)
def test_a_body_that_cannot_be_the_file(headers, said):
    with pytest.raises(EvoLinkMediaError, match=said) as caught:
        download_response.body_length(headers)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"v1"', "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, '"v1"'),
        ({"last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, "Wed, 21 Oct 2015 07:28:00 GMT"),
        ({"etag": 'W/"v1"', "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"etag": "v1"}, None),
        ({"etag": '"v\xe9"'}, None),
        ({"etag": '"a"\r\nX: y"'}, None),
        ({"last-modified": "yesterday\r\nX: y"}, None),
        ({}, None),
    ],
)
def test_what_proves_that_a_file_is_still_the_same(headers, validator):
    assert download_response.validator_of(headers) == validator

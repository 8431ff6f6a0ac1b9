"""Which page came in place of a file, and what a response means."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import sample

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import containers, download_response
from airflow_provider_evolink.api.files.download_response import NextStep
from airflow_provider_evolink.api.files.formats.source import Source
from airflow_provider_evolink.api.files.formats.structure import EXTENSIONS, Structure

MARKS = ("mp4 for streaming", "mp4 in fragments", "mkv", "live webm", "avi", "wav", "flac", "ogg", "mp3", "aac")
MARKS += ("png", "jpeg", "gif", "webp", "bmp", "avif", "heic")


def check(data: bytes, expect: str | None = None) -> Structure:
    return containers.read_structure(Source(io.BytesIO(data), len(data)), expect)


@given(st.binary(max_size=300), st.sampled_from([b"", b"<Error>", b"<?xml", b"ID3", b"BM", b"fLaC"]))
def test_any_bytes_are_judged_in_our_words(data, start):
    with suppress(EvoLinkMediaError):
        assert check(start + data).content_type in EXTENSIONS


@settings(deadline=None)
@given(st.sampled_from(MARKS), st.data())
def test_any_changed_bytes_are_judged_in_our_words(name, data):
    """A file that is whole but for some bytes in its head: nothing breaks, hangs or runs out of memory."""
    content = bytearray(sample(name))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(4, min(len(content), 3000) - 1))] = data.draw(st.integers(0, 255))
    with suppress(EvoLinkMediaError):
        assert check(bytes(content)).content_type in EXTENSIONS


def test_a_file_of_very_many_parts_is_given_up(monkeypatch):
    monkeypatch.setattr("airflow_provider_evolink.api.files.formats.source._MAX_READS", 1000)
    with pytest.raises(EvoLinkMediaError, match="too many parts"):
        check(b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01x" * 150_000)


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
        (b"\0\0\0\x10ftypisom<html>", None),
        (b"", None),
    ],
)
def test_a_page_is_told_from_a_file(head, page):
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

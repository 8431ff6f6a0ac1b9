"""Which page came in place of a file, and what a response means."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import sample

from airflow_provider_evolink.api.errors import EvoLinkLinkExpired, EvoLinkMediaError
from airflow_provider_evolink.api.files import containers
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

"""What a download requests, and what it makes of each status and header. Pure."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.errors import EvoLinkMediaError
from airflow_provider_evolink.api.files.download_response import (
    EMPTY,
    OVERLAP,
    Have,
    NextStep,
    body_length,
    content_range,
    is_chunked,
    may_appear,
    next_step,
    pauses,
    range_headers,
    validators_of,
)

STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"
LATER = "Wed, 21 Oct 2015 07:29:00 GMT"
NONE = Have()
SOME = Have(size=10, total=100, etag='"v1"')
WEAK = Have(size=10, total=100, etag='W/"v1"', modified=STAMP)
DOUBTFUL = Have(size=10, total=100, etag='"v1"', is_doubtful=True)
NEW = Have(size=10, etag='"v1"')  # the length is not known


@pytest.mark.parametrize(
    ("status", "headers", "have", "step"),
    [
        *((status, {}, have, NextStep.WHOLE) for status in (200, 201, 203) for have in (NONE, SOME, DOUBTFUL)),
        (202, {"content-type": "video/mp4"}, NONE, NextStep.WHOLE),
        (202, {"content-type": "application/json"}, NONE, NextStep.GONE),
        # a range that was requested
        (206, {"content-range": "bytes 10-99/100"}, SOME, NextStep.PART),
        (206, {"content-range": "Bytes  10-99/100"}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-99/100", "etag": '"v1"'}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-99/100", "etag": 'W/"v1"'}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-49/100", "etag": '"v1"'}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-99/*", "etag": '"v1"'}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-49/50"}, NEW, NextStep.PART),
        (206, {"content-range": "bytes 5-99/100", "etag": '"v2"'}, DOUBTFUL, NextStep.PART),
        (206, {"content-range": "bytes 0-99/100", "etag": '"v2"'}, SOME, NextStep.PART),
        (206, {"content-range": "bytes 10-99/100", "etag": 'W/"v1"', "last-modified": STAMP}, WEAK, NextStep.PART),
        # another node of a CDN, or another file
        (206, {"content-range": "bytes 10-99/100", "etag": '"v2"'}, SOME, NextStep.DOUBTFUL),
        (206, {"content-range": "bytes 10-99/100", "last-modified": LATER}, WEAK, NextStep.DOUBTFUL),
        (200, {"content-length": "100", "etag": '"v2"'}, SOME, NextStep.DOUBTFUL),
        (200, {"content-length": "100", "etag": '"v2"'}, DOUBTFUL, NextStep.WHOLE),
        (200, {"content-length": "90", "etag": '"v2"'}, SOME, NextStep.WHOLE),
        (200, {"content-length": "100", "etag": '"v1"'}, SOME, NextStep.WHOLE),
        # ranges that do not fit
        (206, {"content-range": "bytes 11-99/100"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-100/101"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-100/100"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-99/100", "content-length": "91"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-8/100"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-99/100, x"}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "items 10-99/100"}, SOME, NextStep.WRONG_RANGE),
        (206, {}, SOME, NextStep.WRONG_RANGE),
        (206, {"content-range": "bytes 10-99/100"}, NONE, NextStep.WRONG_RANGE),
        (416, {"content-range": "bytes */100"}, SOME, NextStep.WRONG_RANGE),
        (416, {}, SOME, NextStep.WRONG_RANGE),
        (416, {"content-range": "bytes */10"}, DOUBTFUL, NextStep.WRONG_RANGE),
        # all of it is there
        (416, {"content-range": "bytes */10"}, NEW, NextStep.COMPLETE),
        # a range that was not requested
        (206, {"content-range": "bytes 0-99/100"}, NONE, NextStep.PART),
        (206, {"content-range": "bytes 0-9/100"}, NONE, NextStep.PART),
        (206, {}, NONE, NextStep.WHOLE),
        (416, {}, NONE, NextStep.GONE),
        *((status, {}, SOME, NextStep.GONE) for status in (400, 401, 402, 403, 404, 405, 409, 410, 451)),
        *((status, {}, NONE, NextStep.GONE) for status in (204, 205, 300, 302, 304)),
        *((status, {}, SOME, NextStep.BUSY) for status in (408, 423, 425, 429, 500, 502, 503, 504, 520, 599)),
    ],
)
def test_what_a_response_means(status, headers, have, step):
    assert next_step(status, headers, have) is step


@pytest.mark.parametrize(
    ("have", "headers"),
    [
        (NONE, {}),
        (SOME, {"Range": "bytes=10-", "If-Range": '"v1"'}),
        (WEAK, {"Range": "bytes=10-", "If-Range": STAMP}),
        (Have(10, 100, None, STAMP), {"Range": "bytes=10-", "If-Range": STAMP}),
        (Have(10**6, 10**7, 'W/"v1"'), {"Range": f"bytes={10**6 - OVERLAP}-"}),
        (Have(10**6, 10**7), {"Range": f"bytes={10**6 - OVERLAP}-"}),
        (Have(10**6, 10**7, '"v1"', STAMP, is_doubtful=True), {"Range": f"bytes={10**6 - OVERLAP}-"}),
        (Have(1000), {"Range": "bytes=500-"}),
    ],
)
def test_what_is_requested(have, headers):
    assert range_headers(have) == headers


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({"content-length": "0"}, 0),
        ({"content-length": "17", "content-type": "text/html", "content-encoding": "gzip"}, 17),
        ({"content-length": "17", "transfer-encoding": "chunked"}, None),
        ({"transfer-encoding": "Chunked"}, None),
        ({}, None),
        ({"content-length": "5, 6"}, None),
        ({"content-length": "-5"}, None),
        ({"content-length": "1" * 30}, None),
        ({"content-length": "٣"}, None),
    ],
)
def test_the_length_of_a_body(headers, length):
    assert body_length(headers) == length
    assert is_chunked(headers) is ("transfer-encoding" in headers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-9/10", (0, 10, 10)),
        ("bytes 5-9/*", (5, 10, None)),
        ("bytes */10", None),
        ("bytes 0-9", None),
        ("", None),
    ],
)
def test_a_range(text, found):
    assert content_range({"content-range": text}) == found


@pytest.mark.parametrize(
    ("headers", "validators"),
    [
        ({"etag": '"v1"', "last-modified": STAMP}, ('"v1"', STAMP)),
        ({"last-modified": STAMP}, (None, STAMP)),
        ({"etag": 'W/"v1"', "last-modified": STAMP}, ('W/"v1"', STAMP)),
        ({"etag": "v1"}, (None, None)),
        ({"etag": '"v\xe9"'}, (None, None)),
        ({"etag": '"a"\r\nX: y"'}, (None, None)),
        ({"last-modified": "yesterday\r\nX: y"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_validators_that_can_be_sent_back(headers, validators):
    assert validators_of(headers) == validators


@pytest.mark.parametrize("status", [202, 204, 205, 404])
def test_what_may_still_appear(status):
    assert may_appear(EvoLinkMediaError("", status_code=status))


@pytest.mark.parametrize("status", [None, 200, 400, 401, 403, 410, 500])
def test_what_will_not_appear(status):
    assert not may_appear(EvoLinkMediaError("", status_code=status))


def test_an_empty_file_may_be_on_its_way():
    assert may_appear(EvoLinkMediaError("", code=EMPTY))


def test_patience_has_an_end():
    assert list(pauses()) == [1, 2, 4, 8, 15, 15, 15]
    assert sum(pauses()) == 60
    assert list(pauses(4)) == [1, 2, 1]
    assert list(pauses(0)) == []

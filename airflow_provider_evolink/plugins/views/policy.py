"""What a browser may do with a page or a file: media types, and the Content-Security-Policy. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

# What is sent, and nothing else: no HTML, no SVG, nothing that can run.
MEDIA_TYPES = frozenset(
    {
        *("video/mp4", "video/quicktime", "video/webm", "video/x-matroska", "video/x-msvideo", "video/ogg"),
        *("audio/mp4", "audio/webm", "audio/x-matroska", "audio/wav", "audio/flac", "audio/ogg", "audio/mpeg"),
        *("audio/aac", "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/heic", "image/avif"),
    }
)
_AUTHORITY = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,5})?")
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def origin_of(link: object) -> str | None:
    """
    Return the origin of a result link as a policy may name it; ``None``: it is no link that a browser should follow.

    :param link: The link.
    """
    if not isinstance(link, str) or re.search(r"[\x00-\x20\x7f\\]", link):
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    is_name = _AUTHORITY.fullmatch(parts.netloc) is not None
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("https", "http") and is_name else None


def page_headers(links: Iterable[str] = ()) -> dict[str, str]:
    """
    Return the headers of a page: it runs our script only, and loads media from Airflow and the hosts of its links.

    :param links: Result links that the page offers to play.
    """
    hosts = " ".join(["'self'", *sorted({origin for link in links if (origin := origin_of(link))})])
    rules = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        f"img-src {hosts}",
        f"media-src {hosts}",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
    return {**_COMMON, "Content-Security-Policy": "; ".join(rules), "Cache-Control": "no-store"}


def file_headers(content_type: str, etag: str) -> dict[str, str]:
    """
    Return the headers of a media file. Opened by itself it runs nothing, whatever is in it.

    :param content_type: Its media type, one of :data:`MEDIA_TYPES`.
    :param etag: Names its content.
    """
    return {
        **_COMMON,
        "Content-Type": content_type,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Encoding": "identity",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "ETag": f'"{etag}"',
    }

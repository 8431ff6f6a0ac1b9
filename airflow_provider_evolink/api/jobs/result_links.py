"""
Where the links of a job stand. EvoLink documents ``results``, a list of texts; others were seen or are believed. Pure.

A result is found as an `Entry`: a link, and the object that it was found in, which may describe it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.redaction import link_identity

KINDS = ("video", "image", "audio")
MAX_RESULTS = 64
MAX_LINK = 8192
_LINK_NAMES = ("url", "audio", "video", "image", "link", "uri", "href", "src", "download_url", "file_url")
# Names beside those that EvoLink documents, in the order in which they count.
_OTHER_NAMES = (
    *("result_urls", "result_url", "output", "outputs", "output_urls", "output_url", "result", "response"),
    *("task_result", "urls", "url", "video_url", "videos", "video", "audio_url", "audios", "audio", "images", "image"),
    *("image_url", "media_urls", "media_url", "media", "files", "file", "file_urls", "file_url", "download_urls"),
    *("download_url", "links", "link", "generations", "artifacts", "assets", "content", "data"),
)
# What a response may hold beside its results: what was sent, and pictures of a result.
_NO_RESULT = re.compile(
    r"(?i)input|request|prompt|param|source|reference|webhook|callback|thumb|cover|poster|preview|avatar|(^|_)(start|end)$"
)
_HOLDS_LINKS = re.compile(r"(?i)(url|uri|link|href|src|file|media|video|image|audio|output|result|data)s?$")
_BROKEN = re.compile("[\ud800-\udfff]")
_IS_LINK = re.compile(r"(?i)https?://[^\s/?#]")
_BETWEEN = re.compile(r"[\s,;]+(?=https?://|data:)", re.IGNORECASE)
_MAX_ITEMS = 1000
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Entry:
    """
    One result, usable or not.

    :param link: Its link as EvoLink wrote it.
    :param item: The object that holds it; empty where the link stands alone.
    """

    link: str
    item: dict[str, Any]

    @property
    def fault(self) -> str | None:
        """Why the link cannot be used; ``None`` if it can."""
        if self.link[:5].lower() == "data:":
            return f"inline data of {len(self.link)} characters, which is not fetched"
        if not _IS_LINK.match(self.link) or _BROKEN.search(self.link):
            return "not a link"
        if len(self.link) > MAX_LINK:
            return f"a link of {len(self.link)} characters; at most {MAX_LINK} are taken"
        return None


def find_entries(payload: Mapping[str, Any]) -> list[Entry]:
    """
    Return the results of a job: those of ``results``, then what stands in ``result_data`` alone, else other names.

    What stands elsewhere takes the place of what cannot be used: it is the same result in another form.

    :param payload: The job as EvoLink sent it.
    """
    usual = usual_kind(payload)
    stated = list(_entries(payload.get("results"), usual, is_stated=True))[:_MAX_ITEMS]
    others = _not_among(stated, [entry for entry in _entries(payload.get("result_data"), usual) if not entry.fault])
    for name in _OTHER_NAMES:
        if any(not entry.fault for entry in (*stated, *others)):
            break
        others += [entry for entry in _entries(payload.get(name), usual) if not entry.fault]
    rest = iter(others)
    return [next(rest, entry) if entry.fault else entry for entry in stated] + list(rest)


def usual_kind(payload: Mapping[str, Any]) -> str | None:
    """
    Return the kind of media that a job is for.

    :param payload: The job as EvoLink sent it.
    """
    kind = payload.get("type") or payload.get("kind")
    return kind if kind in KINDS else None


def main_link(item: Mapping[str, Any], usual: str | None) -> tuple[str | None, str]:
    """
    Return kind and link of the file an object describes (of a song with a cover: the song), or an empty link.

    :param item: One object of a response.
    :param usual: The kind of media that the job is for.
    """
    for kind in (usual, *KINDS):
        if kind and (link := text_of(item.get(f"{kind}_url"))):
            return kind, link
    links = (text_of(item.get(name)) for name in _LINK_NAMES)
    return usual, next((link for link in links if _IS_LINK.match(link) or link[:5].lower() == "data:"), "")


def text_of(value: Any) -> str:
    """Return a text without blanks around it; anything else is empty."""
    return value.strip() if isinstance(value, str) else ""


def _entries(value: Any, usual: str | None, *, is_stated: bool = False, depth: int = 0) -> Iterator[Entry]:
    """Find results in any value; ``is_stated``: a text is one even if it is no link."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield from _entries_of_text(value.strip(), usual, is_stated=is_stated, depth=depth)
    elif isinstance(value, list | tuple):
        for entry in value[:_MAX_ITEMS]:
            yield from _entries(entry, usual, is_stated=is_stated and isinstance(entry, str), depth=depth + 1)
    elif isinstance(value, dict):
        _, link = main_link(value, usual)
        if link:
            yield Entry(link, value)
            return
        for name, entry in value.items():
            if not _NO_RESULT.search(name) and (not isinstance(entry, str) or _HOLDS_LINKS.search(name)):
                yield from _entries(entry, usual, depth=depth + 1)


def _entries_of_text(text: str, usual: str | None, *, is_stated: bool, depth: int) -> Iterator[Entry]:
    """Find the results in a text: a link, several of them, or JSON."""
    if text[:1] in ("[", "{"):
        try:
            yield from _entries(json.loads(text), usual, depth=depth + 1)
        except (ValueError, RecursionError):
            return
    elif text:
        entries = [Entry(link, {}) for link in _BETWEEN.split(text)]
        yield from [entry for entry in entries if is_stated or not entry.fault]


def _not_among(known: list[Entry], found: list[Entry]) -> list[Entry]:
    """Return the entries whose file is not known yet, by the link or by that without its query, signed each time."""
    left = [entry.link for entry in known]
    missing = []
    for entry in found:
        if entry.link in left:
            left.remove(entry.link)
        else:
            missing.append(entry)
    identities = [link_identity(link) for link in left]
    new: dict[str, Entry] = {}
    for entry in missing:
        identity = link_identity(entry.link)
        if identity in identities:
            identities.remove(identity)
        elif entry.link not in {other.link for other in known}:
            new.setdefault(entry.link, entry)
    return list(new.values())

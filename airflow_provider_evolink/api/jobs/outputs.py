"""
What a job gave, in one form: EvoLink has ``results``, ``result_data`` as a list or an object, songs, layers, and ids.

Every shape becomes links, one description per link, and the names that a job made instead of media. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_evolink.api.redaction import link_identity, sanitize

KINDS = ("video", "image", "audio")
EXPIRY = "draft_expires_at"
_TEXTS = {"result_id": 128, "title": 300, "tags": 300, "name": 300, "description": 2000}
_NUMBERS = ("duration", "z_index")
_MADE = ("voice", "voice_id", "persona_id", "element_id", "character_id")
_BESIDE = ("voice_type", "name", "text")
_LONGEST_TEXT = 20_000
_BROKEN = re.compile("[\ud800-\udfff]")
_MOST_ITEMS = 64


def read_outputs(payload: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...]]:
    """
    Return the links of a job and, for each of them, what EvoLink says of it.

    ``results`` decides which files there are; ``result_data`` only where there are none in it.

    :param payload: The job as it came.
    """
    kind = payload.get("type") or payload.get("kind")
    usual = kind if kind in KINDS else None
    items = list(_items(payload.get("result_data")))
    links = _links(payload.get("results"))
    if not links:
        found = [(item, link) for item in items if (link := _main_link(item, usual)[1])]
        items, links = [item for item, _ in found], tuple(link for _, link in found)
    pairs = zip(links, _matching(links, items), strict=True)
    return links, tuple(_described(usual, link, item) for link, item in pairs)


def read_made(payload: Mapping[str, Any]) -> dict[str, str]:
    """
    Return what a job made that is no file: the name of a voice, the id of a persona or an element, a text.

    :param payload: The job as it came.
    """
    wanted = ("text",) if payload.get("type") == "text" else _MADE
    made: dict[str, str] = {}
    for place in _places(payload.get("result_data")):
        if not made and any(_plain(place.get(name)) for name in wanted):
            made = {name: text for name in (*_MADE, *_BESIDE) if (text := _plain(place.get(name)))}
    expiry = _plain(payload.get(EXPIRY))
    return {**made, EXPIRY: expiry} if expiry else made


def _links(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    return tuple(link for entry in value if (link := _link(entry)))


def _link(value: Any) -> str:
    link = value.strip() if isinstance(value, str) else ""
    return "" if _BROKEN.search(link) else link


def _items(data: Any) -> Iterator[dict[str, Any]]:
    """Find the descriptions of files: a list of them, an object that holds such a list, or one object."""
    if isinstance(data, list):
        yield from [item for item in data if isinstance(item, dict)][:_MOST_ITEMS]
    elif isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and any(map(_has_link, value))]
        yield from _items(lists[0]) if lists else [data]


def _has_link(item: Any) -> bool:
    return isinstance(item, dict) and bool(_main_link(item, None)[1])


def _main_link(item: dict[str, Any], usual: str | None) -> tuple[str | None, str]:
    """Return kind and link of the file an item is about, of a song with a cover the song; no link: an empty text."""
    for kind in (usual, *KINDS):
        if kind and (link := _link(item.get(f"{kind}_url"))):
            return kind, link
    link = _link(item.get("url")) or _link(item.get("audio"))
    return (usual, link) if link.startswith(("http://", "https://")) else (usual, "")


def _matching(links: tuple[str, ...], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Find the item of each link: by the link but for its query, which is signed anew, else by its place."""
    by_link = {link_identity(value): item for item in items for value in item.values() if isinstance(value, str)}
    placed = items if len(items) == len(links) else [{}] * len(links)
    return [by_link.get(link_identity(link), item) for link, item in zip(links, placed, strict=True)]


def _described(usual: str | None, link: str, item: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if link_identity(_link(item.get(f"{kind}_url"))) == link_identity(link)]
    kind = kinds[0] if kinds else _main_link(item, usual)[0]
    told: dict[str, Any] = {"kind": kind}
    for name, limit in _TEXTS.items():
        value = item.get(name)
        value = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, str | int) and not isinstance(value, bool) and (text := sanitize(value, limit)):
            told[name] = text
    told |= {name: item[name] for name in _NUMBERS if _is_number(item.get(name))}
    box = _box(item.get("bounding_box"))
    return told if box is None else {**told, "bounding_box": box}


def _box(value: Any) -> Any:
    """Read where a layer lies, in the form EvoLink chose: numbers in a list or under names."""
    entries = list(value.values()) if isinstance(value, dict) else value
    good = isinstance(entries, list) and 0 < len(entries) <= 8 and all(map(_is_number, entries))
    if not good:
        return None
    return {sanitize(name, 20): entry for name, entry in value.items()} if isinstance(value, dict) else entries


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**15


def _places(data: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of ``result_data`` down to one level inside, where names may stand."""
    for outer in data[:_MOST_ITEMS] if isinstance(data, list) else [data]:
        if isinstance(outer, dict):
            yield outer
            yield from (inner for inner in outer.values() if isinstance(inner, dict))


def _plain(value: Any) -> str:
    """Return an id or a text as later orders send it: as text, unchanged. Empty: it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**30 else ""
    if not isinstance(value, str) or _BROKEN.search(value) or len(value) > _LONGEST_TEXT:
        return ""
    return "" if value.lstrip().startswith(("http://", "https://")) else value.strip()

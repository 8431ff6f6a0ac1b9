"""
The result of a job in one form. EvoLink sends ``results``, ``result_data`` as a list or an object, songs, layers, ids.

Every shape becomes links, one description for each link, and the names that a job created instead of media. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_evolink.api.jobs.result_links import (
    KINDS,
    Entry,
    find_entries,
    main_link,
    text_of,
    usual_kind,
)
from airflow_provider_evolink.api.redaction import link_identity, sanitize

EXPIRY = "draft_expires_at"
_TEXTS = {"result_id": 128, "title": 300, "tags": 300, "name": 300, "description": 2000}
_NUMBERS = ("duration", "z_index")
_MADE = ("voice", "voice_id", "persona_id", "element_id", "character_id")
_BESIDE = ("voice_type", "name", "text")
_MAX_TEXT = 20_000
_BROKEN = re.compile("[\ud800-\udfff]")
_MAX_ITEMS = 64


@dataclass(frozen=True)
class Outputs:
    """
    The results of a job that are files.

    :param links: The usable links.
    :param described: One description for each of them.
    :param indexes: The place of each of them among all that EvoLink sent, from 0.
    :param faults: Why the others cannot be used, by their places.
    """

    links: tuple[str, ...]
    described: tuple[dict[str, Any], ...]
    indexes: tuple[int, ...]
    faults: dict[int, str]


def read_outputs(payload: Mapping[str, Any]) -> Outputs:
    """
    Return the links of a job and, for each of them, EvoLink's description. One unusable link leaves the others.

    :param payload: The job as EvoLink sent it.
    """
    usual = usual_kind(payload)
    entries = find_entries(payload)
    items = _matching([entry.link for entry in entries], list(_items(payload.get("result_data"))))
    usable = {place: entry for place, entry in enumerate(entries) if not entry.fault}
    faults = {place: entry.fault for place, entry in enumerate(entries) if entry.fault}
    return Outputs(
        tuple(entry.link for entry in usable.values()),
        tuple(_described(usual, entry, items[place]) for place, entry in usable.items()),
        tuple(usable),
        dict(list(faults.items())[:_MAX_ITEMS]),
    )


def read_made(payload: Mapping[str, Any]) -> dict[str, str]:
    """
    Return what a job created that is not a file: the name of a voice, the id of a persona or an element, a text.

    :param payload: The job as EvoLink sent it.
    """
    required = ("text",) if payload.get("type") == "text" else _MADE
    made: dict[str, str] = {}
    for item in _named_items(payload.get("result_data")):
        if not made and any(_plain(item.get(name)) for name in required):
            made = {name: text for name in (*_MADE, *_BESIDE) if (text := _plain(item.get(name)))}
    expiry = _plain(payload.get(EXPIRY))
    return {**made, EXPIRY: expiry} if expiry else made


def _items(data: Any) -> Iterator[dict[str, Any]]:
    """Find the descriptions of files: a list of them, an object that holds such a list, or one object."""
    if isinstance(data, list):
        yield from [item for item in data if isinstance(item, dict)][:_MAX_ITEMS]
    elif isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and any(map(_has_link, value))]
        yield from _items(lists[0]) if lists else [data]


def _has_link(item: Any) -> bool:
    return isinstance(item, dict) and bool(main_link(item, None)[1])


def _matching(links: list[str], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Find the item of each link: by the link, by that without its query, which is signed each time, by position."""
    texts = [(value, item) for item in items for value in item.values() if isinstance(value, str)]
    by_link = {value.strip(): item for value, item in texts}
    by_identity: dict[str, list[dict[str, Any]]] = {}
    for value, item in texts:
        found = by_identity.setdefault(link_identity(value), [])
        found += [] if any(item is one for one in found) else [item]
    by_position = items if len(items) == len(links) else [{}] * len(links)
    return [
        by_link.get(link) or _only(by_identity.get(link_identity(link), [])) or item
        for link, item in zip(links, by_position, strict=True)
    ]


def _only(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one item of its kind: where the query tells files apart, a link without it belongs to several."""
    return items[0] if len(items) == 1 else {}


def _described(usual: str | None, entry: Entry, item: dict[str, Any]) -> dict[str, Any]:
    item = {**item, **entry.item}
    output: dict[str, Any] = {"kind": _kind_of(usual, entry.link, item)}
    for name, limit in _TEXTS.items():
        value = item.get(name)
        value = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, str | int) and not isinstance(value, bool) and (text := sanitize(value, limit)):
            output[name] = text
    output |= {name: item[name] for name in _NUMBERS if _is_number(item.get(name))}
    box = _box(item.get("bounding_box"))
    return output if box is None else {**output, "bounding_box": box}


def _kind_of(usual: str | None, link: str, item: dict[str, Any]) -> str | None:
    """Return the kind of media of a link: by the name it stands under, else that of the item."""
    own = [(kind, text_of(item.get(f"{kind}_url"))) for kind in KINDS]
    same = [kind for kind, text in own if text == link]
    same += [kind for kind, text in own if text and link_identity(text) == link_identity(link)]
    return same[0] if same else main_link(item, usual)[0]


def _box(value: Any) -> Any:
    """
    Read the position of a layer in any of EvoLink's forms: a list of numbers, named numbers, or named lists of them.

    The recorded one is ``{"absolute": [left, top, right, bottom], "normalized": [...]}``.
    """
    if not isinstance(value, dict):
        return value if _are_numbers(value) else None
    parts = {name: part for name, part in value.items() if _is_number(part) or _are_numbers(part)}
    return {sanitize(name, 20): part for name, part in parts.items()} if 0 < len(parts) <= 8 else None


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 8 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**15


def _named_items(data: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of ``result_data``, and those one level inside them: either may hold names."""
    for outer in data[:_MAX_ITEMS] if isinstance(data, list) else [data]:
        if isinstance(outer, dict):
            yield outer
            yield from (inner for inner in outer.values() if isinstance(inner, dict))


def _plain(value: Any) -> str:
    """Return an id or a text as later requests send it: as text, unchanged. Anything else becomes empty."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**30 else ""
    if not isinstance(value, str) or _BROKEN.search(value) or len(value) > _MAX_TEXT:
        return ""
    return "" if value.lstrip().startswith(("http://", "https://")) else value.strip()

"""Where a request has media, and which of it lies where EvoLink cannot fetch it. Pure: no file is touched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from airflow_provider_evolink.api.addresses import is_local_file
from airflow_provider_evolink.api.catalog.media_limits import Media
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list

_KINDS = {"image": "image", "mask": "image", "video": "video", "audio": "audio", "voice": "audio"}
_NO_LIMITS = Media()


@dataclass(frozen=True)
class MediaField:
    """
    A place in a request that takes a link to media.

    :param path: The place, e.g. ``image_urls[1]``.
    :param kind: ``video``, ``image`` or ``audio``, by the name of the field.
    :param media: What the file may be.
    """

    path: str
    kind: str | None = None
    media: Media = _NO_LIMITS


def plain(value: Any) -> Any:
    """
    Write paths, also those in object storage, as text, at every depth.

    :param value: A request or a part of it.
    """
    if isinstance(value, PathLike) or (hasattr(value, "protocol") and hasattr(value, "as_uri")):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if is_list(value) else value


def find_local_files(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> list[tuple[MediaField, str]]:
    """
    Find the files of the user's in a request, each with its place.

    :param parameters: Rows of the fields of its model.
    :param given: FieldValidator that were set.
    """
    places = [
        (MediaField(name, _kind(name)), parameter, given[name])
        for name, parameter in parameters.items()
        if name in given
    ]
    return [found for place in places for found in _in_value(*place)]


def _in_value(slot: MediaField, parameter: Parameter, value: Any) -> Iterator[tuple[MediaField, str]]:
    slot = replace(slot, media=parameter.media or slot.media)
    if parameter.format in ("uri", "media"):
        if slot.kind is not None and is_local_file(value):
            yield slot, value
    elif parameter.items and is_list(value):
        for at, entry in enumerate(value):
            yield from _in_value(replace(slot, path=f"{slot.path}[{at}]"), parameter.items, entry)
    elif isinstance(value, Mapping):
        shapes = [shape for shape in (parameter, *parameter.variants) if shape.properties]
        fields = {name: inner for shape in shapes for name, inner in (shape.properties or {}).items()}
        for name, entry in value.items():
            inner = fields.get(str(name))
            kind = _kind(str(name)) or slot.kind if inner else slot.kind  # keys of a free map are the user's own
            if inner := inner or parameter.additional_properties:
                yield from _in_value(replace(slot, path=f"{slot.path}.{name}", kind=kind), inner, entry)


def _kind(name: str) -> str | None:
    return next((_KINDS[word] for word in re.findall("[a-z]+", name) if word in _KINDS), None)


def replace_strings(value: Any, swaps: Mapping[str, str]) -> Any:
    """
    Put other texts in the place of some, at every depth.

    :param value: A request or a part of it.
    :param swaps: The other text for each of them.
    """
    if isinstance(value, str):
        return swaps.get(value, value)
    if isinstance(value, Mapping):
        return {name: replace_strings(entry, swaps) for name, entry in value.items()}
    return [replace_strings(entry, swaps) for entry in value] if is_list(value) else value

"""Where a request has media, and which of it EvoLink cannot fetch itself. Pure: no file is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, TypeAlias

from airflow_provider_evolink.api.addresses import is_local_file
from airflow_provider_evolink.api.catalog.media_limits import Media
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list

_KINDS = {"image": "image", "mask": "image", "video": "video", "audio": "audio", "voice": "audio"}
_NO_LIMITS = Media()


@dataclass(frozen=True)
class MediaField:
    """
    A field, or an item of one, that takes a link to media.

    :param path: Its path, e.g. ``image_urls[1]``.
    :param kind: ``video``, ``image`` or ``audio``, by the name of the field.
    :param media: What the file may be.
    """

    path: str
    kind: str | None = None
    media: Media = _NO_LIMITS


def plain(value: Any) -> Any:
    """
    Convert paths, also those in object storage, to text, at every depth.

    :param value: A request or a part of it.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, PathLike) or (hasattr(value, "protocol") and hasattr(value, "as_uri")):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if is_list(value) else value


def find_local_files(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> list[tuple[MediaField, str]]:
    """
    Find the files in a request that EvoLink cannot fetch itself, each with its field.

    :param parameters: Parameters of its model.
    :param given: Fields that were set.
    """
    return [(field, value) for field, value in find_media(parameters, given) if is_local_file(value)]


def find_media(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> list[tuple[MediaField, Any]]:
    """
    Find what stands in a request where it takes media, each with its field.

    :param parameters: Parameters of its model.
    :param given: Fields that were set.
    """
    return [
        found
        for name, parameter in parameters.items()
        if name in given
        for found in _in_value(MediaField(name, _kind(name)), parameter, given[name])
    ]


Change: TypeAlias = Callable[[MediaField, Any, bool], Any]


def replace_media(parameters: Mapping[str, Parameter], given: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """
    Return a request with other values where it takes media.

    :param parameters: Parameters of its model.
    :param given: Fields that were set. They are not changed.
    :param change: Returns the new value for a field, its value, and whether the field takes a list.
    """
    known = {name: parameters[name] for name in given if name in parameters}
    return {**given, **{n: _changed(MediaField(n, _kind(n)), one, given[n], change) for n, one in known.items()}}


def _changed(field: MediaField, parameter: Parameter, value: Any, change: Change) -> Any:
    if value is None or parameter.from_job:
        return value
    if parameter.takes_link:
        return change(field, value, False) if field.kind else value
    if parameter.items and parameter.items.takes_link:
        return change(field, value, True) if field.kind else value
    if parameter.items and is_list(value):
        return [
            _changed(replace(field, path=f"{field.path}[{at}]"), parameter.items, entry, change)
            for at, entry in enumerate(value)
        ]
    if not isinstance(value, Mapping):
        return value
    return {
        name: _changed(inner, shape, value[name], change) if shape else value[name]
        for name, (inner, shape) in _inside(field, parameter, value).items()
    }


def _inside(
    field: MediaField, parameter: Parameter, value: Mapping[str, Any]
) -> dict[str, tuple[MediaField, Parameter | None]]:
    """Return the field and the parameter of each entry of an object; users choose the keys of a free-form one."""
    shapes = [shape for shape in (parameter, *parameter.variants) if shape.properties]
    fields = {name: inner for shape in shapes for name, inner in (shape.properties or {}).items()}
    found = {}
    for name in value:
        inner = fields.get(str(name))
        kind = (_kind(str(name)) or field.kind) if inner else field.kind
        found[name] = (replace(field, path=f"{field.path}.{name}", kind=kind), inner or parameter.additional_properties)
    return found


def _in_value(field: MediaField, parameter: Parameter, value: Any) -> Iterator[tuple[MediaField, Any]]:
    field = replace(field, media=parameter.media or field.media)
    if parameter.takes_link:
        if field.kind is not None:
            yield field, value
    elif parameter.items and is_list(value):
        for at, entry in enumerate(value):
            yield from _in_value(replace(field, path=f"{field.path}[{at}]"), parameter.items, entry)
    elif isinstance(value, Mapping):
        for name, (inner, shape) in _inside(field, parameter, value).items():
            if shape:
                yield from _in_value(inner, shape, value[name])


def _kind(name: str) -> str | None:
    return next((_KINDS[word] for word in re.findall("[a-z]+", name) if word in _KINDS), None)


def replace_strings(value: Any, swaps: Mapping[str, str]) -> Any:
    """
    Replace texts at every depth.

    :param value: A request or a part of it.
    :param swaps: The new text for each old one.
    """
    if isinstance(value, str):
        return swaps.get(value, value)
    if isinstance(value, Mapping):
        return {name: replace_strings(entry, swaps) for name, entry in value.items()}
    return [replace_strings(entry, swaps) for entry in value] if is_list(value) else value

"""Requests made from models of the catalog: a smallest good one, and bad ones, one for each thing a model forbids."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from typing import Any

LINK, CALLBACK = "https://example.com/a.png", "https://example.com/hook"
SIZES = ("1024x1024", "1536x1024", "2048x2048", "512x512")
TEXTS = ("abc", "0,2", "16:9", *SIZES, "123e4567-e89b-12d3-a456-426614174000")
BAD_CALLBACKS = ("http://example.com/", "https://10.0.0.1/", f"https://example.com/{'x' * 2048}")
# One break for each form of text that a rule avoids.
AVOIDED = ("https://example.com/a.png", "a boat --fast")


def sample(parameter: Any) -> Any:
    """Return a good value."""
    if parameter.variants:
        return sample(parameter.variants[0])
    if parameter.enum:
        return parameter.enum[0]
    return _SAMPLES[parameter.type](parameter)


def _sample_text(parameter: Any) -> str:
    if parameter.format:
        return CALLBACK if parameter.format == "callback" else LINK
    if parameter.pixels:
        return next(size for size in SIZES if parameter.pixels.fits(size))
    if parameter.pattern:
        return next(text for text in TEXTS if re.search(parameter.pattern, text))
    return "a" * max(parameter.min_length or 1, 1)


def _sample_object(parameter: Any) -> dict[str, Any]:
    if parameter.properties is None:
        inner = parameter.additional_properties
        return {"image1": sample(inner) if inner else "a"}
    needed = {name: sample(inner) for name, inner in parameter.properties.items() if inner.required}
    name, inner = next(iter(parameter.properties.items()))
    return needed or {name: sample(inner)}


def _sample_number(parameter: Any) -> Any:
    low = parameter.minimum if parameter.minimum is not None else 1
    return low if parameter.maximum is None else min(max(low, 5), parameter.maximum)


_SAMPLES = {
    "string": _sample_text,
    "integer": _sample_number,
    "number": _sample_number,
    "boolean": lambda _: True,
    "array": lambda one: [sample(one.items) if one.items else "a" for _ in range(max(one.min_items or 1, 1))],
    "object": _sample_object,
}


def places(parameters: Any, around: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every parameter of a spec with its path, those inside objects and lists too."""
    for name, parameter in parameters.items():
        yield from _places((*around, name), parameter)


def _places(path: tuple[Any, ...], parameter: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, parameter
    if parameter.properties:
        yield from places(parameter.properties, path)
    if parameter.items:
        yield from _places((*path, 0), parameter.items)
    if parameter.additional_properties:
        yield from _places((*path, "image1"), parameter.additional_properties)


def written(path: tuple[Any, ...]) -> str:
    """Write a path as messages do."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def put(spec: Any, body: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Set a value at a path; what lies around it and is missing is filled with good values."""
    around: Any = body
    known = dict(places(spec.parameters))
    for depth, key in enumerate(path[:-1], 1):
        if isinstance(around, dict) and not around.get(key):
            around[key] = sample(known[path[:depth]])
        around = around[key]
    around[path[-1]] = value


def drop(body: dict[str, Any], path: tuple[Any, ...]) -> None:
    """Take a value away."""
    around: Any = body
    for key in path[:-1]:
        around = around.get(key) or {}
    around.pop(path[-1], None)


def smallest(spec: Any) -> dict[str, Any]:
    """Make the smallest request that keeps all rules of a spec: what is required, and what rules ask for."""
    body = {name: sample(parameter) for name, parameter in spec.parameters.items() if parameter.required}
    for _ in range(5):
        texts = {violation.rule for violation in spec.check(body).violations}
        for rule in spec.rules:
            if rule.text in texts:
                _mend(spec, rule, body)
    return body


def _mend(spec: Any, rule: Any, body: dict[str, Any]) -> None:
    known = {written(path): (path, parameter) for path, parameter in places(spec.parameters)}
    if rule.shape == "mentions":
        body[rule.field] = " ".join(f"{rule.name}{number + 1}" for number in range(len(body[rule.listed])))
        return
    fields = sorted(rule.allowed[0]) if rule.shape == "sets" else rule.fields
    for field in fields if rule.shape in ("needs", "sets") else fields[:1]:
        path, parameter = known[field]
        put(spec, body, path, sample(parameter))


def bad_values(parameter: Any) -> Iterator[tuple[str, Any, str | None]]:
    """Yield a limit of a parameter, a value that breaks it, and what to add to the path of the fault."""
    kind = parameter.type
    if kind:
        yield "type", {"string": 5, "array": 7, "object": 7}.get(kind, "x y"), None
    if parameter.variants:
        yield "variants", {"string": "1x1", "integer": 987654}.get(kind, 3.75), None
    if parameter.enum:
        yield "enum", "no-such-value" if isinstance(parameter.enum[0], str) else max(parameter.enum) + 1000, None
    if kind in ("integer", "number"):
        yield from _bad_numbers(parameter)
    if kind == "string":
        yield from _bad_texts(parameter)
    if kind == "array":
        item = sample(parameter.items) if parameter.items else "a"
        if parameter.min_items:
            yield "minItems", [item] * (parameter.min_items - 1), None
        if parameter.max_items is not None:
            yield "maxItems", [item] * (parameter.max_items + 1), None
    if kind == "object":
        yield from _bad_objects(parameter)
    if parameter.from_job and parameter.from_job.models:
        yield "from_job", {"job_id": "x", parameter.from_job.take: "x", "model": "no-such-model"}, None


def _bad_numbers(parameter: Any) -> Iterator[tuple[str, Any, str | None]]:
    if parameter.minimum is not None:
        yield "minimum", parameter.minimum - 1, None
    if parameter.maximum is not None:
        yield "maximum", parameter.maximum + 1, None
    if parameter.multiple_of:
        yield "multipleOf", sample(parameter) + parameter.multiple_of / 2, None
    if parameter.type == "integer":
        yield "type", 5.5, None


def _bad_texts(parameter: Any) -> Iterator[tuple[str, Any, str | None]]:
    for callback in BAD_CALLBACKS if parameter.format == "callback" else ():
        yield "format", callback, None
    if parameter.format in ("uri", "media"):
        yield "format", "file:///no/link", None
    if parameter.min_length:
        yield "minLength", "a" * (parameter.min_length - 1), None
    if not parameter.may_be_blank:
        yield "blank", "   ", None
    if parameter.max_length and parameter.format != "callback":
        plain = LINK + "x" * parameter.max_length if parameter.format else "é" * (parameter.max_length + 1)
        yield "maxLength", plain, None
    if parameter.max_bytes:
        yield "max_bytes", "€" * (parameter.max_bytes // 3 + 1), None
    if parameter.pattern:
        yield "pattern", "!?", None
    if parameter.pixels:
        yield "pixels", "1 by 1", None


def _bad_objects(parameter: Any) -> Iterator[tuple[str, Any, str | None]]:
    if parameter.min_properties:
        yield "minProperties", {}, None
    if parameter.max_properties:
        inner = parameter.additional_properties
        yield "maxProperties", {f"image{n + 1}": sample(inner) for n in range(parameter.max_properties + 1)}, None
    if parameter.properties:
        yield "unknown", sample(parameter) | {"no_such_field": 1}, ".no_such_field"
        for name, inner in parameter.properties.items():
            if inner.required:
                yield "required", {k: v for k, v in _sample_object(parameter).items() if k != name}, f".{name}"


def broken_by(spec: Any, rule: Any, base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield requests that break one rule between fields, made from a good request."""
    body = copy.deepcopy(base)
    known = {written(path): (path, parameter) for path, parameter in places(spec.parameters)}
    for field, condition in rule.when.items():
        path, parameter = known[field]
        _fulfil(spec, condition, body, path, parameter)
    yield from _BREAKS[rule.shape](spec, rule, body, known)


def _fulfil(spec: Any, condition: Any, body: dict[str, Any], path: tuple[Any, ...], parameter: Any) -> None:
    if condition.equals is not None:
        value = next((one for one in condition.equals if one is not None), None)
        if None in condition.equals:
            drop(body, path)
        else:
            put(spec, body, path, value)
    elif condition.differs is not None:
        low = sample(parameter)
        put(spec, body, path, next(one for one in (low, 2, 1.5, 0.5) if one not in condition.differs))
    elif condition.matches is not None:
        put(spec, body, path, next(text for text in TEXTS if re.fullmatch(condition.matches, text)))
    elif condition.given is False:
        drop(body, path)
    else:
        value = sample(parameter)
        put(spec, body, path, value * (condition.min_items or 1) if isinstance(value, list) else value)


def _changed(spec: Any, body: dict[str, Any], changes: dict[tuple[Any, ...], Any]) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    for path, value in changes.items():
        if value is None:
            drop(changed, path)
        else:
            put(spec, changed, path, copy.deepcopy(value))
    return changed


def _break_needs(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    for field in rule.fields:
        path, parameter = known[field]
        yield _changed(spec, body, {path: "" if parameter.required else None})


def _break_refuses(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    for field in rule.fields:
        path, parameter = known[field]
        yield _changed(spec, body, {path: sample(parameter)})


def _break_at_least_one(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    yield _changed(spec, body, {known[field][0]: None for field in rule.fields})


def _break_exactly_one(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    yield _changed(spec, body, {known[field][0]: sample(known[field][1]) for field in rule.fields})
    keep = known[rule.fields[0]][0]
    if len(keep) == 1:
        yield from _break_at_least_one(spec, rule, body, known)


def _break_total(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    if rule.minimum:
        yield _changed(spec, body, {known[field][0]: None for field in rule.fields})
    if rule.maximum is None:
        return
    left, changes = rule.maximum + 1, {}
    for field in (*rule.fields, *rule.amounts):
        path, parameter = known[field]
        if parameter.type == "array":
            number = min(left, left if parameter.max_items is None else parameter.max_items)
            value = [sample(parameter.items)] * number
        else:
            number = min(left, int(parameter.maximum or 1))
            value = number if field in rule.amounts else sample(parameter)
        if number > 0:
            changes[path] = value
            left -= number
    assert left == 0 or rule.minimum, f"{rule.text}: the limits of the fields leave nothing to this rule"
    if left == 0:
        yield _changed(spec, body, changes)


def _break_limits(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    path, parameter = known[rule.field]
    if rule.enum is not None:
        values = [*(parameter.enum or ()), *([True, False] if parameter.type == "boolean" else []), 5, 7]
        yield _changed(spec, body, {path: next(value for value in values if value not in rule.enum)})
    if rule.maximum is not None:
        yield _changed(spec, body, {path: rule.maximum + 1})
    if rule.minimum is not None:
        yield _changed(spec, body, {path: rule.minimum - 1})
    if rule.max_length is not None:
        yield _changed(spec, body, {path: "a" * (rule.max_length + 1)})


def _break_pattern(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    yield _changed(spec, body, {known[rule.field][0]: next(t for t in AVOIDED if re.search(rule.avoids, t))})


def _break_equal(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    pairs = [known[field] for field in rule.fields]
    values = pairs[0][1].enum or ("one", "two")
    yield _changed(spec, body, {pairs[0][0]: values[0], pairs[1][0]: values[1]})


def _break_distance(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    for distance in (rule.minimum - 1, rule.maximum + 1):
        yield _changed(spec, body, {known[rule.start][0]: 1, known[rule.end][0]: 1 + distance})


def _break_sum(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    path, parameter = known[rule.field]
    shot = {name: sample(inner) for name, inner in parameter.items.properties.items()}
    for length in ("4", "five"):
        yield _changed(spec, body, {path: [shot | {rule.entry: length}, shot | {rule.entry: "2"}]})


def _break_mentions(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    yield _changed(spec, body, {known[rule.field][0]: f"{rule.name}10 walks"})


def _break_sets(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    for size in range(len(rule.fields) + 1):
        for names in itertools.combinations(rule.fields, size):
            if frozenset(names) not in rule.allowed:
                given = {known[f][0]: sample(known[f][1]) if f in names else None for f in rule.fields}
                yield _changed(spec, body, given)


def _break_keys_index(spec: Any, rule: Any, body: dict[str, Any], known: Any) -> Iterator[dict[str, Any]]:
    path, parameter = known[rule.field]
    for key in ("image9", "sound1", "image0"):
        yield _changed(spec, body, {path: {key: sample(parameter.additional_properties)}})


_BREAKS = {
    "needs": _break_needs,
    "refuses": _break_refuses,
    "at_least_one": _break_at_least_one,
    "exactly_one": _break_exactly_one,
    "total": _break_total,
    "limits": _break_limits,
    "pattern": _break_pattern,
    "equal": _break_equal,
    "distance": _break_distance,
    "sum": _break_sum,
    "mentions": _break_mentions,
    "sets": _break_sets,
    "keys_index": _break_keys_index,
}

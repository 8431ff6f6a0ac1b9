"""Holds an order against the documented fields of its model: what is needed, of which type, within which bounds."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.fields import Field, Refusal, check_field, is_link

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.models import ModelFacts, Schema

_NOT_FIELDS = frozenset({"model"})


def check_shape(facts: ModelFacts, body: dict[str, Any]) -> None:
    """
    Check an order against the fields of its model. What only prose says of several fields together is not looked at.

    :param facts: The model.
    :param body: The order.
    :raises Refusal: A field is missing, unknown where that counts, or of the wrong kind.
    """
    for name in body:
        if name in facts.refused or (facts.closed and name not in facts.fields and name not in _NOT_FIELDS):
            raise Refusal(f"unknown parameter: {name}", name)
    _check_fields("", body, facts.fields)


def _check_fields(prefix: str, given: dict[str, Any], fields: dict[str, Schema]) -> None:
    for name, schema in fields.items():
        if name in given:
            _check(prefix + name, given[name], schema)
        elif schema.get("required"):
            raise Refusal(f"{prefix}{name} is required", prefix + name)


def _check(name: str, value: Any, schema: Schema) -> None:
    if name == "callback_url":
        check_field(name, value, Field("callback"))
    if "variants" in schema:
        return _check_variants(name, value, schema["variants"])
    types = schema["type"].split("|")
    if not any(_is(kind, value) for kind in types):
        raise Refusal(f"{name} must be of type {' or '.join(types)}", name)
    if value is None:
        return None
    if "enum" in schema and value not in schema["enum"]:
        raise Refusal(f"{name} must be one of: {', '.join(map(str, schema['enum']))}", name)
    if isinstance(value, str):
        return _check_text(name, value, schema)
    if isinstance(value, list):
        return _check_list(name, value, schema)
    if isinstance(value, dict):
        return _check_object(name, value, schema)
    return _check_number(name, value, schema)


def _is(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "null": value is None,
        "number": number,
        "integer": number and value == value // 1,
    }[kind]


def _check_variants(name: str, value: Any, variants: list[Schema]) -> None:
    refusals = []
    for variant in variants:
        try:
            return _check(name, value, variant)
        except Refusal as refusal:
            refusals.append(refusal.message)
    raise Refusal("; or ".join(refusals), name)


def _check_text(name: str, value: str, schema: Schema) -> None:
    if schema.get("required") and not value.strip():
        raise Refusal(f"{name} must not be empty", name)
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        raise Refusal(f"{name} has {len(value)} characters, which is not allowed", name)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise Refusal(f"{name} must match {schema['pattern']}", name)
    if schema.get("format") == "uri" and not is_link(value):
        raise Refusal(f"{name} must be an http or https URL", name)


def _check_list(name: str, value: list[Any], schema: Schema) -> None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        raise Refusal(f"{name} holds {len(value)} items, which is not allowed", name)
    if schema.get("required") and not value:
        raise Refusal(f"{name} must not be empty", name)
    for number, item in enumerate(value):
        _check(f"{name}[{number}]", item, schema.get("items", {"type": "string"}))


def _check_object(name: str, value: dict[str, Any], schema: Schema) -> None:
    _check_fields(f"{name}.", value, schema.get("fields", {}))
    for key, item in value.items():
        if "values" in schema:
            _check(f"{name}.{key}", item, schema["values"])


def _check_number(name: str, value: float, schema: Schema) -> None:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not low <= value <= high:
        raise Refusal(f"{name} must be between {low:g} and {high:g}", name)
    step = schema.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step), abs_tol=1e-6):
        raise Refusal(f"{name} must be a multiple of {step:g}", name)

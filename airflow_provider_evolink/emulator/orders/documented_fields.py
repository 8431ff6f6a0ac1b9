"""Checks a request against the documented fields of its model: required fields, types, values, bounds."""

from __future__ import annotations

import math
from typing import Any

from airflow_provider_evolink.emulator.orders.fields import Field, Refusal, check_field, is_url
from airflow_provider_evolink.emulator.orders.model_file import DocumentedModel, FieldSchema, is_of_type


def check_documented_fields(model: DocumentedModel, body: dict[str, Any]) -> None:
    """
    Check a request against the fields of its model. Rules between fields, which pages give in prose, are not checked.

    :param model: The model.
    :param body: The request.
    :raises Refusal: A field is missing, forbidden or has a wrong value.
    """
    for name in body:
        unknown = model.refuses_unknown_fields and name not in model.fields and name != "model"
        if unknown or name in model.refused_fields:
            raise Refusal(f"unknown parameter: {name}", name)
    _check_fields("", body, model.fields)


def _check_fields(prefix: str, given: dict[str, Any], fields: dict[str, FieldSchema]) -> None:
    for name, schema in fields.items():
        if name in given:
            _check(prefix + name, given[name], schema)
        elif schema.required:
            raise Refusal(f"{prefix}{name} is required", prefix + name)


def _check(name: str, value: Any, schema: FieldSchema) -> None:
    if name == "callback_url":
        check_field(name, value, Field("callback"))
    if schema.variants:
        return _check_variants(name, value, schema.variants)
    if not is_of_type(schema.types, value):
        raise Refusal(f"{name} must be of type {' or '.join(schema.types)}", name)
    if value is None:
        return None
    if schema.enum is not None and value not in schema.enum:
        raise Refusal(f"{name} must be one of: {', '.join(map(str, schema.enum))}", name)
    if isinstance(value, str):
        return _check_text(name, value, schema)
    if isinstance(value, list):
        return _check_list(name, value, schema)
    if isinstance(value, dict):
        return _check_object(name, value, schema)
    return _check_number(name, value, schema)


def _check_variants(name: str, value: Any, variants: tuple[FieldSchema, ...]) -> None:
    refusals = []
    for variant in variants:
        try:
            return _check(name, value, variant)
        except Refusal as refusal:
            refusals.append(refusal.message)
    raise Refusal("; or ".join(refusals), name)


def _check_text(name: str, value: str, schema: FieldSchema) -> None:
    if schema.required and not value.strip():
        raise Refusal(f"{name} must not be empty", name)
    if not _is_within(len(value), schema.minLength, schema.maxLength):
        raise Refusal(f"{name} has {len(value)} characters, which is not allowed", name)
    if schema.pattern is not None and not schema.pattern.search(value):
        raise Refusal(f"{name} must match {schema.pattern.pattern}", name)
    if schema.format == "uri" and not is_url(value):
        raise Refusal(f"{name} must be an http or https URL", name)


def _check_list(name: str, value: list[Any], schema: FieldSchema) -> None:
    if not _is_within(len(value), schema.minItems, schema.maxItems):
        raise Refusal(f"{name} holds {len(value)} items, which is not allowed", name)
    if schema.required and not value:
        raise Refusal(f"{name} must not be empty", name)
    for number, item in enumerate(value):
        _check(f"{name}[{number}]", item, schema.items or FieldSchema(type="string"))


def _check_object(name: str, value: dict[str, Any], schema: FieldSchema) -> None:
    _check_fields(f"{name}.", value, schema.fields)
    for key, item in value.items():
        if schema.values is not None:
            _check(f"{name}.{key}", item, schema.values)


def _check_number(name: str, value: float, schema: FieldSchema) -> None:
    low, high, step = schema.minimum, schema.maximum, schema.multipleOf
    if not _is_within(value, low, high):
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        raise Refusal(f"{name} must be between {low:g} and {high:g}", name)
    if step and not math.isclose(value / step, round(value / step), abs_tol=1e-6):
        raise Refusal(f"{name} must be a multiple of {step:g}", name)


def _is_within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)

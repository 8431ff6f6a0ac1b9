"""
The validator of a request, built from the parameters of a row. Template text becomes the declared type.

The parameters become pydantic's core schemas directly: building a model class for each of EvoLink's models would take
ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from airflow_provider_evolink.api.addresses import callback_fault, link_fault, media_fault
from airflow_provider_evolink.api.catalog.parameter import Parameter, is_list
from airflow_provider_evolink.api.catalog.sizes import measure

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}(\.0+)?\s*")
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{1,20})?\s*")
_FAULTS = {"uri": link_fault, "media": media_fault, "callback": callback_fault}


def fields_validator(parameters: Mapping[str, Parameter]) -> SchemaValidator:
    """
    Build the validator of a request with these fields and no others. Required ones may be missing.

    Good fields can so be read beside missing ones.

    :param parameters: Name and row of each field.
    """
    return SchemaValidator(_fields(parameters, required=False))


def _fields(parameters: Mapping[str, Parameter], *, required: bool) -> CoreSchema:
    fields = {
        name: core.typed_dict_field(_type(parameter), required=required and parameter.required)
        for name, parameter in parameters.items()
    }
    return core.typed_dict_schema(fields, extra_behavior="forbid")


def _type(parameter: Parameter) -> CoreSchema:
    if parameter.variants:
        return core.no_info_plain_validator_function(
            _first_of([SchemaValidator(_type(one)) for one in parameter.variants])
        )
    plain = _PLAIN[parameter.type or "string"](parameter)
    return core.no_info_after_validator_function(_one_of(parameter), plain) if parameter.enum else plain


def _integer_type(parameter: Parameter) -> CoreSchema:
    step = int(parameter.multiple_of) if parameter.multiple_of else None
    number = core.int_schema(strict=True, ge=_whole(parameter.minimum), le=_whole(parameter.maximum), multiple_of=step)
    return core.no_info_before_validator_function(_read_whole, number)


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _number_type(parameter: Parameter) -> CoreSchema:
    number = core.float_schema(
        ge=parameter.minimum, le=parameter.maximum, multiple_of=parameter.multiple_of, allow_inf_nan=False
    )

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        value = _read_number(value)
        handler(value)
        return value

    return core.no_info_wrap_validator_function(check, number)


def _boolean_type(parameter: Parameter) -> CoreSchema:  # noqa: ARG001
    return core.no_info_before_validator_function(_read_boolean, core.bool_schema(strict=True))


def _string_type(parameter: Parameter) -> CoreSchema:
    longest = parameter.longest if parameter.length_unit == "characters" else None
    text = core.str_schema(strict=True, min_length=parameter.min_length, max_length=longest, pattern=parameter.pattern)
    return core.no_info_after_validator_function(_text_check(parameter), text)


def _array_type(parameter: Parameter) -> CoreSchema:
    entries = core.list_schema(_type(parameter.items) if parameter.items else None, strict=True)
    return core.no_info_before_validator_function(lambda value: list(value) if is_list(value) else value, entries)


def _object_type(parameter: Parameter) -> CoreSchema:
    if parameter.properties is not None:
        entries = _fields(parameter.properties, required=True)
    else:
        inner = _type(parameter.additional_properties) if parameter.additional_properties else None
        entries = core.dict_schema(core.str_schema(), inner, strict=True)
    return core.no_info_before_validator_function(_read_object, entries)


_PLAIN: dict[str, Callable[[Parameter], CoreSchema]] = {
    "string": _string_type,
    "integer": _integer_type,
    "number": _number_type,
    "boolean": _boolean_type,
    "array": _array_type,
    "object": _object_type,
}


def _read_whole(value: Any) -> Any:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.strip().partition(".")[0])
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return _read_whole(value) if _WHOLE.fullmatch(value) else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "not a number")
    return value


def _read_object(value: Any) -> Any:
    return {str(key): entry for key, entry in value.items()} if isinstance(value, Mapping) else value


def _read_boolean(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    return value


def _text_check(parameter: Parameter) -> Any:
    find_fault = _FAULTS.get(parameter.format or "")

    def check(value: str) -> str:
        if find_fault and (fault := find_fault(value)):
            raise PydanticCustomError("address", "{words}", {"words": fault})
        if not parameter.may_be_blank and not value.strip():
            raise PydanticCustomError("blank", "blank")
        if parameter.longest and measure(value, parameter.length_unit) > parameter.longest:
            raise PydanticCustomError("long", "too long")
        if parameter.max_bytes and len(value.encode("utf-8", "surrogatepass")) > parameter.max_bytes:
            raise PydanticCustomError("long", "too many bytes")
        if parameter.pixels and not parameter.pixels.fits(value):
            raise PydanticCustomError("pixels", "not such a size")
        return value

    return check


def _one_of(parameter: Parameter) -> Any:
    values = tuple(map(str.casefold, parameter.enum or ())) if parameter.any_case else parameter.enum or ()

    def check(value: Any) -> Any:
        if (value.casefold() if parameter.any_case else value) not in values:
            raise PydanticCustomError("enum", "not an allowed value")
        return value

    return check


def _first_of(validators: Sequence[SchemaValidator]) -> Any:
    def check(value: Any) -> Any:
        for validator in validators:
            try:
                return validator.validate_python(value)
            except ValidationError:
                continue
        raise PydanticCustomError("variant", "none of the variants")

    return check

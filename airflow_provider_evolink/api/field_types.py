"""The pydantic model of a request, built from the parameters of a row. Template text becomes the declared type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from airflow_provider_evolink.api.addresses import callback_fault, link_fault
from airflow_provider_evolink.api.lengths import measure
from airflow_provider_evolink.api.parameters import Parameter, is_list

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}(\.0+)?\s*")
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,20}(\.[0-9]{1,20})?\s*")
_FAULTS = {"uri": link_fault, "callback": callback_fault}


def fields_model(parameters: Mapping[str, Parameter], *, name: str, required: bool = True) -> type[BaseModel]:
    """
    Build the pydantic model of an object with these fields and no others.

    :param parameters: Name and row of each field.
    :param name: Name of the model, for debugging.
    :param required: Whether to insist on required fields. Without it good fields can be read beside missing ones.
    """
    fields: dict[str, Any] = {
        field: (_type(parameter), ... if required and parameter.required else None)
        for field, parameter in parameters.items()
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields)


def _type(parameter: Parameter) -> Any:
    if parameter.variants:
        return Annotated[Any, PlainValidator(_first_of([TypeAdapter(_type(one)) for one in parameter.variants]))]
    plain = _PLAIN[parameter.type or "string"](parameter)
    return Annotated[plain, AfterValidator(_one_of(parameter))] if parameter.enum else plain


def _integer_type(parameter: Parameter) -> Any:
    limits = Field(ge=parameter.minimum, le=parameter.maximum, multiple_of=parameter.multiple_of)
    return Annotated[int, Strict(), limits, BeforeValidator(_read_whole)]


def _number_type(parameter: Parameter) -> Any:
    limits = Field(ge=parameter.minimum, le=parameter.maximum, multiple_of=parameter.multiple_of, allow_inf_nan=False)
    number = TypeAdapter(Annotated[float, limits])

    def check(value: Any) -> Any:
        value = _read_number(value)
        number.validate_python(value)
        return value

    return Annotated[Any, PlainValidator(check)]


def _boolean_type(parameter: Parameter) -> Any:  # noqa: ARG001
    return Annotated[bool, Strict(), BeforeValidator(_read_boolean)]


def _string_type(parameter: Parameter) -> Any:
    longest = parameter.longest if parameter.length_unit == "characters" else None
    limits = Field(min_length=parameter.min_length, max_length=longest, pattern=parameter.pattern)
    return Annotated[str, Strict(), limits, AfterValidator(_text_check(parameter))]


def _array_type(parameter: Parameter) -> Any:
    inner: Any = _type(parameter.items) if parameter.items else Any
    entries = list[inner]
    return Annotated[entries, Strict(), BeforeValidator(lambda value: list(value) if is_list(value) else value)]


def _object_type(parameter: Parameter) -> Any:
    if parameter.properties is not None:
        model = fields_model(parameter.properties, name="Object")
        return Annotated[model, BeforeValidator(_read_object)]
    inner: Any = _type(parameter.additional_properties) if parameter.additional_properties else Any
    entries = dict[str, inner]
    return Annotated[entries, Strict(), BeforeValidator(_read_object)]


_PLAIN: dict[str, Callable[[Parameter], Any]] = {
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
        if parameter.required and not parameter.blank and not value.strip():
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


def _first_of(adapters: Sequence[TypeAdapter[Any]]) -> Any:
    def check(value: Any) -> Any:
        for adapter in adapters:
            try:
                return adapter.validate_python(value)
            except ValidationError:
                continue
        raise PydanticCustomError("variant", "none of the variants")

    return check

"""
What a file of ``models/`` may hold. Checked strictly, so that a typing error is found when the emulator starts.

The bounds of a field have their names in JSON Schema. Other than there, ``required`` stands in the field itself,
several types are joined by ``|``, ``fields`` are the known fields of an object and ``values`` describes all its values,
and ``variants`` are alternatives of which one must match.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_TYPE = "(string|integer|number|boolean|null|array|object)"
_KEYS_FOR_ALL = frozenset({"type", "required", "default", "enum", "variants"})
_KEYS_FOR_NUMBERS = frozenset({"minimum", "maximum", "multipleOf"})
_KEYS_FOR_TYPE = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": _KEYS_FOR_NUMBERS,
    "number": _KEYS_FOR_NUMBERS,
    "array": {"minItems", "maxItems", "items"},
    "object": {"fields", "values"},
}
_RANGES = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)

Number = int | float
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, StringConstraints(min_length=1)]


class ModelFileError(ValueError):
    """A model file is wrong; the message names file, model and field."""


class FieldSchema(BaseModel):
    """One field of a request."""

    model_config = _STRICT

    type: Annotated[str, StringConstraints(pattern=rf"^{_TYPE}(\|{_TYPE})*$")]
    required: bool = False
    default: Any = None
    enum: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    minimum: Number | None = None
    maximum: Number | None = None
    multipleOf: Number | None = None  # noqa: N815 - the names of JSON Schema
    minLength: Count | None = None  # noqa: N815
    maxLength: Count | None = None  # noqa: N815
    pattern: re.Pattern[str] | None = None
    format: Literal["uri", "uuid"] | None = None  # a uuid is not checked
    minItems: Count | None = None  # noqa: N815
    maxItems: Count | None = None  # noqa: N815
    items: FieldSchema | None = None
    fields: dict[str, FieldSchema] = {}
    values: FieldSchema | None = None
    variants: tuple[FieldSchema, ...] = ()

    @property
    def types(self) -> list[str]:
        """Return the types a value may have."""
        return self.type.split("|")

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        allowed = _KEYS_FOR_ALL.union(*(_KEYS_FOR_TYPE.get(name, ()) for name in self.types))
        foreign = sorted(self.model_fields_set - allowed)
        if foreign:
            raise ValueError(f"{foreign[0]} has no meaning for type {self.type}")
        given = (self.default,) if "default" in self.model_fields_set else ()
        for value in (*(self.enum or ()), *given):
            if not is_of_type(self.types, value):
                raise ValueError(f"{value!r} is not of type {self.type}")
        if given and self.enum and self.default not in self.enum:
            raise ValueError("default is not one of enum")
        for low, high in _RANGES:
            bounds = getattr(self, low), getattr(self, high)
            if None not in bounds and bounds[0] > bounds[1]:
                raise ValueError(f"{low} is larger than {high}")
        return self


class DocumentedModel(BaseModel):
    """
    One model as EvoLink's page describes it.

    :param kind: Decides the path.
    :param task: What it does, such as ``text-to-video``; decides the form of ``result_data``.
    :param family: A job can be continued only by models of the same family.
    :param source: EvoLink's page.
    :param as_of: Month of the version of the page that was used.
    :param aliases: Other names of the model.
    :param refused_fields: Fields that the page forbids.
    :param refuses_unknown_fields: Whether every field without documentation is refused.
    :param fields: The documented fields of a request.
    """

    model_config = _STRICT

    kind: Literal["video", "image", "audio"]
    task: Text
    family: Text
    source: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    as_of: Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
    aliases: tuple[Text, ...] = ()
    refused_fields: frozenset[Text] = frozenset()
    refuses_unknown_fields: bool = False
    fields: dict[str, FieldSchema]

    def default(self, name: str) -> Any:
        """Return the documented default of a field; None if there is none."""
        return self.fields[name].default if name in self.fields else None


class _ModelFile(BaseModel):
    model_config = _STRICT

    about: str = ""
    models: dict[str, DocumentedModel]


def read_model_file(file: Traversable) -> dict[str, DocumentedModel]:
    """
    Return the models of a file by name.

    :raises ModelFileError: The file is wrong.
    """
    text = file.read_text(encoding="utf-8")
    try:
        json.loads(text, object_pairs_hook=_refuse_repeated_names)
        return _ModelFile.model_validate_json(text).models
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])).removeprefix("models.")
        raise ModelFileError(": ".join(filter(None, (file.name, place, problem["msg"])))) from error
    except ValueError as error:
        raise ModelFileError(f"{file.name}: {error}") from error


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated} is given twice")


def is_of_type(types: list[str], value: Any) -> bool:
    """
    Return whether a value has one of some types of JSON Schema. A number without a fraction is an integer.

    :param types: Such as ``["integer", "null"]``.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "null": value is None,
        "number": number,
        "integer": number and value == value // 1,
    }
    return any(fits[name] for name in types)

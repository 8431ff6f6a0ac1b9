"""The JSON Schema of the catalog's files, made from the classes that read them: ``models/schema.json``."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.catalog import media_limits, parameter, prices, request_view, rules, sizes
from airflow_provider_evolink.api.catalog.model_spec import ModelSpec, Outputs

if TYPE_CHECKING:
    from pydantic import BaseModel

Json = dict[str, Any]

CLASSES: tuple[type[BaseModel], ...] = (
    *(ModelSpec, Outputs, parameter.Parameter, parameter.JobReference, media_limits.Media, sizes.Pixels),
    *(request_view.Condition, prices.Price, prices.InputSeconds, *rules.SHAPES),
)
MONTH = "^20[0-9]{2}-(0[1-9]|1[0-2])$"


def file_schema() -> Json:
    """Return the schema of a file."""
    schema = ModelSpec.model_json_schema(by_alias=True)
    definitions = {**schema.pop("$defs"), "ModelSpec": schema}
    for cls in CLASSES:
        _describe(cls, definitions[cls.__name__])
    model, one = definitions["ModelSpec"], definitions["Parameter"]
    definitions["Rule"] = {"oneOf": model["properties"]["rules"]["items"]["oneOf"]}
    by_name = {"type": "string", "description": "Name of something that the file shares."}
    model["properties"]["parameters"]["additionalProperties"] = {"anyOf": [by_name, _ref("Parameter")]}
    model["properties"]["rules"]["items"] = {"anyOf": [by_name, _ref("Rule")]}
    model["properties"]["source"] |= {"pattern": "^https://"}
    model["properties"]["as_of"] |= {"pattern": MONTH}
    model["required"].append("source")
    one["anyOf"] = [{"required": ["type"]}, {"required": ["variants"]}]
    one["properties"]["stated"]["propertyNames"] = {"enum": list(parameter.LIMITS)}
    return _without_noise(_file(definitions))


def written(value: Any, indent: int = 0, width: int = 120) -> str:
    """
    Write JSON in as few lines as are easy to read.

    :param value: What to write.
    :param indent: Blanks before its lines.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(line) + indent < width - 20:
        return line
    inner, pad = indent + 2, " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{pad}{json.dumps(name)}: {written(one, inner)}" for name, one in value.items()]
    else:
        parts = [f"{pad}{written(one, inner)}" for one in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n" + ",\n".join(parts) + f"\n{' ' * indent}{end}"


def _file(definitions: Json) -> Json:
    shared = {
        "parameters": {"type": "object", "additionalProperties": _ref("Parameter")},
        "rules": {"type": "object", "additionalProperties": _ref("Rule")},
    }
    properties = {
        "$schema": {"const": "schema.json"},
        "as_of": {"type": "string", "pattern": MONTH, "description": "Month of the pages, unless a model has its own."},
        "shared": {
            "type": "object",
            "description": "What several models of this file have in common, by a name that they give instead.",
            "properties": shared,
            "additionalProperties": False,
        },
        "models": {"type": "array", "minItems": 1, "items": _ref("ModelSpec")},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Models of one maker in the catalog",
        "type": "object",
        "properties": properties,
        "required": ["$schema", "as_of", "models"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def _describe(cls: type[BaseModel], schema: Json) -> None:
    schema["description"] = _first_line(cls.__doc__)
    texts = "\n".join(inspect.cleandoc(base.__doc__ or "") + "\n:end" for base in cls.__mro__[:2])
    for name, words in re.findall(r"^:param (\w+): (.*?)(?=^:)", texts, flags=re.MULTILINE | re.DOTALL):
        if name not in cls.model_fields:
            continue
        alias = cls.model_fields[name].alias or name
        schema["properties"][alias]["description"] = " ".join(words.split()).replace("``", "`")


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split()).replace("``", "`")


def _without_noise(value: Any) -> Any:
    """Leave out generated titles, and ``null`` where it would only repeat the default."""
    if isinstance(value, list):
        return [_without_noise(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "anyOf" in value and "default" in value and value["default"] is None:
        others = [one for one in value["anyOf"] if one != {"type": "null"}]
        rest = {name: one for name, one in value.items() if name not in ("anyOf", "default")}
        value = rest | (others[0] if len(others) == 1 else {"anyOf": others})
    is_title = isinstance(value.get("title"), str) and "properties" not in value
    return {
        name: _without_noise(one)
        for name, one in value.items()
        if not (name == "title" and (is_title or value.get("title") in _CLASS_TITLES))
    }


_CLASS_TITLES = {cls.__name__ for cls in CLASSES}

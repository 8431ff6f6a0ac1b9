"""
The files with the models, ``models/*.json``. Nothing is read before a model is first needed.

All files are read as text, but only those that mention a model are parsed, so that one model costs little.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from airflow_provider_evolink.api.catalog.model_spec import ModelSpec

_NOT_MODELS = "schema.json"


@lru_cache(maxsize=1024)
def packaged_spec(name: str) -> ModelSpec | None:
    """
    Return the model of this name or alias, or ``None``.

    :param name: EvoLink's name of the model.
    """
    quoted = json.dumps(name, ensure_ascii=False)
    for file, text in _texts().items():
        if quoted in text and (model := _names(file).get(name)):
            return _spec(file, model)
    return None


def model_names() -> tuple[str, ...]:
    """Return the names of all models, without aliases, sorted."""
    return tuple(sorted(model for file in _texts() for model in _entries(file)))


def read_file(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    Return the models of a file by name, each complete in itself: what models share is put where they name it.

    :param content: The parsed file.
    :raises ValueError: a model names something that the file does not share, or stands there twice.
    """
    shared = content.get("shared", {})
    models: dict[str, dict[str, Any]] = {}
    for entry in content["models"]:
        if entry["model"] in models:
            raise ValueError(f"{entry['model']} stands there twice")
        models[entry["model"]] = {
            "as_of": content["as_of"],
            **entry,
            "parameters": {
                name: _shared(given, shared.get("parameters", {}), f"{entry['model']}: {name}")
                for name, given in entry["parameters"].items()
            },
            "rules": [
                _shared(given, shared.get("rules", {}), f"{entry['model']}: rules") for given in entry.get("rules", ())
            ],
        }
    return models


def _shared(given: Any, shared: Mapping[str, Any], where: str) -> Any:
    if not isinstance(given, str):
        return given
    if given not in shared:
        raise ValueError(f"{where}: the file shares nothing that is called {given!r}")
    return shared[given]


@cache
def _texts() -> dict[str, str]:
    folder = resources.files(__package__).joinpath("models")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {file.name: file.read_text(encoding="utf-8") for file in files if file.name != _NOT_MODELS}


@cache
def _entries(file: str) -> dict[str, dict[str, Any]]:
    try:
        return read_file(json.loads(_texts()[file]))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


@cache
def _names(file: str) -> dict[str, str]:
    return {name: model for model, entry in _entries(file).items() for name in (model, *entry.get("aliases", ()))}


@cache
def _spec(file: str, model: str) -> ModelSpec:
    return ModelSpec.model_validate(_entries(file)[model])

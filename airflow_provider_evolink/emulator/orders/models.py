"""
The documented models, read from ``models/*.json`` when the first one is needed.

Every model but Wan 2.7 (see ``rules.py``) stands in the file of its maker, written from its page on docs.evolink.ai.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from airflow_provider_evolink.emulator.orders.model_file import DocumentedModel, ModelFileError, read_model_file

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FOLDER: Traversable = resources.files(__package__).joinpath("models")


def find(name: str) -> DocumentedModel | None:
    """
    Return a documented model by its name or an alias; None if it is not documented.

    :param name: As given in a request.
    """
    models = documented_models()
    return models.get(name) or next((model for model in models.values() if name in model.aliases), None)


def names() -> list[str]:
    """Return the names of all documented models, without aliases."""
    return list(documented_models())


def all_names() -> list[str]:
    """Return the names of all documented models, aliases included."""
    return [name for known, model in documented_models().items() for name in (known, *model.aliases)]


@cache
def documented_models() -> dict[str, DocumentedModel]:
    """
    Return the models of the emulator by name.

    :raises ModelFileError: A file is wrong; the message names file, model and field.
    """
    return read_models(FOLDER)


def read_models(folder: Traversable) -> dict[str, DocumentedModel]:
    """
    Read all model files of a folder.

    :param folder: Holds ``*.json`` files; a model may stand in one of them only.
    :raises ModelFileError: A file is wrong, or a name is used twice.
    """
    models: dict[str, DocumentedModel] = {}
    file_of: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        for name, model in read_model_file(file).items():
            for used in (name, *model.aliases):
                if used in file_of:
                    raise ModelFileError(f"{file.name}: {name}: the name {used} is already used in {file_of[used]}")
                file_of[used] = file.name
            models[name] = model
    return models

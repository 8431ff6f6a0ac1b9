"""What is known of each model: the emulator's own copy of the facts, read when it is first needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True)
class ModelFacts:
    """
    One model as EvoLink documents it.

    :param name: Its name, or the alias it was asked for by.
    :param kind: ``video``, ``image`` or ``audio``; decides the path.
    :param task: What it does, such as ``text-to-video``; decides the shape of the answer.
    :param family: The family it belongs to.
    :param fields: The fields it documents.
    :param refused: Fields that it is documented to refuse.
    :param closed: Whether it refuses every field it does not document.
    """

    name: str
    kind: str
    task: str
    family: str
    fields: dict[str, Schema]
    refused: frozenset[str]
    closed: bool

    def default(self, name: str) -> Any:
        """
        Return what holds where a field is not sent; None if that is not documented.

        :param name: The field.
        """
        return self.fields.get(name, {}).get("default")


def find(name: str) -> ModelFacts | None:
    """
    Return the facts about a model, or None if there are none.

    :param name: Its name or an alias.
    """
    content, aliases = _content()
    row = content["models"].get(aliases.get(name, name))
    if row is None:
        return None
    fields = {field: content["fields"][number] for field, number in row["fields"].items()}
    refused = frozenset(row.get("refused", ()))
    return ModelFacts(name, row["kind"], row["task"], row["family"], fields, refused, bool(row.get("closed")))


def names() -> list[str]:
    """Return the names of all models with facts, without aliases."""
    return list(_content()[0]["models"])


@cache
def _content() -> tuple[dict[str, Any], dict[str, str]]:
    text = resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    content = json.loads(text)
    aliases = {alias: name for name, row in content["models"].items() for alias in row.get("aliases", ())}
    return content, aliases

"""A request as the rules between fields see it, and the conditions under which a rule applies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_evolink.api.redaction import describe_value

Path = tuple[str, ...]


@dataclass(frozen=True)
class RequestView:
    """
    A request as the rules see it.

    :param values: Fields that were set.
    :param invalid: Paths that failed their own check. They count as set, but rules ignore their values.
    :param private: Paths of fields whose text may not be shown.
    :param defaults: What EvoLink assumes for fields that are not set, by path.
    """

    values: Mapping[str, Any]
    invalid: frozenset[Path] = frozenset()
    private: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def value(self, field: str) -> Any:
        """Return the value at a path, checked or not."""
        first, *rest = field.split(".")
        value = self.values.get(first)
        for name in rest:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def is_invalid(self, field: str) -> bool:
        """Whether the field, or something around or inside it, failed its own check."""
        path = tuple(field.split("."))
        return any(path[: len(other)] == other[: len(path)] for other in self.invalid)

    def is_set(self, field: str) -> bool:
        """Whether the field is set to something that is not empty."""
        value = self.value(field)
        return value is not None and value not in ("", [], (), {})

    def describe(self, field: str) -> str:
        """Describe the value at a path for a message."""
        return describe_value(self.value(field), private=field in self.private)

    def item_count(self, field: str) -> int | None:
        """Count the items of a list, 1 for another value, ``None`` if that is unknown."""
        value = self.value(field)
        if isinstance(value, list | tuple):
            return len(value)
        return None if self.is_invalid(field) else int(self.is_set(field))

    def number(self, field: str) -> float | None:
        """Return the number at a path, or the one EvoLink assumes; ``None`` if there is none, or an invalid one."""
        value = self.value(field)
        value = self.defaults.get(field) if value is None else value
        usable = isinstance(value, int | float) and not isinstance(value, bool) and not self.is_invalid(field)
        return value if usable else None

    def text(self, field: str) -> str | None:
        """Return the text at a path; ``None`` if there is none, or an invalid one."""
        value = self.value(field)
        return value if isinstance(value, str) and not self.is_invalid(field) else None


class Condition(BaseModel):
    """
    What must be true of one field. All stated parts must be.

    :param given: Whether the field must be set, or must not.
    :param equals: One of these values; ``null`` stands for "not given".
    :param differs: None of these values; ``null`` stands for "not given".
    :param min_items: Minimum number of items of a list.
    :param max_items: Maximum number of items of a list.
    :param matches: Regular expression that a text must match as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    given: bool | None = None
    equals: tuple[Any, ...] | None = Field(None, alias="is")
    differs: tuple[Any, ...] | None = Field(None, alias="not")
    min_items: int | None = Field(None, alias="minItems")
    max_items: int | None = Field(None, alias="maxItems")
    matches: str | None = None

    def holds(self, view: RequestView, field: str) -> bool:
        """Whether the condition holds for the field at a path."""
        if self.given is not None and view.is_set(field) is not self.given:
            return False
        if self.min_items is not None and (view.item_count(field) or 0) < self.min_items:
            return False
        if self.max_items is not None and (view.item_count(field) or 0) > self.max_items:
            return False
        if self.matches is not None and not re.fullmatch(self.matches, view.text(field) or ""):
            return False
        if self.equals is None and self.differs is None:
            return True
        value = view.value(field)
        unsure = view.is_invalid(field)
        return not unsure and (self.equals is None or value in self.equals) and value not in (self.differs or ())

    def describe(self, field: str) -> str:
        """Describe the condition for the field at a path."""
        texts = []
        if self.equals is not None:
            texts.append(f"{field} is {_listed(self.equals)}")
        if self.differs is not None:
            texts.append(f"{field} is not {_listed(self.differs)}")
        if self.given is not None:
            texts.append(f"{field} is {'set' if self.given else 'not set'}")
        if self.min_items is not None or self.max_items is not None:
            texts.append(f"{field} has {self.min_items or 0} to {self.max_items or 'any number of'} items")
        if self.matches is not None:
            texts.append(f"{field} has the form {self.matches}")
        return " and ".join(texts)


def _listed(values: tuple[Any, ...]) -> str:
    words = {None: "not set", True: "true", False: "false"}
    return " or ".join(words[value] if value is None or isinstance(value, bool) else str(value) for value in values)

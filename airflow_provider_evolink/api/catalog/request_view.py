"""What the user gave, as the rules between fields see it, and the conditions under which a rule holds."""

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
    What the user gave, as the rules see it.

    :param values: Fields that were set.
    :param broken: Paths that failed their own check. They count as given, but their values decide nothing.
    :param private: Paths of fields whose text may not be shown.
    :param defaults: What EvoLink takes for fields that are not set, by path.
    """

    values: Mapping[str, Any]
    broken: frozenset[Path] = frozenset()
    private: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def raw(self, field: str) -> Any:
        """Return the value at a path, checked or not."""
        first, *rest = field.split(".")
        value = self.values.get(first)
        for name in rest:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def is_broken(self, field: str) -> bool:
        """Tell whether the field, or something around or inside it, failed its own check."""
        path = tuple(field.split("."))
        return any(path[: len(other)] == other[: len(path)] for other in self.broken)

    def given(self, field: str) -> bool:
        """Tell whether the field holds anything."""
        value = self.raw(field)
        return value is not None and value not in ("", [], (), {})

    def shown(self, field: str) -> str:
        """Describe the value at a path for a message."""
        return describe_value(self.raw(field), private=field in self.private)

    def items(self, field: str) -> int | None:
        """Count the items of a list, 1 for another value, ``None`` if that cannot be said."""
        value = self.raw(field)
        if isinstance(value, list | tuple):
            return len(value)
        return None if self.is_broken(field) else int(self.given(field))

    def number(self, field: str) -> float | None:
        """Return the number at a path, or the one EvoLink takes; ``None`` if there is none that can be trusted."""
        value = self.raw(field)
        value = self.defaults.get(field) if value is None else value
        usable = isinstance(value, int | float) and not isinstance(value, bool) and not self.is_broken(field)
        return value if usable else None

    def text(self, field: str) -> str | None:
        """Return the text at a path, unless it is wrong in itself."""
        value = self.raw(field)
        return value if isinstance(value, str) and not self.is_broken(field) else None


class Condition(BaseModel):
    """
    What must be true of one field. All stated parts must hold.

    :param equals: (``is``) One of these; ``null`` stands for "not given".
    :param differs: (``not``) None of these; ``null`` stands for "not given".
    :param given: Whether the field holds anything.
    :param min_items: Least items of a list.
    :param max_items: Most items of a list.
    :param matches: A text of this form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    given: bool | None = None
    equals: tuple[Any, ...] | None = Field(None, alias="is")
    differs: tuple[Any, ...] | None = Field(None, alias="not")
    min_items: int | None = Field(None, alias="minItems")
    max_items: int | None = Field(None, alias="maxItems")
    matches: str | None = None

    def holds(self, view: RequestView, field: str) -> bool:
        """
        Tell whether the condition holds for a field.

        :param view: What the user gave.
        :param field: Path of the field.
        """
        if self.given is not None and view.given(field) is not self.given:
            return False
        if self.min_items is not None and (view.items(field) or 0) < self.min_items:
            return False
        if self.max_items is not None and (view.items(field) or 0) > self.max_items:
            return False
        if self.matches is not None and not re.fullmatch(self.matches, view.text(field) or ""):
            return False
        if self.equals is None and self.differs is None:
            return True
        value = view.raw(field)
        unsure = view.is_broken(field)
        return not unsure and (self.equals is None or value in self.equals) and value not in (self.differs or ())

    def words(self, field: str) -> str:
        """
        Say the condition.

        :param field: Path of the field.
        """
        texts = []
        if self.equals is not None:
            texts.append(f"{field} is {_listed(self.equals)}")
        if self.differs is not None:
            texts.append(f"{field} is not {_listed(self.differs)}")
        if self.given is not None:
            texts.append(f"{field} is {'given' if self.given else 'not given'}")
        if self.min_items is not None or self.max_items is not None:
            texts.append(f"{field} has {self.min_items or 0} to {self.max_items or 'many'} items")
        if self.matches is not None:
            texts.append(f"{field} has the form {self.matches}")
        return " and ".join(texts)


def _listed(values: tuple[Any, ...]) -> str:
    return " or ".join("not given" if value is None else describe_value(value) for value in values)

"""
Rules between fields, as data: seven shapes that a row of the catalogue may use.

=============  ==========================================================================================
needs          ``when`` holds: all ``fields`` must be given
refuses        ``when`` holds: none of ``fields`` may be given
at_least_one   ``when`` holds: at least one of ``fields`` must be given
total          ``when`` holds: all items of ``fields`` together are at least ``minimum``, at most ``maximum``
limits         ``when`` holds: ``field``, if given, keeps to ``minimum``, ``maximum`` or ``enum``
sets           ``when`` holds: the given ones of ``fields`` are one of the ``allowed`` sets
keys_index     every key of the object ``field`` is a name of ``lists`` and a 1-based index into that list
=============  ==========================================================================================

Every rule has a ``text``, which the user reads. Fields may be paths (``model_params.voice_bindings``).
Without ``when`` a rule always holds. An empty list, object or text counts as not given.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.shown import count, show
from airflow_provider_evolink.api.texts import clean_text

Path = tuple[str, ...]
_INDEXED = re.compile(r"([a-z_]+)([1-9][0-9]{0,5})")


@dataclass(frozen=True)
class Facts:
    """
    What the user gave, as the rules see it.

    :param values: Fields that were set.
    :param broken: Paths that failed their own check. They count as given, but their values decide nothing.
    :param private: Fields whose text may not be shown.
    """

    values: Mapping[str, Any]
    broken: frozenset[Path] = frozenset()
    private: frozenset[str] = frozenset()

    def raw(self, field: str) -> Any:
        """Return the value at a path, checked or not."""
        value: Any = self.values
        for name in field.split("."):
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
        return show(self.raw(field), private=field in self.private)

    def items(self, field: str) -> int | None:
        """Count the items of a list, 1 for another value, ``None`` if that cannot be said."""
        value = self.raw(field)
        if isinstance(value, list | tuple):
            return len(value)
        return None if self.is_broken(field) else int(self.given(field))


class Condition(BaseModel):
    """What must be true of one field. All stated parts must hold; ``null`` in ``is`` stands for "not given"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    given: bool | None = None
    equals: tuple[Any, ...] | None = Field(None, alias="is")
    min_items: int | None = Field(None, alias="minItems")

    def holds(self, facts: Facts, field: str) -> bool:
        if self.given is not None and facts.given(field) is not self.given:
            return False
        if self.min_items is not None and (facts.items(field) or 0) < self.min_items:
            return False
        return self.equals is None or (not facts.is_broken(field) and facts.raw(field) in self.equals)


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    when: dict[str, Condition] = {}

    def check(self, facts: Facts) -> Iterator[Violation]:
        """Yield what breaks the rule."""
        if all(condition.holds(facts, field) for field, condition in self.when.items()):
            yield from self._broken(facts)

    @abstractmethod
    def _broken(self, facts: Facts) -> Iterator[Violation]: ...


class Needs(_Rule):
    shape: Literal["needs"]
    fields: tuple[str, ...]

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        for field in self.fields:
            if not facts.given(field) and not facts.is_broken(field):
                yield Violation(field, self.text)


class Refuses(_Rule):
    shape: Literal["refuses"]
    fields: tuple[str, ...]

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        for field in self.fields:
            if facts.given(field):
                yield Violation(field, self.text, facts.shown(field))


class AtLeastOne(_Rule):
    shape: Literal["at_least_one"]
    fields: tuple[str, ...]

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        if not any(facts.given(field) or facts.is_broken(field) for field in self.fields):
            yield Violation(", ".join(self.fields), self.text)


class Total(_Rule):
    shape: Literal["total"]
    fields: tuple[str, ...]
    minimum: int = 0
    maximum: int | None = None

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        counts = [facts.items(field) for field in self.fields]
        total = sum(number for number in counts if number is not None)
        too_few = total < self.minimum and None not in counts
        if too_few or (self.maximum is not None and total > self.maximum):
            yield Violation(", ".join(self.fields), self.text, count(total, "item"))


class Limits(_Rule):
    shape: Literal["limits"]
    field: str
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        value = facts.raw(self.field)
        if value is None or facts.is_broken(self.field):
            return
        too_low = self.minimum is not None and value < self.minimum
        too_high = self.maximum is not None and value > self.maximum
        if too_low or too_high or (self.enum is not None and value not in self.enum):
            yield Violation(self.field, self.text, facts.shown(self.field))


class Sets(_Rule):
    shape: Literal["sets"]
    fields: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        given = [field for field in self.fields if facts.given(field)]
        unsure = any(facts.is_broken(field) for field in self.fields if field not in given)
        if not unsure and frozenset(given) not in self.allowed:
            yield Violation(", ".join(given or self.fields), self.text, " + ".join(given) or None)


class KeysIndex(_Rule):
    shape: Literal["keys_index"]
    field: str
    lists: dict[str, str]

    def _broken(self, facts: Facts) -> Iterator[Violation]:
        entries = facts.raw(self.field)
        if not isinstance(entries, Mapping):
            return
        for key in map(str, entries):
            if not self._fits(key, facts):
                name = clean_text(key, 40)
                yield Violation(f"{self.field}.{name}", self.text, show(key))

    def _fits(self, key: str, facts: Facts) -> bool:
        match = _INDEXED.fullmatch(key)
        if not match or match[1] not in self.lists:
            return False
        items = facts.items(self.lists[match[1]])
        return items is None or int(match[2]) <= items


Rule = Annotated[
    Needs | Refuses | AtLeastOne | Total | Limits | Sets | KeysIndex,
    Field(discriminator="shape"),
]

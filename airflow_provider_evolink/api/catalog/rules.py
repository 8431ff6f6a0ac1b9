"""
Rules between fields, as data: the shapes that an entry of the catalog may use.

Fields may be paths (``model_params.voice_bindings``). An empty list, object or text counts as not given.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_evolink.api.catalog.parameter import Origin
from airflow_provider_evolink.api.catalog.request_view import Condition, RequestView
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import count, describe_value, sanitize

__all__ = ["Condition", "RequestView", "Rule"]

_INDEXED = re.compile(r"([a-z_]+)([1-9][0-9]{0,5})")
_DECIMALS = 6  # 32.2 - 2.2 is a little more than 30 to a computer


class _Rule(BaseModel):
    """
    A rule between fields.

    :param shape: What the rule demands.
    :param text: The rule in words, read after the names of the fields: "must be set when multi_shot is true".
    :param when: Conditions on fields; the rule applies if all of them are true, or always if there are none.
    :param stated: Where EvoLink states the rule: ``schema``, ``prose`` or ``convention``. A request that breaks a
        ``convention`` is sent with a warning: EvoLink accepts it, but ignores or changes something.
    :param warn_only: A request that breaks the rule is sent with a warning: it is not known whether EvoLink refuses it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    when: dict[str, Condition] = {}
    stated: Origin = "prose"
    warn_only: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether a request that breaks it is refused, instead of only warned about."""
        return self.stated != "convention" and not self.warn_only

    def check(self, view: RequestView) -> Iterator[Violation]:
        """Yield what breaks the rule."""
        if all(condition.holds(view, field) for field, condition in self.when.items()):
            yield from self._violations(view)

    def subject(self) -> str:
        """Name the fields it restricts."""
        named = getattr(self, "fields", None) or [
            getattr(self, name) for name in ("field", "start", "end") if hasattr(self, name)
        ]
        return ", ".join(named)

    def describe(self) -> str:
        """Describe the rule, with those of its conditions that its text does not mention."""
        cases = [
            condition.describe(field)
            for field, condition in self.when.items()
            if field.rpartition(".")[2] not in self.text
        ]
        return f"{self.text} (when {' and '.join(cases)})" if cases else self.text

    @abstractmethod
    def _violations(self, view: RequestView) -> Iterator[Violation]: ...


class Needs(_Rule):
    """All of ``fields`` must be given."""

    shape: Literal["needs"]
    fields: tuple[str, ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        for field in self.fields:
            if not view.is_set(field) and not view.is_invalid(field):
                yield Violation(field, self.text)


class Refuses(_Rule):
    """None of ``fields`` may be given."""

    shape: Literal["refuses"]
    fields: tuple[str, ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        for field in self.fields:
            if view.is_set(field):
                yield Violation(field, self.text, view.describe(field))


class OneOrMore(_Rule):
    """At least one of ``fields`` must be given."""

    shape: Literal["at_least_one"]
    fields: tuple[str, ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        if not any(view.is_set(field) or view.is_invalid(field) for field in self.fields):
            yield Violation(", ".join(self.fields), self.text)


class ExactlyOne(_Rule):
    """Exactly one of ``fields`` must be given."""

    shape: Literal["exactly_one"]
    fields: tuple[str, ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.is_set(field) or view.is_invalid(field)]
        if len(given) != 1:
            yield Violation(", ".join(self.fields), self.text, " and ".join(given) or None)


class Total(_Rule):
    """All items of ``fields`` and the numbers in ``amounts`` add up to at least ``minimum``, at most ``maximum``."""

    shape: Literal["total"]
    fields: tuple[str, ...]
    amounts: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int | None = None

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        counts: list[float | None] = [view.item_count(field) for field in self.fields]
        counts += [view.number(field) for field in self.amounts]
        total = int(sum(number for number in counts if number is not None))
        too_few = total < self.minimum and None not in counts
        if too_few or (self.maximum is not None and total > self.maximum):
            given = f"{total} in total" if self.amounts else count(total, "item")
            yield Violation(", ".join(self.fields + self.amounts), self.text, given)


class Limits(_Rule):
    """``field``, if given, keeps to ``minimum``, ``maximum``, ``enum`` or ``maxLength``."""

    shape: Literal["limits"]
    field: str
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None
    max_length: int | None = Field(None, alias="maxLength")

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        value = view.value(self.field)
        if value is None or view.is_invalid(self.field):
            return
        number = view.number(self.field)
        too_low = self.minimum is not None and number is not None and number < self.minimum
        too_high = self.maximum is not None and number is not None and number > self.maximum
        too_long = self.max_length is not None and len(view.text(self.field) or "") > self.max_length
        if too_low or too_high or too_long or (self.enum is not None and value not in self.enum):
            yield Violation(self.field, self.text, view.describe(self.field))


class Pattern(_Rule):
    """``field``, if given, contains ``matches`` and does not contain ``avoids`` (regular expressions)."""

    shape: Literal["pattern"]
    field: str
    matches: str | None = None
    avoids: str | None = None

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        text = view.text(self.field)
        if text is None:
            return
        fits = self.matches is None or re.search(self.matches, text)
        if not fits or (self.avoids is not None and re.search(self.avoids, text)):
            yield Violation(self.field, self.text, view.describe(self.field))


class Equal(_Rule):
    """Those of ``fields`` that are given have the same value."""

    shape: Literal["equal"]
    fields: tuple[str, ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.is_set(field) and not view.is_invalid(field)]
        if any(view.value(field) != view.value(given[0]) for field in given[1:]):
            yield Violation(", ".join(given), self.text, " and ".join(view.describe(field) for field in given))


class Distance(_Rule):
    """``end`` is at least ``minimum`` and at most ``maximum`` above ``start``."""

    shape: Literal["distance"]
    start: str
    end: str
    minimum: float
    maximum: float

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        start, end = view.number(self.start), view.number(self.end)
        if start is None or end is None:
            return
        if not self.minimum <= round(end - start, _DECIMALS) <= self.maximum:
            yield Violation(f"{self.start}, {self.end}", self.text, f"{start} and {end}")


class Sum(_Rule):
    """The numbers ``entry`` in the list ``field`` add up to the number ``total``. They may be text."""

    shape: Literal["sum"]
    field: str
    entry: str
    total: str

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        entries, total = view.value(self.field), view.number(self.total)
        if not isinstance(entries, list) or total is None or view.is_invalid(self.field):
            return
        try:
            added = round(sum(float(entry[self.entry]) for entry in entries), _DECIMALS)
        except (KeyError, TypeError, ValueError):
            yield Violation(f"{self.field}[].{self.entry}", self.text)
            return
        if added != total:
            yield Violation(f"{self.field}[].{self.entry}, {self.total}", self.text, f"{added:g} and {total:g}")


class Mentions(_Rule):
    """The text ``field`` names each item of ``listed`` as ``name`` and its number, from 1."""

    shape: Literal["mentions"]
    field: str
    listed: str
    name: str

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        text, items = view.text(self.field), view.item_count(self.listed)
        if text is None or not items:
            return
        missing = [
            name
            for name in (f"{self.name}{number}" for number in range(1, items + 1))
            if not re.search(rf"{re.escape(name)}(?![0-9])", text)
        ]
        if missing:
            yield Violation(self.field, self.text, f"a string without {', '.join(missing)}")


class Sets(_Rule):
    """The given ones of ``fields`` are one of the ``allowed`` sets."""

    shape: Literal["sets"]
    fields: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.is_set(field)]
        unsure = any(view.is_invalid(field) for field in self.fields if field not in given)
        if not unsure and frozenset(given) not in self.allowed:
            yield Violation(", ".join(given or self.fields), self.text, " and ".join(given) or None)


class KeysIndex(_Rule):
    """Every key of the object ``field`` is a name in ``lists`` and an index, from 1, into the list of that name."""

    shape: Literal["keys_index"]
    field: str
    lists: dict[str, str]

    def _violations(self, view: RequestView) -> Iterator[Violation]:
        entries = view.value(self.field)
        if not isinstance(entries, Mapping):
            return
        for key in map(str, entries):
            if not self._fits(key, view):
                name = sanitize(key, 40)
                yield Violation(f"{self.field}.{name}", self.text, describe_value(key))

    def _fits(self, key: str, view: RequestView) -> bool:
        match = _INDEXED.fullmatch(key)
        if not match or match[1] not in self.lists:
            return False
        items = view.item_count(self.lists[match[1]])
        return items is None or int(match[2]) <= items


SHAPES = (
    *(Needs, Refuses, OneOrMore, ExactlyOne, Total, Limits, Pattern, Equal, Distance, Sum, Mentions, Sets),
    KeysIndex,
)
Rule = Annotated[
    Needs
    | Refuses
    | OneOrMore
    | ExactlyOne
    | Total
    | Limits
    | Pattern
    | Equal
    | Distance
    | Sum
    | Mentions
    | Sets
    | KeysIndex,
    Field(discriminator="shape"),
]

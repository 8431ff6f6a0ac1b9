"""
Rules between fields, as data: the shapes that a row of the catalog may use.

=============  ==========================================================================================
needs          ``when`` holds: all ``fields`` must be given
refuses        ``when`` holds: none of ``fields`` may be given
at_least_one   ``when`` holds: at least one of ``fields`` must be given
exactly_one    ``when`` holds: one of ``fields`` must be given and no other
total          ``when`` holds: all items of ``fields`` and the numbers in ``amounts`` together are at least ``minimum``,
               at most ``maximum``
limits         ``when`` holds: ``field``, if given, keeps to ``minimum``, ``maximum``, ``enum`` or ``maxLength``
pattern        ``when`` holds: ``field``, if given, has the form ``matches`` and not the form ``avoids``
equal          ``when`` holds: those of ``fields`` that are given have the same value
distance       ``when`` holds: ``end`` is at least ``minimum`` and at most ``maximum`` above ``start``
sum            ``when`` holds: the numbers ``entry`` in the list ``field`` add up to the number ``total``
mentions       ``when`` holds: the text ``field`` names each item of ``listed`` as ``name`` and its number from 1
sets           ``when`` holds: the given ones of ``fields`` are one of the ``allowed`` sets
keys_index     every key of the object ``field`` is a name of ``lists`` and a 1-based index into that list
=============  ==========================================================================================

Every rule has a ``text``, which the user reads. Fields may be paths (``model_params.voice_bindings``). Without ``when``
a rule always holds. An empty list, object or text counts as not given. The numbers of ``sum`` may be text.

``stated`` says where EvoLink states the rule: ``schema``, ``prose`` (the default: a request schema hardly ever relates
two fields) or ``convention``. A request that breaks a rule is refused; it only causes a warning if the rule is a
``convention`` (EvoLink accepts the request, but ignores or changes something) or ``warn_only`` is set (it is not known
whether EvoLink refuses).
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
            yield from self._broken(view)

    def about(self) -> str:
        """Name the fields it is about."""
        named = getattr(self, "fields", None) or [
            getattr(self, name) for name in ("field", "start", "end") if hasattr(self, name)
        ]
        return ", ".join(named)

    def words(self) -> str:
        """Say the rule, with the case in which it holds where its text does not tell."""
        cases = [condition.words(field) for field, condition in self.when.items()]
        told = [case for field, case in zip(self.when, cases, strict=True) if field.rpartition(".")[2] not in self.text]
        return f"{self.text} (when {' and '.join(told)})" if told else self.text

    @abstractmethod
    def _broken(self, view: RequestView) -> Iterator[Violation]: ...


class Needs(_Rule):
    shape: Literal["needs"]
    fields: tuple[str, ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        for field in self.fields:
            if not view.given(field) and not view.is_broken(field):
                yield Violation(field, self.text)


class Refuses(_Rule):
    shape: Literal["refuses"]
    fields: tuple[str, ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        for field in self.fields:
            if view.given(field):
                yield Violation(field, self.text, view.shown(field))


class AtLeastOne(_Rule):
    shape: Literal["at_least_one"]
    fields: tuple[str, ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        if not any(view.given(field) or view.is_broken(field) for field in self.fields):
            yield Violation(", ".join(self.fields), self.text)


class ExactlyOne(_Rule):
    shape: Literal["exactly_one"]
    fields: tuple[str, ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.given(field) or view.is_broken(field)]
        if len(given) != 1:
            yield Violation(", ".join(self.fields), self.text, " + ".join(given) or None)


class Total(_Rule):
    shape: Literal["total"]
    fields: tuple[str, ...]
    amounts: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int | None = None

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        counts: list[float | None] = [view.items(field) for field in self.fields]
        counts += [view.number(field) for field in self.amounts]
        total = int(sum(number for number in counts if number is not None))
        too_few = total < self.minimum and None not in counts
        if too_few or (self.maximum is not None and total > self.maximum):
            noun = "item" if not self.amounts else "in all"
            given = count(total, noun) if noun == "item" else f"{total} {noun}"
            yield Violation(", ".join(self.fields + self.amounts), self.text, given)


class Limits(_Rule):
    shape: Literal["limits"]
    field: str
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[Any, ...] | None = None
    max_length: int | None = Field(None, alias="maxLength")

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        value = view.raw(self.field)
        if value is None or view.is_broken(self.field):
            return
        number = view.number(self.field)
        too_low = self.minimum is not None and number is not None and number < self.minimum
        too_high = self.maximum is not None and number is not None and number > self.maximum
        too_long = self.max_length is not None and len(view.text(self.field) or "") > self.max_length
        if too_low or too_high or too_long or (self.enum is not None and value not in self.enum):
            yield Violation(self.field, self.text, view.shown(self.field))


class Pattern(_Rule):
    shape: Literal["pattern"]
    field: str
    matches: str | None = None
    avoids: str | None = None

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        text = view.text(self.field)
        if text is None:
            return
        fits = self.matches is None or re.search(self.matches, text)
        if not fits or (self.avoids is not None and re.search(self.avoids, text)):
            yield Violation(self.field, self.text, view.shown(self.field))


class Equal(_Rule):
    shape: Literal["equal"]
    fields: tuple[str, ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.given(field) and not view.is_broken(field)]
        if any(view.raw(field) != view.raw(given[0]) for field in given[1:]):
            yield Violation(", ".join(given), self.text, " + ".join(view.shown(field) for field in given))


class Distance(_Rule):
    shape: Literal["distance"]
    start: str
    end: str
    minimum: float
    maximum: float

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        start, end = view.number(self.start), view.number(self.end)
        if start is None or end is None:
            return
        if not self.minimum <= round(end - start, _DECIMALS) <= self.maximum:
            yield Violation(f"{self.start}, {self.end}", self.text, f"{start} and {end}")


class Sum(_Rule):
    shape: Literal["sum"]
    field: str
    entry: str
    total: str

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        entries, total = view.raw(self.field), view.number(self.total)
        if not isinstance(entries, list) or total is None or view.is_broken(self.field):
            return
        try:
            added = round(sum(float(entry[self.entry]) for entry in entries), _DECIMALS)
        except (KeyError, TypeError, ValueError):
            yield Violation(f"{self.field}[].{self.entry}", self.text)
            return
        if added != total:
            yield Violation(f"{self.field}[].{self.entry}, {self.total}", self.text, f"{added:g} and {total:g}")


class Mentions(_Rule):
    shape: Literal["mentions"]
    field: str
    listed: str
    name: str

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        text, items = view.text(self.field), view.items(self.listed)
        if text is None or not items:
            return
        missing = [
            name
            for name in (f"{self.name}{number}" for number in range(1, items + 1))
            if not re.search(rf"{re.escape(name)}(?![0-9])", text)
        ]
        if missing:
            yield Violation(self.field, self.text, f"without {', '.join(missing)}")


class Sets(_Rule):
    shape: Literal["sets"]
    fields: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        given = [field for field in self.fields if view.given(field)]
        unsure = any(view.is_broken(field) for field in self.fields if field not in given)
        if not unsure and frozenset(given) not in self.allowed:
            yield Violation(", ".join(given or self.fields), self.text, " + ".join(given) or None)


class KeysIndex(_Rule):
    shape: Literal["keys_index"]
    field: str
    lists: dict[str, str]

    def _broken(self, view: RequestView) -> Iterator[Violation]:
        entries = view.raw(self.field)
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
        items = view.items(self.lists[match[1]])
        return items is None or int(match[2]) <= items


Rule = Annotated[
    Needs
    | Refuses
    | AtLeastOne
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

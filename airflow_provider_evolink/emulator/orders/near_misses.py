"""
Whether an unknown name is a known one with a slip: EvoLink has no such model, so the emulator must not sell it.

Other digits or further words may name a model that is newer than the emulator: those are accepted. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_SLIPS = 2
_MIN_LENGTH = 8  # letters and digits; two slips in a shorter name make another name


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """
    Return the known name that an unknown one is meant to be; None if there is none.

    :param name: As given in a request.
    :param known: All names.
    """
    near = [other for other in known if _is_near(_words(name), _words(other))]
    return min(near, key=lambda other: _slips("".join(_words(name)), "".join(_words(other))), default=None)


def _words(name: str) -> list[str]:
    """Split a name into words and numbers, in lower case, whatever is between; ``2`` between long words is ``to``."""
    name = re.sub(r"(?<=[a-z]{4})2(?=[a-z]{4})", " to ", name.strip().casefold())
    return re.findall(r"[^\W\d_]+|\d+", name)


def _is_near(words: list[str], known: list[str]) -> bool:
    if _digits(words) != _digits(known):
        return False
    if sorted(set(words) - {"to"}) == sorted(set(known) - {"to"}):
        return True
    text, other = "".join(words), "".join(known)
    return min(len(text), len(other)) >= _MIN_LENGTH and _slips(text, other) <= _MAX_SLIPS


def _digits(words: list[str]) -> str:
    return "".join(word for word in words if word.isdigit())


def _slips(text: str, other: str) -> int:
    """Count the letters that are wrong, missing, too many or swapped with a neighbor."""
    if abs(len(text) - len(other)) > _MAX_SLIPS:
        return _MAX_SLIPS + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(text, 1):
        last, row, older = row, [at], before
        for to, wanted in enumerate(other, 1):
            row.append(min(last[to] + 1, row[-1] + 1, last[to - 1] + (letter != wanted)))
            if at > 1 and to > 1 and letter == other[to - 2] and text[at - 2] == wanted:
                row[to] = min(row[to], older[to - 2] + 1)
        before = last
    return row[-1]

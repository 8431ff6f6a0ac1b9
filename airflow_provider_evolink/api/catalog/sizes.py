"""How long a text is in the units EvoLink counts in. Tokens are a guess: only EvoLink's tokenizer knows."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


Unit = Literal["characters", "tokens", "wide"]

# Ideographs of Chinese, as EvoLink's pages count them twice where a limit is given "in Chinese or other characters".
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_CHARACTERS_PER_TOKEN = 4


def measure(text: str, unit: Unit) -> int:
    """
    Measure a text.

    :param text: The text.
    :param unit: ``characters``; ``wide``, where a Chinese character counts as two; ``tokens``, guessed low (four plain
        characters to a token, one for any other), so that a warning is rarely wrong.
    """
    if unit == "characters":
        return len(text)
    if unit == "wide":
        return len(text) + len(_HAN.findall(text))
    plain = sum(character.isascii() for character in text)
    return plain // _CHARACTERS_PER_TOKEN + len(text) - plain


def length_words(most: int, unit: Unit) -> str:
    """
    Write a limit in words.

    :param most: The limit.
    :param unit: Its unit.
    """
    if unit == "tokens":
        return f"{most} tokens"
    text = f"{most} character{'s' * (most != 1)}"
    return text + ", a Chinese one counts as two" if unit == "wide" else text


class Pixels(BaseModel):
    """
    Limits of ``WIDTHxHEIGHT``. A limit that is not stated does not hold.

    :param min_side: Least pixels of a side.
    :param max_side: Most pixels of a side.
    :param min_area: Least pixels in all.
    :param max_area: Most pixels in all.
    :param max_ratio: Longer side by the shorter one, at the most.
    :param step: Both sides are multiples of this.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_side: int = 1
    max_side: int | None = None
    min_area: int = 1
    max_area: int | None = None
    max_ratio: float | None = None
    step: int = 1

    def fits(self, text: str) -> bool:
        """
        Tell whether a text is a size within the limits.

        :param text: What the user gave.
        """
        match = _SIZE.fullmatch(text)
        if not match:
            return False
        short, long = sorted(map(int, match.groups()))
        return (
            short >= self.min_side
            and (self.max_side is None or long <= self.max_side)
            and short * long >= self.min_area
            and (self.max_area is None or short * long <= self.max_area)
            and (self.max_ratio is None or long <= self.max_ratio * short)
            and short % self.step == long % self.step == 0
        )

    def words(self) -> str:
        """Say in words what sizes pass."""
        limits = [
            _between("sides", self.min_side, self.max_side),
            _between("area", self.min_area, self.max_area),
            f"ratio up to {self.max_ratio:g}:1" if self.max_ratio else "",
            f"multiples of {self.step}" if self.step > 1 else "",
        ]
        stated = ", ".join(filter(None, limits))
        return f"WIDTHxHEIGHT in pixels ({stated})" if stated else "WIDTHxHEIGHT in pixels"


def _between(noun: str, least: int, most: int | None) -> str:
    if most is None:
        return f"{noun} of at least {least}" if least > 1 else ""
    return f"{noun} from {least} to {most}" if least > 1 else f"{noun} of at most {most}"

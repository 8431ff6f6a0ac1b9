"""Lengths of texts and sizes of pictures in the units EvoLink uses. Tokens are estimated: only its tokenizer knows."""

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

    :param unit: ``characters``; ``wide``, where a Chinese character counts as two; ``tokens``, estimated low (four
        ASCII characters or one other to a token), so that a warning is rarely wrong.
    """
    if unit == "characters":
        return len(text)
    if unit == "wide":
        return len(text) + len(_HAN.findall(text))
    plain = sum(character.isascii() for character in text)
    return plain // _CHARACTERS_PER_TOKEN + len(text) - plain


def describe_length(maximum: int, unit: Unit) -> str:
    """Write the maximum length of a text in words."""
    if unit == "tokens":
        return f"{maximum} tokens"
    text = f"{maximum} character{'s' * (maximum != 1)}"
    return f"{text} (a Chinese one counts as two)" if unit == "wide" else text


def describe_range(minimum: float | None, maximum: float | None) -> str:
    """Write limits of a number in words, with a blank before; empty if there are none."""
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"


class Pixels(BaseModel):
    """
    Limits of ``WIDTHxHEIGHT``. A limit that is not stated does not apply.

    :param min_side: Minimum pixels of a side.
    :param max_side: Maximum pixels of a side.
    :param min_area: Minimum number of pixels.
    :param max_area: Maximum number of pixels.
    :param max_ratio: Maximum ratio of the longer side to the shorter one.
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
        """Whether a text is a size within the limits."""
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

    def describe(self) -> str:
        """Describe the sizes that are allowed."""
        limits = [
            _describe_pixels("sides", self.min_side, self.max_side),
            _describe_pixels("area", self.min_area, self.max_area),
            f"ratio up to {self.max_ratio:g}:1" if self.max_ratio else "",
            f"multiples of {self.step}" if self.step > 1 else "",
        ]
        stated = ", ".join(filter(None, limits))
        return f"WIDTHxHEIGHT in pixels ({stated})" if stated else "WIDTHxHEIGHT in pixels"


def _describe_pixels(noun: str, minimum: int, maximum: int | None) -> str:
    limits = describe_range(minimum if minimum > 1 else None, maximum)
    return f"{noun}{limits}" if limits else ""

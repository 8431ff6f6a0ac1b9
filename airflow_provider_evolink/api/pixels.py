"""Sizes of pictures as text: ``1024x1536``, and the limits a model sets to them."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


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

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

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

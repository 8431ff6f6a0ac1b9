"""
What an order costs at the most, by the dated price in a row of the catalog. Only a budget looks at it.

EvoLink's real charge is what the job reports; a published price may have changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Input(BaseModel):
    """
    Seconds of given material that are billed as well.

    :param field: The field the material is in.
    :param most: The most seconds that are billed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    most: float


class Price(BaseModel):
    """
    A price by the second of the result.

    :param as_of: Day the price was published.
    :param per_second: Credits.
    :param seconds: Field with the seconds of the result.
    :param when_zero: Seconds where that field is 0, "as long as the input".
    :param least: Credits of the cheapest job.
    :param times: Field, its value, and the factor on the price.
    :param adds: Material that is billed as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    per_second: float
    seconds: str = "duration"
    when_zero: float = 0.0
    least: float = 0.0
    times: dict[str, dict[str, float]] = {}
    adds: Input | None = None

    def most(self, body: Mapping[str, Any], defaults: Mapping[str, Any]) -> float | None:
        """
        Return the most credits an order may cost, or ``None`` if its fields do not say.

        :param body: The order.
        :param defaults: What EvoLink takes for fields that are not set.
        """
        try:
            given: Any = body.get(self.seconds, defaults.get(self.seconds))
            seconds = float(given) or self.when_zero
        except (TypeError, ValueError):
            return None
        if self.adds and body.get(self.adds.field):
            seconds += self.adds.most
        rate = self.per_second
        for field, factors in self.times.items():
            rate *= factors.get(str(body.get(field, defaults.get(field))), 1.0)
        return round(max(self.least, seconds * rate), 4)

"""
The maximum cost of a request, by the dated price in the catalog. Only a budget uses it.

What EvoLink charges is what the job reports; a published price may have changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class InputSeconds(BaseModel):
    """
    Seconds of input media that are billed as well.

    :param field: The field with the media.
    :param max: Maximum number of seconds that are billed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    max: float


class Price(BaseModel):
    """
    A price per second of the result.

    :param as_of: Day the price was published.
    :param per_second: Credits.
    :param duration_field: Field with the seconds of the result.
    :param seconds_when_zero: Seconds where that field is 0, which means "as long as the input".
    :param min_credits: Credits of the cheapest job.
    :param factors: By field and value, what the price is multiplied by.
    :param input_seconds: Input media that is billed as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    per_second: float
    duration_field: str = "duration"
    seconds_when_zero: float = 0.0
    min_credits: float = 0.0
    factors: dict[str, dict[str, float]] = {}
    input_seconds: InputSeconds | None = None

    def max_credits(self, body: Mapping[str, Any], defaults: Mapping[str, Any]) -> float | None:
        """
        Return the maximum cost of a request in credits, or ``None`` if its fields do not determine it.

        :param body: The request.
        :param defaults: What EvoLink assumes for fields that are not set.
        """
        try:
            given: Any = body.get(self.duration_field, defaults.get(self.duration_field))
            seconds = float(given) or self.seconds_when_zero
        except (TypeError, ValueError):
            return None
        if self.input_seconds and body.get(self.input_seconds.field):
            seconds += self.input_seconds.max
        rate = self.per_second
        for field, factors in self.factors.items():
            rate *= factors.get(str(body.get(field, defaults.get(field))), 1.0)
        return round(max(self.min_credits, seconds * rate), 4)

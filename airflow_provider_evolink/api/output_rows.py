"""What a model hands back, as its row says it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Outputs(BaseModel):
    """
    Results of a job.

    :param media: Whether there are media links at all; a voice or an element may be all a job makes.
    :param least: Fewest media files of a job.
    :param most: Most media files; ``None`` if EvoLink states no limit.
    :param counted_by: Field that says how many are made, ``least`` if it is not set.
    :param data: What ``result_data`` holds beside or instead of links.
    :param link_hours: How long a link lives at least; ``None`` if EvoLink does not say.
    :param note: For readers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    media: bool = True
    least: int = 1
    most: int | None = 1
    counted_by: str | None = None
    data: Literal["songs", "layers", "voice", "element_id", "persona_id", "character", "audio_url"] | None = None
    link_hours: int | None = 24
    note: str | None = None

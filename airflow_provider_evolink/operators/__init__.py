"""Operators of the EvoLink provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.operators.batch import EvoLinkBatchOperator
from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator
from airflow_provider_evolink.operators.kinds import (
    EvoLinkAudioOperator,
    EvoLinkImageOperator,
    EvoLinkVideoOperator,
)
from airflow_provider_evolink.operators.media import EvoLinkArchiveOperator, EvoLinkDownloadOperator
from airflow_provider_evolink.operators.recover import EvoLinkRecoverOperator
from airflow_provider_evolink.operators.upload import EvoLinkUploadOperator
from airflow_provider_evolink.operators.wan import (
    EvoLinkImageToVideoOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkTextToVideoOperator,
    EvoLinkVideoEditOperator,
)

if TYPE_CHECKING:
    from airflow_provider_evolink.operators.review import EvoLinkReviewOperator as EvoLinkReviewOperator

__all__ = [
    "EvoLinkArchiveOperator",
    "EvoLinkAudioOperator",
    "EvoLinkBatchOperator",
    "EvoLinkDownloadOperator",
    "EvoLinkGenerateOperator",
    "EvoLinkImageOperator",
    "EvoLinkImageToVideoOperator",
    "EvoLinkRecoverOperator",
    "EvoLinkReferenceVideoOperator",
    "EvoLinkTextToVideoOperator",
    "EvoLinkUploadOperator",
    "EvoLinkVideoEditOperator",
    "EvoLinkVideoOperator",
]


def __getattr__(name: str) -> Any:
    """Import the review operator where it is used: it needs Airflow 3.1, and brings in much of it."""
    if name == "EvoLinkReviewOperator":
        from airflow_provider_evolink.operators.review import EvoLinkReviewOperator

        return EvoLinkReviewOperator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

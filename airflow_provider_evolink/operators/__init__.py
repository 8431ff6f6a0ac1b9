"""Operators of the EvoLink provider."""

from __future__ import annotations

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

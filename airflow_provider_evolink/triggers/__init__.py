"""Triggers of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.triggers.evolink import EvoLinkBatchTrigger, EvoLinkJobTrigger

__all__ = ["EvoLinkBatchTrigger", "EvoLinkJobTrigger"]

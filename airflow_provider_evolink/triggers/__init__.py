"""Triggers of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

__all__ = ["EvoLinkJobTrigger"]

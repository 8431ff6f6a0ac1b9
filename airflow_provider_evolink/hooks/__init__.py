"""Hooks of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.hooks.evolink import EvoLinkHook

__all__ = ["EvoLinkHook"]

"""Sensors of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.sensors.evolink import EvoLinkJobSensor

__all__ = ["EvoLinkJobSensor"]

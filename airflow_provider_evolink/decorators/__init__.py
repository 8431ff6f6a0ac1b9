"""Task decorators of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.decorators.evolink import evolink_task

__all__ = ["evolink_task"]

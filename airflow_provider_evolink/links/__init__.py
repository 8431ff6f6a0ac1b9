"""Extra links of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.links.evolink import EvoLinkResultLink

__all__ = ["EvoLinkResultLink"]

"""Extra links of the EvoLink provider."""

from __future__ import annotations

from airflow_provider_evolink.links.evolink import EvoLinkArchivedFileLink, EvoLinkManifestLink, EvoLinkResultLink

__all__ = ["EvoLinkArchivedFileLink", "EvoLinkManifestLink", "EvoLinkResultLink"]

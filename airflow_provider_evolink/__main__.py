"""``python -m airflow_provider_evolink``: what the catalog knows, without a network and without Airflow."""

from __future__ import annotations

import sys

from airflow_provider_evolink.api.catalog.cli import main

if __name__ == "__main__":
    sys.exit(main())

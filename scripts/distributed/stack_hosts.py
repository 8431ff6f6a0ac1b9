"""Names each part of ``make stack`` as if it had a host of its own: Airflow's ``[core] hostname_callable``."""

from __future__ import annotations

import os

PART = "EVOLINK_STACK_PART"


def host_name() -> str:
    """Return the name of the part this process belongs to, which Airflow shows as the host of tasks and jobs."""
    return os.environ.get(PART, "localhost")

"""``evolink``, or ``python -m airflow_provider_evolink``: catalog, network, lost orders and the archive."""

from __future__ import annotations

import argparse
import os
import sys

from airflow_provider_evolink.api.catalog.cli import main
from airflow_provider_evolink.storage.archive.commands import add_commands


def check_network(*, as_json: bool) -> int:
    """
    Check EvoLink's hosts, by proxy and certificates of environment and Airflow's configuration.

    :param as_json: Write JSON.
    :return: Exit status.
    """
    from airflow_provider_evolink.api.errors import EvoLinkConfigError
    from airflow_provider_evolink.api.files.network_check import print_check
    from airflow_provider_evolink.hooks.evolink import network_policy

    try:
        return print_check(network_policy(), as_json=as_json)
    except EvoLinkConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def reconcile(options: argparse.Namespace) -> int:
    """
    List the jobs that can be an order whose outcome is unknown, with the key of an Airflow connection.

    :param options: The order and the connection.
    :return: Exit status.
    """
    # Outside a task, Airflow finds connections of its metadata database in processes of this kind only.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_provider_evolink.api.errors import EvoLinkError
    from airflow_provider_evolink.execution.unknown_outcome import print_verdict

    order = (options.model, options.ordered_at, options.newer_than)
    try:
        return print_verdict(*order, options.conn_id, as_json=options.json)
    except (EvoLinkError, AirflowNotFoundException) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2


def run() -> int:
    """Run the program, and return its exit status."""
    return main(check_network=check_network, reconcile=reconcile, more=add_commands)


if __name__ == "__main__":
    sys.exit(run())

"""``evolink``, or ``python -m airflow_provider_evolink``: the catalog, the network from here, and the archive."""

from __future__ import annotations

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


def run() -> int:
    """Run the program, and return its exit status."""
    return main(check_network=check_network, more=add_commands)


if __name__ == "__main__":
    sys.exit(run())

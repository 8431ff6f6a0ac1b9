"""``python -m airflow_provider_evolink``: what the catalog knows, and whether EvoLink can be reached from here."""

from __future__ import annotations

import sys

from airflow_provider_evolink.api.catalog.cli import main


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


if __name__ == "__main__":
    sys.exit(main(check_network=check_network))

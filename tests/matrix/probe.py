"""Runs in the environment of an old Airflow: imports all of the package and tells as JSON what Airflow knows of it."""

from __future__ import annotations

import importlib
import json
import pkgutil
from importlib.metadata import version
from typing import Any

import airflow_provider_evolink


def broken_modules() -> dict[str, str]:
    """Return the modules that cannot be imported, and why."""
    found = {}
    for module in pkgutil.walk_packages(airflow_provider_evolink.__path__, "airflow_provider_evolink."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except Exception as error:
                found[module.name] = repr(error)
    return found


def unexpected(broken: dict[str, str]) -> dict[str, str]:
    """Return the modules that cannot be imported, but those that need Airflow 3.1: pages, review."""
    if tuple(int(part) for part in version("apache-airflow").split(".")[:2]) >= (3, 1):
        return broken
    assert "needs Airflow 3.1 or later" in broken.pop("airflow_provider_evolink.operators.review")
    return {name: why for name, why in broken.items() if ".plugins.server" not in name}


def known_to_airflow() -> dict[str, Any]:
    """Return what Airflow's manager of providers has read of us."""
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["evolink"]
    assert hook is not None
    return {
        "hook": hook.hook_class_name,
        "testable": hook.connection_testable,
        "form": manager.field_behaviours.get("evolink"),
        "links": [name for name in manager.extra_links_class_names if "evolink" in name],
    }


if __name__ == "__main__":
    facts = {"airflow": version("apache-airflow"), "broken": unexpected(broken_modules()), **known_to_airflow()}
    print("\n" + json.dumps(facts))

"""What a script imports from ``airflow_provider_evolink.api``."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from airflow_provider_evolink import api
from airflow_provider_evolink.api import errors

CLASSES = [
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__ and not name.startswith("_")
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_is_public(name):
    assert name in api.__all__
    assert getattr(api, name) is getattr(errors, name)


@pytest.mark.parametrize("name", api.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(api, name).__name__ == name
    assert name in dir(api)


def test_other_names_are_unknown():
    with pytest.raises(AttributeError, match="no attribute 'Buyer'"):
        _ = api.Buyer


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import importlib, typing, airflow_provider_evolink.api as api; "
        "print(sorted(name for name in set(sys.modules) - before if 'evolink' in name or name in "
        "('httpx', 'pydantic', 'airflow', 'tenacity'))); api.EvoLinkError; print('httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['airflow_provider_evolink', 'airflow_provider_evolink.api']", "False"]

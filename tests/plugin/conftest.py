"""Airflow's own API server, in process: its real app with the plugin, its database, and users with few rights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

Browser = Callable[[str | None], Any]


@pytest.fixture(scope="session")
def api_server(airflow_home: Path) -> Iterator[Any]:
    """Return the app that Airflow's API server runs."""
    patch = pytest.MonkeyPatch()
    patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "strict_auth.StrictAuthManager")
    patch.setenv(
        "AIRFLOW__API_AUTH__JWT_SECRET", "a secret of the tests, long enough for every algorithm: 0123456789abcdef"
    )
    from airflow.api_fastapi.app import create_app, purge_cached_app

    yield create_app("core")
    purge_cached_app()
    patch.undo()


@pytest.fixture(scope="session")
def browser(api_server: Any) -> Browser:
    """Return a function that makes a client of a user; ``None``: not signed in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    def client(name: str | None) -> TestClient:
        found = TestClient(api_server, base_url="http://testserver")
        if name is not None:
            user = SimpleAuthManagerUser(username=name, role="admin")
            found.cookies.set("_token", get_auth_manager().generate_jwt(user))
        return found

    return client


@pytest.fixture(scope="session")
def admin(browser: Browser) -> Any:
    """Return a client of a user who may read everything."""
    return browser("admin")


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose media may be shown."""
    folder = tmp_path / "media"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__EVOLINK__UI_ROOTS", f"file://{folder}")
    return folder

"""A session that is over, in a real browser: the tab says so, and goes on after the login."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, api_server
from chromium import Page, browser

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "plugin"))
BANNER = "document.querySelector('#session')"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def server(airflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Run an API server with one user."""
    passwords = tmp_path_factory.mktemp("users") / "passwords.json"
    passwords.write_text(json.dumps({"producer": "a-password"}))
    env = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "producer:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    with api_server(env) as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """Return a page of a headless Chromium."""
    with browser(tmp_path) as found:
        yield found


def sign_in(page: Page) -> None:
    """Fill in the form of the login."""
    page.wait_for("!!document.querySelector('input[name=username]')")
    for name, text in (("username", "producer"), ("password", "a-password")):
        page.run(f"document.querySelector('input[name={name}]').focus()")
        page.ask("Input.insertText", text=text)
    page.run("document.querySelector('button[type=submit]').click()")


def test_a_tab_that_is_followed_says_that_the_session_is_over_and_goes_on(server: ApiServer, page: Page) -> None:
    """It renews itself until then; its link leads through the login, and back to it."""
    from airflow_rows import Run
    from ui_samples import record

    run = Run("session")
    run.task("generate", state="deferred")
    run.record("generate", record("task-1", state="submitted"))
    page.open(f"{server.url}/auth/login")
    sign_in(page)
    page.wait_for("!location.pathname.includes('login')")
    page.open(server.url + run.address("task", "generate"))
    page.wait_for_text("task-1")
    assert page.run(f"{BANNER}.hidden")

    page.ask("Network.clearBrowserCookies")
    page.wait_for(f"!{BANNER}.hidden")
    assert "Your session is over" in page.run("document.body.innerText")
    page.run("document.querySelector('#sign-in').click()")
    sign_in(page)
    page.wait_for("location.pathname.includes('/evolink/task/')")
    page.wait_for_text("task-1")
    assert page.run(f"{BANNER}.hidden")

"""The pictures of the documentation: a real Airflow on the emulator, photographed by a headless Chromium."""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import demo
import httpx
from local_airflow import LocalAirflow, free_port
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

WIDTH, HEIGHT = 1280, 800
LARGEST = 200_000
JOB_SECONDS = 60
DAG_ID = demo.DAG_ID
COMPLETED = " completed: "
LINK = "Open result"


class Page:
    """
    One page of the browser, driven through Chromium's debugging protocol.

    :param socket: Connection to the page.
    :param folder: Where the pictures go.
    """

    def __init__(self, socket: ClientConnection, folder: Path) -> None:
        self._socket = socket
        self._folder = folder
        self._ids = itertools.count(1)
        self.ask("Page.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def ask(self, method: str, **params: Any) -> Any:
        """
        Send a command and return its answer.

        :param method: Name in the protocol.
        :param params: Its parameters.
        """
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                return answer.get("result", {})

    def run(self, script: str) -> Any:
        """
        Run JavaScript in the page and return its value.

        :param script: An expression.
        """
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def open(self, url: str) -> None:
        """
        Go to an address.

        :param url: The address.
        """
        self.ask("Page.navigate", url=url)

    def wait_for(self, script: str, seconds: float = 30.0) -> None:
        """
        Wait until an expression is true, then for the page to come to rest.

        :param script: The expression.
        :param seconds: Patience.
        """
        until = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > until:
                raise SystemExit(f"the page never came to: {script}")
            time.sleep(0.2)
        time.sleep(1.5)

    def wait_for_text(self, text: str, seconds: float = 30.0) -> None:
        """
        Wait until a text is on the page.

        :param text: The text.
        :param seconds: Patience.
        """
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})", seconds)

    def click(self, selector: str, text: str) -> None:
        """
        Click the first element that holds a text.

        :param selector: CSS selector of the elements.
        :param text: What it holds.
        """
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        found = f"{elements}.find(element => element.innerText.includes({json.dumps(text)}))"
        self.wait_for(f"!!{found}")
        self.run(f"{found}.click()")

    def type(self, text: str) -> None:
        """
        Type into what has the focus, and press Enter.

        :param text: The text.
        """
        self.ask("Input.insertText", text=text)
        time.sleep(0.5)
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def picture(self, name: str) -> None:
        """
        Write a picture of what is shown.

        :param name: Of the file, without its extension.
        """
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        if len(data) > LARGEST:
            raise SystemExit(f"{name}.png has {len(data)} bytes, more than {LARGEST}")
        (self._folder / f"{name}.png").write_bytes(data)
        print(f"{name}.png  {len(data)} bytes", flush=True)


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """
    Run a headless Chromium and lend a page of it.

    :param folder: Where the pictures go.
    """
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not on PATH: install it first (Debian: apt-get install chromium)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="evolink-chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--lang=en-US",
                f"--user-data-dir={profile}",
                f"--remote-debugging-port={port}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(page_address(port), max_size=None, proxy=None) as socket:
                yield Page(socket, folder)
        finally:
            process.terminate()
            process.wait(timeout=10)


def page_address(port: int) -> str:
    """
    Return the debugging address of the browser's page.

    :param port: Where the browser listens.
    """
    for _ in range(150):
        try:
            for target in httpx.get(f"http://127.0.0.1:{port}/json", timeout=2, trust_env=False).json():
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("chromium did not start")


def wait_for_state(airflow: LocalAirflow, run_id: str, task_id: str, state: str) -> None:
    """
    Wait until a task is in a state.

    :param airflow: A running Airflow.
    :param run_id: The run.
    :param task_id: The task.
    :param state: The state.
    """
    for states in airflow.watch(DAG_ID, run_id):
        if states.get(task_id) == state:
            return
    raise SystemExit(f"{task_id} never was {state}")


def take(airflow: LocalAirflow, page: Page) -> None:
    """
    Take all pictures.

    :param airflow: A running Airflow whose connection leads to the emulator.
    :param page: A page of the browser.
    """
    page.open(airflow.url)
    page.wait_for_text("Dags")
    page.run("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
    connection_form(airflow, page)

    airflow.unpause(DAG_ID)
    while not (runs := airflow.runs(DAG_ID)):
        time.sleep(0.5)
    run_url = f"{airflow.url}/dags/{DAG_ID}/runs/{quote(runs[0])}"
    wait_for_state(airflow, runs[0], "generate", "deferred")
    page.open(run_url)
    page.wait_for_text("generate")
    page.wait_for_text("Deferred")
    page.picture("graph-deferred")

    wait_for_state(airflow, runs[0], "archive", "success")
    page.open(f"{run_url}/tasks/generate")
    page.wait_for_text(COMPLETED)
    page.run("document.querySelector('button[aria-label*=fullscreen i]').click()")
    page.wait_for("!!document.querySelector('[role=dialog]')")
    page.picture("log")
    page.open(f"{run_url}/tasks/generate/details")
    page.wait_for_text(LINK)
    page.picture("first-result")


def connection_form(airflow: LocalAirflow, page: Page) -> None:
    """
    Take the picture of the connection form.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    """
    page.open(f"{airflow.url}/connections")
    page.click("button", "Add Connection")
    page.wait_for("!!document.querySelector('input[name=connection_id]')")
    page.run("document.querySelector('input[name=connection_id]').focus()")
    page.ask("Input.insertText", text="evolink_default")
    page.run("document.querySelector('[role=dialog] [role=combobox]').focus()")
    page.type("evolink")
    page.wait_for_text("API key")
    page.picture("connection-form")


def main() -> int:
    """Take the pictures and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=demo.ROOT / "docs" / "images", help="folder of the pictures")
    out = options.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    demo.JOB_SECONDS = JOB_SECONDS
    with (
        browser(out) as page,
        tempfile.TemporaryDirectory(prefix="evolink-pictures-", ignore_cleanup_errors=True) as folder,
        demo.emulator(free_port(), Path(folder)) as url,
    ):
        env = {
            "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps({"conn_type": "evolink", "host": url, "password": demo.KEY}),
            "AIRFLOW_VAR_EVOLINK_STAGING": (Path(folder) / "staging").as_uri(),
            "AIRFLOW_VAR_EVOLINK_ARCHIVE": (Path(folder) / "archive").as_uri(),
        }
        with LocalAirflow(Path(folder) / "airflow", demo.ROOT / "dags", env) as airflow:
            airflow.wait_ready(DAG_ID)
            take(airflow, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())

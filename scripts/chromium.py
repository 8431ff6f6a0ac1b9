"""A headless Chromium, driven through its debugging protocol, for the pictures of the documentation and the tests."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from local_airflow import free_port
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

WIDTH, HEIGHT = 1280, 800
LARGEST = 150_000
KINDS = {".png": [{"format": "png"}], ".jpg": [{"format": "jpeg", "quality": quality} for quality in (84, 72, 60)]}


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
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.resize(WIDTH, HEIGHT)

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
            if is_error(answer):
                self.errors.append(json.dumps(answer["params"]))

    def resize(self, width: int, height: int) -> None:
        """
        Give the page another size.

        :param width: In CSS pixels.
        :param height: In CSS pixels.
        """
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """
        Run JavaScript in the page, as if the user had clicked, and return its value.

        :param script: An expression; a promise is awaited.
        """
        params = {"returnByValue": True, "userGesture": True, "awaitPromise": True}
        return self.ask("Runtime.evaluate", expression=script, **params).get("result", {}).get("value")

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

    def drag(self, selector: str, to_x: int) -> None:
        """
        Drag an element sideways.

        :param selector: CSS selector of the element.
        :param to_x: Where to, in CSS pixels from the left.
        """
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        left, y = self.run(f"[{box}.left + {box}.width / 2, {box}.top + 60]")
        steps = [left + (to_x - left) * part / 5 for part in range(6)]
        for kind, x in [("mousePressed", left), *(("mouseMoved", x) for x in steps), ("mouseReleased", to_x)]:
            held = 0 if kind == "mouseReleased" else 1
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)
        time.sleep(1)

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

    def press_tab(self) -> None:
        """Move the focus to the next element, as the keyboard does."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)

    def picture(self, name: str) -> None:
        """
        Write a picture of what is shown.

        :param name: Of the file; ``.jpg`` where media are shown, which are too large as ``.png``.
        """
        for kind in KINDS[Path(name).suffix]:
            data = base64.b64decode(self.ask("Page.captureScreenshot", **kind)["data"])
            if len(data) <= LARGEST:
                break
        else:
            raise SystemExit(f"{name} has {len(data)} bytes, more than {LARGEST}")
        (self._folder / name).write_bytes(data)
        print(f"{name}  {len(data)} bytes", flush=True)


def is_error(event: dict[str, Any]) -> bool:
    """
    Return whether an event of the browser is a red line of its console.

    :param event: As the protocol sends it.
    """
    kinds = {"Runtime.consoleAPICalled": "type", "Log.entryAdded": "level"}
    method, params = event.get("method", ""), event.get("params", {})
    row = params.get("entry", params)
    return method == "Runtime.exceptionThrown" or (method in kinds and row.get(kinds[method]) == "error")


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

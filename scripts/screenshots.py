"""The pictures of the documentation: a real Airflow on the emulator, photographed by a headless Chromium."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import demo
import httpx
from chromium import HEIGHT, WIDTH, browser
from local_airflow import LocalAirflow, free_port

if TYPE_CHECKING:
    from chromium import Page

JOB_SECONDS = 40
DAILY, STORYBOARD, REVIEW, FORM = demo.DAG_ID, "evolink_storyboard", "evolink_review", "evolink_prompt_form"
COMPLETED = " completed: "
TRACEBACK = "EvoLinkTaskFailed"
LINK = "Open result"
SHOTS = (
    "Wide angle: a rainy night street, neon lights flicker",
    "Medium: a detective enters an old building",
    "Close-up: the detective finds the key clue",
    "Low angle: a paper boat drifts past his shoes",
    "Over the shoulder: a shadow crosses the stairs",
    "Close-up: rain on a window, a match is lit",
    "Wide angle: the harbor at dawn, gulls rise",
)
REFUSED = {"kind": "job_fails", "after": 2, "code": "content_policy_violation"}
HANDLE = "[data-panel-resize-handle-id]"
GRAPH_WIDTH = 300
FORM_HEIGHT, REVIEW_HEIGHT = 1160, 1000
WAITING = ("awaiting_input", "deferred")


@dataclass(frozen=True)
class Runs:
    """
    The runs that are photographed, each by its ID.

    :param daily: One archived clip.
    :param storyboard: Several clips, one of which was refused.
    :param review: Pictures that wait for a person.
    """

    daily: str
    storyboard: str
    review: str


def wait_for_state(airflow: LocalAirflow, dag_id: str, run_id: str, task: str, states: tuple[str, ...]) -> None:
    """
    Wait until a task is in a state.

    :param airflow: A running Airflow.
    :param dag_id: The DAG.
    :param run_id: The run.
    :param task: The task.
    :param states: Any of these will do.
    """
    for found in airflow.watch(dag_id, run_id):
        if found.get(task) in states:
            return
    raise SystemExit(f"{task} never was {' or '.join(states)}")


def start(airflow: LocalAirflow, emulator: str) -> Runs:
    """
    Start all runs, so that their jobs run at the same time.

    :param airflow: A running Airflow whose connection leads to the emulator.
    :param emulator: Address of the emulator.
    """
    for dag_id in (STORYBOARD, REVIEW, FORM):
        airflow.unpause(dag_id)
    faults = f"{emulator}/_emulator/faults"
    httpx.post(faults, json=REFUSED, timeout=10, trust_env=False).raise_for_status()
    storyboard = airflow.trigger(STORYBOARD, {"shots": SHOTS})
    while not httpx.get(faults, timeout=10, trust_env=False).json()["faults"][0]["done"]:
        time.sleep(0.5)  # the fault is for one of them
    review = airflow.trigger(REVIEW)
    airflow.unpause(DAILY)
    while not (runs := airflow.runs(DAILY)):
        time.sleep(0.5)
    return Runs(runs[0], storyboard, review)


def of_run(airflow: LocalAirflow, dag_id: str, run_id: str) -> str:
    """
    Return the address of a run's page.

    :param airflow: A running Airflow.
    :param dag_id: The DAG.
    :param run_id: The run.
    """
    return f"{airflow.url}/dags/{dag_id}/runs/{quote(run_id)}"


def while_it_waits(airflow: LocalAirflow, page: Page, runs: Runs) -> None:
    """
    Take the picture of a deferred task.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    :param runs: The runs.
    """
    wait_for_state(airflow, DAILY, runs.daily, "generate", ("deferred",))
    page.open(of_run(airflow, DAILY, runs.daily))
    page.wait_for_text("generate")
    page.wait_for_text("Deferred")
    page.picture("graph-deferred.png")


def of_the_clip(airflow: LocalAirflow, page: Page, runs: Runs) -> None:
    """
    Take the pictures of the daily clip: log, details, and the tab Media in both themes.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    :param runs: The runs.
    """
    wait_for_state(airflow, DAILY, runs.daily, "archive", ("success",))
    task = f"{of_run(airflow, DAILY, runs.daily)}/tasks/generate"
    page.open(task)
    page.wait_for_text(COMPLETED)
    enlarge(page)
    page.picture("log.png")
    page.open(f"{task}/details")
    page.wait_for_text(LINK)
    page.picture("first-result.png")
    for theme in ("dark", "light"):
        page.run(f"localStorage.setItem('theme', {json.dumps(theme)})")
        open_wide(page, f"{task}/plugin/evolink-media")
        play(page)
        page.picture(f"media-{theme}.jpg")


def open_wide(page: Page, address: str) -> None:
    """
    Go to a page of Airflow, and give its tabs most of the window.

    :param page: A page of the browser.
    :param address: The page.
    """
    page.open(address)
    handle = f"document.querySelector({json.dumps(HANDLE)})"
    page.wait_for(f"!!{handle}")
    if page.run(f"Math.abs({handle}.getBoundingClientRect().left - {GRAPH_WIDTH}) > 20"):
        page.drag(HANDLE, GRAPH_WIDTH)
        page.open(address)
        page.wait_for(f"!!{handle}")


def play(page: Page) -> None:
    """
    Play the clip of the tab for some seconds, and stop it.

    :param page: A page of the browser that shows the tab.
    """
    video = "document.querySelector('iframe')?.contentDocument?.querySelector('video')"
    page.wait_for(f"!!{video}")
    page.run(f"(video => {{ video.muted = true; video.currentTime = 2; video.play(); }})({video})")
    page.wait_for(f"{video}.currentTime > 2.2")
    page.run(f"{video}.pause()")


def enlarge(page: Page) -> None:
    """
    Let a log fill the window.

    :param page: A page of the browser that shows a log.
    """
    page.run("document.querySelector('button[aria-label*=fullscreen i]').click()")
    page.wait_for("!!document.querySelector('[role=dialog]')")


def of_the_review(airflow: LocalAirflow, page: Page, runs: Runs) -> None:
    """
    Take the pictures of a review: as it waits for a person, and in the tab Media.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    :param runs: The runs.
    """
    wait_for_state(airflow, REVIEW, runs.review, "review", WAITING)
    task = f"{of_run(airflow, REVIEW, runs.review)}/tasks/review"
    page.resize(WIDTH, REVIEW_HEIGHT)
    open_wide(page, f"{task}/required_actions")
    page.wait_for("[...document.images].filter(image => image.naturalWidth > 100).length >= 2")
    page.picture("review.jpg")
    page.resize(WIDTH, HEIGHT)
    open_wide(page, f"{task}/plugin/evolink-media")
    page.wait_for("!!document.querySelector('iframe')?.contentDocument?.querySelector('img')?.naturalWidth")
    page.picture("review-media.jpg")


def of_the_storyboard(airflow: LocalAirflow, page: Page, runs: Runs) -> None:
    """
    Take the pictures of many results: the contact sheet, and the log of the one that failed.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    :param runs: The runs.
    """
    for _ in airflow.watch(STORYBOARD, runs.storyboard):
        pass
    run = of_run(airflow, STORYBOARD, runs.storyboard)
    open_wide(page, f"{run}/plugin/evolink-sheet")
    frames = "[...document.querySelector('iframe')?.contentDocument?.querySelectorAll('.frame img') || []]"
    page.wait_for(f"{frames}.length > 1 && {frames}.every(frame => frame.naturalWidth)")
    page.picture("contact-sheet.jpg")
    failed = next(task for task in airflow.tasks(STORYBOARD, runs.storyboard) if task["state"] == "failed")
    page.resize(1440, HEIGHT)
    open_wide(page, f"{run}/tasks/{failed['task_id']}/mapped/{failed['map_index']}")
    page.wait_for_text("What to do")
    page.click("summary", TRACEBACK)
    time.sleep(0.5)
    page.picture("failed-log.jpg")
    page.resize(WIDTH, HEIGHT)


def of_all_dags(airflow: LocalAirflow, page: Page) -> None:
    """
    Take the picture of the page EvoLink.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    """
    page.resize(WIDTH, REVIEW_HEIGHT)
    page.open(f"{airflow.url}/plugin/evolink")
    page.wait_for("!!document.querySelector('iframe')?.contentDocument?.querySelector('canvas')?.width")
    page.picture("overview.jpg")
    page.resize(WIDTH, HEIGHT)


def of_the_form(airflow: LocalAirflow, page: Page) -> None:
    """
    Take the picture of the form with a prompt.

    :param airflow: A running Airflow.
    :param page: A page of the browser.
    """
    page.resize(WIDTH, FORM_HEIGHT)
    page.open(f"{airflow.url}/dags/{FORM}")
    page.click("button", "Trigger")
    page.wait_for_text("Budget (credits)")
    page.picture("form.png")
    page.resize(WIDTH, HEIGHT)


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
    page.picture("connection-form.png")


def take(airflow: LocalAirflow, page: Page, emulator: str) -> None:
    """
    Take all pictures.

    :param airflow: A running Airflow whose connection leads to the emulator.
    :param page: A page of the browser.
    :param emulator: Address of the emulator.
    """
    page.open(airflow.url)
    page.wait_for_text("Dags")
    page.run("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
    runs = start(airflow, emulator)
    while_it_waits(airflow, page, runs)
    connection_form(airflow, page)
    of_the_form(airflow, page)
    of_the_clip(airflow, page, runs)
    of_the_review(airflow, page, runs)
    of_the_storyboard(airflow, page, runs)
    of_all_dags(airflow, page)


def main() -> int:
    """Take the pictures and return the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=demo.ROOT / "docs" / "images", help="folder of the pictures")
    out = options.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    demo.JOB_SECONDS = JOB_SECONDS
    with (
        browser(out) as page,
        tempfile.TemporaryDirectory(prefix="evolink-", ignore_cleanup_errors=True) as folder,
        demo.emulator(free_port(), Path(folder)) as url,
        LocalAirflow(Path(folder) / "airflow", demo.ROOT / "dags", demo.settings(url, Path(folder))) as airflow,
    ):
        airflow.wait_ready(DAILY)
        take(airflow, page, url)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The whole thing on a real Airflow: scheduler, triggerer, API server, SIGKILL."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import httpx
import pytest
from chromium import Page
from local_airflow import LocalAirflow
from media_tab import BUTTON, TILES, VIDEO, hosts, open_tab, play, text

from airflow_provider_evolink.emulator.server import EmulatorServer

HERE = Path(__file__).parent
DAILY = "evolink_daily_video"
CONSUMER = "evolink_on_archive"
BATCH = "killed_while_ordering"
ON_S3, SHEET = "archived_on_s3", "sheet_of_thirty"

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
pytestmark = [pytest.mark.one_host, pytest.mark.timeout(400)]


def last_try(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, Any]:
    """Wait for a run and return its one task."""
    for _ in airflow.watch(dag_id, run_id):
        pass
    return airflow.tasks(dag_id, run_id)[0]


def orders(books: EmulatorServer, dag_id: str) -> list[dict[str, Any]]:
    """Return the orders of one DAG under test, by its prompt."""
    return [job for job in books.books()["jobs"] if job["body"]["prompt"].endswith(dag_id)]


def test_waits_in_the_triggerer_without_a_worker_slot(airflow: LocalAirflow, books: EmulatorServer) -> None:
    """While the job runs at EvoLink the task is deferred, and no slot of its pool is taken."""
    airflow.unpause(DAILY)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        run = next(iter(airflow.runs(DAILY)), None)
        task = next((t for t in airflow.tasks(DAILY, run) if t["task_id"] == "generate"), None) if run else None
        if task and task["state"] == "deferred":
            break
        time.sleep(0.3)
    jobs = [job for job in books.books()["jobs"] if "paper boat" in job["body"]["prompt"]]
    pool = airflow.get("/api/v2/pools/default_pool")

    assert run
    assert task
    assert task["state"] == "deferred"
    assert [job["status"] for job in jobs] == ["processing"]
    assert pool["deferred_slots"] == 1
    assert pool["running_slots"] == pool["queued_slots"] == pool["occupied_slots"] == 0
    assert airflow.get(f"/api/v2/dags/{DAILY}/dagRuns/{run}/taskInstances/generate")["trigger"]["classpath"].endswith(
        "EvoLinkJobTrigger"
    )


def test_daily_video_is_generated_downloaded_and_archived(
    airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str]
) -> None:
    """One order, one archived MP4 of the ordered size, with a manifest whose checksum is right."""
    run = airflow.runs(DAILY)[0]
    states = list(airflow.watch(DAILY, run))[-1]
    file = airflow.xcom(DAILY, run, "archive")[0]
    path = Path(file["uri"].removeprefix("file://"))
    manifest = json.loads(Path(file["manifest"].removeprefix("file://")).read_text())

    assert states == {"generate": "success", "download": "success", "archive": "success"}
    assert manifest["files"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with av.open(str(path)) as media:
        assert (media.streams.video[0].width, media.streams.video[0].height) == (1280, 720)
        assert float(media.duration) / 1_000_000 == pytest.approx(5.0, abs=0.1)
    assert len([job for job in books.books()["jobs"] if "paper boat" in job["body"]["prompt"]]) == 1


def test_a_dag_that_is_scheduled_on_the_archive_gets_what_arrived(airflow: LocalAirflow) -> None:
    """The archive task raised one asset event, and the consumer has its metadata in hand."""
    deadline = time.monotonic() + 60
    while not (run := next(iter(airflow.runs(CONSUMER)), None)) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert run, "the asset event started no run"
    assert list(airflow.watch(CONSUMER, run))[-1] == {"list_new": "success"}
    (file,) = airflow.xcom(DAILY, airflow.runs(DAILY)[0], "archive")
    (extra,) = airflow.xcom(CONSUMER, run, "list_new")

    assert (extra["job_id"], extra["model"], extra["credits"]) == (file["job_id"], "wan2.7-text-to-video", 27.2)
    assert extra["uri"] == file["uri"].rpartition("/")[0]
    assert [(one["uri"], one["sha256"]) for one in extra["files"]] == [(file["uri"], file["sha256"])]
    assert "paper boat" not in json.dumps(extra)


def test_lineage_leads_from_the_job_to_the_archived_file(airflow: LocalAirflow) -> None:
    """Each task reports what it read and wrote, in events that OpenLineage's own classes read."""
    run = airflow.runs(DAILY)[0]
    (staged,) = airflow.xcom(DAILY, run, "download")
    (archived,) = airflow.xcom(DAILY, run, "archive")
    files = list(airflow.home.parent.glob("lineage*"))
    texts = [path.read_text() for path in files]
    events = [json.loads(text) for text in texts]
    seen = {
        event["job"]["name"].rpartition(".")[2]: (
            names(event["inputs"]),
            names(event["outputs"]),
            event["run"]["facets"],
        )
        for event in events
        if event["eventType"] == "COMPLETE" and event["job"]["name"].startswith(f"{DAILY}.")
    }
    job = ("evolink", staged["job_id"])

    assert seen["generate"][:2] == ([], [job])
    assert seen["download"][:2] == ([job], [file_name(staged)])
    assert seen["archive"][:2] == ([file_name(staged)], [file_name(archived)])
    assert all(facets["evolink"]["jobs"][0]["credits"] == 27.2 for _, _, facets in seen.values())
    for secret in ("paper boat", "one-host-test-key", "X-Amz", "signature"):
        assert not any(secret in text for text in texts)


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the names of datasets."""
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def file_name(file: dict[str, Any]) -> tuple[str, str]:
    """Return a local file as OpenLineage names it."""
    return "file", file["uri"].removeprefix("file://")


def test_shows_a_link_to_the_result(airflow: LocalAirflow) -> None:
    """Each task instance has links to pages that know more than it did when it ended."""
    run = airflow.runs(DAILY)[0]
    for task_id in ("generate", "download", "archive"):
        links = airflow.get(f"/api/v2/dags/{DAILY}/dagRuns/{run}/taskInstances/{task_id}/links")["extra_links"]
        assert set(links) == {"Open result", "Archived file", "Manifest"}
        for name, address in links.items():
            response = httpx.get(f"{airflow.url}/{address}", follow_redirects=True, trust_env=False)
            assert response.status_code == 200, (name, response.text)
            assert ("video/mp4" in response.headers["content-type"]) == (name == "Archived file")


@needs_chromium
@pytest.mark.parametrize("task_id", ["generate", "archive"])
def test_the_tab_plays_the_clip(task_id: str, airflow: LocalAirflow, page: Page) -> None:
    """In Airflow's own UI, in a real browser: the archived clip plays and seeks, and the console stays empty."""
    run = quote(airflow.runs(DAILY)[0])
    page.errors.clear()
    page.open(f"{airflow.url}/dags/{DAILY}/runs/{run}/tasks/{task_id}/plugin/evolink-media")
    tab = "document.querySelector('iframe')?.contentDocument"
    start = "(video => {{ video.muted = true; video.currentTime = 3; video.play(); }})({video})"
    page.wait_for(f"!!{tab}?.querySelector('video')")
    video = f"{tab}.querySelector('video')"
    play = start.format(video=video)
    page.ask("Runtime.evaluate", expression=play, userGesture=True)
    page.wait_for(f"{video}.currentTime > 3.1")

    assert page.run(f"{video}.error") is None
    assert page.run(f"{video}.poster.includes('/evolink/poster/')")
    assert "paper boat" in page.run(f"{tab}.body.innerText")
    assert page.run(f"{tab}.documentElement.className") == page.run("document.documentElement.className")
    hosts = f"[...{tab}.defaultView.performance.getEntriesByType('resource')].map(one => new URL(one.name).origin)"
    assert set(page.run(hosts)) == {airflow.url}
    assert page.errors == []


VIEWS = {
    "task/{dag}/generate/-1/{run}": ("VIDEO", "paper boat"),
    "run/{dag}/{run}": ("SELECT", "paper boat"),
    "overview": ("INPUT", "paper boat"),
    "manifest/{dag}/archive/-1/0/{run}": ("PRE", "sha256"),
}


@needs_chromium
@pytest.mark.parametrize("view", VIEWS)
def test_the_pages_can_be_used_by_everybody(view: str, airflow: LocalAirflow, page: Page) -> None:
    """By their own address: nothing sticks out on a telephone, axe finds no fault in either theme, the focus shows."""
    first, text = VIEWS[view]
    page.errors.clear()
    page.resize(390, 800)
    page.open(f"{airflow.url}/evolink/{view.format(dag=DAILY, run=quote(airflow.runs(DAILY)[0], safe=''))}")
    page.wait_for_text(text)
    page.run((HERE / "axe" / "axe.min.js").read_text())
    found = {theme: checked_by_axe(page, theme) for theme in ("light", "dark")}
    page.press_tab()
    focus = page.run("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineWidth]")
    width = page.run("document.documentElement.scrollWidth")
    page.resize(1280, 800)

    assert found == {"light": ("rgb(255, 255, 255)", []), "dark": ("rgb(17, 17, 17)", [])}
    assert focus == [first, "2px"]
    assert width == 390
    assert page.errors == []


@needs_chromium
def test_the_page_in_the_navigation_draws_the_spend(airflow: LocalAirflow, page: Page) -> None:
    """In Airflow's own UI: the plot is drawn under the strict policy, a filter is a link, no other host is asked."""
    page.errors.clear()
    page.open(f"{airflow.url}/plugin/evolink")
    tab = "document.querySelector('iframe')?.contentDocument"
    page.wait_for(f"!!{tab}?.defaultView.Chart?.getChart('plot')")
    plot = f"{tab}.defaultView.Chart.getChart('plot')"
    assert page.run(f"{plot}.data.datasets.some(one => one.label === '{DAILY}' && one.data.some(sum => sum > 0))")
    assert page.run(f"{plot}.width > 200 && {plot}.height > 200")
    hosts = f"[...{tab}.defaultView.performance.getEntriesByType('resource')].map(one => new URL(one.name).origin)"
    assert set(page.run(hosts)) == {airflow.url}
    page.run(f"[...{tab}.querySelectorAll('td a')].find(one => one.innerText === '{DAILY}').click()")
    page.wait_for(f"{tab}?.querySelector('select[name=dag]')?.value === '{DAILY}'")
    assert "Gallery: " in page.run(f"{tab}.body.innerText")
    assert page.errors == []


def checked_by_axe(page: Page, theme: str) -> tuple[str, list[Any]]:
    """Return the background of a page in a theme, and what axe finds wrong with it."""
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    background = page.run("getComputedStyle(document.body).backgroundColor")
    violations, passes = json.loads(
        page.run("axe.run().then(found => JSON.stringify([found.violations, found.passes]))")
    )
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": ""}])
    assert "color-contrast" in {rule["id"] for rule in passes}
    return background, [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations]


def test_has_a_connection_form(airflow: LocalAirflow) -> None:
    """Airflow's UI gets the labels and fields of the connection."""
    form = next(hook for hook in airflow.get("/ui/connections/hook_meta") if hook["connection_type"] == "evolink")
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert {"timeout", "submit_timeout", "files_host"} <= set(form["extra_fields"])


@pytest.mark.parametrize("dag_id", ["killed_before_deferring", "killed_while_blocking", "killed_on_resume"])
def test_a_killed_worker_costs_one_job(
    dag_id: str, airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str], marks: Path
) -> None:
    """SIGKILL after the order: the retry attaches to the same job and returns it as a first try would."""
    run_id = started[dag_id]
    task = last_try(airflow, dag_id, run_id)
    paid = orders(books, dag_id)

    assert len(list(marks.glob(f"*-{dag_id}"))) == 1
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert len(paid) == 1
    assert airflow.xcom(dag_id, run_id, "generate")["job_id"] == paid[0]["id"]
    assert len(airflow.xcom(dag_id, run_id, "generate")["results"]) == 1


def test_a_worker_killed_before_it_recorded_the_job_does_not_pay_twice(
    airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str], marks: Path
) -> None:
    """SIGKILL between EvoLink's answer and our record: the retry stops and says so, rather than order again."""
    dag_id = "killed_before_recording"
    run_id = started[dag_id]
    task = last_try(airflow, dag_id, run_id)

    assert len(list(marks.glob(f"*-{dag_id}"))) == 1
    assert (task["state"], task["try_number"]) == ("failed", 2)
    assert len(orders(books, dag_id)) == 1
    log = json.dumps(airflow.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/generate/logs/2"))
    assert "an earlier try was interrupted while it submitted" in log
    assert "its idempotency key is af1-" in log
    tab = httpx.get(f"{airflow.url}/evolink/task/{dag_id}/generate/-1/{run_id}", trust_env=False).text
    assert "one order may have been charged" in tab
    assert "What to do:</b> run" in tab
    assert "reconcile" in tab


def test_a_batch_that_is_killed_while_it_orders_pays_each_request_once(
    airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str], marks: Path
) -> None:
    """SIGKILL after ten of twenty orders: the retry orders the other ten and returns all in order."""
    run_id = started[BATCH]
    task = last_try(airflow, BATCH, run_id)
    paid = {job["body"]["prompt"]: job["id"] for job in orders(books, BATCH)}
    results = airflow.xcom(BATCH, run_id, "generate")

    assert len(list(marks.glob(f"*-{BATCH}"))) == 1
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert len(orders(books, BATCH)) == len(paid) == 20
    assert [result["job_id"] for result in results] == [
        paid[f"Clip {number} whose worker is {BATCH}"] for number in range(20)
    ]
    assert all(result["status"] == "completed" for result in results)


@needs_chromium
def test_a_clip_plays_from_its_link_before_it_expires(
    airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str], page: Page
) -> None:
    """Nothing has downloaded it: the browser loads it from EvoLink's host, when the user presses play."""
    dag_id = "killed_on_resume"
    last_try(airflow, dag_id, started[dag_id])
    open_tab(page, tab_of(airflow, dag_id, started[dag_id]), BUTTON)
    assert hosts(page) == {airflow.url}
    page.run(f"{BUTTON}.click()")
    play(page)
    assert page.run(f"new URL({VIDEO}.src).origin") == books.url


@needs_chromium
@pytest.mark.parametrize("dag_id", [DAILY, ON_S3])
def test_an_archived_clip_plays_after_its_link_has_expired(
    dag_id: str, airflow: LocalAirflow, books: EmulatorServer, started: dict[str, str], page: Page
) -> None:
    """From a folder and from S3, through Airflow's own API server."""
    run_id = started.get(dag_id) or airflow.runs(dag_id)[0]
    last_try(airflow, dag_id, run_id)
    job = airflow.xcom(dag_id, run_id, "generate")
    books.job(job["job_id"], expire_links=True)
    assert httpx.get(job["results"][0], trust_env=False).status_code == 403
    over = {**job, "expires_at": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/generate/xcomEntries/return_value"
    airflow.patch(path, {"value": over})

    open_tab(page, tab_of(airflow, dag_id, run_id), VIDEO)
    play(page)
    assert hosts(page) == {airflow.url}
    assert "lives until" not in text(page)


def tab_of(airflow: LocalAirflow, dag_id: str, run_id: str) -> str:
    """Return the address of the tab Media of a generate task."""
    return f"{airflow.url}/dags/{dag_id}/runs/{quote(run_id)}/tasks/generate/plugin/evolink-media"


@needs_chromium
def test_the_contact_sheet_shows_thirty_mapped_tasks(airflow: LocalAirflow, page: Page) -> None:
    """Each with its prompt and credits, and the sum of them."""
    run_id = airflow.trigger(SHEET)
    assert set(list(airflow.watch(SHEET, run_id))[-1].values()) == {"success"}
    paid = [airflow.xcom(SHEET, run_id, "generate", number)["credits"] for number in range(30)]
    open_tab(page, f"{airflow.url}/dags/{SHEET}/runs/{quote(run_id)}/plugin/evolink-sheet", f"{TILES}?.length")
    shown = text(page)
    assert page.run(f"{TILES}.length") == 30
    assert [number for number in range(30) if f"Clip {number} on" not in shown] == []
    assert f"{sum(paid):g}" in shown.replace(",", "")
    assert page.errors == []

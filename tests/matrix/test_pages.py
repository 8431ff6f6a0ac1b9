"""The pages of the plugin in a real browser, in the versions of Airflow that have tabs of plugins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest
from chromium import Page
from media_tab import BUTTON, TAB, TILES, VIDEO, hosts, open_tab, play, text
from old_airflow import OldAirflow

from airflow_provider_evolink.emulator.server import EmulatorServer

SHEET = "sheet_of_thirty"

pytestmark = pytest.mark.timeout(1800)


def run_of(airflow: OldAirflow, dag_id: str) -> str:
    """Return the address of the page of a DAG's run, when the run is over."""
    airflow.finish(dag_id)
    ((run_id,),) = airflow.rows("SELECT run_id FROM dag_run WHERE dag_id = ?", dag_id)
    return f"{airflow.url}/dags/{dag_id}/runs/{quote(run_id)}"


def let_links_expire(airflow: OldAirflow, books: EmulatorServer, dag_id: str) -> None:
    """Let a day pass for the links of a run: EvoLink refuses them, and what the task handed on says so."""
    job = airflow.returned(dag_id, "generate")
    over = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    airflow.hand_on_instead(dag_id, "generate", {**job, "expires_at": over})
    books.job(job["job_id"], expire_links=True)
    assert httpx.get(job["results"][0], trust_env=False).status_code == 403


def test_a_clip_plays_from_its_link_before_it_expires(airflow: OldAirflow, books: EmulatorServer, page: Page) -> None:
    """Nothing has downloaded it: the browser loads it from EvoLink's host, when the user wants it."""
    open_tab(page, f"{run_of(airflow, 'killed_on_resume')}/tasks/generate/plugin/evolink-media", BUTTON)
    assert hosts(page) == {airflow.url}
    page.run(f"{BUTTON}.click()")
    play(page)
    assert page.run(f"new URL({VIDEO}.src).origin") == books.url


@pytest.mark.parametrize("dag_id", ["evolink_daily_video", "archived_on_s3"])
def test_an_archived_clip_plays_after_its_link_has_expired(
    dag_id: str, airflow: OldAirflow, books: EmulatorServer, page: Page
) -> None:
    """From a folder and from S3, through Airflow's own API server."""
    address = run_of(airflow, dag_id)
    let_links_expire(airflow, books, dag_id)
    open_tab(page, f"{address}/tasks/generate/plugin/evolink-media", VIDEO)
    play(page)
    assert hosts(page) == {airflow.url}
    assert "lives until" not in text(page)


def test_the_contact_sheet_shows_thirty_mapped_tasks(airflow: OldAirflow, page: Page) -> None:
    """Each with its prompt and credits, and the sum of them."""
    address = run_of(airflow, SHEET)
    paid = [job["credits"] for job in airflow.all_returned(SHEET)]
    open_tab(page, f"{address}/plugin/evolink-sheet", f"{TILES}?.length")
    shown = text(page)
    assert page.run(f"{TILES}.length") == len(paid) == 30
    assert [number for number in range(30) if f"Clip {number} on" not in shown] == []
    assert f"{sum(paid):g}" in shown.replace(",", "")
    assert page.errors == []


def test_the_page_in_the_navigation_opens(airflow: OldAirflow, page: Page) -> None:
    """In Airflow's own UI, with its plot."""
    run_of(airflow, "evolink_daily_video")
    open_tab(page, f"{airflow.url}/plugin/evolink", f"{TAB}?.defaultView.Chart?.getChart('plot')")
    assert page.errors == []

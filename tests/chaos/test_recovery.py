"""Forty paid jobs whose run is deleted, ten of them archived, five of others: archived once, never paid again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from chaos_rows import TASK, Row, Seen, World

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.storage.archive.archiving import archive_files
from airflow_provider_evolink.storage.results import fetch_media

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
ORDERS, ARCHIVED, THEIRS = 40, 10, 5
KEY = "chaos-other-account-key"  # of an account that no other row uses
ROW = Row(
    "recovery",
    f"{ORDERS} paid jobs of a deleted run, {ARCHIVED} archived, {THEIRS} of another deployment; recovered three times",
    paid=(ORDERS + THEIRS,),
    logical=ORDERS,
    arguments={"orders": ORDERS},
    tries=1,
    source="recovery",
    beside={"recovery_net": {}},
)


def recover(world: World, source: str, archive: str) -> dict[str, Any]:
    """Run the recovery, and return its report."""
    run_id = world.begin("recovery_net", conf={"source": source, "archive": archive})
    world.over("recovery_net", run_id)
    assert world.airflow.run_state("recovery_net", run_id) == "success"
    report: dict[str, Any] = world.airflow.xcom("recovery_net", run_id, TASK)
    return report


def tree(folder: Path) -> dict[str, int]:
    """Return every file below a folder, with its time of change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("row", [ROW], ids=lambda row: row.name)
def test_what_was_paid_for_is_archived_once_and_never_paid_again(
    row: Row, quiet: World, short_books: EmulatorServer, note: Callable[[Seen], Seen]
) -> None:
    """From the ledger what it knows; of the account everything, where that is asked for."""
    folder = quiet.folder / "recovery"
    run_id = quiet.begin(row.name)
    quiet.over(row.name, run_id)
    ours = [result["job_id"] for result in quiet.airflow.xcom(row.name, run_id, TASK)]
    path = f"/api/v2/dags/{row.name}/dagRuns/{quote(run_id)}"
    httpx.delete(f"{quiet.airflow.url}{path}", timeout=60, trust_env=False).raise_for_status()
    with EvoLinkClient(ClientSettings(api_key=KEY, base_url=short_books.url)) as client:
        body = {"model": "z-image-turbo", "prompt": f"Of others, beside row {row.name}"}
        theirs = [client.submit(body).job_id for _ in range(THEIRS)]
        for job_id in ours[:ARCHIVED]:
            files = fetch_media(client, job_id, ObjectStoragePath(f"file://{folder}/staging"))
            archive_files(files, ObjectStoragePath(f"file://{folder}/archive"), {})
    shutil.copytree(folder / "archive", folder / "of_all")

    first = recover(quiet, "ledger", "archive")
    before = tree(folder)
    second = recover(quiet, "ledger", "archive")
    after = tree(folder)
    account = recover(quiet, "account", "of_all")

    paid = [job for job in short_books.books()["jobs"] if job["body"]["prompt"].endswith(f"row {row.name}")]
    note(Seen("success", 1, paid, None, ""))
    assert sorted(one["job_id"] for one in first["archived"]) == sorted(ours[ARCHIVED:])
    assert len(first["archived"]) == ORDERS - ARCHIVED == 30
    assert second["archived"] == []
    assert len(second["already_archived"]) == ORDERS
    assert after == before, "a second run changes nothing"
    assert sorted(one["job_id"] for one in account["archived"]) == sorted([*ours[ARCHIVED:], *theirs])
    assert len(account["archived"]) == 35
    manifests = list((folder / "archive").rglob("manifest.json"))
    assert {path.parent.name for path in manifests} == set(ours)
    assert len(paid) == ORDERS + THEIRS

"""Every DAG in ``dags/`` runs to success in Airflow itself, deferral included."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer

ROOT = Path(__file__).parents[2]
DAGS = sorted((ROOT / "dags").glob("*.py"))
# What each DAG orders, and how many files it leaves in the archive (or in staging, where it archives nothing).
# The last one orders nothing: it is given a job that was ordered before.
EXPECTED = {
    "evolink_daily_video": (1, 1),
    "evolink_storyboard": (3, 3),
    "evolink_image_to_video": (2, 1),
    "evolink_reference_cast": (1, 1),
    "evolink_salvage": (0, 1),
}


def load(path: Path) -> Any:
    """Import a DAG file and return its DAG."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


@pytest.fixture
def deferrals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the job of every trigger that Airflow runs, and let its event out early: nothing races in this process."""
    from airflow_provider_evolink.triggers import evolink

    seen: list[str] = []
    run = evolink.EvoLinkJobTrigger.run

    def noted(self: evolink.EvoLinkJobTrigger) -> Any:
        seen.append(self.job_id)
        self.hold = 0.2
        return run(self)

    monkeypatch.setattr(evolink.EvoLinkJobTrigger, "run", noted)
    return seen


@pytest.fixture
def slow_emulator(emulator: EmulatorServer) -> EmulatorServer:
    """Let jobs take one read more than the worker looks itself, so that every task defers."""
    emulator.settings(polls=2, estimated_time=16)
    return emulator


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the DAGs' variables at a folder."""
    monkeypatch.setenv("AIRFLOW_VAR_EVOLINK_STAGING", (tmp_path / "staging").as_uri())
    monkeypatch.setenv("AIRFLOW_VAR_EVOLINK_ARCHIVE", (tmp_path / "archive").as_uri())
    return tmp_path


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_runs_to_success(
    path: Path, slow_emulator: EmulatorServer, evolink_conn: str, dags_folder: Path, store: Path, deferrals: list[str]
) -> None:
    """Each example orders what it says, defers every wait, and leaves whole files with a true manifest."""
    orders, count = EXPECTED[path.stem]
    dag = load(Path(shutil.copy(path, dags_folder)))
    before = order_by_hand(slow_emulator) if path.stem == "evolink_salvage" else None

    run = dag.test(run_conf={"job_id": before} if before else None)

    assert str(run.state) == "success"
    books = slow_emulator.books()
    jobs = [job["id"] for job in books["jobs"]]
    assert books["orders"] == orders + (before is not None)
    assert sorted(deferrals) == sorted(jobs)
    assert books["media_requests_with_authorization"] == 0
    files = sorted((store / "archive").rglob("*.mp4")) or sorted((store / "staging").rglob("*.mp4"))
    assert len(files) == count
    for file in files:
        check(file, {job["id"]: job["body"] for job in books["jobs"]}, is_known=before is None)


def order_by_hand(emulator: EmulatorServer) -> str:
    """Order a clip outside of Airflow, and return its id."""
    settings = ClientSettings(api_key="test-key-0123456789", base_url=emulator.url)
    with EvoLinkClient(settings) as client:
        job = client.submit({"model": "wan2.7-text-to-video", "prompt": "A paper boat, lost", "duration": 2})
    return job.job_id


def check(file: Path, ordered: dict[str, dict[str, Any]], *, is_known: bool) -> None:
    """Compare a file with what was ordered, and with its manifest where it has one."""
    body = ordered[file.stem.rsplit("-", 1)[0]]
    with av.open(str(file)) as media:
        video = media.streams.video[0]
        assert (video.width, video.height) == (1280, 720)
        assert float(media.duration) / 1_000_000 == pytest.approx(body["duration"], abs=0.1)
    manifest = file.parent / "manifest.json"
    if "archive" in file.parts:
        facts = json.loads(manifest.read_text())
        assert facts["files"][0]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (facts["request"] or {}).get("prompt") == (body["prompt"] if is_known else None)
        assert file.parent.parts[-5] == body["model"]


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_explains_itself(path: Path) -> None:
    """Each example has documentation for the UI and a row in this test."""
    assert path.stem in EXPECTED
    assert load(path).doc_md.strip().startswith("###")

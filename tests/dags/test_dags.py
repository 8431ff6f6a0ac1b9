"""Every DAG in ``dags/`` runs to success in Airflow itself, deferral included."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer

ROOT = Path(__file__).parents[2]
DAGS = sorted((ROOT / "dags").glob("*.py"))
# What each DAG orders, and how many files it leaves in the archive (or in staging, where it archives nothing).
# evolink_recover submits nothing: it is given a job that was submitted before.
EXPECTED = {
    "evolink_daily_video": (1, 1),
    "evolink_storyboard": (3, 3),
    "evolink_batch": (3, 3),
    "evolink_image_to_video": (3, 1),
    "evolink_reference_cast": (3, 1),
    "evolink_recover": (0, 1),
    "evolink_image": (1, 2),
    "evolink_music": (1, 2),
    "evolink_speech": (1, 1),
    "evolink_upscale": (2, 1),
    "evolink_draft_to_final": (2, 1),
    "evolink_local_frame": (1, 1),
    "evolink_on_archive": (0, 0),
    "evolink_prompt_form": (1, 1),
    "evolink_nightly_batch": (3, 3),
    "evolink_review": (8, 3),
}
# What the files of a model are: extension, content type, what the file itself says; seconds where the order names none.
MADE: dict[str, tuple[str, str, Any, float | None]] = {
    "gpt-image-2": (".webp", "image/webp", ("WEBP", (1024, 1024)), None),
    "suno-v5-beta": (".mp3", "audio/mpeg", "mp3", 5),
    "qwen-audio-3.1-tts-flash": (".wav", "audio/wav", "wav", 5),
    "topaz-video-upscale": (".mp4", "video/mp4", (2560, 1440), 2),
    "seedance-2.5-draft-to-video": (".mp4", "video/mp4", (1920, 1080), 4),
}
WAN = (".mp4", "video/mp4", (1280, 720), None)
SPOKEN = "The boat left at {{ dawn }}."


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
    run, run_all = evolink.EvoLinkJobTrigger.run, evolink.EvoLinkBatchTrigger.run

    def noted_all(self: evolink.EvoLinkBatchTrigger) -> Any:
        seen.extend(job[0] for job in self.jobs)
        self.hold = 0.2
        return run_all(self)

    monkeypatch.setattr(evolink.EvoLinkBatchTrigger, "run", noted_all)

    def noted(self: evolink.EvoLinkJobTrigger) -> Any:
        seen.append(self.job_id)
        self.hold = 0.2
        return run(self)

    monkeypatch.setattr(evolink.EvoLinkJobTrigger, "run", noted)
    return seen


@pytest.fixture
def slow_emulator(emulator: EmulatorServer) -> EmulatorServer:
    """Let jobs take one read more than the worker looks itself, so that every task defers."""
    emulator.settings(polls=2, estimated_time=21)
    return emulator


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the DAGs' variables at a folder."""
    monkeypatch.setenv("AIRFLOW_VAR_EVOLINK_STAGING", (tmp_path / "staging").as_uri())
    monkeypatch.setenv("AIRFLOW_VAR_EVOLINK_ARCHIVE", (tmp_path / "archive").as_uri())
    Image.new("RGB", (640, 360), "green").save(tmp_path / "bud.png")
    return tmp_path


def moved(path: Path, folder: Path, store: Path) -> Path:
    """Copy a DAG file, with its image in the folder of this test."""
    copy = folder / path.name
    copy.write_text(re.sub(r"file:///[^\"']*bud\.png", (store / "bud.png").as_uri(), path.read_text()))
    return copy


# A review (of five pictures, of which three are approved) waits for people; tests/one_host runs it.
RUN_HERE = [path for path in DAGS if path.stem != "evolink_review"]


@pytest.mark.parametrize("path", RUN_HERE, ids=lambda path: path.stem)
def test_runs_to_success(
    path: Path, slow_emulator: EmulatorServer, evolink_conn: str, dags_folder: Path, store: Path, deferrals: list[str]
) -> None:
    """Each example orders what it says, defers every wait, and leaves whole files with a true manifest."""
    orders, count = EXPECTED[path.stem]
    dag = load(moved(path, dags_folder, store))
    before = order_by_hand(slow_emulator) if path.stem == "evolink_recover" else None

    run = dag.test(run_conf={"job_id": before} if before else None)

    assert str(run.state) == "success"
    books = slow_emulator.books()
    jobs = [job["id"] for job in books["jobs"]]
    assert books["orders"] == orders + (before is not None)
    assert sorted(deferrals) == sorted(jobs)
    assert books["media_requests_with_authorization"] == 0
    assert books["requests"].get("upload", 0) == (path.stem == "evolink_local_frame")
    files = media_in(store / "archive") or media_in(store / "staging")
    assert len(files) == count
    if path.stem == "evolink_speech":
        assert books["jobs"][0]["body"]["prompt"] == SPOKEN
    for file in files:
        check(file, {job["id"]: job["body"] for job in books["jobs"]}, is_known=before is None)


def test_one_failed_shot_leaves_no_paid_clip_behind(
    slow_emulator: EmulatorServer, evolink_conn: str, dags_folder: Path, store: Path, deferrals: list[str]
) -> None:
    path = next(path for path in DAGS if path.stem == "evolink_storyboard")
    slow_emulator.fault("job_fails", code="content_policy_violation", after=1)
    run = load(moved(path, dags_folder, store)).test()
    assert str(run.state) == "failed"
    assert slow_emulator.books()["orders"] == 3
    assert len(media_in(store / "archive")) == 2


def media_in(folder: Path) -> list[Path]:
    """Return the media files in a folder, without manifests, receipts and posters."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".json" and not file.name.endswith(".poster.jpg")
    )


def order_by_hand(emulator: EmulatorServer) -> str:
    """Order a clip outside of Airflow, and return its id."""
    settings = ClientSettings(api_key="test-key-0123456789", base_url=emulator.url)
    with EvoLinkClient(settings) as client:
        job = client.submit({"model": "wan2.7-text-to-video", "prompt": "A paper boat, lost", "duration": 2})
    return job.job_id


def check(file: Path, ordered: dict[str, dict[str, Any]], *, is_known: bool) -> None:
    """Compare a file with what was ordered, and with its manifest where it has one."""
    body = ordered[file.stem.rsplit("-", 1)[0]]
    extension, content_type, looks, seconds = MADE.get(body["model"], WAN)
    assert file.suffix == extension
    if content_type.startswith("image/"):
        with Image.open(file) as picture:
            assert (picture.format, picture.size) == looks
    else:
        with av.open(str(file)) as media:
            video = next(iter(media.streams.video), None)
            assert ((video.width, video.height) if video else media.format.name) == looks
            assert float(media.duration or 0) / 1_000_000 == pytest.approx(seconds or body["duration"], abs=0.1)
    manifest = file.parent / "manifest.json"
    if "archive" in file.parts:
        facts = json.loads(manifest.read_text())
        row = next(row for row in facts["files"] if row["name"] == file.name)
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert row["content_type"] == content_type
        assert (facts["request"] or {}).get("prompt") == (body.get("prompt") if is_known else None)
        assert file.parent.parts[-5] == body["model"]


@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_explains_itself(path: Path) -> None:
    """Each example has documentation for the UI and a row in this test."""
    assert path.stem in EXPECTED
    dag = load(path)
    assert dag.doc_md.strip().startswith("###")
    assert dag.description
    assert dag.dag_display_name != dag.dag_id
    assert "example.com" not in path.read_text()
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema.get("title"), name
        assert param.description or param.schema.get("values_display"), name


def test_the_form_shows_the_prices_of_the_catalog() -> None:
    path = next(path for path in DAGS if path.stem == "evolink_prompt_form")
    params = load(path).params
    price = catalog.find_spec("wan2.7-text-to-video").price
    labels = params.get_param("model").schema["values_display"]
    assert f"{price.per_second:g} credits a second, at least {price.min_credits:g}" in labels["wan2.7-text-to-video"]
    assert price.as_of in path.read_text()
    assert all(catalog.find_spec(name) for name in labels)
    assert [name for name in labels if catalog.find_spec(name).price is None] == ["kling-v3-text-to-video"]
    cost = catalog.max_credits("wan2.7-text-to-video", {"duration": 5})
    assert f"cost {cost:g} credits" in params.get_param("seconds").description
    products = load(path.with_name("evolink_batch.py")).params.get_param("products")
    assert f"{cost:g} credits each" in products.description


def test_a_clip_over_the_budget_of_the_form_is_not_ordered(
    slow_emulator: EmulatorServer, evolink_conn: str, dags_folder: Path, store: Path
) -> None:
    path = next(path for path in DAGS if path.stem == "evolink_prompt_form")
    run = load(moved(path, dags_folder, store)).test(run_conf={"seconds": 6})
    assert str(run.state) == "failed"
    assert slow_emulator.books()["orders"] == 0

"""What a task tells Airflow about its media: one asset event per archived job, and OpenLineage without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors
from openlineage.client.serde import Serde
from PIL import Image

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.lineage.assets import flat
from airflow_provider_evolink.lineage.openlineage import dataset_of
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
)

Make = Callable[..., Callable[[], Any]]
ALIAS, ASSET = AssetAlias("clips"), Asset("file:///clips")
PROMPT = "A secret paper boat"


@pytest.fixture
def jobs(stage: Any, make: Make, emulator: EmulatorServer) -> list[dict[str, Any]]:
    """Order two clips."""
    emulator.settings(polls=0)
    requests = [{"prompt": PROMPT, "duration": 2}, {"prompt": PROMPT, "duration": 3}]
    made: list[dict[str, Any]] = stage.run(
        make(EvoLinkBatchOperator, model="wan2.7-text-to-video", requests=requests, parameters=None)
    )
    return made


@pytest.fixture
def archived(stage: Any, tmp_path: Path) -> Callable[..., OutletEventAccessors]:
    """Return a function that downloads and archives jobs, and gives the events that Airflow gets."""

    def run(jobs: list[dict[str, Any]], *outlets: Any, root: str = "") -> OutletEventAccessors:
        files = [
            EvoLinkDownloadOperator(
                task_id="download", job=job, destination=f"file://{tmp_path}/staging", on_missing="deliver"
            ).execute(stage.context())
            for job in jobs
        ]
        events = OutletEventAccessors()
        archive = EvoLinkArchiveOperator(
            task_id="archive", files=files, archive_path=root or f"file://{tmp_path}/archive", outlets=[*outlets]
        )
        archive.execute({**stage.context(), "outlet_events": events})
        return events

    return run


def test_an_alias_gets_one_event_per_job_of_one_asset(
    jobs: list[dict[str, Any]], archived: Callable[..., OutletEventAccessors], tmp_path: Path
) -> None:
    events = archived(jobs, ALIAS)[ALIAS].asset_alias_events
    assert {event.dest_asset_key.uri for event in events} == {f"file://{tmp_path}/archive"}
    assert [event.extra["job_id"] for event in events] == [job["job_id"] for job in jobs]
    for event, job in zip(events, jobs, strict=True):
        (file,) = event.extra["files"]
        path = Path(file["uri"].removeprefix("file://"))
        assert event.extra["uri"] == f"file://{path.parent}"
        assert event.extra["credits"] == job["credits"]
        assert file["size"] == path.stat().st_size
        assert file["duration"] == pytest.approx(job["request"]["duration"], abs=0.1)


def test_before_airflow_3_1_an_event_has_no_nested_values() -> None:
    """There Airflow hashes them, and would fail a task that has archived everything."""
    extra = {"job_id": "a", "credits": 1.0, "files": [{"uri": "x"}], "missing": [1], "model": None}
    shown = flat(extra)
    assert frozenset(shown.items())
    assert {name: json.loads(shown[name]) for name in ("files", "missing")} == {"files": [{"uri": "x"}], "missing": [1]}
    assert (shown["job_id"], shown["credits"], shown["model"]) == ("a", 1.0, None)


@pytest.mark.parametrize("count", [1, 2])
def test_a_fixed_asset_has_the_metadata_of_all_jobs_of_the_task(
    jobs: list[dict[str, Any]], archived: Callable[..., OutletEventAccessors], count: int
) -> None:
    extra = archived(jobs[:count], ASSET)[ASSET].extra
    listed = extra["jobs"] if count == 2 else [extra]
    assert [one["job_id"] for one in listed] == [job["job_id"] for job in jobs[:count]]


def test_events_hold_no_prompt_and_no_link(
    jobs: list[dict[str, Any]], archived: Callable[..., OutletEventAccessors]
) -> None:
    events = archived(jobs, ALIAS, ASSET)
    text = json.dumps([events[ASSET].extra, *(event.extra for event in events[ALIAS].asset_alias_events)])
    assert PROMPT not in text
    assert "http" not in text


def test_an_incomplete_result_is_marked_in_its_event(jobs: list[dict[str, Any]], stage: Any, tmp_path: Path) -> None:
    download = EvoLinkDownloadOperator(task_id="download", job=jobs[0], destination=f"file://{tmp_path}/staging")
    (file,) = download.execute(stage.context())
    file["job"]["missing"] = [{"index": 1, "error": "EvoLinkLinkExpired: gone"}]  # as on_missing="deliver" returns it
    events = OutletEventAccessors()
    archive = EvoLinkArchiveOperator(
        task_id="archive", files=[file], archive_path=f"file://{tmp_path}/archive", outlets=[ALIAS]
    )
    archive.execute({**stage.context(), "outlet_events": events})
    (event,) = events[ALIAS].asset_alias_events
    assert (len(event.extra["files"]), event.extra["missing"]) == (1, [1])


def test_an_event_that_cannot_be_recorded_does_not_fail_what_is_archived(
    jobs: list[dict[str, Any]], stage: Any, logs: Any, tmp_path: Path
) -> None:
    download = EvoLinkDownloadOperator(task_id="download", job=jobs[0], destination=f"file://{tmp_path}/staging")
    files = download.execute(stage.context())
    archive = EvoLinkArchiveOperator(
        task_id="archive", files=files, archive_path=f"file://{tmp_path}/archive", outlets=[ALIAS]
    )
    assert archive.execute({**stage.context(), "outlet_events": {}})
    assert "its asset event is not recorded (KeyError)" in logs.text


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://my_conn@bucket/a/b.mp4", "s3://bucket", "a/b.mp4"),
        ("s3a://bucket/a", "s3://bucket", "a"),
        ("file:///srv/a b.mp4", "file", "/srv/a b.mp4"),
        ("/srv/a.png", "file", "/srv/a.png"),
        ("https://user:pass@host/a.png?X-Amz-Signature=1#x", "https://host", "a.png"),
        ("gs://bucket/a", "gs://bucket", "a"),
        ("abfs://container@account/a", "abfs://account", "a"),
    ],
)
def test_a_file_is_named_without_connection_login_and_signature(uri: str, namespace: str, name: str) -> None:
    dataset = dataset_of(uri)
    assert (dataset.namespace, dataset.name) == (namespace, name)


def test_lineage_of_a_generation_has_its_media_and_its_earlier_jobs(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(polls=0)
    Image.new("RGB", (640, 360), "green").save(tmp_path / "first.png")
    fields = {"image_start": f"file://{tmp_path}/first.png", "prompt": PROMPT, "duration": 2}
    operator = make(model="wan2.7-image-to-video", parameters=fields)()
    result = operator.execute(stage.context())
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in lineage.inputs] == [("file", f"{tmp_path}/first.png")]
    assert [(one.namespace, one.name) for one in lineage.outputs] == [("evolink", result["job_id"])]
    facet = json.loads(Serde.to_json(lineage.run_facets["evolink"]))
    assert facet["jobs"][0] | {"requestHash": None} == {
        "jobId": result["job_id"],
        "model": "wan2.7-image-to-video",
        "credits": result["credits"],
        "requestHash": None,
    }
    assert PROMPT not in str(lineage)


def test_lineage_of_a_batch_names_each_file_once(jobs: list[dict[str, Any]], stage: Any, tmp_path: Path) -> None:
    download = EvoLinkDownloadOperator(task_id="download", job=jobs[0], destination=f"file://{tmp_path}/staging")
    files = download.execute(stage.context())
    archive = EvoLinkArchiveOperator(task_id="archive", files=[files, files], archive_path=f"file://{tmp_path}/archive")
    archived = archive.execute(stage.context())
    lineage = archive.get_openlineage_facets_on_complete(None)
    assert [one.name for one in lineage.inputs] == [files[0]["uri"].removeprefix("file://")]
    assert [one.name for one in lineage.outputs] == [archived[0]["uri"].removeprefix("file://")]
    assert [job["jobId"] for job in lineage.run_facets["evolink"].jobs] == [jobs[0]["job_id"]]


def test_a_task_that_returned_nothing_has_no_lineage(make: Make) -> None:
    lineage = make()().get_openlineage_facets_on_complete(None)
    assert (lineage.inputs, lineage.outputs) == ([], [])

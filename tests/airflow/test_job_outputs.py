"""Results of earlier tasks as inputs: jobs with fresh links, files of downloads, and what a field cannot take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_evolink.api.errors import EvoLinkInputError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.lineage.openlineage import of_jobs
from airflow_provider_evolink.operators import (
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkTextToVideoOperator,
)

Make = Callable[..., Callable[[], Any]]
NUMBER = iter(range(1, 10_000))


@pytest.fixture
def run(stage: Any, make: Make) -> Callable[..., Any]:
    """Run an operator as a task of its own, up to its result."""

    def as_task(kind: type, **given: Any) -> Any:
        stage.ti.run_id, stage.store.rows = f"run-{next(NUMBER)}", {}
        if kind is EvoLinkDownloadOperator:
            return EvoLinkDownloadOperator(task_id="fetch", **given).execute(stage.context())
        return stage.run(make(kind, **given))

    return as_task


def picture(run: Callable[..., Any], **given: Any) -> dict[str, Any]:
    return dict(run(EvoLinkImageOperator, model="gpt-image-2", parameters={"prompt": "a boat"}, **given))


def clip(run: Callable[..., Any], **given: Any) -> dict[str, Any]:
    return dict(run(EvoLinkTextToVideoOperator, prompt="a boat", duration=2, **given))


def sent(emulator: EmulatorServer) -> dict[str, Any]:
    """Return the body of the last order."""
    return dict(emulator.books()["jobs"][-1]["body"])


FIRST_FRAME = {"prompt": "it sails", "duration": 2}


def as_xcom(job: dict[str, Any]) -> Any:
    return json.loads(json.dumps(job))


@pytest.mark.parametrize("form", ["job", "list of one", "text", "bare id", "in parameters"])
def test_a_job_stands_where_a_link_could(run: Any, emulator: EmulatorServer, form: str) -> None:
    job = as_xcom(picture(run))
    given = {
        "job": {"image_start": job},
        "list of one": {"image_start": [job]},
        "text": {"image_start": str(job)},
        "bare id": {"image_start": job["job_id"]},
        "in parameters": {"parameters": {"image_start": job}},
    }[form]
    result = run(EvoLinkImageToVideoOperator, **FIRST_FRAME, **given)
    assert sent(emulator)["image_start"].partition("?")[0] == job["results"][0].partition("?")[0]
    name = f"evolink-job:{job['job_id']}" + ("" if form == "bare id" else "/0")
    assert result["request"]["image_start"] == name
    assert job["results"][0] not in json.dumps(result)


def test_the_fingerprint_is_of_job_and_number_and_a_retry_takes_the_same_job(
    stage: Any, make: Make, run: Any, emulator: EmulatorServer
) -> None:
    job = as_xcom(picture(run))
    first = run(EvoLinkImageToVideoOperator, image_start=job, **FIRST_FRAME)
    other_links = {**job, "results": ["https://cdn.example.com/elsewhere.png?sig=1"]}
    again = run(EvoLinkImageToVideoOperator, image_start=other_links, **FIRST_FRAME)
    assert first["fingerprint"] == again["fingerprint"]
    other = run(EvoLinkImageToVideoOperator, image_start=as_xcom(picture(run)), **FIRST_FRAME)
    assert other["fingerprint"] != first["fingerprint"]


def test_a_list_takes_all_results_of_its_kind_of_jobs_links_and_lists(run: Any, emulator: EmulatorServer) -> None:
    one, two = as_xcom(picture(run)), as_xcom(picture(run))
    link = "https://example.com/own.png"
    run(EvoLinkReferenceVideoOperator, prompt="it sails", duration=2, image_urls=[[one], link, two])
    bare = [text.partition("?")[0] for text in sent(emulator)["image_urls"]]
    assert bare == [one["results"][0].partition("?")[0], link, two["results"][0].partition("?")[0]]


@pytest.mark.parametrize("store", ["file", "s3"])
def test_a_downloaded_file_is_uploaded_and_works_when_the_links_are_gone(
    run: Any, emulator: EmulatorServer, tmp_path: Path, s3: Any, store: str
) -> None:
    s3.create_bucket(Bucket="stills")
    folder = f"file://{tmp_path}/stills" if store == "file" else "s3://store@stills/x"
    job = as_xcom(picture(run))
    files = as_xcom(run(EvoLinkDownloadOperator, job=job, destination=folder))
    emulator.job(job["job_id"], expire_links=True)
    for given in (files, files[0], {**job, "files": files}):
        result = run(EvoLinkImageToVideoOperator, image_start=given, **FIRST_FRAME)
        assert files[0]["sha256"] in result["request"]["image_start"]
        assert "/files/" in sent(emulator)["image_start"]


def test_the_same_file_in_another_place_is_the_same_request(run: Any, tmp_path: Path, emulator: EmulatorServer) -> None:
    job = as_xcom(picture(run))
    places = [
        as_xcom(run(EvoLinkDownloadOperator, job=job, destination=f"file://{tmp_path}/{name}")) for name in ("a", "b")
    ]
    results = [run(EvoLinkImageToVideoOperator, image_start=files, **FIRST_FRAME) for files in places]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]


def test_a_batch_takes_jobs(run: Any, emulator: EmulatorServer) -> None:
    job = as_xcom(picture(run))
    results = run(
        EvoLinkBatchOperator, model="wan2.7-image-to-video", requests=[{**FIRST_FRAME, "image_start": job}] * 2
    )
    assert [one["request"]["image_start"] for one in results] == [f"evolink-job:{job['job_id']}/0"] * 2


# What a field cannot take: nothing is sent ----------------------------------------------------------------------------


def refused(run: Any, emulator: EmulatorServer, image: Any, **given: Any) -> str:
    before = emulator.books()["orders"]
    with pytest.raises((AirflowFailException, EvoLinkInputError)) as raised:
        run(EvoLinkImageToVideoOperator, image_start=image, **FIRST_FRAME, **given)
    assert emulator.books()["orders"] == before
    assert "?" not in str(raised.value) or "sig" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("validation", ["strict", "warn", "off"])
def test_another_kind_is_refused_with_both_names(run: Any, emulator: EmulatorServer, validation: str) -> None:
    job = as_xcom(clip(run))
    text = refused(run, emulator, job, validation=validation)
    assert f"image_start: must be an image, and is given a video, of job {job['job_id']} (wan2.7-text-to-video)" in text


def test_a_downloaded_clip_is_no_first_frame(run: Any, emulator: EmulatorServer, tmp_path: Path) -> None:
    files = as_xcom(run(EvoLinkDownloadOperator, job=as_xcom(clip(run)), destination=f"file://{tmp_path}/clips"))
    text = refused(run, emulator, files)
    assert f"image_start: must be an image, and is given a video, of a file of job {files[0]['job_id']}" in text


def test_of_a_clip_and_its_last_frame_each_field_takes_its_kind(run: Any, emulator: EmulatorServer) -> None:
    job = as_xcom(clip(run))
    both = {**job, "results": [*job["results"], "x"], "outputs": [{"kind": "video"}, {"kind": "image"}]}
    text = refused(run, emulator, both)  # EvoLink's own list has one result only, so the order is not sent
    assert "has 0 results that the field can take" in text


def test_one_of_several_must_be_chosen(run: Any, emulator: EmulatorServer) -> None:
    job = as_xcom(picture(run))
    two = {**job, "results": job["results"] * 2, "outputs": job["outputs"] * 2}
    assert "takes one image, and is given 2, of job" in refused(run, emulator, two)
    result = run(EvoLinkImageToVideoOperator, image_start={**two, "index": 0}, **FIRST_FRAME)
    assert result["request"]["image_start"].endswith("/0")


def test_the_one_that_was_chosen_is_sent(run: Any, emulator: EmulatorServer) -> None:
    two = as_xcom(run(EvoLinkImageOperator, model="gpt-image-2", prompt="a boat", parameters={"n": 2}))
    result = run(EvoLinkImageToVideoOperator, image_start={**two, "index": 1}, **FIRST_FRAME)
    assert result["request"]["image_start"] == f"evolink-job:{two['job_id']}/1"
    assert sent(emulator)["image_start"].partition("?")[0] == two["results"][1].partition("?")[0]


@pytest.mark.parametrize(
    ("job", "what"),
    [
        ({"job_id": None, "results": [], "status": "refused", "error": "x"}, "no file, of a job that has no results"),
        ({"job_id": "task-unified-1", "results": [], "status": "failed"}, "no file, of a job that has no results"),
        ({"job_id": "task-unified-1\nx", "results": ["y"], "status": "completed"}, "no file, of a job that has no"),
        ("task-unified-9-nobody", "which cannot be read"),
        ([], "must be"),
    ],
)
def test_what_has_no_result_is_refused(run: Any, emulator: EmulatorServer, job: Any, what: str) -> None:
    assert what in refused(run, emulator, job)


def test_a_job_that_runs_is_waited_for_by_retries_and_one_that_failed_is_not(
    run: Any, make: Make, stage: Any, slow: EmulatorServer
) -> None:
    slow.settings(polls=10_000)
    with pytest.raises(TaskDeferred):
        make(EvoLinkImageOperator, model="gpt-image-2", parameters={"prompt": "a boat"})().execute(stage.context())
    job_id = stage.store.record["job_id"]
    job = {"job_id": job_id, "kind": "image", "status": "completed", "results": ["https://example.com/a.png"]}
    with pytest.raises(EvoLinkInputError, match=f"job {job_id}, which is still (pending|processing)") as raised:
        run(EvoLinkImageToVideoOperator, image_start=job, **FIRST_FRAME)
    assert not raised.value.permanent
    slow.job(job_id, state="failed", code="service_error")
    assert "has failed" in refused(run, slow, job)


def test_links_that_have_expired_are_said_to(
    run: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = as_xcom(picture(run))
    from airflow_provider_evolink.execution.inputs import job_outputs

    later = time.time() + 25 * 3600
    monkeypatch.setattr(job_outputs, "time", type("clock", (), {"time": staticmethod(lambda: later)}))
    text = refused(run, emulator, job)
    assert "older than 24 hours" in text
    assert "pass what a download or archive task returned" in text


def test_a_paid_job_is_not_lost_to_an_input_that_is_gone(
    stage: Any, make: Make, run: Any, emulator: EmulatorServer
) -> None:
    job = as_xcom(picture(run))
    stage.ti.run_id, stage.store.rows = "gone", {}
    first = stage.run(make(EvoLinkImageToVideoOperator, image_start=job, **FIRST_FRAME))
    emulator.job(job["job_id"], vanish=True)
    again = stage.run(make(EvoLinkImageToVideoOperator, image_start=job, **FIRST_FRAME, on_clear="reuse"))
    assert (again["job_id"], emulator.books()["orders"]) == (first["job_id"], 2)


def test_lineage_names_the_job(run: Any) -> None:
    job = as_xcom(picture(run))
    lineage = of_jobs([run(EvoLinkImageToVideoOperator, image_start=job, **FIRST_FRAME)])
    assert ("evolink", job["job_id"]) in {(one.namespace, one.name) for one in lineage.inputs}


def test_the_generic_operator_takes_jobs_too(run: Any, emulator: EmulatorServer) -> None:
    job = as_xcom(picture(run))
    run(EvoLinkGenerateOperator, model="wan2.7-image-to-video", parameters={**FIRST_FRAME, "image_start": job})
    assert sent(emulator)["image_start"].startswith("http")

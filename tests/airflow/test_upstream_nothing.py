"""A task whose upstream task returned nothing (marked success, skipped) says so, and does not blame the DAG file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from evolink_support import MAPPED

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkUploadOperator,
)
from airflow_provider_evolink.sensors import EvoLinkJobSensor

EMPTY = (
    r"EvoLinkConfigError: {} is empty: the task that gives it returned nothing\. It was marked success, it was "
    r"skipped, or its XCom is gone\. What to do: {}"
)
JOB = r"pass the job ID, which is in the log of that task and in its record \(evolink_generation\); or clear that task"
MODEL = {"model": "wan2.7-text-to-video"}
CONSUMERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "download": (lambda job: EvoLinkDownloadOperator(task_id="t", **MAPPED, job=job, destination="file:///tmp"), JOB),
    "sensor": (lambda job: EvoLinkJobSensor(task_id="t", **MAPPED, job_id=job), JOB),
    "archive": (
        lambda files: EvoLinkArchiveOperator(task_id="t", **MAPPED, files=files, archive_path="file:///tmp"),
        "clear that task: a download fetches what is missing and submits nothing",
    ),
    "upload": (lambda path: EvoLinkUploadOperator(task_id="t", **MAPPED, path=path), "clear that task, or give a path"),
    "batch": (
        lambda given: EvoLinkBatchOperator(task_id="t", **MAPPED, requests=given, **MODEL),
        "clear that task, or give the requests; nothing is submitted",
    ),
    "parameters": (
        lambda given: EvoLinkGenerateOperator(task_id="t", **MAPPED, parameters=given, **MODEL),
        "clear that task, or give the parameters; nothing is submitted",
    ),
}
NAMES = {"download": "job", "sensor": "job_id", "archive": "files", "upload": "path", "batch": "requests"}


@pytest.mark.parametrize("given", [None, "None", "", " ", "null", "undefined"])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_consumer_says_that_it_was_given_nothing(
    stage: Any, emulator: EmulatorServer, consumer: str, given: Any
) -> None:
    make, todo = CONSUMERS[consumer]
    given = given or ("None" if consumer == "parameters" else given)  # without any, it has none
    with pytest.raises(AirflowFailException, match=EMPTY.format(NAMES.get(consumer, consumer), todo)) as told:
        make(given).execute(stage.context())
    assert "template string" not in str(told.value)
    assert emulator.books()["requests"] == {}


@pytest.mark.parametrize("error", ["EvoLinkContentError", "EvoLinkSubmissionUnknown"])
def test_an_entry_of_a_batch_without_a_job_is_no_fault_of_the_dag_file(stage: Any, error: str) -> None:
    entry = {"job_id": None, "status": "refused", "error": error}
    operator = EvoLinkDownloadOperator(task_id="t", **MAPPED, job=entry, destination="file:///tmp")
    with pytest.raises(AirflowFailException, match=rf"a request of a batch that has no job \({error}\)"):
        operator.execute(stage.context())

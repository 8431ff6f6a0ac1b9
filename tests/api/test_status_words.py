"""The words for the end of a job: which conclude, which are only work in progress, and which may cost an order."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_evolink.api.errors import EvoLinkJobFailed, EvoLinkJobTimeout
from airflow_provider_evolink.api.jobs.failures import is_repeatable, job_error
from airflow_provider_evolink.api.redaction import Redactor

JOB = "task-unified-1790000000-demo0001"
LINK = "https://files.example.invalid/a.mp4"
SUCCESS = ["succeeded", "success", "successful", "done", "finished", "complete"]
SUCCESS += ["SUCCEEDED", "Success", " done ", "COMPLETED", "Completed", "completed "]
FAILURE = ["expired", "timeout", "timed_out", "timed-out", "rejected", "failure", "fail", "aborted", "CANCELED"]
FAILURE += ["FAILED", "Failed", "EXPIRED", "Timed Out", "REJECTED", "CANCELLED", "Canceled"]
RUNNING = ["queued", "paused", "running", "in_progress", "RUNNING", "PENDING", "Processing", "retrying", "reviewing"]
RUNNING += [
    "error",
    "succeed",
    "finishing",
    "expires",
    "not_done",
    "unsuccessful",
    "",
    None,
    7,
    True,
    ["completed"],
    {"a": 1},
]


def given(server, status, **fields):
    server.answers = [(200, {"id": JOB, "type": "video", "status": status, **fields})]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from dataclasses import replace

    from airflow_provider_evolink.api.jobs import schedule

    policy = replace(schedule.POLICY, confirm_failure_after=0.01, reread_after=0.01)
    monkeypatch.setattr(schedule, "POLICY", policy)


@pytest.mark.parametrize("word", SUCCESS)
def test_another_word_for_success_counts_with_a_usable_link(answer_server, answer_client, word, caplog):
    given(answer_server, word, results=[LINK])
    job = answer_client.wait(JOB, timeout=5, poll_interval=0.01)
    assert (job.status, job.results) == ("completed", (LINK,))
    assert f"“{word.strip()}”" in caplog.text, "the word is logged"


WORDS = [word for word in SUCCESS if word.strip().lower() != "completed"]


@pytest.mark.parametrize("results", [[], None, ["data:video/mp4;base64,AAAA"], ["clip.mp4"], [LINK + "?" + "x" * 9000]])
@pytest.mark.parametrize("word", WORDS)
def test_another_word_for_success_without_one_is_a_job_that_runs(answer_server, answer_client, word, results):
    given(answer_server, word, results=results)
    assert not answer_client.get_job(JOB).status.is_over


@pytest.mark.parametrize("word", FAILURE)
def test_another_word_for_failure_concludes_and_never_orders_again(answer_server, answer_client, word, caplog):
    given(answer_server, word, error={"code": "service_error", "message": "out of service"})
    with pytest.raises(EvoLinkJobFailed, match="out of service") as caught:
        answer_client.wait(JOB, timeout=5, poll_interval=0.01, redactor=Redactor.of({"prompt": "a paper boat at sea"}))
    assert (caught.value.permanent, caught.value.repeatable) == (True, False)
    assert not is_repeatable(answer_client.get_job(JOB))
    assert f"“{word.strip()}”" in str(caught.value), "the error names the word"
    assert f"“{word.strip()}”" in caplog.text


@pytest.mark.parametrize("word", ["failed", "cancelled", "canceled"])
def test_the_documented_words_are_nothing_to_speak_of(answer_server, answer_client, word, caplog):
    caplog.set_level(logging.INFO, "airflow_provider_evolink")
    given(answer_server, word, error={"code": "service_error"})
    job = answer_client.get_job(JOB)
    assert (job.status, is_repeatable(job), caplog.text) == (word.replace("canceled", "cancelled"), True, "")
    assert job_error(job).repeatable


@pytest.mark.parametrize("word", RUNNING, ids=str)
def test_every_other_word_is_a_job_that_runs(answer_server, answer_client, word):
    given(answer_server, word, results=[LINK])
    with pytest.raises(EvoLinkJobTimeout):
        answer_client.wait(JOB, timeout=0.02, poll_interval=0.01)

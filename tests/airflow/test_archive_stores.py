"""The archive behind real operators: S3, a cleared download after a move, posters, and hidden prompts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.log import redact
from evolink_archive_samples import DAY, PLAIN, RUN, staged

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution.inputs.hidden_prompt import private_texts, text_hash, without_prompts
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
)
from airflow_provider_evolink.storage.archive import EvoLinkArchive, archive_files, fold, replacing, retention

Make = Callable[..., Callable[[], Any]]
SECRET = "a paper boat with the secret name Xerxes"


def download(stage: Any, job: Any, destination: str) -> list[dict[str, Any]]:
    """Run the download operator."""
    return EvoLinkDownloadOperator(task_id="download", job=job, destination=destination).execute(stage.context())


def archive(stage: Any, files: Any, where: str, **given: Any) -> list[dict[str, Any]]:
    """Run the archive operator."""
    operator = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=where, **given)
    return operator.execute(stage.context())


def test_the_index_on_s3(tmp_path: Path, bucket: str) -> None:
    where = f"s3://store@{bucket}/films"
    root = ObjectStoragePath(where)
    for number in range(3):
        archive_files([staged(tmp_path, f"task-{number}")], root, RUN, PLAIN)
    found = EvoLinkArchive(where)
    before = list(found.find())
    assert [row["job_id"] for row in before] == ["task-0", "task-1", "task-2"]
    assert fold.fold(root) == {"2026-11-03": 3}
    assert list(found.find()) == before
    lookup = found.request(str(before[1]["fingerprint"]))
    assert lookup is not None
    assert lookup.job_id == "task-1"
    archive_files([staged(tmp_path, "task-1")], root, RUN, PLAIN)
    assert list(found.find()) == before
    assert fold.rebuild(root) == 3
    assert list(found.find()) == before
    assert retention.verify(root) == (3, [])
    assert retention.forget(root, "task-1")
    assert [row["job_id"] for row in found.find()] == ["task-0", "task-2"]
    fold.fold(root)
    assert retention.forget(root, "task-2")
    assert [row["job_id"] for row in found.find()] == ["task-0"]
    assert not [key for key in root.fs.find(root.path) if "task-1" in key or "task-2" in key]


def test_of_two_folds_on_s3_the_later_begins_again(tmp_path: Path, bucket: str) -> None:
    root = ObjectStoragePath(f"s3://store@{bucket}/films")
    archive_files([staged(tmp_path, "task-0")], root, RUN, PLAIN)
    path = root / "_evolink" / "days" / f"{DAY:%Y-%m-%d}.parquet"
    with replacing.replaced(path) as slow:
        fold.fold(root)
        with pytest.raises(replacing.Changed):
            slow.write(b"an older view")
    with replacing.replaced(path) as slow:
        archive_files([staged(tmp_path, "task-1")], root, RUN, PLAIN)
        fold.fold(root)
        with pytest.raises(replacing.Changed):
            slow.write(b"an older view")
    assert len(list(EvoLinkArchive(f"s3://store@{bucket}/films").find())) == 2


@pytest.mark.parametrize("store", ["file", "s3"])
def test_after_a_move_cleared_tasks_stay_green_and_fetch_nothing(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path, bucket: str, store: str
) -> None:
    emulator.settings(polls=0)
    job = stage.run(make())
    base = f"file://{tmp_path}" if store == "file" else f"s3://store@{bucket}"
    files = download(stage, job, f"{base}/staging")
    rows = archive(stage, files, f"{base}/archive", move=True)
    media = emulator.books()["requests"]["media"]
    emulator.settings(resign_links=False)
    emulator.job(job["job_id"], expire_links=True)
    assert archive(stage, files, f"{base}/archive", move=True) == rows, "a cleared archive task"
    again = download(stage, job, f"{base}/staging")
    assert [file["uri"] for file in again] == [row["uri"] for row in rows]
    assert archive(stage, again, f"{base}/archive", move=True) == rows, "a cleared download, then the archive"
    assert emulator.books()["requests"]["media"] == media
    staging = ObjectStoragePath(f"{base}/staging")
    assert [path.name for path in staging.iterdir()] == [f"{job['job_id']}.json"]
    assert retention.verify(ObjectStoragePath(f"{base}/archive")) == (1, [])
    poster = ObjectStoragePath(rows[0]["uri"].replace(".mp4", ".poster.jpg"))
    assert poster.read_bytes()[:2] == b"\xff\xd8"


def test_results_of_equal_requests_have_one_fingerprint_and_their_times(
    stage: Any, make: Make, emulator: EmulatorServer
) -> None:
    emulator.settings(polls=0)
    first = stage.run(make())
    assert first["fingerprint"] == stage.store.record["fingerprint"]
    assert first["created"] <= first["completed"]
    assert first["submitted"] <= first["completed"]
    assert first["request_id"]
    again = stage.retry().run(make())
    assert {name: again[name] for name in ("fingerprint", "submitted", "completed", "request_id")} == {
        name: first[name] for name in ("fingerprint", "submitted", "completed", "request_id")
    }
    second = stage.clear().run(make())
    assert (second["fingerprint"], second["job_id"] == first["job_id"]) == (first["fingerprint"], False)
    other = stage.clear().run(make(parameters={"prompt": "another text", "duration": 2}))
    assert other["fingerprint"] != first["fingerprint"]


def test_a_hidden_prompt_is_nowhere_but_in_the_order(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(polls=0)
    shown = stage.run(make(parameters={"prompt": SECRET, "negative_prompt": "dull Xerxes"}))
    hidden = stage.clear().run(make(parameters={"prompt": SECRET, "negative_prompt": "dull Xerxes"}, hide_prompt=True))
    assert hidden["fingerprint"] == shown["fingerprint"]
    assert hidden["request"] == {
        **shown["request"],
        "prompt": text_hash(SECRET),
        "negative_prompt": text_hash("dull Xerxes"),
    }
    archive(stage, download(stage, hidden, f"file://{tmp_path}/staging"), f"file://{tmp_path}/archive")
    texts = [path.read_bytes() for path in tmp_path.rglob("*.json")]
    assert len(texts) == 4
    assert b"Xerxes" not in b"".join(texts) + json.dumps([hidden, stage.store.record]).encode()
    (row,) = EvoLinkArchive(f"file://{tmp_path}/archive").find()
    assert row["prompt"] == text_hash(SECRET)


def test_a_batch_hides_the_prompt_of_each_request(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    emulator.settings(polls=0)
    requests = [{"prompt": f"{SECRET} {number}"} for number in range(2)]
    given = {"model": "wan2.7-text-to-video", "requests": requests, "parameters": None, "hide_prompt": True}
    results = stage.run(make(EvoLinkBatchOperator, **given))
    assert "Xerxes" not in json.dumps(results)
    assert [result["request"]["prompt"] for result in results] == [text_hash(one["prompt"]) for one in requests]
    assert all(result["fingerprint"] and result["submitted"] and result["completed"] for result in results)


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        ({"model": "wan2.7-text-to-video", "prompt": "sunset", "quality": "720p", "duration": 5}, ["sunset"]),
        (
            {"model": "suno-v4-beta", "prompt": "la la", "style": "jazz", "title": "Rain", "vocal_gender": "f"},
            ["la la", "jazz", "Rain"],
        ),
        (
            {"model": "nobody-knows", "prompt": "x", "lyrics": "y", "image_urls": ["https://a.b/c.png"], "n": 2},
            ["x", "y"],
        ),
        ({"model": "nobody-knows", "deep": {"list": [{"text": "z"}]}}, ["z"]),
        (
            {"model": "wan2.7-text-to-video", "prompt": "https://example.com/looks-like-a-link"},
            ["https://example.com/looks-like-a-link"],
        ),
        ({"model": "wan2.7-text-to-video", "unknown": "free text"}, ["free text"]),
        ({"model": "wan2.7-text-to-video", "quality": "not a choice"}, ["not a choice"]),
    ],
)
def test_every_free_text_is_hidden_and_nothing_else(body: dict[str, Any], hidden: list[str]) -> None:
    assert sorted(private_texts(body)) == sorted(hidden)
    shown = without_prompts(body)
    assert without_prompts(shown) == shown, "a hash stays as it is"
    for text in hidden:
        assert json.dumps(text) not in json.dumps(shown)
        assert text_hash(text) in json.dumps(shown)
    kept = {name: value for name, value in body.items() if not private_texts({"model": body["model"], name: value})}
    assert shown.items() >= kept.items()


@pytest.mark.parametrize("kind", [EvoLinkGenerateOperator, EvoLinkBatchOperator])
def test_rendered_arguments_with_a_hidden_prompt_are_masked_in_the_ui(kind: Any) -> None:
    text = f"a prompt of its own {uuid.uuid4().hex}"
    given = {"model": "wan2.7-text-to-video", "parameters": {"prompt": "{{ secret }}", "quality": "720p"}}
    more = {"requests": [{"prompt": "{{ secret }}"}]} if kind is EvoLinkBatchOperator else {}
    for is_hidden in (False, True):
        operator = kind(task_id="generate", **given, **more, hide_prompt=is_hidden)
        operator.render_template_fields({"secret": text})
        shown = str(redact(operator.parameters))
        assert (text in shown) is not is_hidden
        assert "720p" in shown
        assert operator.parameters["prompt"] == text, "what is sent stays as it is"


@pytest.mark.parametrize(
    "fault", ["400 ExpiredToken", "403 AccessDenied", "301 PermanentRedirect", "400 AuthorizationHeaderMalformed"]
)
@pytest.mark.parametrize("at", ["first file", "second file", "manifest", "row"])
def test_a_store_that_refuses_in_the_middle_leaves_nothing_half_written(
    narrow: Any, bucket: str, contents: Any, tmp_path: Path, fault: str, at: str
) -> None:
    """Credentials expire, an object is locked, or the bucket is in another region: the error has S3's code."""
    narrow.denied = set()
    ends = {"first file": "-0.mp4", "second file": "-1.mp4", "manifest": "manifest.json", "row": "task-1.json"}
    narrow.fails = lambda right, key: fault if right == "put" and key.endswith(ends[at]) else None
    files = [staged(tmp_path, "task-1", index) for index in (0, 1)]
    root = ObjectStoragePath(f"s3://narrow@{bucket}/films")
    with pytest.raises(OSError, match=fault.split()[1]) as told:
        archive_files(files, root, RUN, PLAIN)
    assert bucket not in str(told.value)
    assert not any(key.startswith("open: ") or key.endswith(ends[at]) for key in contents())
    assert len([key for key in contents() if key.endswith("manifest.json")]) == (at == "row")
    narrow.fails = lambda *_: None
    assert len(archive_files(files, root, RUN, PLAIN)) == 2
    assert [row["job_id"] for row in EvoLinkArchive(str(root)).find()] == ["task-1"]

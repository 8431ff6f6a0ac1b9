"""Download and archive: complete, verified files, once; nothing is ever submitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, ObjectStoragePath
from evolink_support import MAPPED, set_policy

from airflow_provider_evolink.api.errors import (
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkLinkExpired,
    EvoLinkMediaError,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkAudioOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
)
from airflow_provider_evolink.storage.media_file import ArchivedFile, DownloadedFile, FileJob

Make = Callable[..., Callable[[], Any]]


@pytest.fixture
def job(stage: Any, make: Make, emulator: EmulatorServer) -> dict[str, Any]:
    """Order a clip and return the job."""
    emulator.settings(polls=0, fps=6)
    result: dict[str, Any] = stage.run(make())
    emulator.clear_faults()
    return result


@pytest.fixture
def download(stage: Any, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that runs the download operator."""

    def run(job: Any, destination: str | None = None, **given: Any) -> list[dict[str, Any]]:
        where = destination or f"file://{tmp_path}/staging"
        files = EvoLinkDownloadOperator(task_id="download", job=job, destination=where, **given, **MAPPED).execute(
            stage.context()
        )
        assert json.loads(json.dumps(files)) == files
        return files

    return run


@pytest.fixture
def archive(stage: Any, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that runs the archive operator."""

    def run(files: Any, where: str | None = None, **given: Any) -> list[dict[str, Any]]:
        root = where or f"file://{tmp_path}/archive"
        operator = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=root, **given, **MAPPED)
        found: list[dict[str, Any]] = operator.execute(stage.context())
        assert json.loads(json.dumps(found)) == found
        return found

    return run


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below a folder with its time of change and its bytes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_results_are_downloaded_and_verified(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    (file,) = download(job)
    path = Path(file["uri"].removeprefix("file://"))
    content = path.read_bytes()
    assert path == tmp_path / "staging" / f"{job['job_id']}-0.mp4"
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert file["size"] == len(content)
    assert (file["content_type"], file["index"], file["job_id"]) == ("video/mp4", 0, job["job_id"])
    assert (file["width"], file["height"]) == (1280, 720)
    assert file["duration"] == pytest.approx(2, abs=0.2)
    assert file["job"]["credits"] == 10.88
    assert file["job"]["request"] == job["request"]
    assert {found.name for found in path.parent.iterdir()} == {path.name, f"{job['job_id']}.json"}
    assert emulator.books()["media_requests_with_authorization"] == 0
    assert emulator.books()["orders"] == 1


def test_what_is_stored_about_a_file(job: dict[str, Any], download: Any, archive: Any, tmp_path: Path) -> None:
    """XCom, receipts and manifests outlive a release of this package."""
    (file,) = download(job)
    fields = ("uri", "sha256", "size", "content_type", "index", "job_id", "model")
    fields += ("verified", "width", "height", "duration")
    assert file["verified"] == "packets"
    assert tuple(file) == (*fields, "job")
    of_order = ("created", "credits", "request", "fingerprint", "submitted", "completed", "request_id")
    assert file["job"] == {name: job[name] for name in of_order}
    receipt = json.loads((tmp_path / "staging" / f"{job['job_id']}.json").read_text())
    info = {"created": job["created"], "credits": job["credits"]}
    row = {name: file[name] for name in fields}
    assert receipt == {"version": 1, "job_id": job["job_id"], "job": info, "files": [row]}
    (archived,) = archive([{**file, "note": "of a user"}])
    added = {"uri": archived["uri"], "manifest": archived["manifest"], "note": "of a user"}
    assert archived == {**row, **added}
    assert set(file) == set(get_type_hints(DownloadedFile))
    assert {*file["job"], "missing"} == set(get_type_hints(FileJob))
    assert set(archived) - {"note"} == set(get_type_hints(ArchivedFile))


def test_a_job_id_is_enough_to_recover_a_job(job: dict[str, Any], download: Any) -> None:
    (file,) = download(job["job_id"])
    assert file["job"]["credits"] == 10.88
    assert file["job"]["request"] is None


@pytest.mark.parametrize("job", ["../../v1/credits", "{{ output }}", {}, {"job_id": None}, 7, []])
def test_what_is_no_job_is_refused(download: Any, stage: Any, emulator: EmulatorServer, job: Any) -> None:
    with pytest.raises(AirflowFailException, match="job must be the output of a generate operator"):
        download(job)
    assert emulator.books()["requests"] == {}


def test_a_second_download_changes_nothing_even_if_the_links_have_expired(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    first = download(job)
    before = state_of(tmp_path / "staging")
    emulator.settings(resign_links=False)
    emulator.job(job["job_id"], expire_links=True)
    media = emulator.books()["requests"]["media"]
    assert download(job) == first
    assert state_of(tmp_path / "staging") == before
    assert emulator.books()["requests"]["media"] == media
    assert emulator.books()["orders"] == 1


def test_a_second_download_needs_no_job_any_more(job: dict[str, Any], download: Any, emulator: EmulatorServer) -> None:
    first = download(job)
    emulator.job(job["job_id"], vanish=True)
    reads = emulator.books()["requests"]["read"]
    assert download(job) == first
    assert emulator.books()["requests"]["read"] == reads


def test_the_empty_receipt_of_a_job_without_media_is_honored(
    stage: Any, make: Make, download: Any, emulator: EmulatorServer
) -> None:
    parameters = {"audio_url": "https://example.com/a.mp3", "preferred_name": "ann"}
    job = stage.run(make(EvoLinkAudioOperator, model="voice-enrollment", parameters=parameters))
    assert download(job) == []
    emulator.job(job["job_id"], vanish=True)
    assert download(job) == []


@pytest.mark.parametrize("harm", ["gone", "short", "no receipt", "broken receipt"])
def test_a_damaged_staging_folder_is_repaired(job: dict[str, Any], download: Any, tmp_path: Path, harm: str) -> None:
    first = download(job)
    video, receipt = tmp_path / "staging" / f"{job['job_id']}-0.mp4", tmp_path / "staging" / f"{job['job_id']}.json"
    content = video.read_bytes()
    if harm == "gone":
        video.unlink()
    elif harm == "short":
        video.write_bytes(content[:-1])
    elif harm == "no receipt":
        receipt.unlink()
    else:
        receipt.write_text('{"files": [{"uri": 7}]}')
    assert download(job) == first
    assert hashlib.sha256(video.read_bytes()).hexdigest() == first[0]["sha256"]


def test_expired_links_in_the_xcom_do_not_matter_as_the_job_is_read_again(
    job: dict[str, Any], download: Any, emulator: EmulatorServer
) -> None:
    emulator.job(job["job_id"], expire_links=True)
    assert download(job)[0]["size"] > 1000
    assert emulator.books()["orders"] == 1


def test_for_a_link_that_expires_before_the_download_the_job_is_read_again(
    job: dict[str, Any], download: Any, emulator: EmulatorServer
) -> None:
    emulator.fault("link_expired")
    assert download(job)[0]["size"] > 1000
    assert emulator.faults()[0]["done"]


def test_links_that_stay_expired_are_an_error_and_never_an_order(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.fault("link_expired", times=-1)
    with pytest.raises(EvoLinkLinkExpired):
        download(job)
    assert list((tmp_path / "staging").glob("*")) == []
    assert emulator.books()["orders"] == 1


def test_a_page_instead_of_media_is_no_file(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.fault("html", on="media", times=-1)
    with pytest.raises(EvoLinkMediaError):
        download(job)
    assert list((tmp_path / "staging").glob("*")) == []


def test_a_failed_job_has_nothing_to_download(stage: Any, make: Make, download: Any, emulator: EmulatorServer) -> None:
    emulator.fault("job_fails", code="service_error", message="rejected prompt: a xylophonist")
    with pytest.raises(EvoLinkJobFailed):
        stage.run(make())
    with pytest.raises(EvoLinkJobFailed, match="service_error") as told:
        download(emulator.books()["jobs"][0]["id"])
    assert "xylophonist" not in str(told.value), (
        "the request is not known here, so none of EvoLink's words are repeated"
    )


def test_a_job_that_still_runs_is_not_downloaded(stage: Any, make: Make, download: Any, slow: EmulatorServer) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    with pytest.raises(TaskDeferred):
        make()().execute(stage.context())
    job_id = stage.store.record["job_id"]
    with pytest.raises(EvoLinkJobTimeout, match="still running"):
        download(job_id)
    slow.job(job_id, state="completed")
    assert download(job_id)


def test_a_job_whose_links_are_not_there_yet_is_read_again(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, reread_after=0.05)
    emulator.fault("no_results", **{"as": "empty"}, times=3)
    assert download(job["job_id"])[0]["size"] > 1000
    assert emulator.faults()[0]["done"]


def test_links_that_are_missing_when_a_fresh_one_is_needed_are_waited_for(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, reread_after=0.05)
    emulator.fault("link_expired")
    emulator.fault("no_results", **{"as": "empty"}, after=1, times=2)
    assert download(job["job_id"])[0]["size"] > 1000
    assert [one["done"] for one in emulator.faults()] == [True, True]


def test_a_job_that_stays_without_links_fails_for_good(
    job: dict[str, Any], download: Any, emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_policy(monkeypatch, reread_after=0.05)
    emulator.fault("no_results", **{"as": "empty"}, times=-1)
    reads = emulator.books()["requests"]["read"]
    with pytest.raises(AirflowFailException, match="without results"):
        download(job["job_id"])
    assert emulator.books()["requests"]["read"] == reads + 2 + schedule.POLICY.rereads


def test_destination_downloads_in_the_same_task(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    result = stage.run(make(destination=f"file://{tmp_path}/out"))
    (file,) = result["files"]
    assert Path(file["uri"].removeprefix("file://")).stat().st_size == file["size"]
    before = state_of(tmp_path / "out")
    assert stage.retry().run(make(destination=f"file://{tmp_path}/out"))["files"] == [file]
    assert state_of(tmp_path / "out") == before
    assert emulator.books()["orders"] == 1


def test_a_failed_download_in_the_same_task_is_repeated_without_a_new_order(
    stage: Any, make: Make, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.fault("html", on="media", times=-1)
    with pytest.raises(EvoLinkMediaError):
        stage.run(make(destination=f"file://{tmp_path}/out"))
    assert stage.store.record["state"] == "submitted", "not delivered: a clear, too, comes back to this job"
    emulator.clear_faults()
    assert stage.clear().run(make(destination=f"file://{tmp_path}/out"))["files"]
    assert emulator.books()["orders"] == 1


@pytest.mark.parametrize("destination", ["nope://bucket/x", " ", "gs://bucket/x", "videos", "None", "s3:/bucket"])
def test_an_unusable_destination_fails_before_anything_is_paid(
    stage: Any, make: Make, emulator: EmulatorServer, destination: str
) -> None:
    with pytest.raises(AirflowFailException, match="destination"):
        stage.run(make(destination=destination, **MAPPED))
    assert emulator.books()["orders"] == 0


def test_the_archive_has_its_layout_and_a_manifest(
    job: dict[str, Any], download: Any, archive: Any, tmp_path: Path
) -> None:
    files = download(job)
    (row,) = archive(files)
    folder = tmp_path / "archive" / "wan2.7-text-to-video" / job["created"][:10].replace("-", "/") / job["job_id"]
    assert Path(row["uri"].removeprefix("file://")) == folder / f"{job['job_id']}-0.mp4"
    assert Path(row["manifest"].removeprefix("file://")) == folder / "manifest.json"
    poster = f"{job['job_id']}-0.poster.jpg"
    assert {path.name for path in folder.iterdir()} == {f"{job['job_id']}-0.mp4", poster, "manifest.json"}
    assert hashlib.sha256((folder / f"{job['job_id']}-0.mp4").read_bytes()).hexdigest() == files[0]["sha256"]
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("archived", "downloaded"):
        assert job["completed"] <= manifest.pop(name)
    assert manifest == {
        "version": 2,
        "job_id": job["job_id"],
        "model": "wan2.7-text-to-video",
        "request": job["request"],
        "seed": None,
        "credits": 10.88,
        "price_as_of": "2026-10-08",
        "kind": "video",
        **{name: job[name] for name in ("fingerprint", "request_id", "created", "submitted", "completed")},
        "airflow": {
            "dag_id": "dag",
            "run_id": "run",
            "task_id": "task",
            "map_index": -1,
            "try_number": 1,
            "owner": "airflow",
        },
        "missing": None,
        "files": [
            {
                "name": f"{job['job_id']}-0.mp4",
                "index": 0,
                "sha256": files[0]["sha256"],
                "size": files[0]["size"],
                "content_type": "video/mp4",
                "verified": "packets",
                "width": 1280,
                "height": 720,
                "duration": files[0]["duration"],
                "frame_rate": 6.0,
                "codecs": ["h264", "aac"],
                "audio": True,
                "poster": poster,
                "staged_from": files[0]["uri"],
            }
        ],
    }


def test_files_downloaded_by_the_generate_task_are_archived_as_well(
    stage: Any, make: Make, archive: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    emulator.settings(polls=0)
    result = stage.run(make(destination=f"file://{tmp_path}/out"))
    (row,) = archive(result["files"])
    manifest = json.loads(Path(row["manifest"].removeprefix("file://")).read_text())
    assert manifest["request"] == result["request"]
    assert (manifest["created"], manifest["credits"]) == (result["created"], result["credits"])
    assert "undated" not in row["uri"]


def test_files_of_one_job_archived_by_two_tasks_share_a_manifest(
    job: dict[str, Any], download: Any, archive: Any
) -> None:
    (file,) = download(job)
    (row,) = archive([file])
    archive([{**file, "index": 1}])
    names = [entry["name"] for entry in json.loads(Path(row["manifest"].removeprefix("file://")).read_text())["files"]]
    assert names == [f"{job['job_id']}-0.mp4", f"{job['job_id']}-1.mp4"]


def test_a_recovery_that_adds_a_file_keeps_what_the_manifest_holds(
    stage: Any, job: dict[str, Any], download: Any, archive: Any
) -> None:
    (file,) = download({**job, "request": {**job["request"], "seed": 7}})
    (row,) = archive([file])
    path = Path(row["manifest"].removeprefix("file://"))
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "archived": "2026-01-02T03:04:05+00:00"}))
    stage.ti.task_id = "recovery"
    (recovered,) = download(job["job_id"])
    archive([recovered, {**recovered, "index": 1}])
    after = json.loads(path.read_text())
    assert (len(before["files"]), len(after["files"])) == (1, 2)
    assert (after["seed"], after["request"]["prompt"]) == (7, job["request"]["prompt"])
    assert after == {**before, "archived": "2026-01-02T03:04:05+00:00", "files": after["files"]}


def test_what_a_recovery_did_not_know_is_added_to_its_manifest(
    job: dict[str, Any], download: Any, archive: Any
) -> None:
    (recovered,) = download(job["job_id"])
    archive([recovered])
    (file,) = download(job)
    (row,) = archive([{**file, "index": 1}])
    assert json.loads(Path(row["manifest"].removeprefix("file://")).read_text())["request"] == job["request"]


def test_a_second_archiving_changes_nothing(job: dict[str, Any], download: Any, archive: Any, tmp_path: Path) -> None:
    files = download(job)
    first = archive(files)
    before = state_of(tmp_path / "archive")
    assert archive(files) == first
    assert state_of(tmp_path / "archive") == before
    for path in (tmp_path / "staging").iterdir():
        path.unlink()
    assert archive(files) == first, "what is archived needs no staging any more"


def test_a_staging_folder_that_was_moved_is_found_where_it_is(
    job: dict[str, Any], download: Any, tmp_path: Path
) -> None:
    download(job)
    (tmp_path / "staging").rename(tmp_path / "moved")
    (file,) = download(job, f"file://{tmp_path}/moved")
    assert file["uri"] == f"file://{tmp_path}/moved/{job['job_id']}-0.mp4"


def test_a_receipt_of_another_job_is_not_trusted(job: dict[str, Any], download: Any, tmp_path: Path) -> None:
    (file,) = download(job)
    receipt = tmp_path / "staging" / f"{job['job_id']}.json"
    receipt.write_text(receipt.read_text().replace(f'"job_id": "{job["job_id"]}"', '"job_id": "another"'))
    assert download(job) == [file]


def test_no_more_of_a_staged_file_is_read_than_it_should_have(
    job: dict[str, Any], download: Any, archive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = download(job)
    path = Path(file["uri"].removeprefix("file://"))
    with path.open("ab") as out:
        out.truncate(200 * 1024 * 1024)
    hashed: list[int] = []

    class Counting:
        update = staticmethod(lambda data: hashed.append(len(data)))
        hexdigest = staticmethod(str)

    monkeypatch.setattr("airflow_provider_evolink.storage.object_store.hashlib.sha256", Counting)
    with pytest.raises(EvoLinkMediaError, match="has changed"):
        archive([file])
    assert sum(hashed) == file["size"] + 1


@pytest.mark.parametrize(("uri", "says"), [("nonsense://x/y.mp4", "staged file"), ("file:///tmp", "no longer exists")])
def test_a_staged_file_at_an_odd_place_is_a_clear_error(
    job: dict[str, Any], download: Any, archive: Any, uri: str, says: str
) -> None:
    (file,) = download(job)
    with pytest.raises((EvoLinkMediaError, AirflowFailException), match=says):
        archive([{**file, "uri": uri}])


def test_a_staged_file_that_has_changed_is_not_archived(
    job: dict[str, Any], download: Any, archive: Any, tmp_path: Path
) -> None:
    files = download(job)
    path = Path(files[0]["uri"].removeprefix("file://"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(EvoLinkMediaError, match="has changed since it was downloaded"):
        archive(files)
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == []
    path.unlink()
    with pytest.raises(EvoLinkMediaError, match="no longer exists"):
        archive(files)


def test_the_manifest_holds_no_query_of_a_link(
    stage: Any, make: Make, emulator: EmulatorServer, download: Any, archive: Any
) -> None:
    given = {"generation_mode": "video_continuation", "prompt": "p", "duration": 6}
    secret = ["HTTPS://example.com/clip.mp4?signature=5ecre7#5ecre7"]
    emulator.settings(polls=0)
    job = stage.run(make(EvoLinkImageToVideoOperator, **given, video_urls=secret))
    (row,) = archive(download(job))
    text = Path(row["manifest"].removeprefix("file://")).read_text()
    assert "5ecre7" not in text
    assert json.loads(text)["request"]["video_urls"] == ["HTTPS://example.com/clip.mp4"]


class Lazy(Sequence[Any]):
    """What Airflow hands over of a mapped task: read only when it is walked."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: Any) -> Any:
        return self._items[at]


@pytest.mark.parametrize(
    "shape", [tuple, Lazy, lambda files: Lazy([files]), lambda files: [files], lambda files: ([],)]
)
def test_what_mapped_downloads_return_is_archived(
    stage: Any, make: Make, download: Any, archive: Any, emulator: EmulatorServer, shape: Any
) -> None:
    given = shape(download(stage.run(make())))
    assert len(archive(given)) == (0 if given == ([],) else 1)


def test_files_of_several_jobs_go_to_their_own_folders(
    stage: Any, make: Make, download: Any, archive: Any, emulator: EmulatorServer
) -> None:
    emulator.settings(polls=0)
    files = []
    for index in range(2):
        stage.ti.map_index, stage.store.rows = index, {}
        files += download(stage.run(make()))
    rows = archive(files)
    assert len(rows) == 2
    assert len({row["uri"] for row in rows}) == 2
    assert len({row["manifest"] for row in rows}) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": "../../etc"},
        {"sha256": "0"},
        {"size": 0},
        {"uri": ""},
        {"index": -1},
    ],
)
def test_edited_files_are_refused(archive: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    good = {
        "uri": f"file://{tmp_path}/x.mp4",
        "sha256": "0" * 64,
        "size": 1,
        "content_type": "video/mp4",
        "index": 0,
        "job_id": "j",
    }
    with pytest.raises(AirflowFailException, match="check " + next(iter(change))):
        archive([good | change])
    with pytest.raises(AirflowFailException, match="files must be the list"):
        archive("text")


@pytest.fixture
def bucket(s3: Any) -> str:
    """Return a bucket of a local S3, reached through the Airflow connection ``store``."""
    s3.create_bucket(Bucket="bucket")
    return "bucket"


@pytest.mark.parametrize(("user", "conn_id"), [("store@", None), ("", "store")])
def test_s3_from_end_to_end(
    job: dict[str, Any],
    download: Any,
    archive: Any,
    bucket: str,
    user: str,
    conn_id: str | None,
    emulator: EmulatorServer,
) -> None:
    folder = f"s3://{user}{bucket}/{conn_id}"
    files = download(job, f"{folder}/staging", destination_conn_id=conn_id)
    assert download(job, f"{folder}/staging", destination_conn_id=conn_id) == files
    rows = archive(files, f"{folder}/archive", archive_conn_id=conn_id)
    assert archive(files, f"{folder}/archive", archive_conn_id=conn_id) == rows
    path = ObjectStoragePath(rows[0]["uri"], conn_id=conn_id)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == files[0]["sha256"]
    manifest = json.loads(ObjectStoragePath(rows[0]["manifest"], conn_id=conn_id).read_text())
    assert manifest["files"][0]["staged_from"] == f"s3://{bucket}/{conn_id}/staging/{job['job_id']}-0.mp4"
    root = ObjectStoragePath(f"{folder}", conn_id=conn_id)
    assert len(root.fs.find(root.path)) == 4 + 3, "file and receipt; file, poster, manifest; row and look-up"
    assert emulator.books()["requests"]["media"] == 1

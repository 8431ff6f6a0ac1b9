"""Which files are sent, how, and that nothing else is: hostile XComs open nothing."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow_rows import Run
from strict_auth import PRIVATE
from ui_samples import CONTENT, PROMPT, archived, job, record, staged

from airflow_provider_evolink.ledger.ledger import FolderStore
from airflow_provider_evolink.ledger.record import TaskIdentity
from airflow_provider_evolink.plugins.server import reads
from airflow_provider_evolink.plugins.server.files import PIECE
from airflow_provider_evolink.plugins.views.policy import MEDIA_TYPES

numbers = itertools.count()
SIZE = len(CONTENT)


@pytest.fixture
def run() -> Run:
    """Return a fresh run of a fresh DAG."""
    return Run(f"dag_{next(numbers)}")


@pytest.fixture
def film(shown: Path, run: Run) -> dict[str, Any]:
    """Archive a file, and let the archive task of the run hand it on."""
    file = archived(shown, run.dag_id)
    run.hands("archive", [file], operator="EvoLinkArchiveOperator")
    return file


def fetch(client: Any, run: Run, task_id: str = "archive", **headers: str) -> Any:
    """Request the first file of a task instance."""
    return client.get(run.address("file", task_id, number=0), headers=headers)


@pytest.mark.parametrize(
    ("header", "status", "part"),
    [
        (None, 200, (0, SIZE)),
        ("bytes=0-", 206, (0, SIZE)),
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=100-199", 206, (100, 200)),
        (f"bytes={SIZE - 1}-", 206, (SIZE - 1, SIZE)),
        (f"bytes=100-{SIZE * 9}", 206, (100, SIZE)),
        ("bytes=-5", 206, (SIZE - 5, SIZE)),
        (f"bytes=-{SIZE * 2}", 206, (0, SIZE)),
        (f"bytes={SIZE}-", 416, None),
        ("bytes=-0", 416, None),
        (f"bytes={10**17}-", 416, None),
        ("bytes=9-3", 200, (0, SIZE)),
        ("bytes=0-1,5-6", 200, (0, SIZE)),
        ("bytes=-", 200, (0, SIZE)),
        ("lines=0-1", 200, (0, SIZE)),
        ("bytes=a-b", 200, (0, SIZE)),
        (f"bytes={'9' * 400}-", 200, (0, SIZE)),
    ],
)
def test_ranges(header: str | None, status: int, part: tuple[int, int] | None, admin: Any, run: Run, film: Any) -> None:
    """Players seek: they get the bytes they want, and the size of the whole."""
    response = fetch(admin, run, **({"Range": header} if header else {}))
    assert response.status_code == status
    assert response.headers["accept-ranges"] == "bytes"
    if part is None:
        assert response.headers["content-range"] == f"bytes */{SIZE}"
        assert response.content == b""
        return
    assert response.content == CONTENT[slice(*part)]
    assert response.headers["content-length"] == str(part[1] - part[0])
    expected = f"bytes {part[0]}-{part[1] - 1}/{SIZE}" if status == 206 else None
    assert response.headers.get("content-range") == expected


def test_a_file_is_sent_so_that_nothing_in_it_can_run(admin: Any, run: Run, film: Any) -> None:
    """Its own type, no sniffing, a sandbox, and not compressed, since a length belongs to a range."""
    headers = fetch(admin, run, **{"Accept-Encoding": "gzip"}).headers
    assert headers["content-type"] == "video/mp4"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["content-encoding"] == "identity"
    assert headers["content-length"] == str(SIZE)


def test_a_file_is_not_sent_twice(admin: Any, run: Run, film: Any) -> None:
    """A browser that has it is told so; one that has another one gets it from the start."""
    tag = fetch(admin, run).headers["etag"]
    assert fetch(admin, run, **{"If-None-Match": tag}).status_code == 304
    assert fetch(admin, run, **{"If-Range": tag, "Range": "bytes=0-1"}).status_code == 206
    assert fetch(admin, run, **{"If-Range": '"other"', "Range": "bytes=0-1"}).status_code == 200


def test_a_large_file_comes_in_small_pieces(admin: Any, run: Run, shown: Path) -> None:
    """All of it arrives, whatever its size."""
    content = os.urandom(3 * PIECE + 17)
    run.hands("archive", [archived(shown, run.dag_id, content=content)])
    assert PIECE <= 1024 * 1024
    assert hashlib.sha256(fetch(admin, run).content).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/pdf", "text/plain", "VIDEO/MP4"])
def test_other_media_types_are_not_sent(content_type: str, admin: Any, run: Run, shown: Path) -> None:
    """Whatever the documents say that it is: no HTML, no SVG."""
    run.hands("archive", [archived(shown, run.dag_id, content=b"<script>1</script>", content_type=content_type)])
    response = fetch(admin, run)
    assert response.status_code == 404
    assert "media type" in response.text
    assert "<script>1" not in response.text
    assert not [name for name in MEDIA_TYPES if "svg" in name or not name.startswith(("video/", "audio/", "image/"))]


def test_the_type_is_that_of_the_documents(admin: Any, run: Run, film: Any) -> None:
    """An edited XCom cannot make a page of a film."""
    run.edit("archive", [{**film, "content_type": "text/html"}])
    assert fetch(admin, run).headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "file://{inside}/../../etc/passwd",
        "file://{folder}/../secret.mp4",
        "file://{inside}/../../../../../../../secret.mp4",
        "file://{inside}/%2e%2e/%2e%2e/secret.mp4",
        "{inside}/./../../secret.mp4",
        "local://{outside}",
        "file://{outside}",
        "file://{outside}\x00.mp4",
        "file:{outside}",
        "simplecache::file://{outside}",
        "s3://other-bucket/secret.mp4",
        "s3://nobody@bucket/secret.mp4",
        "http://127.0.0.1:1/secret.mp4",
        "memory://secret.mp4",
        "reference://secret",
        "nonsense://x/y",
        "file://{folder}",
        "file://{link}",
        "file://{pipe}",
        "file://{folder}/none.mp4",
        "file://<script>alert(1)</script>/x.mp4",
        ".",
        "s3://",
    ],
)
def test_an_edited_xcom_opens_nothing(uri: str, admin: Any, run: Run, film: Any, shown: Path) -> None:
    """Neither what is outside the folder, nor over a link, nor in another store, nor what is no file."""
    secret = shown.parent / "secret.mp4"
    secret.write_bytes(CONTENT)
    (shown.parent / "task-1.json").write_text((shown / "task-1.json").read_text())
    (shown / "link.mp4").symlink_to(secret)
    os.mkfifo(shown / "pipe.mp4")
    inside = film["uri"].removeprefix("file://").rpartition("/")[0]
    places = {
        "inside": inside,
        "folder": shown,
        "outside": secret,
        "link": shown / "link.mp4",
        "pipe": shown / "pipe.mp4",
    }
    run.record("generate", record())
    run.edit("archive", [{**film, "uri": uri.format(**places)}])
    response = fetch(admin, run)
    assert response.status_code == 404
    assert CONTENT not in response.content
    assert b"root:" not in response.content
    assert "<script>alert" not in response.text
    page = admin.get(run.address("task", "archive"))
    assert page.status_code == 200
    assert "<video" not in page.text
    assert "<script>alert" not in page.text


def test_a_file_of_another_dag_is_opened_for_those_who_may_read_it(browser: Any, run: Run, shown: Path) -> None:
    """An XCom that names it, with all that is right about it, is no right to it; re-use by readers works."""
    other = f"{PRIVATE}{run.dag_id}"
    run.hands("archive", [archived(shown, other)])
    assert fetch(browser("outsider"), run).status_code == 404
    assert fetch(browser("admin"), run).content == CONTENT


def test_a_downloaded_file_needs_a_record_of_its_job(admin: Any, run: Run, shown: Path) -> None:
    """Nothing beside it says whose it is, so the DAG must have ordered the job: XComs prove nothing."""
    run.hands("download", [staged(shown)])
    assert fetch(admin, run, "download").status_code == 404
    Run(f"{run.dag_id}_other").record("generate", record())
    assert fetch(admin, run, "download").status_code == 404
    run.record("generate", record())
    assert fetch(admin, run, "download").content == CONTENT


def test_a_receipt_covers_the_files_of_its_own_job(admin: Any, run: Run, shown: Path) -> None:
    """In a folder that DAGs share, the job of one of them does not open the file of another."""
    own, other = staged(shown, "task-own"), staged(shown, "task-other", content=CONTENT * 2)
    run.record("generate", record("task-own"))
    run.hands("download", [{**own, "uri": other["uri"]}])
    assert fetch(admin, run, "download").status_code == 404
    run.edit("download", [{**own, "uri": other["uri"], "sha256": other["sha256"], "size": other["size"]}])
    assert fetch(admin, run, "download").status_code == 404
    run.edit("download", [own])
    assert fetch(admin, run, "download").content == CONTENT


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no json at all", "no JSON"),
        (b'{"version": 3, "job_id": "task-1", "files": []}', "newer release"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a": "' + b"x" * (5 * 1024 * 1024), "longer than any document"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"", "no JSON"),
        (b"[]", "nothing beside it"),
        (b'{"version": 2, "job_id": "task-1", "files": "none"}', "nothing beside it"),
        (b'{"version": 2, "job_id": "task-other", "files": []}', "another job"),
    ],
)
def test_a_bad_manifest_is_one_line(content: bytes, words: str, admin: Any, run: Run, film: Any) -> None:
    """Whatever stands in it, the tab says why the file is not shown."""
    Path(film["manifest"].removeprefix("file://")).write_bytes(content)
    page = admin.get(run.address("task", "archive"))
    assert page.status_code == 200
    assert words in page.text
    assert fetch(admin, run).status_code == 404


def test_a_file_that_is_gone_is_one_line(admin: Any, run: Run, film: Any) -> None:
    """The manifest is there, the file is not."""
    Path(film["uri"].removeprefix("file://")).unlink()
    response = fetch(admin, run)
    assert response.status_code == 404
    assert "cannot be opened" in response.text


@pytest.mark.parametrize("roots", ["", "relative/folder", "s3://", "file:///nowhere"])
def test_without_a_usable_root_nothing_is_shown(
    roots: str, admin: Any, run: Run, film: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page names the option."""
    monkeypatch.setenv("AIRFLOW__EVOLINK__UI_ROOTS", roots)
    assert fetch(admin, run).status_code == 404
    assert "ui_roots" in admin.get(run.address("task", "archive")).text


@pytest.mark.parametrize("number", [1, -1, 99, 10**12, "abc", "0x0", "1.5", "<script>alert(1)"])
def test_a_number_that_is_not_there(number: Any, admin: Any, run: Run, film: Any) -> None:
    """It is one line as well."""
    response = admin.get(run.address("file", "archive", number=number))
    assert response.status_code == 404
    assert "There is no such page" in response.text or "no such file" in response.text
    assert "<script>alert" not in response.text


def test_the_manifest_is_shown_as_text(admin: Any, run: Run, film: Any) -> None:
    """What people wrote into it is no markup."""
    path = Path(film["manifest"].removeprefix("file://"))
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "request": {"prompt": "<script>alert(1)</script>"}}))
    page = admin.get(run.address("manifest", "archive", number=0))
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text


def test_the_manifest_hides_what_a_task_hides(admin: Any, run: Run, film: Any) -> None:
    """By re-use a task that hides its prompt may get the result of one that did not."""
    address = run.address("manifest", "archive", number=0)
    assert PROMPT in admin.get(address).text
    run.hands("generate", job(request={"prompt": "sha256:" + "a" * 64}, reused=True))
    page = admin.get(address)
    assert page.status_code == 200
    assert PROMPT not in page.text


def test_a_poster_is_sent_from_beside_the_file(admin: Any, run: Run, film: Any) -> None:
    """Only the one that the manifest names, as a picture."""
    path = Path(film["manifest"].removeprefix("file://"))
    value = json.loads(path.read_text())
    assert admin.get(run.address("poster", "archive", number=0)).status_code == 404
    value["files"][0]["poster"] = "small.poster.jpg"
    path.write_text(json.dumps(value))
    path.with_name("small.poster.jpg").write_bytes(b"a picture")
    response = admin.get(run.address("poster", "archive", number=0))
    assert (response.content, response.headers["content-type"]) == (b"a picture", "image/jpeg")
    value["files"][0]["poster"] = "manifest.json"
    path.write_text(json.dumps(value))
    assert admin.get(run.address("poster", "archive", number=0)).status_code == 404


def test_before_airflow_3_3_the_ledger_folder_has_the_records(
    admin: Any, run: Run, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded file is shown by the record there, of a task or of a request of a batch; others prove nothing."""
    monkeypatch.setattr(reads, "TaskStateStoreModel", None)
    run.hands("generate", job())
    run.hands("batch", [job("task-b0"), job("task-b1")])
    run.hands("download", [staged(shown), staged(shown, "task-b1")])
    assert fetch(admin, run, "download").status_code == 404
    assert "ledger_path is not set" not in admin.get(run.address("task", "download")).text

    ledger = f"file://{tmp_path}/ledger"
    monkeypatch.setenv("AIRFLOW__EVOLINK__LEDGER_PATH", ledger)
    identity = TaskIdentity(run.dag_id, run.run_id, "generate", -1, clear_count=0)
    FolderStore(ledger, identity).set(record("task-other"))
    assert fetch(admin, run, "download").status_code == 404
    FolderStore(ledger, identity).set(record())
    FolderStore(ledger, replace(identity, task_id="batch", item=1)).set(record("task-b1"))
    assert fetch(admin, run, "download").content == CONTENT
    assert admin.get(run.address("file", "download", number=1)).content == CONTENT


def test_without_any_records_the_tab_says_what_it_cannot_see(
    admin: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the ledger folder it shows the running job."""
    monkeypatch.setattr(reads, "TaskStateStoreModel", None)
    run.task("generate", state="deferred")
    assert "ledger_path is not set" in admin.get(run.address("task", "generate")).text
    ledger = f"file://{tmp_path}/ledger"
    monkeypatch.setenv("AIRFLOW__EVOLINK__LEDGER_PATH", ledger)
    FolderStore(ledger, TaskIdentity(run.dag_id, run.run_id, "generate", -1, clear_count=0)).set(record())
    page = admin.get(run.address("task", "generate")).text
    assert "task-1" in page
    assert "ledger_path" not in page

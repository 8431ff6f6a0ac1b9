"""The archive: its layout, its manifests, its index, what is moved, and what is forgotten."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
from evolink_archive_samples import DAY, PLAIN, RUN, files_in, root_of, staged

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.operators import EvoLinkArchiveOperator
from airflow_provider_evolink.storage.archive import EvoLinkArchive, archive_files, fold, layout, manifest

# -- layout -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "folder"),
    [
        (layout.DEFAULT_LAYOUT, "veo/2026/11/03/task-1"),
        ("{job_id}", "task-1"),
        ("{job_id}/{model}", "task-1/veo"),
        ("model={model}/day={yyyy}-{mm}-{dd}/{job_id}", "model=veo/day=2026-11-03/task-1"),
        ("{yyyy}{mm}{dd}-{job_id}", "20261103-task-1"),
    ],
)
def test_a_layout_names_the_folder_of_a_job(template: str, folder: str) -> None:
    assert layout.check_layout(template) == template
    assert "/".join(layout.job_folder(template, "veo", DAY, "task-1")) == folder


@pytest.mark.parametrize("template", [layout.DEFAULT_LAYOUT, "{yyyy}-{mm}-{dd}/{model}/{job_id}"])
def test_without_a_date_there_is_one_undated_folder(template: str) -> None:
    assert layout.job_folder(template, "veo", None, "t").count("undated") == 1


@pytest.mark.parametrize(
    "template",
    [
        *("", "/{job_id}", "{job_id}/", "a//{job_id}", "../{job_id}", "./{job_id}", "{job_id}/..", ".x/{job_id}"),
        *("{model}", "{job_id}x/{model}", "{model}-{job_id}", "{job_id}{job_id}", "{model}/{yyyy}"),
        *("{prompt}/{job_id}", "{job_id!r}", "{job_id:>9}", "{job_id.x}", "{job_id[0]}", "{}/{job_id}", "{{job_id}}"),
        *("a\\b/{job_id}", "a\0/{job_id}", "a b/{job_id}", "~/{job_id}", "$HOME/{job_id}", "s3://b/{job_id}"),
        *("_evolink/{job_id}", "_Evolink-x/{job_id}", "a./{job_id}", "x" * 300 + "/{job_id}", "a/" * 20 + "{job_id}"),
        *("\u202e/{job_id}", "a\n/{job_id}", "{job_id}\n", "%2e%2e/{job_id}", "ä/{job_id}", None, 7, ["{job_id}"]),
    ],
)
def test_a_hostile_layout_is_refused_when_the_dag_file_is_parsed(template: Any) -> None:
    with pytest.raises(EvoLinkConfigError, match="layout must"):
        layout.check_layout(template)
    if template is not None:  # the default
        with pytest.raises(EvoLinkConfigError, match="layout must"):
            EvoLinkArchiveOperator(task_id="archive", files=[], archive_path="file:///x", layout=template)


@pytest.mark.parametrize("template", ["{job_id}", layout.DEFAULT_LAYOUT, "{yyyy}-{job_id}", "{job_id}/{model}"])
def test_no_two_jobs_share_a_folder_and_none_leaves_the_archive(template: str) -> None:
    ids = [
        "a:b",
        "a_b",
        "a.b",
        "_evolink",
        "_EVOLINK",
        "_evolinkx",
        "x" * 128,
        "a",
        ".a",
        "..a",
        "a.",
        "undated-a",
        "2026-a",
    ]
    jobs = [(job_id, model) for job_id in ids for model in ("m", "../..", "/etc", "_evolink", "a/b", "")]
    folders = [layout.job_folder(template, model, DAY, job_id) for job_id, model in jobs]
    by_job = {tuple(folder): job_id for folder, (job_id, _) in zip(folders, jobs, strict=True)}
    assert all(by_job[folder] == job_id for folder, (job_id, _) in zip(folders, jobs, strict=True))
    for folder in folders:
        assert all(part not in ("", ".", "..") and "/" not in part and not part.startswith(".") for part in folder)
        assert not folder[0].lower().startswith("_evolink")


# -- manifest -----------------------------------------------------------------


def test_the_shipped_schema_is_that_of_the_model(tmp_path: Path) -> None:
    if os.environ.get("EVOLINK_WRITE_SCHEMA"):
        manifest.SCHEMA.write_text(manifest.schema_text())
    assert manifest.SCHEMA.read_text() == manifest.schema_text(), "run once with EVOLINK_WRITE_SCHEMA=1"
    (row,) = archive_files([staged(tmp_path)], root_of(tmp_path / "archive"), RUN, PLAIN)
    written = json.loads(Path(row["manifest"].removeprefix("file://")).read_text())
    jsonschema.Draft202012Validator(manifest.schema()).validate(written)
    assert written["airflow"] == RUN


V1 = {
    "version": 1,
    "job_id": "task-1",
    "model": "wan2.7-text-to-video",
    "request": {"prompt": "an older text"},
    "seed": 9,
    "credits": 1.0,
    "created": DAY.isoformat(),
    "archived": "2026-11-03T13:00:00+00:00",
    "airflow": {"dag_id": "old", "run_id": "r", "task_id": "t", "map_index": -1},
    "note": "of a user",
}


def test_a_manifest_of_version_1_is_lifted_by_the_next_archiving(tmp_path: Path) -> None:
    file, root = staged(tmp_path / "staging"), root_of(tmp_path / "archive")
    (row,) = archive_files([file], root, RUN, PLAIN)
    path = Path(row["manifest"].removeprefix("file://"))
    listed = {name: file[name] for name in ("sha256", "size", "content_type")}
    path.write_text(json.dumps({**V1, "files": [{"name": "task-1-0.mp4", **listed}]}))
    archive_files([file], root, RUN, PLAIN)
    lifted = json.loads(path.read_text())
    kept = {name: value for name, value in V1.items() if name not in ("version", "airflow")}
    assert lifted.items() >= kept.items()
    assert (lifted["version"], lifted["airflow"]["dag_id"], lifted["fingerprint"]) == (
        2,
        "old",
        file["job"]["fingerprint"],
    )
    assert (len(lifted["files"]), lifted["files"][0]["index"]) == (1, 0)


@pytest.mark.parametrize("strange", [{"version": 3}, {"version": 99, "files": 7}, {"job_id": "task-2"}])
def test_a_newer_manifest_and_that_of_another_job_are_not_touched(tmp_path: Path, strange: dict[str, Any]) -> None:
    file, root = staged(tmp_path / "staging"), root_of(tmp_path / "archive")
    (row,) = archive_files([file], root, RUN, PLAIN)
    path = Path(row["manifest"].removeprefix("file://"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **strange}))
    before = files_in(tmp_path / "archive")
    with pytest.raises(EvoLinkConfigError, match="What to do"):
        archive_files([{**file, "index": 1}], root, RUN, PLAIN)
    assert files_in(tmp_path / "archive") == before


@pytest.mark.parametrize(
    "broken", ["", "[]", "{}", '{"version": "x"}', '{"version": 2, "job_id": []}', '"text"', "nul"]
)
def test_what_is_no_manifest_is_replaced(tmp_path: Path, broken: str) -> None:
    file, root = staged(tmp_path / "staging"), root_of(tmp_path / "archive")
    (row,) = archive_files([file], root, RUN, PLAIN)
    path = Path(row["manifest"].removeprefix("file://"))
    path.write_text(broken)
    archive_files([file], root, RUN, PLAIN)
    assert json.loads(path.read_text())["files"][0]["sha256"] == file["sha256"]


# -- index --------------------------------------------------------------------


def test_a_job_has_one_row_and_its_request_one_lookup(tmp_path: Path) -> None:
    file, root = staged(tmp_path / "staging"), root_of(tmp_path / "archive")
    archive_files([file, staged(tmp_path / "staging", index=1)], root, RUN, PLAIN)
    before = files_in(tmp_path / "archive")
    archive_files([file, staged(tmp_path / "staging", index=1)], root, {**RUN, "run_id": "another"}, PLAIN)
    assert files_in(tmp_path / "archive") == before, "a repeat writes nothing"
    index = [name for name in before if name.startswith("_evolink")]
    finger = file["job"]["fingerprint"]
    assert index == [f"_evolink/requests/{finger[:2]}/{finger}.json", "_evolink/rows/2026-11-03/task-1.json"]
    (row,) = EvoLinkArchive(f"file://{tmp_path}/archive").find()
    assert (row["job_id"], row["prompt"], row["seed"], row["credits"]) == ("task-1", "a boat", "7", 2.5)
    assert [one["name"] for one in row["files"]] == ["task-1-0.mp4", "task-1-1.mp4"]
    found = EvoLinkArchive(f"file://{tmp_path}/archive").request(finger)
    assert found is not None
    assert (found.job_id, found.manifest) == ("task-1", row["manifest"])
    assert (tmp_path / "archive" / row["manifest"]).is_file()
    assert before["_evolink/rows/2026-11-03/task-1.json"][1].count(b"\n") == 1, "one line, as Athena needs it"


def test_the_lookup_names_the_newest_job_of_a_request(tmp_path: Path) -> None:
    root, same = root_of(tmp_path / "archive"), "ab" * 16
    later = (DAY + timedelta(days=1)).isoformat()
    for job_id, created in (("old", DAY.isoformat()), ("new", later), ("old", DAY.isoformat())):
        archive_files([staged(tmp_path / "s", job_id, fingerprint=same, created=created)], root, RUN, PLAIN)
    found = EvoLinkArchive(f"file://{tmp_path}/archive").request(same)
    assert found is not None
    assert found.job_id == "new"
    assert EvoLinkArchive(f"file://{tmp_path}/archive").request("cd" * 16) is None


def fill(tmp_path: Path, count: int = 6) -> EvoLinkArchive:
    """Archive jobs of several days, models and DAGs."""
    root = root_of(tmp_path / "archive")
    for number in range(count):
        created = (DAY + timedelta(days=number // 2)).isoformat()
        file = staged(tmp_path / "staging", f"task-{number}", created=created)
        file["model"] = f"model-{number % 2}"
        archive_files([file], root, {**RUN, "dag_id": f"dag-{number % 3}"}, PLAIN)
    return EvoLinkArchive(f"file://{tmp_path}/archive")


def found_by(archive: EvoLinkArchive, **given: Any) -> list[str]:
    """Return the numbers of the jobs found."""
    return [row["job_id"].removeprefix("task-") for row in archive.find(**given)]


@pytest.mark.parametrize("is_folded", [False, True])
def test_jobs_are_found_by_model_time_and_dag(tmp_path: Path, is_folded: bool) -> None:
    archive = fill(tmp_path)
    if is_folded:
        assert fold.fold(archive.root) == {"2026-11-03": 2, "2026-11-04": 2, "2026-11-05": 2}
    assert found_by(archive) == list("012345")
    assert found_by(archive, model="model-1") == list("135")
    assert found_by(archive, dag_id="dag-0") == list("03")
    assert found_by(archive, since="2026-11-04", until="2026-11-05") == list("23")
    assert found_by(archive, since=DAY + timedelta(days=1, seconds=1)) == list("45")
    assert found_by(archive, until=(DAY + timedelta(seconds=1)).date()) == []
    with pytest.raises(EvoLinkConfigError, match="is no date"):
        found_by(archive, since="yesterday")


def test_a_fold_leaves_what_is_of_today_and_takes_later_rows_into_the_file(tmp_path: Path) -> None:
    archive = fill(tmp_path)
    before = list(archive.find())
    assert fold.fold(archive.root, "2026-11-05") == {"2026-11-03": 2, "2026-11-04": 2}
    assert list(archive.find()) == before
    archive_files([staged(tmp_path / "staging", "late")], archive.root, RUN, PLAIN)
    archive_files([staged(tmp_path / "staging", "task-0")], archive.root, RUN, PLAIN)
    assert found_by(archive).count("0") == 1, "a job counts once while its row is in both"
    assert fold.fold(archive.root, "2026-11-05") == {"2026-11-03": 2}
    assert fold.fold(archive.root, "2026-11-05") == {}
    assert sorted(found_by(archive)) == sorted([*"012345", "late"])
    names = sorted(name for name in files_in(tmp_path / "archive" / "_evolink") if not name.startswith("requests"))
    assert [name for name in names if name.endswith(".json")] == [
        "rows/2026-11-05/task-4.json",
        "rows/2026-11-05/task-5.json",
    ]


def test_the_index_is_built_again_from_the_manifests(tmp_path: Path) -> None:
    archive = fill(tmp_path)
    fold.fold(archive.root)
    before = list(archive.find())
    for path in (tmp_path / "archive" / "_evolink").rglob("*.parquet"):
        path.write_bytes(b"damaged")
    with pytest.raises(EvoLinkConfigError, match="rebuild"):
        list(archive.find())
    (tmp_path / "archive" / before[0]["manifest"]).unlink()
    assert fold.rebuild(archive.root) == 5
    assert list(archive.find()) == before[1:]
    assert archive.request(before[0]["fingerprint"]) is None
    fold.fold(archive.root)
    assert list(archive.find()) == before[1:]


def test_duckdb_reads_rows_and_folded_days_without_a_crawl(tmp_path: Path) -> None:
    archive = fill(tmp_path)
    fold.fold(archive.root, "2026-11-05")
    archive_files([staged(tmp_path / "staging", "task-0")], archive.root, RUN, PLAIN)
    where = f"{tmp_path}/archive/_evolink"
    (found,) = duckdb.sql(
        f"SELECT count(*), count(DISTINCT job_id), sum(credits) FROM (SELECT DISTINCT ON (job_id) * FROM ("
        f"SELECT job_id, credits, files FROM '{where}/days/*.parquet' UNION ALL BY NAME "
        f"SELECT job_id, credits, files FROM '{where}/rows/*/*.json'))"
    ).fetchall()
    assert found == (6, 6, 15.0)

"""Which files may be inputs: by where their names come from, by their folder, and only regular ones."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, BaseOperator, ObjectStoragePath, TaskDeferred
from PIL import Image

from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkInputError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.execution.inputs.origins import InputOrigins, named_files, texts_in_function
from airflow_provider_evolink.operators import EvoLinkImageToVideoOperator, EvoLinkUploadOperator
from airflow_provider_evolink.operators import EvoLinkUploadOperator as Upload
from airflow_provider_evolink.storage.input_files import InvalidInputFile
from airflow_provider_evolink.storage.input_roots import InputRoot, open_file

NOT_SENT = "is a local file that this task may not send"
FOREIGN = InputOrigins()  # of a text that stands in no DAG file


def picture(path: Path, color: str = "green") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (640, 360), color).save(path, "PNG")
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an allowed one, ``in``, and secrets beside it."""
    data = tmp_path / "data"
    for name in ("in/a.png", "in/sub/b.png", "in/x..y.png", "inner/c.png", "secret.png", "in/sp ace,#?%.png"):
        picture(data / name)
    (data / "in/out.png").symlink_to(data / "secret.png")
    (data / "in/up").symlink_to(data)
    (data / "in/chain.png").symlink_to(data / "in/out.png")
    (data / "in/same.png").symlink_to("a.png")
    (data / "in/loop.png").symlink_to("loop.png")
    (data / "back").symlink_to(data / "in")
    monkeypatch.chdir(data)
    monkeypatch.setenv("AIRFLOW__EVOLINK__INPUT_ROOTS", f"file://{data}/in")
    return data


INSIDE = {
    "a plain path": "{data}/in/a.png",
    "a URI": "file://{data}/in/a.png",
    "another case of the scheme": "FILE://{data}/in/a.png",
    "another name of the scheme": "local://{data}/in/a.png",
    "a folder below": "{data}/in/sub/b.png",
    "dots in a name": "{data}/in/x..y.png",
    "steps that stay inside": "{data}/in/sub/../a.png",
    "steps out and in again": "{data}/in/../in/./a.png",
    "doubled slashes": "{data}//in///a.png",
    "a link that stays inside": "{data}/in/same.png",
    "a link from outside to the root": "{data}/back/a.png",
    "signs that are no signs in a path": "{data}/in/sp ace,#?%.png",
    "a relative path": "in/a.png",
}
OUTSIDE = {
    "a plain path": "{data}/secret.png",
    "a URI": "file://{data}/secret.png",
    "another case of the scheme": "File://{data}/secret.png",
    "another name of the scheme": "local://{data}/secret.png",
    "a folder whose name begins alike": "{data}/inner/c.png",
    "steps out": "{data}/in/../secret.png",
    "steps out in a URI": "file://{data}/in/sub/../../secret.png",
    "many steps out": "{data}/in/../../../../../../../../../../../..{data}/secret.png",
    "percent-encoded steps out": "file://{data}/in/%2e%2e/secret.png",
    "percent-encoded slashes": "file://{data}/in/..%2fsecret.png",
    "backslashes": "{data}/in/..\\secret.png",
    "a link out": "{data}/in/out.png",
    "a link to a link out": "{data}/in/chain.png",
    "a linked folder": "{data}/in/up/secret.png",
    "a linked folder and a step": "{data}/in/up/in/../secret.png",
    "a step behind a file": "{data}/in/a.png/../../secret.png",
    "a link to itself": "{data}/in/loop.png",
    "the root itself": "{data}/in",
    "the root with a slash": "{data}/in/",
    "another case of the path": "{data}/IN/a.png",
    "a null byte": "{data}/in/a.png\0/../../secret.png",
    "a relative path": "secret.png",
    "a relative path in a URI": "file://secret.png",
    "a host in a URI": "file://localhost{data}/secret.png",
    "four slashes": "file:///{data}/secret.png",
    "a connection": "file://conn@{data}/in/a.png",
    "a cache before it": "simplecache::file://{data}/in/a.png",
    "an archive around it": "zip://a.png::file://{data}/in/a.zip",
    "the home of a user": "~/secret.png",
    "a store": "s3://bucket/in/a.png",
    "memory": "memory://{data}/in/a.png",
    "a process": "/proc/self/cwd/secret.png",
    "a folder of devices": "/dev/fd/0",
}


@pytest.mark.parametrize("case", INSIDE)
def test_a_file_in_a_root_is_read(data: Path, case: str) -> None:
    file = FOREIGN.source(INSIDE[case].format(data=data)).inspect()
    assert file.content_type == "image/png"


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_file_outside_of_every_root_is_not(data: Path, case: str) -> None:
    try:
        source = FOREIGN.source(OUTSIDE[case].format(data=data))
    except (InvalidInputFile, EvoLinkConfigError):
        return
    with pytest.raises(InvalidInputFile, match="the file does not exist"):
        source.inspect()


@pytest.mark.parametrize("case", INSIDE)
def test_without_roots_no_foreign_name_is_read(data: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.delenv("AIRFLOW__EVOLINK__INPUT_ROOTS")
    with pytest.raises(InvalidInputFile, match=NOT_SENT):
        FOREIGN.source(INSIDE[case].format(data=data))


@pytest.mark.parametrize("case", ["a plain path", "a URI", "a link out", "steps out"])
def test_the_author_of_a_dag_may_name_any_file(data: Path, case: str) -> None:
    text = OUTSIDE[case].format(data=data)
    assert InputOrigins(literals=frozenset({text})).source(text).inspect().content_type == "image/png"


def test_a_link_that_is_put_in_after_the_check_leads_nowhere(data: Path) -> None:
    source = FOREIGN.source(f"{data}/in/sub/b.png")
    (data / "in/sub/b.png").unlink()
    (data / "in/sub/b.png").symlink_to(data / "secret.png")
    with pytest.raises(InvalidInputFile, match="does not exist"):
        source.inspect()
    for path in (data / "in/out.png", data / "in/up/secret.png", data / "in/up/in/a.png"):
        with pytest.raises(FileNotFoundError):
            open_file(str(path), str(data / "in"))


ROOT = "s3://store@clips/in"
STORES = {
    "s3://store@clips/in/a.png": True,
    "S3://store@clips/in/sub/a.png": True,
    "s3a://store@clips/in/a.png": True,
    "s3://clips/in/a.png": False,
    "s3://other@clips/in/a.png": False,
    "s3://store@Clips/in/a.png": False,
    "s3://store@other/in/a.png": False,
    "s3://store@clips/inner/a.png": False,
    "s3://store@clips/IN/a.png": False,
    "s3://store@clips/a.png": False,
    "s3://store@clips/in": False,
    "s3://store@clips/in/": False,
    "s3://store@clips/in/../a.png": False,
    "s3://store@clips/in/./../a.png": False,
    "s3://store@clips/in//a.png": False,
    "s3://store@clips/in/%2e%2e/a.png": False,
    "s3://store@clips/in/%2E./a.png": False,
    "s3://store@clips/in/..%2Fa.png": False,
    "s3://store@clips/in/..\\a.png": False,
    "memory://clips/in/a.png": False,
    "file:///clips/in/a.png": False,
    "/clips/in/a.png": False,
}


@pytest.mark.parametrize("uri", STORES)
def test_a_root_in_a_store(uri: str, s3: Any) -> None:
    assert InputRoot.of(ROOT).holds(ObjectStoragePath(uri)) is STORES[uri]


def test_the_connection_of_an_upload_counts_for_its_root(s3: Any) -> None:
    root = InputRoot.of("s3://store@clips/in/")
    assert root.holds(ObjectStoragePath("s3://clips/in/a.png", conn_id="store"))
    assert not root.holds(ObjectStoragePath("s3://clips/in/a.png", conn_id="other"))
    assert InputRoot.of("s3://clips").holds(ObjectStoragePath("s3://clips/in/a.png"))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("data/in", "relative path"),
        ("./in", "relative path"),
        ("file://data/in", "relative path"),
        ("s3://store@", "names no bucket"),
        ("nosuch://bucket/in", "cannot be opened"),
    ],
)
def test_a_root_that_means_nothing_is_an_error_of_the_configuration(
    data: Path, monkeypatch: pytest.MonkeyPatch, entry: str, told: str, s3: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__EVOLINK__INPUT_ROOTS", f" , {entry}")
    with pytest.raises(EvoLinkConfigError, match=f"input_roots.*{told}"):
        FOREIGN.source(str(data / "in/a.png"))


# --- over operators, their templates rendered by Airflow


def rendered(make: Callable[[], Any], **params: Any) -> Callable[[], Any]:
    """Return a maker of operators whose templates are filled from the form of a run."""

    def made() -> Any:
        operator = make()
        operator.render_template_fields({"params": params})
        operator.render_template_fields({"params": {}})  # as where one process runs two tries
        return operator

    return made


def upload(path: Any) -> Callable[[], Any]:
    return lambda: EvoLinkUploadOperator(task_id="task", path=path)


def test_a_form_may_name_a_file_in_a_root_and_no_other(stage: Any, emulator: EmulatorServer, data: Path) -> None:
    operator = upload("{{ params.picture }}")
    assert stage.run(rendered(operator, picture=f"{data}/in/a.png"))["size"] > 0
    with pytest.raises(AirflowFailException, match=f"path: {NOT_SENT}") as told:
        stage.clear().run(rendered(operator, picture=f"{data}/secret.png"))
    assert "secret" not in str(told.value)
    assert emulator.books()["requests"]["upload"] == 1


FIELDS: dict[str, dict[str, Any]] = {
    "a field": {"image_start": "{{ params.picture }}"},
    "a part of a name": {"image_start": "file://{{ params.picture }}"},
    "parameters": {"parameters": {"image_start": "{{ params.picture }}"}},
    "a list": {"audio_urls": ["{{ params.picture }}"], "image_start": "https://example.com/a.png"},
    "one of two": {"image_start": "{{ params.picture }}", "image_end": "{folder}/in/a.png"},
}


@pytest.mark.parametrize("case", FIELDS)
def test_no_field_of_a_request_takes_a_file_that_a_form_names(
    stage: Any, make: Any, emulator: EmulatorServer, data: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.delenv("AIRFLOW__EVOLINK__INPUT_ROOTS")
    fields = {name: v.format(folder=data) if v == "{folder}/in/a.png" else v for name, v in FIELDS[case].items()}
    operator = make(EvoLinkImageToVideoOperator, prompt="p", duration=2, **fields)
    with pytest.raises(AirflowFailException, match=NOT_SENT) as told:
        stage.run(rendered(operator, picture=f"{data}/secret.png"))
    assert str(told.value).count(NOT_SENT) == 1
    assert emulator.books()["requests"] == {}


def test_a_literal_stays_one_when_templates_are_rendered(
    stage: Any, make: Any, emulator: EmulatorServer, data: Path
) -> None:
    """Also beside a template, and as a path."""
    fields = {"image_start": ObjectStoragePath(f"file://{data}/secret.png"), "image_end": str(data / "inner/c.png")}
    operator = make(EvoLinkImageToVideoOperator, prompt="{{ params.text }}", duration=2, **fields)
    assert stage.run(rendered(operator, text="a boat"))["status"] == "completed"
    assert emulator.books()["requests"]["upload"] == 1, "both have the same content"


def test_a_job_that_was_paid_is_delivered_where_its_file_may_no_longer_be_read(
    stage: Any, make: Any, emulator: EmulatorServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.settings(polls=4, estimated_time=60)
    operator = make(EvoLinkImageToVideoOperator, prompt="p", duration=2, image_start="{{ params.picture }}")
    made = rendered(operator, picture=f"{data}/in/a.png")

    def changed() -> Any:
        monkeypatch.delenv("AIRFLOW__EVOLINK__INPUT_ROOTS", raising=False)
        return made()

    with pytest.raises(TaskDeferred) as deferred:
        made().execute(stage.context())
    assert stage.resume(changed, deferred.value)["status"] == "completed"
    assert emulator.books()["orders"] == 1


def in_dag(build: Callable[[], Any], **more: Any) -> tuple[Any, dict[str, Any]]:
    """Return the task that a DAG file makes, and the context of its first run as Airflow's worker has it."""
    with DAG("dag") as dag:
        built = build()
    task = dag.get_task("task")
    ti = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=0, try_number=1, max_tries=1, task=task)
    ti.xcom_pull = more.pop("xcom_pull", None)
    assert built is not None
    context = {"ti": ti, "task_instance": ti, "dag": dag, "task": task, "params": {}, "run_id": "run", **more}
    task.render_template_fields(context)
    return context["task"], context


MAPPED: dict[str, tuple[Callable[[str], Any], bool]] = {
    "a list": (lambda path: Upload.partial(task_id="task").expand(path=[path]), False),
    "a list of arguments": (lambda path: Upload.partial(task_id="task").expand_kwargs([{"path": path}]), False),
    "what all have": (lambda path: Upload.partial(task_id="task", path=path).expand(reuse=[True]), True),
    "what all have from a form": (
        lambda path: Upload.partial(task_id="task", path="{{ dag_run.conf.picture }}").expand(reuse=[True]),
        False,
    ),
    "no list": (lambda path: Upload(task_id="task", path=path), True),
    "a default of the DAG": (lambda path: Upload(task_id="task", default_args={"path": path}), True),
    "a parameter of the DAG": (lambda path: Upload(task_id="task", path=DAG("other").param("picture", path)), False),
}


@pytest.mark.parametrize("case", MAPPED)
def test_of_mapped_operators_only_what_all_have_in_common_is_a_literal(
    evolink_conn: str, emulator: EmulatorServer, data: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.delenv("AIRFLOW__EVOLINK__INPUT_ROOTS")
    build, is_sent = MAPPED[case]
    path = str(data / "secret.png")
    operator, context = in_dag(lambda: build(path), dag_run=SimpleNamespace(conf={"picture": path}))
    if is_sent:
        assert operator.execute(context)["content_type"] == "image/png"
        return
    with pytest.raises(AirflowFailException, match=NOT_SENT):
        operator.execute(context)


def test_an_operator_inside_another_task_has_no_literals(
    evolink_conn: str, emulator: EmulatorServer, data: Path
) -> None:
    """What its function passes to it may come from a form."""
    _, context = in_dag(lambda: Upload(task_id="task", path="https://example.com"))
    inner = Upload(task_id="x", path=str(data / "secret.png"))
    with pytest.raises(AirflowFailException, match=NOT_SENT):
        inner.execute(context)
    assert emulator.books()["requests"] == {}


@pytest.mark.parametrize("case", ["named", "changed", "of a later task", "of another operator", "nothing", "no XCom"])
def test_a_text_may_name_what_a_task_before_has_downloaded(
    evolink_conn: str, emulator: EmulatorServer, data: Path, case: str
) -> None:
    file = entry(data / "secret.png", **({"sha256": "1" * 64} if case == "changed" else {}))

    def build() -> Any:
        kind = Upload if case != "of another operator" else BaseOperator
        before = kind(task_id="before", **({"path": "https://example.com"} if kind is Upload else {}))
        task = Upload(task_id="task", path="{{ params.picture }}")
        return task >> before if case == "of a later task" else before >> BaseOperator(task_id="between") >> task

    def pull(task_ids: list[str]) -> Any:
        if case == "no XCom":
            raise OSError
        assert task_ids == ["before"]
        return [None] if case == "nothing" else [[file]]

    operator, context = in_dag(build, params={"picture": file["uri"]}, xcom_pull=pull)
    told = {"changed": "is not the file that the download", "no XCom": "results of the tasks before this one cannot"}
    if case == "named":
        assert operator.execute(context)["sha256"] == file["sha256"]
        return
    with pytest.raises((AirflowFailException, EvoLinkInputError), match=told.get(case, NOT_SENT)):
        operator.execute(context)
    assert emulator.books()["requests"] == {}


# --- named by the result of a download


def entry(path: Path, **changes: Any) -> dict[str, Any]:
    import hashlib

    facts = {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {**facts, "size": path.stat().st_size, "content_type": "image/png", "index": 0, "job_id": "j", **changes}


def test_what_a_download_returned_is_an_input(stage: Any, make: Any, emulator: EmulatorServer, data: Path) -> None:
    file = entry(data / "secret.png")
    assert stage.run(upload(file))["sha256"] == file["sha256"]
    fields = {"parameters": {"image_start": file}, "prompt": "p", "duration": 2}
    assert stage.clear().run(make(EvoLinkImageToVideoOperator, **fields))["request"]["image_start"].startswith("file:")


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": 7}, {"size": -1, "sha256": ""}])
def test_an_entry_that_does_not_name_this_content_is_not(
    stage: Any, emulator: EmulatorServer, data: Path, changes: Any
) -> None:
    with pytest.raises(AirflowFailException, match=r"path: is not the file that the download"):
        stage.run(upload(entry(data / "secret.png", **changes)))
    assert emulator.books()["requests"] == {}


@pytest.mark.parametrize("missing", ["sha256", "size", "uri", "content_type"])
def test_half_an_entry_names_nothing(data: Path, missing: str) -> None:
    file = {name: value for name, value in entry(data / "secret.png").items() if name != missing}
    assert named_files([{"files": [file]}]) == {}
    assert list(named_files([{"files": [entry(data / "secret.png")]}])) == [(data / "secret.png").as_uri()]


OUTER = "/data/outer.png"
CHANGING = ["/data/list.png"]


def test_a_function_holds_its_own_texts_only() -> None:
    closed = "/data/closed.png"

    def ask(params: dict[str, str], frame: str = "/data/default.png", *, end: str = "/data/end.png") -> dict[str, Any]:
        return {"a": "/data/constant.png", "b": OUTER, "c": closed, "d": CHANGING, "e": params["picture"], "f": frame}

    found = texts_in_function(ask)
    assert {OUTER, closed, "/data/constant.png", "/data/default.png", "/data/end.png"} <= found
    assert "/data/list.png" not in found, "a list may have been filled from a form"


# --- what is no file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


NO_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pipe": (pipe, "a named pipe"),
    "a link to a pipe": (lambda path: (pipe(path.with_name("p")), path.symlink_to("p")), "a named pipe"),
    "a device without an end": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "an empty device": (lambda path: path.symlink_to("/dev/null"), "a device"),
    "a terminal": (lambda path: path.symlink_to("/dev/tty"), "a device"),
    "a socket": (listening, "a socket"),
    "a folder": (Path.mkdir, "a folder"),
    "a link to a folder": (lambda path: path.symlink_to("."), "a folder"),
}


@pytest.mark.parametrize("case", NO_FILES)
@pytest.mark.parametrize("named", ["as a literal", "in a root"])
def test_only_regular_files_are_opened(
    stage: Any, make: Any, emulator: EmulatorServer, data: Path, case: str, named: str
) -> None:
    create, kind = NO_FILES[case]
    path = data / "in/special.png"
    create(path)
    inside = named == "as a literal" or not case.endswith(("device", "terminal", "without an end"))
    told = f"must be a regular file, got {kind}" if inside else NOT_SENT
    if case == "a link to a folder" and named == "in a root":
        told = NOT_SENT
    text = str(path) if named == "as a literal" else "{{ params.picture }}"
    operator = make(EvoLinkImageToVideoOperator, prompt="p", duration=2, image_start=text)
    for made in (operator, upload(text)):
        with pytest.raises(AirflowFailException, match=told):
            stage.clear().run(rendered(made, picture=str(path)))
    assert emulator.books()["requests"] == {}


def test_a_folder_in_a_store_is_no_file(stage: Any, emulator: EmulatorServer, s3: Any) -> None:
    s3.create_bucket(Bucket="clips")
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "PNG")
    s3.put_object(Bucket="clips", Key="in/a.png", Body=buffer.getvalue())
    with pytest.raises(AirflowFailException, match="must be a regular file, got a folder"):
        stage.run(upload("s3://store@clips/in"))
    assert stage.run(upload("s3://store@clips/in/a.png"))["size"] == len(buffer.getvalue())

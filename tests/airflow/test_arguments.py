"""Every argument of every operator: a wrong literal is an error at once, a template waits for the worker."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    ObjectStoragePath,
    TaskGroup,
    task,
)
from evolink_support import MAPPED

from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.decorators.evolink import _EvoLinkDecoratedOperator
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkAudioOperator,
    EvoLinkBatchOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkImageOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkRecoverOperator,
    EvoLinkReferenceVideoOperator,
    EvoLinkTextToVideoOperator,
    EvoLinkUploadOperator,
    EvoLinkVideoEditOperator,
    EvoLinkVideoOperator,
)
from airflow_provider_evolink.sensors import EvoLinkJobSensor

LINK = "https://example.com/clip.mp4"


def request() -> dict[str, Any]:
    """Return a request."""
    return {"prompt": "p"}


# What makes each operator a right one.
RIGHT: dict[type, dict[str, Any]] = {
    EvoLinkGenerateOperator: {"model": "gpt-image-2", "parameters": {"prompt": "p"}},
    EvoLinkImageOperator: {"model": "gpt-image-2", "prompt": "p"},
    EvoLinkVideoOperator: {"model": "seedance-2.5-text-to-video", "prompt": "p"},
    EvoLinkAudioOperator: {"model": "suno-v5-beta", "prompt": "p"},
    EvoLinkTextToVideoOperator: {"prompt": "p"},
    EvoLinkImageToVideoOperator: {"image_start": LINK},
    EvoLinkReferenceVideoOperator: {"prompt": "p", "image_urls": [LINK]},
    EvoLinkVideoEditOperator: {"video_urls": [LINK]},
    EvoLinkBatchOperator: {"model": "wan2.7-text-to-video", "requests": [{"prompt": "p"}]},
    EvoLinkDownloadOperator: {"job": "task-unified-1-x", "destination": "file:///srv/x"},
    EvoLinkArchiveOperator: {"files": [{"uri": "file:///srv/x.mp4"}], "archive_path": "file:///srv/x"},
    EvoLinkRecoverOperator: {"destination": "file:///srv/x", "archive_path": "file:///srv/y"},
    EvoLinkUploadOperator: {"path": "file:///srv/x.png"},
    EvoLinkJobSensor: {"job_id": "task-unified-1-x"},
    _EvoLinkDecoratedOperator: {"python_callable": request},
}
OPERATORS = list(RIGHT)
NUMBERS: list[Any] = ["soon", "-1", "1e9", "", math.nan, math.inf, -1, True, [100], {}, timedelta(seconds=-1), object()]
WORDS: list[Any] = ["", "Fail", "fail ", 1, True, ["fail"]]
TEXTS: list[Any] = ["", " ", 7, ["x"], {}]
FOLDERS: list[Any] = [
    " ",
    "videos",
    "./videos",
    "~/videos",
    "None",
    "s3:/x",
    "file://x",
    "s3://x#",
    "/x?",
    7,
    ["s3://x"],
]
FLAGS: list[Any] = ["false", "True", 0, 1, []]
JOBS: list[Any] = ["", "../etc", 7, None, {}, {"job_id": 7}, []]
TIMES: list[Any] = ["yesterday", "12:00", "2026-13-01", 7, True, [], timedelta(hours=1), date(2026, 11, 30)]
# Wrong literals of each argument; where it is None that may not be None, None belongs to them.
WRONG: dict[str, list[Any]] = {
    "model": [7, None, ["x"]],
    "parameters": ["prompt", [1], 7, {1: "x"}],
    "kind": ["Video", "movie", "", 7, ["video"]],
    "evolink_conn_id": [*TEXTS, None],
    "poll_interval": NUMBERS,
    "timeout": [*NUMBERS, None, 366 * 86400],
    "deferrable": [*FLAGS, None],
    "defer_after": NUMBERS,
    "durable": [*FLAGS, None],
    "validation": [*WORDS, None],
    "idempotency_namespace": [7, ["x"]],
    "destination": FOLDERS,
    "callback_url": ["", "call me", "http://example.com/x", "https://10.0.0.1/x", 7],
    "ledger_path": [*FOLDERS, ""],
    "max_credits": [value for value in NUMBERS if value is not None],
    "unknown_price": [*WORDS, None],
    "max_regenerations": [*NUMBERS, 1.5, "1.5"],
    "on_unknown_submit": [*WORDS, None],
    "on_clear": [*WORDS, None],
    "on_backfill": [*WORDS[:1], *WORDS[2:], None, "submit"],
    "requests": ["text", {"prompt": "p"}, None, 7, ["text"], [{"prompt": "p"}, 7], [{1: "p"}]],
    "max_active": [*NUMBERS, None, 0, 1001, 1.5],
    "on_failed_job": [*WORDS, None],
    "prompt": [7, ["p"], True],
    "negative_prompt": [7, ["p"]],
    "quality": [720, True],
    "size": [1024, [1024, 1024]],
    "aspect_ratio": [1.5, ["16:9"]],
    "generation_mode": [7, True],
    "duration": ["long", 2.5, True, math.nan, [5], timedelta(seconds=5)],
    "seed": ["x", 2.5, True, math.inf],
    "prompt_extend": ["yes", 1, []],
    "keep_original_sound": ["no", 0],
    "image_urls": [7, True],
    "video_urls": [7, True],
    "audio_urls": [7, True],
    "image_start": [7, True],
    "image_end": [7, True],
    "voice_bindings": ["image1", 7, [LINK]],
    "job": [*JOBS, [7], ["task-1", "../etc"]],
    "job_id": JOBS,
    "destination_conn_id": TEXTS,
    "archive_conn_id": TEXTS,
    "path_conn_id": TEXTS,
    "on_missing": [*WORDS, None],
    "total_timeout": [*NUMBERS, 0, "0"],
    "max_bytes": [*[value for value in NUMBERS if value != "1e9"], 0],
    "min_rate": [*NUMBERS, 0],
    "files": ["text", {}, None, 7, ["x"], [7]],
    "archive_path": FOLDERS,
    "path": ["", " ", 7, None, ["x"]],
    "reuse": [*FLAGS, None, ""],
    "reuse_unseeded": [*FLAGS, None],
    "hide_prompt": [*FLAGS, None],
    "move": [*FLAGS, None],
    "posters": [*FLAGS, None],
    "layout": ["", 7, "{model}", "../{job_id}", "{job_id}/x/../y", ["{job_id}"]],
    "source": [*WORDS, "Ledger", "all"],
    "job_ids": ["../etc", "task-1 ../etc", 7, {}, [7], ["task-1", "a b"], [{"status": "refused"}], [None], {"task-1"}],
    "since": TIMES,
    "until": TIMES,
    "window": [*NUMBERS, None, 0, "0", 366 * 86400],
}
NEEDED = (
    ("destination", EvoLinkDownloadOperator),
    ("archive_path", EvoLinkArchiveOperator),
    *((name, EvoLinkRecoverOperator) for name in ("destination", "archive_path")),
)
BLANK = ("ledger_path", EvoLinkRecoverOperator, "")  # a template may render to it: nothing is paid without a ledger
# Which arguments take no check by the table.
FREE = {"self", "kwargs", "python_callable", "op_args", "op_kwargs"}


def build(kind: type, /, **given: Any) -> Any:
    """Build an operator as a DAG file does."""
    return kind(**{"task_id": "task", **RIGHT[kind], **given})


def arguments_of(kind: type) -> set[str]:
    """Return the names of the arguments that this package gives an operator."""
    ours = [cls for cls in kind.__mro__ if cls.__module__.startswith("airflow_provider_evolink")]
    found = [inspect.signature(inspect.unwrap(cls.__init__)).parameters for cls in ours if "__init__" in vars(cls)]
    return {name for names in found for name in names} - FREE


def wrong_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield each argument of an operator with values that it cannot have."""
    for name in sorted(arguments_of(kind)):
        if name == "kind" and getattr(kind, "only_kind", None):
            continue  # an operator of one kind has no such argument
        if name == "parameters" and kind is _EvoLinkDecoratedOperator:
            continue
        needed = (name, kind) in NEEDED
        for value in [*WRONG[name], *(["", None] if needed else [])]:
            if (name == "seed" and value is None) or (name, kind, value) == BLANK:
                continue
            yield name, value


def message(error: type[Exception], work: Callable[[], Any]) -> str:
    """Return the message of the error that something must raise; none at all if it raises nothing."""
    try:
        work()
    except error as raised:
        return str(raised)
    return ""


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_argument_has_a_rule(kind: Any) -> None:
    assert arguments_of(kind) <= set(kind.argument_rules)
    assert arguments_of(kind) <= set(WRONG)
    build(kind)


def test_the_words_are_those_of_the_catalog() -> None:
    assert set(table.KINDS) == set(get_args(Kind))
    assert set(table.VALIDATIONS) == set(get_args(Validation))


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_wrong_literal_is_an_error_when_the_dag_file_is_parsed(kind: Any) -> None:
    for name, value in wrong_of(kind):
        text = message(EvoLinkConfigError, lambda name=name, value=value: build(kind, **{name: value}))
        wanted = rf"{name} must .* \(task task\)\. What to do: correct it in the DAG file"
        assert re.fullmatch(wanted, text), (value, text)


@pytest.mark.parametrize("kind", [kind for kind in OPERATORS if kind is not _EvoLinkDecoratedOperator])
def test_a_literal_beside_partial_is_checked_as_well(kind: Any) -> None:
    for name, value in wrong_of(kind):
        given = {"task_id": "task", **RIGHT[kind], name: value}
        text = message(EvoLinkConfigError, lambda given=given: kind.partial(**given))
        assert text.startswith(f"{name} must "), (value, text)


@pytest.mark.parametrize("kind", OPERATORS)
def test_what_is_known_only_when_the_task_runs_is_accepted(kind: Any) -> None:
    with DAG("dag"):

        @task
        def before() -> Any:
            return None

        later, number = before(), itertools.count()
        for name in sorted(arguments_of(kind) & set(kind.template_fields)):
            for value in ("{{ params.x }}", "{% if x %}a{% endif %}", "{# b #}", later, later["x"], later.map(str)):
                build(kind, task_id=f"{name}{next(number)}", **{name: value})
                if kind is not _EvoLinkDecoratedOperator:
                    kind.partial(task_id="task", **{name: value})


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("value", ["{{ params.x }}", "an XComArg"])
def test_what_nobody_renders_is_an_error_that_says_so(kind: Any, value: str) -> None:
    with DAG("dag"):

        @task
        def before() -> Any:
            return None

        given = before() if value == "an XComArg" else value
        for name in sorted(arguments_of(kind) - set(kind.template_fields) - {"kind", "parameters"}):
            with pytest.raises(EvoLinkConfigError, match=rf"^{name} must .*it is not a template field"):
                build(kind, task_id=f"t{name}", **{name: given})


def test_the_error_names_default_args() -> None:
    with DAG("dag", default_args={"timeout": "an hour"}):
        with pytest.raises(EvoLinkConfigError, match=r"'an hour' \(task shot, from default_args\)"):
            build(EvoLinkTextToVideoOperator, task_id="shot")
        build(EvoLinkTextToVideoOperator, timeout=60)
    with (
        DAG("dag"),
        TaskGroup("group", default_args={"poll_interval": -1}),
        pytest.raises(EvoLinkConfigError, match=r"-1 \(task group.shot, from default_args\)"),
    ):
        build(EvoLinkJobSensor, task_id="shot")


def test_a_task_is_not_built_from_another() -> None:
    with pytest.raises(TypeError, match="partial can only be called on Operator classes"):
        build(EvoLinkTextToVideoOperator).partial(task_id="other")


@pytest.mark.parametrize("validation", ["warn", "off"])
def test_fields_of_a_request_are_judged_only_where_the_rules_bind(validation: str) -> None:
    operator = build(EvoLinkVideoOperator, validation=validation, duration=2.5, callback_url="http://localhost/x")
    assert operator.duration == 2.5
    with pytest.raises(EvoLinkConfigError, match="timeout must"):
        build(EvoLinkVideoOperator, validation=validation, timeout="x")


def test_a_field_that_a_subclass_names_is_its_own() -> None:
    class Own(EvoLinkGenerateOperator):
        fields = ("size",)

        def __init__(self, *, size: int, **kwargs: Any) -> None:
            super().__init__(model="own-model", **kwargs)
            self.size = size

    assert Own(task_id="task", size=7).size == 7
    with pytest.raises(EvoLinkConfigError, match="on_clear must"):
        Own(task_id="task", size=7, on_clear="pay")


PRIVATE = {
    "prompt": ({"prompt": ["secret xylophone"]}, EvoLinkTextToVideoOperator),
    "job": ({"job": "{'prompt': 'secret xylophone'}"}, EvoLinkDownloadOperator),
    "request": ({"requests": ["secret xylophone"]}, EvoLinkBatchOperator),
    "login": ({"destination": "store://user:xylophone@host/x#"}, EvoLinkDownloadOperator),
    "signature": ({"timeout": "https://example.com/x?sign=xylophone"}, EvoLinkAudioOperator),
    "key": ({"poll_interval": "sk-xylophone1234567"}, EvoLinkJobSensor),
}


@pytest.mark.parametrize("case", PRIVATE)
def test_no_error_shows_what_is_private(case: str) -> None:
    given, kind = PRIVATE[case]
    with pytest.raises(EvoLinkConfigError) as raised:
        build(kind, **given)
    assert "xylophone" not in str(raised.value)


# --- right ones

TAKEN: list[tuple[type, str, Any, Any]] = [
    (EvoLinkGenerateOperator, "max_credits", "100", 100),
    (EvoLinkGenerateOperator, "timeout", timedelta(minutes=5), 300),
    (EvoLinkGenerateOperator, "timeout", " 60.5 ", 60.5),
    (EvoLinkGenerateOperator, "max_regenerations", "2.0", 2),
    (EvoLinkGenerateOperator, "destination", Path("/srv/x"), "/srv/x"),
    (EvoLinkGenerateOperator, "destination", ObjectStoragePath("file:///srv/x"), "file:///srv/x"),
    (EvoLinkGenerateOperator, "destination", "", None),
    (EvoLinkGenerateOperator, "ledger_path", Path("/srv/x"), "/srv/x"),
    (EvoLinkDownloadOperator, "total_timeout", timedelta(hours=1), 3600),
    (EvoLinkDownloadOperator, "total_timeout", "60", 60),
    (EvoLinkDownloadOperator, "destination", ObjectStoragePath("file:///srv/x"), "file:///srv/x"),
    (EvoLinkDownloadOperator, "job", {"job_id": "task-unified-1-x"}, "task-unified-1-x"),
    (EvoLinkArchiveOperator, "archive_path", Path("/srv/x"), "/srv/x"),
    (EvoLinkJobSensor, "poll_interval", timedelta(seconds=9), 9),
    (EvoLinkBatchOperator, "requests", ({"prompt": "p"},), [{"prompt": "p"}]),
    (EvoLinkBatchOperator, "max_active", "5", 5),
    (EvoLinkGenerateOperator, "ledger_path", None, None),
    (EvoLinkRecoverOperator, "job_ids", None, []),
    (EvoLinkRecoverOperator, "job_ids", " ", []),
    (EvoLinkRecoverOperator, "job_ids", "None", []),
    (EvoLinkRecoverOperator, "job_ids", "task-1, task-2\ttask-1", ["task-1", "task-2"]),
    (EvoLinkRecoverOperator, "job_ids", "['task-1', 'task-2']", ["task-1", "task-2"]),
    (EvoLinkRecoverOperator, "job_ids", '["task-1"]', ["task-1"]),
    (EvoLinkRecoverOperator, "job_ids", [{"job_id": "task-1"}, "task-2", ["task-3"]], ["task-1", "task-2", "task-3"]),
    (EvoLinkRecoverOperator, "since", "2026-11-30", 1795996800.0),
    (EvoLinkRecoverOperator, "since", "", None),
    (EvoLinkRecoverOperator, "since", datetime(2026, 11, 30, tzinfo=UTC), 1795996800.0),
    (EvoLinkRecoverOperator, "until", "2026-11-30T02:00:00+02:00", 1795996800.0),
    (EvoLinkRecoverOperator, "window", timedelta(days=2), 172800),
]


@pytest.mark.parametrize(("kind", "name", "value", "used"), TAKEN)
@pytest.mark.parametrize("how", [{}, MAPPED], ids=["literal", "mapped"])
def test_where_the_meaning_is_plain_it_is_taken(kind: Any, name: str, value: Any, used: Any, how: Any) -> None:
    assert build(kind, **{name: value}, **how).checked_arguments()[name] == used


# --- on the worker


@pytest.mark.parametrize("kind", OPERATORS)
def test_what_a_mapped_task_is_given_is_refused_first_thing_and_for_good(
    kind: Any, stage: Any, emulator: EmulatorServer, evolink_conn: str
) -> None:
    """Where the rules of the model judge, they judge before anything is sent."""
    stage.ti.start_date = None
    for name, value in wrong_of(kind):
        if kind.argument_rules[name].is_for_literals:
            continue
        operator = build(kind, **{name: value}, **MAPPED)
        text = message(AirflowFailException, lambda operator=operator: operator.execute(stage.context()))
        assert text.startswith((f"EvoLinkConfigError: {name} must ", f"EvoLinkConfigError: {name} is empty")), value
    assert emulator.books()["requests"] == {}

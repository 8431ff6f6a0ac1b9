"""The one table of arguments: what each may be, at the parse of a DAG file and on the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from airflow_provider_evolink.arguments import choices
from airflow_provider_evolink.arguments.rules import (
    Callback,
    Choice,
    Fields,
    Flag,
    Folder,
    InputFile,
    JobReference,
    JobReferences,
    Layout,
    Media,
    Number,
    Rows,
    Rule,
    Text,
    Time,
    Whole,
)

MAX_SECONDS = 365 * 86400.0
MAX_ACTIVE = 1000  # more jobs do not fit into the row that Airflow keeps for a trigger on MySQL
# EvoLink's words, as in api/catalog, which is not imported when a DAG file is parsed.
KINDS = ("video", "image", "audio")
VALIDATIONS = ("strict", "warn", "off")
_NO_RECONCILE = (
    "not reconcile: it looks for a lost order by model and time only, and would take the job of one request for "
    "another's"
)

_CLEAR_JOB = (
    "pass the job ID, which is in the log of that task and in its record (evolink_generation); or clear that task, "
    "which submits, and pays, again if its job was delivered or it has none"
)

Rules = Mapping[str, Rule]

_SECONDS = Number(maximum=MAX_SECONDS, unit=" of seconds")
_CONNECTION = Text()
_NAME = Text(is_optional=True)

_DELIVERY: Rules = {
    "on_missing": Choice(words=get_args(choices.OnMissing)),
    "total_timeout": Number(maximum=MAX_SECONDS, unit=" of seconds", is_positive=True),
    "max_bytes": Number(is_positive=True, is_whole=True),
    "min_rate": Number(is_positive=True),
}
GENERATE: Rules = {
    **_DELIVERY,
    "model": Text(is_for_literals=True),
    "parameters": Fields(),
    "kind": Choice(words=KINDS, is_optional=True),
    "evolink_conn_id": _CONNECTION,
    "poll_interval": _SECONDS,
    "timeout": Number(maximum=MAX_SECONDS, unit=" of seconds", is_optional=False),
    "deferrable": Flag(),
    "defer_after": _SECONDS,
    "durable": Flag(),
    "validation": Choice(words=VALIDATIONS),
    "idempotency_namespace": Text(is_optional=True, may_be_blank=True),
    "destination": Folder(is_optional=True, blank_is_none=True),
    "callback_url": Callback(),
    "ledger_path": Folder(is_optional=True),
    "max_credits": Number(maximum=10**9),
    "unknown_price": Choice(words=get_args(choices.UnknownPrice)),
    "max_regenerations": Number(maximum=10**6, is_whole=True),
    "hide_prompt": Flag(),
    "reuse": Choice(words=get_args(choices.Reuse)),
    "reuse_unseeded": Flag(),
    "archive_path": Folder(is_optional=True, blank_is_none=True),
    "archive_conn_id": _NAME,
    "on_unknown_submit": Choice(words=get_args(choices.OnUnknownSubmit)),
    "on_clear": Choice(words=get_args(choices.OnClear)),
    "on_backfill": Choice(words=get_args(choices.OnBackfill)),
}
# Where the request may name the model.
DECORATED: Rules = {**GENERATE, "model": Text(is_for_literals=True, may_be_blank=True)}
BATCH: Rules = {
    **DECORATED,
    "requests": Rows(what="dicts of fields", if_nothing="clear that task, or give the requests; nothing is submitted"),
    "max_active": Number(maximum=MAX_ACTIVE, minimum=1, is_whole=True, is_optional=False),
    "on_failed_job": Choice(words=get_args(choices.OnFailedJob)),
    "on_unknown_submit": Choice(words=get_args(choices.OnUnknownSubmit), refused={"reconcile": _NO_RECONCILE}),
}
# The fields of a request that are arguments: their kind only. What a model allows of them is the catalog's.
FIELDS: Rules = {
    **dict.fromkeys(
        ("prompt", "negative_prompt"), Text(is_optional=True, may_be_blank=True, is_for_literals=True, is_private=True)
    ),
    **dict.fromkeys(
        ("quality", "size", "aspect_ratio", "generation_mode"),
        Text(is_optional=True, may_be_blank=True, is_for_literals=True),
    ),
    **dict.fromkeys(("duration", "seed"), Whole(words=("auto",))),
    **dict.fromkeys(
        ("prompt_extend", "keep_original_sound"), Flag(is_optional=True, takes_text=True, is_for_literals=True)
    ),
    **dict.fromkeys(("image_urls", "video_urls", "audio_urls"), Media(is_list=True)),
    **dict.fromkeys(("image_start", "image_end"), Media()),
    "voice_bindings": Fields(),
}
REQUEST_FIELDS = frozenset({*FIELDS, "callback_url"})
TYPED: Rules = {**GENERATE, **FIELDS}  # of operators with such arguments
DOWNLOAD: Rules = {
    "job": JobReference(if_nothing=_CLEAR_JOB, may_be_many=True),
    "destination": Folder(),
    "destination_conn_id": _NAME,
    "evolink_conn_id": _CONNECTION,
    **_DELIVERY,
}
ARCHIVE: Rules = {
    "files": Rows(what="files, as a download returns it", may_nest=True, is_for_literals=True),
    "archive_path": Folder(),
    "archive_conn_id": _NAME,
    "layout": Layout(),
    "move": Flag(),
    "posters": Flag(),
}
RECOVER: Rules = {
    "source": Choice(words=get_args(choices.Source), is_optional=True),
    "job_ids": JobReferences(),
    "ledger_path": Folder(is_optional=True, blank_is_none=True),
    "since": Time(),
    "until": Time(),
    "window": Number(maximum=MAX_SECONDS, unit=" of seconds", is_positive=True, is_optional=False),
    "destination": Folder(),
    "destination_conn_id": _NAME,
    "archive_path": Folder(),
    "archive_conn_id": _NAME,
    "layout": Layout(),
    "move": Flag(),
    "posters": Flag(),
    "evolink_conn_id": _CONNECTION,
    "deferrable": Flag(),
    "poll_interval": _SECONDS,
    "timeout": Number(maximum=MAX_SECONDS, unit=" of seconds", is_optional=False),
}
REVIEW: Rules = {
    "next_credits": Number(maximum=10**9),
}
UPLOAD: Rules = {
    "path": InputFile(),
    "path_conn_id": _NAME,
    "evolink_conn_id": _CONNECTION,
    "reuse": Flag(),
}
SENSOR: Rules = {
    "job_id": JobReference(if_nothing=_CLEAR_JOB),
    "evolink_conn_id": _CONNECTION,
    "deferrable": Flag(),
    "poll_interval": _SECONDS,
}

"""Media files, their posters and manifests, through the API server; and the bundled files of the pages."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from airflow_provider_evolink.execution.inputs.hidden_prompt import without_prompts
from airflow_provider_evolink.plugins.server.access import OF_USERS, OF_XCOMS, Reader, User
from airflow_provider_evolink.plugins.server.files import Evidence, Refused, Shown, find_file, pieces
from airflow_provider_evolink.plugins.server.pages import page, static_file
from airflow_provider_evolink.plugins.server.reads import has_ordered, read_handed_by, read_run
from airflow_provider_evolink.plugins.views.media import RunMedia
from airflow_provider_evolink.plugins.views.policy import file_headers
from airflow_provider_evolink.plugins.views.ranges import read_range
from airflow_provider_evolink.plugins.views.rows import RunAt, TaskAt

router = APIRouter()
_FILE = "/{dag_id}/{task_id}/{map_index}/{number}/{run_id:path}"


def evidence(run: RunAt, reader: Reader) -> Evidence:
    """
    Return what is known of a run besides its XComs.

    :param run: The run.
    :param reader: The user.
    """
    return Evidence(run.dag_id, lambda job_id: has_ordered(run, job_id), reader.may_read)


def shown_file(at: Annotated[TaskAt, Depends()], number: int, reader: User) -> Shown:
    """
    Return the file of an address: the one of that number among those that the task instance has handed on.

    :param at: The task instance.
    :param number: The number.
    :param reader: The user.
    """
    try:
        files = read_handed_by(at.dag_id, at.run_id, at.place).files
    except Exception as error:  # noqa: BLE001 - a store of XComs has its own errors
        raise Refused(f"the XCom of this task cannot be read here ({type(error).__name__})") from None
    if not 0 <= number < len(files):
        raise HTTPException(404, "This task instance has handed on no such file.")
    return find_file(files[number], evidence(RunAt(at.dag_id, at.run_id), reader))


File = Annotated[Shown, Depends(shown_file)]


def send(shown: Shown, request: Request) -> Response:
    """
    Return a response with a file, or the part of it that is requested.

    :param shown: The file.
    :param request: The request.
    """
    headers, sent = file_headers(shown.content_type, shown.etag), request.headers
    if sent.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    file, size = shown.open()
    is_current = sent.get("if-range") in (None, headers["ETag"])
    span = read_range(sent.get("range"), size, is_current=is_current)
    if span is None:
        file.close()
        return Response(None, 416, {**headers, "Content-Range": f"bytes */{size}"})
    body = pieces(file, span.start, span.end)
    first = shown.read_first(body)
    return StreamingResponse(
        itertools.chain((first,), body), 206 if span.is_part else 200, {**headers, **span.headers(size)}
    )


@router.get(f"/file{_FILE}", dependencies=[OF_XCOMS])
def media_file(request: Request, file: File) -> Response:
    """Send a file."""
    return send(file, request)


@router.get(f"/poster{_FILE}", dependencies=[OF_XCOMS])
def poster(request: Request, file: File) -> Response:
    """Send the small picture of a file."""
    return send(file.poster(), request)


@router.get(f"/manifest{_FILE}", dependencies=[OF_XCOMS])
def manifest(request: Request, at: Annotated[TaskAt, Depends()], file: File) -> Response:
    """
    Show the manifest of an archived file.

    A task that hides its prompt may have been handed the result of one that does not, by re-use.
    """
    if file.manifest is None:
        raise Refused("this file is not archived, so it has no manifest")
    shown = file.manifest.to_json()
    media = RunMedia(read_run(at.dag_id, at.run_id, at.place), datetime.now(UTC))
    if shown["request"] and media.hides(file.manifest.job_id):
        shown["request"] = without_prompts(shown["request"])
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    return page(request, "manifest.html", {"title": "Manifest", "text": text, "place": str(file.path.parent.name)})


@router.get("/static/{name}", dependencies=[OF_USERS])
def static(name: str) -> Response:
    """Send a style sheet or script of the pages."""
    return static_file(name)

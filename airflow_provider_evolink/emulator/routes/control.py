"""The control plane under ``/_emulator/``: settings, books, faults, and changes of single jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_evolink.emulator.orders.jobs import ENDED, Failure, Job
from airflow_provider_evolink.emulator.routes.bodies import ApiError
from airflow_provider_evolink.emulator.settings import FIXED
from airflow_provider_evolink.emulator.state.world import DEFAULT_FAILURE, World

if TYPE_CHECKING:
    from starlette.requests import Request

_STATES = {"pending", "processing"} | ENDED
_DEFAULT_FAILURES = {
    "failed": DEFAULT_FAILURE,
    "cancelled": Failure("request_cancelled", "The request was cancelled"),
}
_JOB_CHANGES = {"state", "code", "message", "expire_links", "vanish", "release"}


class ControlPlane:
    """
    The control plane over HTTP. It needs no API key.

    :param world: The state.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_emulator/health", self.health, methods=["GET"]),
            Route("/_emulator/reset", self.reset, methods=["POST"]),
            Route("/_emulator/settings", self.settings, methods=["GET", "POST"]),
            Route("/_emulator/books", self.books, methods=["GET"]),
            Route("/_emulator/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/_emulator/jobs/{job_id}", self.job, methods=["GET", "POST"]),
        ]

    async def health(self, _: Request) -> Response:
        """Report that the emulator is up."""
        return JSONResponse({"status": "ok"})

    async def reset(self, _: Request) -> Response:
        """Forget everything and restore the settings of the start."""
        self._world.reset()
        return JSONResponse({"status": "ok"})

    async def settings(self, request: Request) -> Response:
        """Show or change the settings."""
        if request.method == "POST":
            changes = await _json_object(request)
            if fixed := sorted(FIXED & set(changes)):
                raise _bad_request(f"{', '.join(fixed)}: can only be set at the start")
            try:
                self._world.settings = self._world.settings.changed(changes)
            except (TypeError, ValueError) as error:
                raise _bad_request(str(error)) from error
        return JSONResponse(self._world.settings.public())

    async def books(self, _: Request) -> Response:
        """Show what was ordered and what it cost."""
        world = self._world
        world.update_all()
        books = world.books
        return JSONResponse(
            {
                "orders": books.orders,
                "replays": books.replays,
                "credits_spent": books.spent,
                "credits_reserved": books.reserved,
                "balance": books.balance(world.settings.balance),
                "requests": dict(books.requests),
                "media_requests_with_authorization": books.media_requests_with_authorization,
                "jobs": [_entry(job) for job in world.jobs.values()],
            }
        )

    async def faults(self, request: Request) -> Response:
        """Queue a fault, show the queue, or clear it."""
        if request.method == "DELETE":
            self._world.faults.clear()
        if request.method == "POST":
            try:
                return JSONResponse(self._world.faults.add(await _json_object(request)).public())
            except ValueError as error:
                raise _bad_request(str(error)) from error
        return JSONResponse({"faults": self._world.faults.public()})

    async def job(self, request: Request) -> Response:
        """Show one job, or change it."""
        job = self._world.jobs.get(request.path_params["job_id"])
        if job is None:
            raise ApiError(404, {"error": "no such job"})
        if request.method == "POST":
            self._change(job, await _json_object(request))
        else:
            self._world.update(job)
        return JSONResponse(_entry(job))

    def _change(self, job: Job, changes: dict[str, Any]) -> None:
        unknown = sorted(set(changes) - _JOB_CHANGES)
        state = changes.get("state")
        if unknown or (state is not None and state not in _STATES):
            raise _bad_request(f"unknown: {', '.join(unknown) or state}")
        if state is not None and job.is_over:
            raise ApiError(409, {"error": f"the job is already {job.state.status}"})
        if state is not None:
            self._world.force(job, state, _failure(state, changes))
        job.state.held = job.state.held and not changes.get("release")
        job.state.vanished = bool(changes.get("vanish", job.state.vanished))
        job.state.link_version += bool(changes.get("expire_links"))


def _entry(job: Job) -> dict[str, Any]:
    order = job.order
    return {
        "id": job.id,
        "model": order.model,
        "key_fingerprint": order.caller.key_fingerprint,
        "idempotency_key": order.idempotency_key,
        "status": job.state.status,
        "progress": job.state.progress,
        "credits_reserved": job.plan.reserved,
        "credits_charged": job.credits_charged,
        "refunded": job.credits_refunded,
        "body": order.body,
        "truncated": [name for name, value in order.body.items() if order.effective[name] != value],
        "created": job.created,
        "ended": job.state.ended,
        "reads": job.state.reads,
        "error": {"code": job.state.failure.code, "message": job.state.failure.message} if job.state.failure else None,
    }


def _failure(state: str, changes: dict[str, Any]) -> Failure | None:
    default = _DEFAULT_FAILURES.get(state)
    if default is None:
        return None
    return Failure(str(changes.get("code", default.code)), str(changes.get("message", default.message)))


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise _bad_request("the body is not JSON") from error
    if not isinstance(body, dict):
        raise _bad_request("the body must be a JSON object")
    return body


def _bad_request(message: str) -> ApiError:
    return ApiError(400, {"error": message})

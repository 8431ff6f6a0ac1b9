"""The routes that submit jobs, poll and list them, and show credits."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_evolink.emulator.orders.fields import Refusal
from airflow_provider_evolink.emulator.orders.input_media import in_background
from airflow_provider_evolink.emulator.orders.models import names
from airflow_provider_evolink.emulator.orders.order import Order, is_valid_idempotency_key
from airflow_provider_evolink.emulator.orders.outputs import SOURCE
from airflow_provider_evolink.emulator.orders.plans import Locate, plan_job
from airflow_provider_evolink.emulator.orders.rules import STRICT_MODELS, check_request
from airflow_provider_evolink.emulator.routes.bodies import (
    api_error,
    credits_body,
    job_body,
    list_entry,
    submitted_body,
)
from airflow_provider_evolink.emulator.routes.chains import source_job
from airflow_provider_evolink.emulator.routes.request import (
    authenticate,
    base_url,
    is_local,
    own_urls,
    query_number,
    read_json,
)
from airflow_provider_evolink.emulator.state.books import KeyReused
from airflow_provider_evolink.emulator.state.world import InsufficientCredits

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_evolink.emulator.orders.jobs import Job, Plan
    from airflow_provider_evolink.emulator.orders.order import Caller
    from airflow_provider_evolink.emulator.rendering.gallery import Gallery
    from airflow_provider_evolink.emulator.state.world import World

log = logging.getLogger("evolink.emulator")

_ID_PREFIX = "task-unified-"
_MAX_BATCH = 50
_MAX_PAGE_SIZE = 50


class JobsApi:
    """
    Jobs and credits over HTTP.

    :param world: The state.
    :param gallery: Finds the input media of requests.
    """

    def __init__(self, world: World, gallery: Gallery) -> None:
        self._world = world
        self._gallery = gallery

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            *(
                Route(f"/v1/{kind}s/generations", partial(self.submit, kind), methods=["POST"])
                for kind in ("video", "image", "audio")
            ),
            Route("/v1/tasks/batch", self.poll_many, methods=["POST"]),
            Route("/v1/tasks/{job_id}", self.poll, methods=["GET"]),
            Route("/v1/tasks", self.list, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/credits", self.credits, methods=["GET"]),
        ]

    async def submit(self, kind: str, request: Request) -> Response:
        """
        Accept or refuse a request for media.

        :param kind: The kind of media of the path.
        :param request: The request.
        """
        caller = self._caller(request, "submit")
        key = self._idempotency_key(request)
        body = await read_json(request)
        try:
            effective, cut = check_request(kind, body)
            if effective["model"].startswith("no-access"):
                raise api_error(403)
            locate = partial(self._gallery.locate, own_urls(request, self._world.settings), local=is_local(request))
            response = await self._accept(Order(caller, key, kind, body, effective), locate)
        except Refusal as refusal:
            log.info("refused  %s: %s", refusal.param or "body", refusal.message)
            raise api_error(400, message=refusal.message, param=refusal.param) from refusal
        if cut:
            log.info("cut      %s: too long", ", ".join(cut))
        return response

    async def _accept(self, order: Order, locate: Locate) -> Response:
        job = self._replayed_job(order)
        if job is not None:
            return self._submitted(job, replayed=True)
        source = source_job(self._world, order)
        plan = await in_background(plan_job, order.kind, order.effective, locate, source)
        if source is not None:
            plan = self._with_result_of(source, plan, order.effective)
        # the same order may have been accepted while its input media were fetched
        job = self._replayed_job(order)
        if job is not None:
            return self._submitted(job, replayed=True)
        try:
            return self._submitted(self._world.accept(order, plan, source), replayed=False)
        except InsufficientCredits as error:
            raise api_error(402) from error

    def _with_result_of(self, source: Job, plan: Plan, body: dict[str, Any]) -> Plan:
        number = (body.get("model_params") or {}).get("image_number", 0) + 1
        if source.plan.output.kind != "image" or number > source.plan.output.count:
            return plan
        return replace(plan, inputs=plan.inputs | {SOURCE: self._gallery.result(source, number)})

    def _caller(self, request: Request, operation: str) -> Caller:
        return authenticate(request, self._world.settings, operation)

    def _idempotency_key(self, request: Request) -> str | None:
        key = request.headers.get("idempotency-key")
        if key is None or not self._world.settings.idempotency:
            return None
        if not is_valid_idempotency_key(key):
            message = "Idempotency-Key must have 16 to 96 letters, digits, dots, underscores or hyphens"
            raise api_error(400, message=message, param="Idempotency-Key")
        return key

    def _replayed_job(self, order: Order) -> Job | None:
        try:
            return self._world.replayed_job(order)
        except KeyReused as error:
            raise api_error(409) from error

    def _submitted(self, job: Job, *, replayed: bool) -> Response:
        headers = {"idempotency-replayed": "true"} if replayed else None
        return JSONResponse(submitted_body(job, self._world.settings.user_group), headers=headers)

    async def poll(self, request: Request) -> Response:
        """Show one job."""
        caller = self._caller(request, "read")
        job_id = request.path_params["job_id"]
        if not job_id.startswith(_ID_PREFIX):
            raise api_error(400, "read", param="task_id")
        job = self._world.jobs.get(job_id)
        if job is None or job.state.vanished:
            raise api_error(404, "read")
        if job.order.caller.account != caller.account:
            raise api_error(403, "read")
        return JSONResponse(self._polled(job, base_url(request, self._world.settings)))

    async def poll_many(self, request: Request) -> Response:
        """Show up to 50 jobs; unknown ones are silently left out."""
        caller = self._caller(request, "batch")
        body = await read_json(request)
        ids = body.get("task_ids") if isinstance(body, dict) else None
        valid = isinstance(ids, list) and all(isinstance(item, str) for item in ids)
        if not valid or not ids or len(ids) > _MAX_BATCH:
            message = f"task_ids must hold 1 to {_MAX_BATCH} task ids"
            raise api_error(400, "submit", message=message, param="task_ids")
        jobs = [self._world.jobs[job_id] for job_id in dict.fromkeys(ids) if job_id in self._world.jobs]
        visible = [job for job in jobs if _is_visible(job, caller)]
        return JSONResponse({"data": [self._polled(job, base_url(request, self._world.settings)) for job in visible]})

    def _polled(self, job: Job, base: str) -> dict[str, Any]:
        self._world.poll(job)
        settings = self._world.settings
        links = self._world.result_links(job, base)
        return job_body(job, links, settings.user_group, with_billing=settings.show_billing)

    async def list(self, request: Request) -> Response:
        """List the account's jobs, newest first, without their results."""
        caller = self._caller(request, "list")
        self._world.update_all()
        query = request.query_params
        jobs = [
            job
            for job in reversed(self._world.jobs.values())
            if _is_visible(job, caller)
            and query.get("status", _listed_status(job)) == _listed_status(job)
            and query.get("type", job.order.kind) == job.order.kind
            and query.get("model", job.order.model) == job.order.model
        ]
        page, size = query_number(request, "page", 1, 10**9), query_number(request, "page_size", 20, _MAX_PAGE_SIZE)
        entries = [list_entry(job) for job in jobs[(page - 1) * size : page * size]]
        return JSONResponse({"data": entries, "total": len(jobs), "page": page, "page_size": size})

    async def models(self, request: Request) -> Response:
        """List the documented models."""
        self._caller(request, "models")
        listed = sorted([*STRICT_MODELS, *names()])
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in listed]})

    async def credits(self, request: Request) -> Response:
        """Show the account's credits."""
        self._caller(request, "credits")
        self._world.update_all()
        books = self._world.books
        return JSONResponse(credits_body(books.balance(self._world.settings.balance), books.spent))


def _is_visible(job: Job, caller: Caller) -> bool:
    return job.order.caller.account == caller.account and not job.state.vanished


def _listed_status(job: Job) -> str:
    return "processing" if job.state.status == "pending" else job.state.status

"""The routes that order jobs, read them and show credits."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_evolink.emulator.orders.fields import Refusal
from airflow_provider_evolink.emulator.orders.models import names
from airflow_provider_evolink.emulator.orders.outputs import SOURCE
from airflow_provider_evolink.emulator.orders.plans import Plan, plan_order
from airflow_provider_evolink.emulator.orders.rules import STRICT_MODELS, check_order
from airflow_provider_evolink.emulator.routes.bodies import api_error, as_listed, as_read, credits_left, submitted
from airflow_provider_evolink.emulator.routes.chains import source_of
from airflow_provider_evolink.emulator.routes.request import base_of, caller_of, json_of, number_from
from airflow_provider_evolink.emulator.state.books import KeyReused, is_usable_key
from airflow_provider_evolink.emulator.state.world import NoCredits, Order, World

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_evolink.emulator.orders.jobs import Job
    from airflow_provider_evolink.emulator.rendering.gallery import Gallery

log = logging.getLogger("evolink.emulator")

_PREFIX = "task-unified-"
_MOST_AT_ONCE = 50


class JobsApi:
    """
    Orders, jobs and credits over HTTP.

    :param world: The state.
    :param gallery: Finds the material orders point at.
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
            Route("/v1/tasks/batch", self.read_many, methods=["POST"]),
            Route("/v1/tasks/{job_id}", self.read, methods=["GET"]),
            Route("/v1/tasks", self.list, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/credits", self.credits, methods=["GET"]),
        ]

    async def submit(self, kind: str, request: Request) -> Response:
        """
        Take an order.

        :param kind: The kind of media the path stands for.
        :param request: The request.
        """
        caller = caller_of(request, self._world, "submit")
        key = self._idempotency_key(request)
        body = await json_of(request)
        try:
            effective, cut = check_order(kind, body)
            if effective["model"].startswith("no-access"):
                raise api_error(403)
            answer = await self._place(Order(caller, key, kind, body, effective), base_of(request))
        except Refusal as refusal:
            log.info("refused  %s: %s", refusal.param or "body", refusal.message)
            raise api_error(400, message=refusal.message, param=refusal.param) from refusal
        if cut:
            log.info("cut      %s: longer than allowed", ", ".join(cut))
        return answer

    async def _place(self, order: Order, base: str) -> Response:
        job = self._earlier(order)
        if job is not None:
            return self._answer(job, replayed=True)
        source = source_of(self._world, order.caller.account, order.effective)
        locate = partial(self._gallery.locate, base)
        plan = await asyncio.to_thread(plan_order, order.kind, order.effective, locate, source)
        if source is not None:
            self._show_source(plan, source, order.effective)
        # the same order may have come in a second time while the material was fetched
        job = self._earlier(order)
        if job is not None:
            return self._answer(job, replayed=True)
        try:
            return self._answer(self._world.accept(order, plan, source), replayed=False)
        except NoCredits as error:
            raise api_error(402) from error

    def _show_source(self, plan: Plan, source: Job, body: dict[str, Any]) -> None:
        number = (body.get("model_params") or {}).get("image_number", 0) + 1
        if source.output.kind == "image" and number <= source.output.count:
            plan.materials[SOURCE] = self._gallery.result(source, number)

    def _idempotency_key(self, request: Request) -> str | None:
        key = request.headers.get("idempotency-key")
        if key is None or not self._world.settings.idempotency:
            return None
        if not is_usable_key(key):
            message = "Idempotency-Key must have 16 to 96 letters, digits, dots, underscores or hyphens"
            raise api_error(400, message=message, param="Idempotency-Key")
        return key

    def _earlier(self, order: Order) -> Job | None:
        try:
            return self._world.earlier(order)
        except KeyReused as error:
            raise api_error(409) from error

    def _answer(self, job: Job, *, replayed: bool) -> Response:
        headers = {"idempotency-replayed": "true"} if replayed else None
        return JSONResponse(submitted(job, self._world.settings.user_group), headers=headers)

    async def read(self, request: Request) -> Response:
        """
        Show one job.

        :param request: The request.
        """
        caller = caller_of(request, self._world, "read")
        job_id = request.path_params["job_id"]
        if not job_id.startswith(_PREFIX):
            raise api_error(400, "read", param="task_id")
        job = self._world.jobs.get(job_id)
        if job is None or job.vanished:
            raise api_error(404, "read")
        if job.account != caller.account:
            raise api_error(403, "read")
        return JSONResponse(self._shown(job, base_of(request)))

    async def read_many(self, request: Request) -> Response:
        """
        Show up to 50 jobs; unknown ones are missing without a word.

        :param request: The request.
        """
        caller = caller_of(request, self._world, "batch")
        body = await json_of(request)
        ids = body.get("task_ids") if isinstance(body, dict) else None
        usable = isinstance(ids, list) and all(isinstance(item, str) for item in ids)
        if not usable or not ids or len(ids) > _MOST_AT_ONCE:
            message = f"task_ids must hold 1 to {_MOST_AT_ONCE} task ids"
            raise api_error(400, "submit", message=message, param="task_ids")
        jobs = [self._world.jobs[job_id] for job_id in dict.fromkeys(ids) if job_id in self._world.jobs]
        mine = [job for job in jobs if job.account == caller.account and not job.vanished]
        return JSONResponse({"data": [self._shown(job, base_of(request)) for job in mine]})

    def _shown(self, job: Job, base: str) -> dict[str, Any]:
        self._world.read(job)
        settings = self._world.settings
        links = self._world.links_of(job, base)
        return as_read(job, links, settings.user_group, with_billing=settings.show_billing)

    async def list(self, request: Request) -> Response:
        """
        List the account's jobs, newest first, without their results.

        :param request: The request.
        """
        caller = caller_of(request, self._world, "list")
        self._world.move_by_clock()
        query = request.query_params
        jobs = [
            job
            for job in reversed(self._world.jobs.values())
            if job.account == caller.account
            and not job.vanished
            and query.get("status", _listed_status(job)) == _listed_status(job)
            and query.get("type", job.kind) == job.kind
            and query.get("model", job.model) == job.model
        ]
        page, size = number_from(request, "page", 1, 10**9), number_from(request, "page_size", 20, _MOST_AT_ONCE)
        shown = [as_listed(job) for job in jobs[(page - 1) * size : page * size]]
        return JSONResponse({"data": shown, "total": len(jobs), "page": page, "page_size": size})

    async def models(self, request: Request) -> Response:
        """
        List the models the emulator knows.

        :param request: The request.
        """
        caller_of(request, self._world, "models")
        known = sorted([*STRICT_MODELS, *names()])
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in known]})

    async def credits(self, request: Request) -> Response:
        """
        Show the account's credits.

        :param request: The request.
        """
        caller_of(request, self._world, "credits")
        self._world.move_by_clock()
        books = self._world.books
        return JSONResponse(credits_left(books.balance(self._world.settings.balance), books.spent))


def _listed_status(job: Job) -> str:
    return "processing" if job.status == "pending" else job.status

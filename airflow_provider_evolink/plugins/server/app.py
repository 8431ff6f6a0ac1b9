"""The app of the pages: its routes, and how errors look."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from airflow_provider_evolink.plugins.server import routes_files, routes_overview, routes_runs, routes_tasks
from airflow_provider_evolink.plugins.server.files import Refused
from airflow_provider_evolink.plugins.server.pages import line_page

_SIGN_IN = "Your session is over, or you are not signed in. Sign in to Airflow again, then reload this page."
_NO_RIGHT = "You have no right to see this: it needs the right to read the task instances and XComs of the DAG."

log = logging.getLogger(__name__)


def media_app() -> FastAPI:
    """Return the app. It has no documentation of itself, and no route that changes anything."""
    app = FastAPI(title="EvoLink", docs_url=None, redoc_url=None, openapi_url=None)
    for routes in (routes_tasks, routes_runs, routes_files, routes_overview):
        app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _no_such_page)
    app.add_exception_handler(Refused, _not_shown)
    app.add_exception_handler(Exception, _fault)
    return app


async def _refusal(request: Request, error: Any) -> Response:
    """Say in one line why a request is refused."""
    line = _SIGN_IN if error.status_code == 401 else _NO_RIGHT if error.status_code == 403 else str(error.detail)
    return line_page(request, line, error.status_code)


async def _no_such_page(request: Request, _: Any) -> Response:
    return line_page(request, "There is no such page: a part of its address is not of its kind.", 404)


async def _not_shown(request: Request, error: Any) -> Response:
    return line_page(request, error.line, 404)


async def _fault(request: Request, error: Exception) -> Response:
    """Keep a fault of ours out of the page; its text may hold anything."""
    log.error("An EvoLink page failed: %s", type(error).__name__)
    return line_page(request, f"This page cannot be made now ({type(error).__name__}). The log has no more.", 503)

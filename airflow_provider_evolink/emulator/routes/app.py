"""Puts routes, state and rendering together into one ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from airflow_provider_evolink.emulator.orders.models import documented_models
from airflow_provider_evolink.emulator.packages import require_packages
from airflow_provider_evolink.emulator.rendering.gallery import Gallery
from airflow_provider_evolink.emulator.routes.bodies import ApiError, error_body
from airflow_provider_evolink.emulator.routes.control import ControlPlane
from airflow_provider_evolink.emulator.routes.fault_middleware import FaultMiddleware
from airflow_provider_evolink.emulator.routes.files_api import FilesApi
from airflow_provider_evolink.emulator.routes.foreign_requests import ForeignRequests
from airflow_provider_evolink.emulator.routes.jobs_api import JobsApi
from airflow_provider_evolink.emulator.routes.results import ResultsApi

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from airflow_provider_evolink.emulator.state.world import World


def build_app(world: World) -> ASGIApp:
    """
    Build the application around a state.

    :param world: The state.
    :raises MissingPackages: A package of the extra ``emulator`` is missing.
    :raises ModelFileError: A model file is wrong.
    """
    require_packages()
    documented_models()
    gallery = Gallery(world)
    apis = (JobsApi(world, gallery), FilesApi(world), ResultsApi(world, gallery), ControlPlane(world))
    routes = [route for api in apis for route in api.routes()]
    handlers = {ApiError: _api_error, HTTPException: _http_exception}
    return ForeignRequests(FaultMiddleware(Starlette(routes=routes, exception_handlers=handlers), world), world)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return JSONResponse(error_body(error.status_code), error.status_code, headers=error.headers)

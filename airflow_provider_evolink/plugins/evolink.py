"""
The plugin that Airflow loads, in workers and the DAG processor as well: so this module imports nothing but its base.

The pages are made in the API server alone, on their first request.
"""

from __future__ import annotations

from typing import Any

from airflow import __version__ as airflow_version
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/evolink"
_ADDRESS = "evolink/{view}/{{DAG_ID}}/{rest}"
_HAS_PAGES = tuple(int(part) for part in airflow_version.split(".")[:2]) >= (3, 1)


class LazyApp:
    """The ASGI app of the pages. FastAPI and all else are imported with the first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve a request.

        :param scope: ASGI's scope.
        :param receive: ASGI's receiver.
        :param send: ASGI's sender.
        """
        if self._app is None:
            from airflow_provider_evolink.plugins.server import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


_APPS = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "EvoLink"}]
_VIEWS = [
    {
        "name": "Media",
        "href": _ADDRESS.format(view="task", rest="{TASK_ID}/{MAP_INDEX}/{RUN_ID}"),
        "destination": "task_instance",
        "url_route": "evolink-media",
    },
    {
        "name": "Contact sheet",
        "href": _ADDRESS.format(view="run", rest="{RUN_ID}"),
        "destination": "dag_run",
        "url_route": "evolink-sheet",
    },
    {"name": "EvoLink", "href": "evolink/overview", "destination": "nav", "url_route": "evolink"},
]


class EvoLinkPlugin(AirflowPlugin):
    """Adds tabs to task instances and runs, and a page. Before Airflow 3.1, which has none of them, it adds nothing."""

    name = "evolink"
    fastapi_apps = _APPS if _HAS_PAGES else []
    external_views = _VIEWS if _HAS_PAGES else []

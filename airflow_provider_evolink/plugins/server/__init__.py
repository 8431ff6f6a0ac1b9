"""The pages in the API server. Imported with their first request; what this Airflow lacks is said in one line."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


def create_app() -> Any:
    """Return the ASGI app of the pages, or one that says why there are none. It has no other content then."""
    try:
        from airflow_provider_evolink.plugins.server.app import media_app
    except ImportError as error:
        log.exception("The EvoLink pages do not work in this API server")
        return _Unavailable(str(error.name or "a module"))
    return media_app()


class _Unavailable:
    """
    Responds to each request that the pages do not work.

    :param missing: What could not be imported.
    """

    def __init__(self, missing: str) -> None:
        self._text = f"The EvoLink pages do not work with this Airflow: {missing} is missing in the API server.\n"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the line."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": self._text.encode()})

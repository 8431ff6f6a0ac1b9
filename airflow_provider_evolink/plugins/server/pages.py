"""Pages from templates. Every value is escaped, and no page has a script or a style of its own."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_provider_evolink.plugins.views import wording
from airflow_provider_evolink.plugins.views.policy import page_headers

_FOLDER = Path(__file__).parents[1]
_SCRIPT = "text/javascript; charset=utf-8"
_STATIC = {
    "evolink.css": "text/css; charset=utf-8",
    "evolink.js": _SCRIPT,
    "overview.js": _SCRIPT,
    "chart.umd.min.js": _SCRIPT,  # Chart.js, as its authors publish it
}


@functools.cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("size_text", "seconds_text", "moment_text", "credits_text"):
        templates.filters[name.removesuffix("_text")] = getattr(wording, name)
    return templates


class Addresses:
    """
    The addresses of the pages, below whatever prefix Airflow is served.

    :param request: The request.
    """

    def __init__(self, request: Request) -> None:
        self.base = str(request.scope.get("root_path") or "").rstrip("/")

    @property
    def login(self) -> str:
        """The address of Airflow's login: the pages are one step below its root."""
        return f"{self.base.rpartition('/')[0]}/auth/login"

    def of(self, view: str, *parts: object) -> str:
        """
        Return an address.

        :param view: The first part of its path.
        :param parts: The others, as they are.
        """
        return "/".join([f"{self.base}/{view}", *(quote(str(part), safe="") for part in parts)])


def page(
    request: Request,
    name: str,
    values: dict[str, Any],
    *,
    links: Iterable[str] = (),
    status: int = 200,
) -> Response:
    """
    Return a page.

    :param request: The request.
    :param name: Of the template.
    :param values: What it shows.
    :param links: Result links that it offers to play.
    :param status: HTTP status.
    """
    addresses = Addresses(request)
    text = _templates().get_template(name).render(url=addresses.of, login=addresses.login, **values)
    return Response(text, status, page_headers(links), media_type="text/html")


def line_page(request: Request, line: str, status: int = 200) -> Response:
    """
    Return a page of one line.

    :param request: The request.
    :param line: The line.
    :param status: HTTP status.
    """
    return page(request, "line.html", {"line": line, "title": "EvoLink"}, status=status)


def static_file(name: str) -> Response:
    """
    Return a bundled file.

    :param name: Its name.
    """
    if name not in _STATIC:
        return Response("There is no such file.\n", 404, page_headers(), media_type="text/plain")
    content = (_FOLDER / "static" / name).read_bytes()
    headers = {**page_headers(), "Cache-Control": "private, max-age=300", "Content-Type": _STATIC[name]}
    return Response(content, 200, headers)

"""
Refuses what somebody else's web page can make a browser send: requests for other hosts, and from other origins.

A page anywhere can send requests to this machine, and by DNS rebinding its own name can lead here. No API key is needed
for the control plane, so without this any page could reset the emulator, queue faults and read prompts.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

from airflow_provider_evolink.emulator.routes.bodies import error_body
from airflow_provider_evolink.emulator.settings import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_evolink.emulator.state.world import World

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://(.+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_SITES = {"same-origin", "none"}
_READS = {"GET", "HEAD"}
_SHOWN = {("navigate", "document"), *(("no-cors", kind) for kind in ("video", "audio", "image"))}


class ForeignRequests:
    """
    The outermost ASGI layer: refuses foreign requests before they are counted or meet a fault.

    :param app: Everything else.
    :param world: Its settings list further hosts.
    """

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 403 (415 for a form sent to the control plane)."""
        found = refusal(scope, self._hosts()) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        status, message = found
        control = scope["path"].startswith("/_emulator")
        body = {"error": message} if control else error_body(status, message=message)
        await JSONResponse(body, status, headers={"connection": "close"})(scope, receive, send)

    def _hosts(self) -> list[str]:
        settings = self._world.settings
        public = urlsplit(settings.public_url or "").hostname
        return [*settings.allowed_hosts, *filter(None, [public])]


def refusal(scope: Scope, allowed_hosts: Iterable[str]) -> tuple[int, str] | None:
    """
    Return status and message for a request that is not for this emulator or not from its own pages, else None.

    ``X-Forwarded-Host`` is not read: whoever sends a request chooses it.

    :param scope: The request.
    :param allowed_hosts: Host names and addresses besides loopback and the address the request came in at.
    """
    host = _only(_headers(scope, "host"))
    own = _parse(host or "", scope["scheme"])
    absolute = not scope.get("raw_path", b"/").startswith(b"/")
    if absolute or own is None or not _is_own_host(own[0], scope, allowed_hosts):
        return 403, _foreign_host(host, absolute=absolute)
    if not _is_own_origin(scope, own) and not _opens_media(scope):
        return 403, "Requests from web pages of other origins are refused. What to do: send it from a program instead"
    if _is_form(scope):
        return 415, "The control plane refuses forms. What to do: send JSON, with Content-Type: application/json"
    return None


def _foreign_host(host: str | None, *, absolute: bool) -> str:
    if absolute:
        return "The request is for a proxy, and the emulator is none. What to do: take it out of the proxy settings"
    return (
        f"The emulator does not serve the host {(host or '')[:100]!r}. What to do: start it with --allow-host NAME, "
        "or list the name in EVOLINK_EMULATOR_ALLOWED_HOSTS, if the name is yours"
    )


def _is_own_host(name: str, scope: Scope, allowed_hosts: Iterable[str]) -> bool:
    # an address cannot be rebound; the one a request came in at is the emulator's own
    bound = str((scope.get("server") or ("localhost",))[0])
    if name in {"localhost", *map(canonical_host, [bound, *allowed_hosts])}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own_origin(scope: Scope, own: tuple[str, int]) -> bool:
    origins = [_ORIGIN.fullmatch(origin) for origin in _headers(scope, "origin")]
    same = all(found and found[1] == scope["scheme"] and _parse(found[2], found[1]) == own for found in origins)
    return same and _OWN_SITES.issuperset(_headers(scope, "sec-fetch-site"))


def _opens_media(scope: Scope) -> bool:
    """Return whether a link to a signed result or an upload was clicked, or is played: the page cannot read it."""
    mode, dest = (_only(_headers(scope, f"sec-fetch-{name}")) for name in ("mode", "dest"))
    return (
        scope["method"] in _READS
        and scope["path"].startswith(("/media/", "/files/"))
        and not _headers(scope, "origin")
        and (mode, dest) in _SHOWN
    )


def _is_form(scope: Scope) -> bool:
    """Return whether a change of the control plane has a type that any page can send unasked, without an Origin."""
    if scope["method"] in _READS or not scope["path"].startswith("/_emulator"):
        return False
    kinds = {kind.partition(";")[0].strip().lower() for kind in _headers(scope, "content-type")}
    return not kinds <= {"application/json"}


def _parse(authority: str, scheme: str) -> tuple[str, int] | None:
    found = _AUTHORITY.fullmatch(authority)
    if found is None or scheme not in _DEFAULT_PORTS:
        return None
    return canonical_host(found[1]), int(found[2] or _DEFAULT_PORTS[scheme])


def _headers(scope: Scope, name: str) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name.encode()]


def _only(values: list[str]) -> str | None:
    return values[0] if len(values) == 1 else None

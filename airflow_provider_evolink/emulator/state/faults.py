"""The queue of injected faults, and how often each of them happened."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATIONS = (
    "submit",
    "read",
    "batch",
    "list",
    "credits",
    "models",
    "media",
    "upload",
    "quota",
    "files",
    "file",
)


@dataclass(frozen=True)
class FaultKind:
    """
    One kind of fault.

    :param default_on: The operation it affects if none is given.
    :param params: Its parameters.
    :param stage: When it happens. ``request``: a request arrives. ``order``: an order is accepted.
        ``result``: a response shows a completed job.
    """

    default_on: str = "any"
    params: frozenset[str] = frozenset()
    stage: str = "request"


def _kind(default_on: str, *params: str, stage: str = "request") -> FaultKind:
    return FaultKind(default_on, frozenset(params), stage)


KINDS = {
    "status": _kind("any", "status", "code", "message", "type", "param", "headers", "body", "processed"),
    "delay": _kind("any", "seconds"),
    "cut_before": _kind("any", "reset"),
    "lost_answer": _kind("submit", "reset"),
    "cut_body": _kind("media", "bytes", "reset"),
    "html": _kind("any", "text", "status", "processed"),
    "wrong_length": _kind("media", "by"),
    "empty_body": _kind("any"),
    "malformed_json": _kind("any", "text"),
    "gzip": _kind("media", "bomb_bytes"),
    "no_length": _kind("media"),
    "drip": _kind("any", "bytes", "seconds"),
    "headers": _kind("any", "headers"),
    "corrupt": _kind("media", "at"),
    "link_expired": _kind("media"),
    "ignore_range": _kind("media"),
    "redirect": _kind("media", "location", "status"),
    "unknown_status": _kind("read", "status"),
    "id_mismatch": _kind("read", "id"),
    "patch_json": _kind("read", "fields"),
    "no_results": _kind("read", "as", stage="result"),
    "job_fails": _kind("submit", "code", "message", stage="order"),
}
_COMMON_FIELDS = {"on", "kind", "times", "after", "path"}


@dataclass
class Fault:
    """
    A fault in the queue.

    :param id: Number, for display.
    :param on: The operation it affects, or ``any``.
    :param kind: One of :data:`KINDS`.
    :param times: How often it happens; -1 for always.
    :param after: How many matching requests are served normally before the first fault.
    :param path: Only requests whose path contains this, for instance a job id.
    :param params: Parameters of its kind.
    :param met: How often it has happened.
    :param skipped: How many matching requests were served normally because of ``after``.
    """

    id: int
    on: str
    kind: str
    times: int
    after: int
    path: str
    params: dict[str, Any]
    met: int = 0
    skipped: int = 0

    def public(self) -> dict[str, Any]:
        """Return the fault for display: how often it was ``met``, and whether it is ``done``."""
        own = {"id": self.id, "on": self.on, "kind": self.kind, "times": self.times, "after": self.after}
        return own | {"path": self.path, "met": self.met, "done": self.is_done()} | self.params

    def is_done(self) -> bool:
        """Return whether the fault has happened as often as requested."""
        return 0 <= self.times <= self.met

    def matches(self, operation: str, path: str, stage: str) -> bool:
        """Return whether the fault is meant for a request at this stage."""
        affected = self.on in {operation, "any"} and self.path in path
        return affected and KINDS[self.kind].stage == stage and not self.is_done()


class FaultQueue:
    """The queue. The first fault that matches a request happens to it, and no other."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)

    def add(self, details: dict[str, Any]) -> Fault:
        """
        Queue a fault.

        :param details: ``kind``; optionally ``on``, ``times``, ``after``, ``path`` and parameters of the kind.
        :raises ValueError: The kind, the operation or a parameter is unknown.
        """
        name = details.get("kind")
        kind = KINDS.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or kind is None:
            raise ValueError(f"unknown kind of fault: {name!r}")
        on = details.get("on") or kind.default_on
        if on not in {*OPERATIONS, "any"}:
            raise ValueError(f"unknown operation: {on!r}")
        params = {key: value for key, value in details.items() if key not in _COMMON_FIELDS}
        unknown = sorted(set(params) - kind.params)
        if unknown:
            raise ValueError(f"{name} takes no {', '.join(unknown)}")
        times, after = details.get("times", 1), details.get("after", 0)
        if not all(isinstance(number, int) for number in (times, after)) or times < -1 or after < 0:
            raise ValueError("times must be -1 or more and after 0 or more")
        fault = Fault(next(self._numbers), on, name, times, after, str(details.get("path", "")), params)
        _check_params(fault)
        self._faults.append(fault)
        return fault

    def take(self, operation: str, path: str, stage: str = "request") -> Fault | None:
        """
        Return the fault that happens to a request, and count it.

        :param operation: One of :data:`OPERATIONS`.
        :param path: Path of the request.
        :param stage: Stage of the request, see :class:`FaultKind`.
        """
        for fault in self._faults:
            if not fault.matches(operation, path, stage):
                continue
            if fault.skipped < fault.after:
                fault.skipped += 1
                continue
            fault.met += 1
            return fault
        return None

    def public(self) -> list[dict[str, Any]]:
        """Return all faults for display, including those that are done."""
        return [fault.public() for fault in self._faults]

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PARAM_CHECKS: dict[str, Callable[[Any], bool]] = {
    "seconds": lambda value: _is_number(value) and value >= 0,
    "bytes": lambda value: isinstance(value, int) and value >= 0,
    "by": lambda value: isinstance(value, int) and value != 0,
    "at": lambda value: isinstance(value, int),
    "bomb_bytes": lambda value: isinstance(value, int) and 0 <= value <= 1 << 30,
    "headers": lambda value: isinstance(value, dict),
    "fields": lambda value: isinstance(value, dict),
    "location": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str),
}
_REQUIRED_PARAM = {"headers": "headers", "patch_json": "fields", "redirect": "location", "status": "status"}


def _check_params(fault: Fault) -> None:
    required = _REQUIRED_PARAM.get(fault.kind)
    if required is not None and required not in fault.params:
        raise ValueError(f"{fault.kind} needs {required}")
    for name, value in fault.params.items():
        if name in _PARAM_CHECKS and not _PARAM_CHECKS[name](value):
            raise ValueError(f"{name}: invalid value {value!r}")
    status = fault.params.get("status")
    is_http_status = fault.kind in {"status", "html", "redirect"} and status is not None
    if is_http_status and not (isinstance(status, int) and 200 <= status <= 599):
        raise ValueError(f"status: invalid value {status!r}")

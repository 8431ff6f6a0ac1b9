"""Faults waiting to happen, and the account of which ones were met."""

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
class Kind:
    """
    One kind of fault.

    :param default_on: The operation it is meant for when none is named.
    :param params: What may be given with it.
    :param stage: ``request``: when a request arrives. ``order``: when an order is accepted.
        ``result``: when an answer shows a completed job.
    """

    default_on: str = "any"
    params: frozenset[str] = frozenset()
    stage: str = "request"


def _kind(default_on: str, *params: str, stage: str = "request") -> Kind:
    return Kind(default_on, frozenset(params), stage)


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
_OWN = {"on", "kind", "times", "after", "path"}


@dataclass
class Fault:
    """
    A fault in the queue.

    :param id: Number, for display.
    :param on: The operation it waits for, or ``any``.
    :param kind: One of :data:`KINDS`.
    :param times: How often it happens; -1 for ever.
    :param after: How many matching requests pass before the first.
    :param path: Only requests whose path contains this, for instance a job id.
    :param params: What this kind takes.
    :param met: How often it has happened.
    :param passed: How many matching requests it has let pass.
    """

    id: int
    on: str
    kind: str
    times: int
    after: int
    path: str
    params: dict[str, Any]
    met: int = 0
    passed: int = 0

    def public(self) -> dict[str, Any]:
        """Describe the fault with its account: ``met`` of ``times``, ``done`` when used up."""
        own = {"id": self.id, "on": self.on, "kind": self.kind, "times": self.times, "after": self.after}
        return own | {"path": self.path, "met": self.met, "done": self.is_spent()} | self.params

    def is_spent(self) -> bool:
        """Say whether the fault has happened as often as it should."""
        return 0 <= self.times <= self.met

    def waits_for(self, operation: str, path: str, stage: str) -> bool:
        """
        Say whether a request is one this fault is meant for.

        :param operation: The call.
        :param path: Path of the request.
        :param stage: How far the request is.
        """
        here = self.on in {operation, "any"} and self.path in path
        return here and KINDS[self.kind].stage == stage and not self.is_spent()


class Faults:
    """The queue. The first fault that matches a request happens to it; the rest wait."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._numbers = itertools.count(1)

    def add(self, order: dict[str, Any]) -> Fault:
        """
        Queue a fault.

        :param order: ``kind`` and, as wanted, ``on``, ``times``, ``after``, ``path`` and the kind's own parameters.
        :raises ValueError: The kind, the operation or a parameter is unknown.
        """
        name = order.get("kind")
        kind = KINDS.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or kind is None:
            raise ValueError(f"unknown kind of fault: {name!r}")
        on = order.get("on") or kind.default_on
        if on not in {*OPERATIONS, "any"}:
            raise ValueError(f"unknown operation: {on!r}")
        params = {key: value for key, value in order.items() if key not in _OWN}
        unknown = sorted(set(params) - kind.params)
        if unknown:
            raise ValueError(f"{name} takes no {', '.join(unknown)}")
        times, after = order.get("times", 1), order.get("after", 0)
        if not all(isinstance(number, int) for number in (times, after)) or times < -1 or after < 0:
            raise ValueError("times must be -1 or more and after 0 or more")
        fault = Fault(next(self._numbers), on, name, times, after, str(order.get("path", "")), params)
        _check_params(fault)
        self._waiting.append(fault)
        return fault

    def take(self, operation: str, path: str, stage: str = "request") -> Fault | None:
        """
        Return the fault that happens to this request and count it.

        :param operation: The call.
        :param path: Path of the request.
        :param stage: How far the request is.
        """
        for fault in self._waiting:
            if not fault.waits_for(operation, path, stage):
                continue
            if fault.passed < fault.after:
                fault.passed += 1
                continue
            fault.met += 1
            return fault
        return None

    def public(self) -> list[dict[str, Any]]:
        """Describe all faults, used up ones too."""
        return [fault.public() for fault in self._waiting]

    def clear(self) -> None:
        """Forget all faults."""
        self._waiting.clear()


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
_NEEDED = {"headers": ("headers",), "patch_json": ("fields",), "redirect": ("location",), "status": ("status",)}


def _check_params(fault: Fault) -> None:
    missing = [name for name in _NEEDED.get(fault.kind, ()) if name not in fault.params]
    if missing:
        raise ValueError(f"{fault.kind} needs {', '.join(missing)}")
    for name, value in fault.params.items():
        if name in _PARAM_CHECKS and not _PARAM_CHECKS[name](value):
            raise ValueError(f"{name}: {value!r} makes no sense")
    status = fault.params.get("status")
    http = fault.kind in {"status", "html", "redirect"} and status is not None
    if http and not (isinstance(status, int) and 200 <= status <= 599):
        raise ValueError(f"status: {status!r} makes no sense")

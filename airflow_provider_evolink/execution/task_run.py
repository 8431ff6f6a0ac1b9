"""The running try of a task, as far as ``execution/`` needs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.http.patience import Patience

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


@dataclass(frozen=True)
class TaskRun:
    """
    One try, or one resumption of it.

    :param context: Airflow's context.
    :param log: The task's logger.
    :param is_stopping: Returns whether this worker is being terminated.
    :param is_resumed: Whether the try was deferred before; then XCom is no longer what the try found at its start.
    :param allowed: Airflow's own limit for one try.
    :param proven: The folders that took files in this try, with the endpoint of an S3 that honors conditions.
    :param began: Epoch seconds.
    """

    context: Context
    log: Any
    is_stopping: Callable[[], bool]
    is_resumed: bool = False
    allowed: timedelta | None = None
    proven: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.time())  # noqa: PLW0108 - tests put another clock in the place of the module

    @property
    def ti(self) -> Any:
        """Airflow's task instance."""
        return self.context["ti"]

    @property
    def ends(self) -> float:
        """Epoch seconds when the try must end: counted from its start, as Airflow 3 counts anew after a deferral."""
        start = getattr(self.ti, "start_date", None)
        return math.inf if self.allowed is None or start is None else float((start + self.allowed).timestamp())

    @cached_property
    def patience(self) -> Patience:
        """What this run may still wait for rate limits."""
        return Patience(self.ends)

    def prove_writable(self, uri: str, *, what: str = "destination") -> str:
        """
        Prove that a folder takes files, once in this run: before the first order, not before each of a batch.

        :param uri: The folder.
        :param what: Its name in errors.
        :return: The endpoint of its store, if that is an S3 that honors conditions; else nothing.
        :raises EvoLinkConfigError: it does not, so nothing may be ordered.
        """
        from airflow_provider_evolink.storage.writable import prove_writable

        if uri not in self.proven:
            self.proven[uri] = prove_writable(uri, what=what)
        return self.proven[uri]

    def prove_ledger(self, root: str) -> str:
        """
        Prove the same of the ledger folder.

        :param root: Its URI.
        """
        return self.prove_writable(root, what="ledger_path")

    @property
    def is_last_try(self) -> bool:
        """Whether Airflow has no retry left."""
        return int(getattr(self.ti, "try_number", 1) or 1) > int(getattr(self.ti, "max_tries", 0) or 0)


def push_aside(run: TaskRun, key: str, value: Any) -> None:
    """
    Push an XCom that is only for show: whatever comes of it, it hides no news.

    :param run: The running try.
    :param key: Name of the XCom.
    :param value: Plain JSON.
    """
    push = getattr(run.ti, "xcom_push", None)
    try:
        if push:
            push(key=key, value=value)
    except Exception as error:  # noqa: BLE001 - every backend has its own errors
        run.log.warning("The XCom %s could not be pushed (%s)", key, type(error).__name__)

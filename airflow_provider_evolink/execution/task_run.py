"""The running try of a task, as far as ``execution/`` needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    :param began: Epoch seconds.
    """

    context: Context
    log: Any
    is_stopping: Callable[[], bool]
    is_resumed: bool = False
    began: float = field(default_factory=lambda: time.time())  # noqa: PLW0108 - tests put another clock in the place of the module

    @property
    def ti(self) -> Any:
        """Airflow's task instance."""
        return self.context["ti"]

    @property
    def is_last_try(self) -> bool:
        """Whether Airflow has no retry left."""
        return int(getattr(self.ti, "try_number", 1) or 1) > int(getattr(self.ti, "max_tries", 0) or 0)

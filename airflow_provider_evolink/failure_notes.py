"""Why a try failed, kept as an XCom for whoever opens its page: the log has it under two tracebacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_evolink.api.errors import EvoLinkError

KEY = "evolink_failure"
_ADVICE = "What to do: "
_MAX_TEXT = 1000

log = logging.getLogger(__name__)


def failure_note(error: EvoLinkError) -> dict[str, str | None]:
    """
    Return what the XCom ``evolink_failure`` holds. Like the error, it has no prompt, link or key.

    :param error: Why the try failed.
    :return: ``error`` (its class), ``reason`` (with the cost, where EvoLink states it), ``advice``, ``job_id`` and
        ``code``.
    """
    reason, _, advice = error.message.partition(_ADVICE)
    return {
        "error": type(error).__name__,
        "reason": reason.strip().rstrip(".")[:_MAX_TEXT],
        "advice": advice.strip()[:_MAX_TEXT] or None,
        "job_id": error.job_id,
        "code": error.code,
    }


def keep_failure(error: EvoLinkError) -> None:
    """
    Write the note of a failed try. What goes wrong with it changes nothing for the task.

    :param error: Why the try failed.
    """
    try:
        from airflow.providers.common.compat.sdk import get_current_context

        get_current_context()["ti"].xcom_push(key=KEY, value=failure_note(error))
    except Exception as problem:  # noqa: BLE001 - the error of the task is what counts
        log.debug("The reason of the failure is in the log alone (%s)", type(problem).__name__)

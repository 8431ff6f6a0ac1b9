"""How a task fails: three lines in its log that say what happened, and the exception that Airflow and callbacks get."""

from __future__ import annotations

import logging
import re

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.api.errors import (
    EvoLinkError,
    EvoLinkJobFailed,
    EvoLinkJobTimeout,
    EvoLinkMediaError,
    EvoLinkNoResults,
    EvoLinkOrderStopped,
    EvoLinkRequestError,
    EvoLinkSubmissionUnknown,
)

FAILURE = "evolink_failure"  # XCom of a try that failed, for the tab Media
MAX_NOTE = 1000
# What a log shows at 1440 px without scrolling right: the first line stands behind time and level.
MAX_FIRST, MAX_LINE = 110, 140
_TODO = re.compile(r"\.?\s*(?:What to do|To settle it, run): ")
_OTHERS = re.compile(r"; \d+ other jobs? of this batch keeps? running and billed")

_COSTS: tuple[tuple[type[EvoLinkError], str], ...] = (  # of errors that name a job; the first that fits
    (EvoLinkNoResults, "it may have been charged; nothing is submitted again"),
    (EvoLinkMediaError, "it is paid for; a retry submits and charges nothing"),
    (EvoLinkJobTimeout, "it keeps running and is still billed"),
    (EvoLinkOrderStopped, "it keeps running and is still billed"),
    (EvoLinkError, "it was submitted and is billed; nothing is submitted again"),
)

log = logging.getLogger(__name__)


class EvoLinkTaskFailed(AirflowFailException):
    """
    A permanent error: the task fails at once and uses no retries.

    :param error: The error, with its class, EvoLink's code, the job and the request id; callbacks find it as
        ``context["exception"].error``.
    """

    def __init__(self, error: EvoLinkError) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error

    def __reduce__(self) -> tuple[type[EvoLinkTaskFailed], tuple[EvoLinkError]]:
        return type(self), (self.error,)


def log_failure(error: EvoLinkError) -> None:
    """
    Write one ERROR record that says what happened, to which job and at what cost, and what to do.

    :param error: Why the task fails.
    """
    log.error("\n".join(failure_lines(error)))


def failure_note(error: EvoLinkError) -> dict[str, str | float | None]:
    """
    Return what the XCom ``evolink_failure`` holds. Like the error, it has no prompt, link or key. Pure.

    :param error: Why the task fails.
    :return: ``error`` (its class), ``reason``, ``cost``, ``advice``, ``job_id``, ``code`` and ``credits`` (what the
        failed job cost, where EvoLink reports it).
    """
    what, todo = _parted(error)
    return {
        "error": type(error).__name__,
        "reason": _cut(what, MAX_NOTE),
        "cost": cost(error),
        "advice": todo or None,
        "job_id": error.job_id,
        "code": error.code,
        "credits": error.credits_charged if isinstance(error, EvoLinkJobFailed) else None,
    }


def keep_failure(error: EvoLinkError) -> None:
    """
    Keep why a try fails, for whoever opens its page. What goes wrong with that changes nothing for the task.

    :param error: Why the task fails.
    """
    try:
        from airflow.providers.common.compat.sdk import get_current_context

        get_current_context()["ti"].xcom_push(key=FAILURE, value=failure_note(error))
    except Exception as problem:  # noqa: BLE001 - the error of the task is what counts
        log.debug("The reason of the failure is in the log alone (%s)", type(problem).__name__)


def failure_lines(error: EvoLinkError) -> list[str]:
    """
    Return at most three short lines about a failure. Pure.

    :param error: Why the task fails.
    """
    what, todo = _parted(error)
    code = f" [{error.code}]" if error.code else ""
    job = f"Job {error.job_id}: {cost(error)}" if error.job_id else cost(error)
    what = what.removesuffix(f"; {cost(error)}")  # the second line has it
    lines = [_cut(what, MAX_FIRST - len(code)) + code, _cut(f"{job[:1].upper()}{job[1:]}", MAX_LINE)]
    advice = f"What to do: {todo}"
    return [*lines, advice if _is_command(todo) else _cut(advice, MAX_LINE)] if todo else lines


def cost(error: EvoLinkError) -> str:
    """
    Return what a failure has cost, as far as it is known. Pure.

    :param error: Why the task fails.
    """
    others = _OTHERS.search(error.message)
    return _own_cost(error) + (others.group() if others else "")


def _own_cost(error: EvoLinkError) -> str:
    if isinstance(error, EvoLinkSubmissionUnknown):
        return "one order may have been charged; nothing is submitted again"
    if isinstance(error, EvoLinkJobFailed):
        charged = error.credits_charged
        return "EvoLink did not report a charge" if charged is None else f"{charged:g} credits were charged"
    if error.job_id is None:
        return "nothing was charged for this"
    return next(text for kind, text in _COSTS if isinstance(error, kind))


def _parted(error: EvoLinkError) -> tuple[str, str]:
    """Return what happened, and what the user can do."""
    head, *rest = _TODO.split(error.message)
    if isinstance(error, EvoLinkRequestError):
        return head.partition("\n")[0], "correct what the exception below lists, and clear the task"
    if isinstance(error, EvoLinkSubmissionUnknown) and rest:
        command = f"run {rest[0].partition(chr(10))[0]}"
        return head, command if _is_command(command) else _cut(rest[0], MAX_NOTE)
    return head, _cut(rest[0], MAX_NOTE) if rest else ""


def _is_command(todo: str) -> bool:
    """Return whether this is a command to copy, which stays whole whatever else is cut."""
    return todo.startswith("run ") and " reconcile " in todo


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"

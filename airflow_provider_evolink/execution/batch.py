"""One try of a batch: which requests are ordered now, which jobs are waited for, and what becomes of failures."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import errors
from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
    EvoLinkRerunRefused,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.polling.batch_wait import BatchWait
from airflow_provider_evolink.execution.batch_decisions import REQUEST_ERRORS, ends_batch, refill_threshold
from airflow_provider_evolink.execution.batch_item import BatchItem, awaited, facts, going_on, listed, read_together
from airflow_provider_evolink.execution.budget import check_budget
from airflow_provider_evolink.execution.options import BatchOptions
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.operators.batch import EvoLinkBatchOperator

MOST_UNKNOWN = 3  # orders in a row whose outcome is unknown: then the line is broken, not one order


class BatchAttempt:
    """
    What one try of a batch operator does. A context manager: it owns the HTTP client.

    :param operator: The operator, its templates rendered.
    :param context: Airflow's context.
    :param resumed: Whether this try has been deferred before.
    """

    def __init__(self, operator: EvoLinkBatchOperator, context: Context, *, resumed: bool) -> None:
        BatchOptions.of(operator)
        self._operator = operator
        self._log = operator.log
        singles = operator.singles()
        ti: Any = context["ti"]
        self._is_last_try = int(getattr(ti, "try_number", 1) or 1) > int(getattr(ti, "max_tries", 0) or 0)
        self._client = EvoLinkHook(operator.evolink_conn_id).get_conn()
        made = [
            BatchItem(single, context, number=number, client=self._client, resumed=resumed)
            for number, single in enumerate([*singles, operator])
        ]
        self._parts, self._beyond = made[:-1], made[-1]
        self._waiting: list[int] = []
        self._running: list[int] = []
        self._results: dict[int, dict[str, Any]] = {}
        self._failed: dict[int, EvoLinkError] = {}
        self.stays = False

    def __enter__(self) -> BatchAttempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    @property
    def is_waiting(self) -> bool:
        """Whether a job runs that is worth waiting for."""
        return bool(self._running)

    @property
    def deadline(self) -> float:
        """Epoch seconds when the last of the waits ends."""
        return max(part.deadline for part in self._active)

    @property
    def jobs(self) -> list[list[Any]]:
        """The jobs to wait for, as the trigger takes them."""
        return [[job.job_id, job.started, job.deadline] for job in awaited(self._active)]

    @property
    def _active(self) -> list[BatchItem]:
        return [self._parts[number] for number in self._running]

    def begin(self) -> None:
        """Find the jobs of earlier tries, check what is to be ordered, and attach to the jobs."""
        if not self._beyond.is_remembered:
            raise EvoLinkConfigError(
                "a batch needs a place that remembers its orders, or every retry would pay for all of them again; "
                "nothing is ordered. What to do: Airflow 3.3 or later, or ledger_path; and durable=True"
            )
        if self._beyond.was_ordered_before():
            raise EvoLinkRerunRefused(
                f"an earlier try has ordered more than the {len(self._parts)} requests there are now, so nothing more "
                "is ordered. What to do: give all requests again, in the same order"
            )
        self._read([number for number, part in enumerate(self._parts) if part.job_id])
        self._waiting = [number for number, part in enumerate(self._parts) if part.will_order]
        self._check()
        found = [number for number in range(len(self._parts)) if number not in self._waiting]
        for number in found:
            self._start(number)
        self._settle(number for number in found if self._parts[number].is_lost and self._is_open(number))

    def resume(self, event: dict[str, Any]) -> None:
        """
        Go on after a deferral.

        :param event: What the trigger told.
        """
        state = event.get("state") or {}
        self._waiting = [number for number in state.get("waiting", ()) if number in range(len(self._parts))]
        for number, (name, code) in state.get("failed", {}).items():
            error = getattr(errors, name)("it was refused when it was ordered, see the log of this try", code=code)
            self._failed[int(number)] = error
        self._check()
        self.take(event)

    def state(self) -> dict[str, Any]:
        """Return what the next worker of this try must know and cannot find in the ledger."""
        failed = {
            str(number): [type(error).__name__, error.code]
            for number, error in self._failed.items()
            if self._parts[number].job_id is None
        }
        return {"waiting": self._waiting, "failed": failed}

    def order_more(self) -> None:
        """Order as many requests as may run."""
        unknown = 0
        while self._waiting and len(self._running) < self._operator.max_active:
            number = self._waiting[0]
            try:
                self._start(number)
            except (EvoLinkRateLimited, EvoLinkUnavailable) as error:
                if not self._running:
                    raise self._told(number, error) from error.__cause__
                self._log.warning("No more orders until some of the %d jobs are over: %s", len(self._running), error)
                return
            self._waiting.pop(0)
            unknown = unknown + 1 if isinstance(self._failed.get(number), EvoLinkSubmissionUnknown) else 0
            if unknown >= MOST_UNKNOWN:
                raise self._told(number, self._failed[number])

    def look_early(self) -> None:
        """Look for some seconds on the worker, where all jobs are short ones: cheaper than to defer."""
        slowest = max(self._active, key=_expected)
        pauses = slowest.pauses(time.time())
        for pause in pauses if len(pauses) > 1 else ():
            time.sleep(pause)
            self._read(self._running)
            over = [number for number in self._running if self._parts[number].is_over]
            self._running = [number for number in self._running if number not in over]
            self._settle(number for number in over if self._parts[number].is_lost)
            if not self._running:
                return

    def terms(self) -> dict[str, Any]:
        """Return how to wait for the jobs that run."""
        return {
            **facts(self._active),
            "enough": refill_threshold(len(self._running), len(self._waiting)),
            "fail_fast": self._operator.on_failed_job == "fail_fast",
            "poll_interval": self._operator.poll_interval,
        }

    def wait_here(self) -> None:
        """Wait on the worker until enough of the jobs are over."""
        operator = self._operator
        if self.stays:
            time.sleep(schedule.CONFIRM_AFTER)
        wait = BatchWait(
            awaited(self._active), **self.terms(), say=self._log.info, stopping=lambda: operator.is_stopping
        )
        load_settings = functools.partial(EvoLinkHook.aget_settings, operator.evolink_conn_id)
        event = asyncio.run(wait.run(operator.evolink_conn_id, load_settings))
        if operator.is_stopping:
            raise EvoLinkOrderStopped(f"this worker was told to end{self._going_on()}")
        self.take(event)

    def take(self, event: dict[str, Any]) -> None:
        """
        Take what a wait has brought. A job that gave nothing is read again before that counts.

        :param event: The jobs that run on, and those that gave nothing.
        """
        numbers = {part.job_id: number for number, part in enumerate(self._parts) if part.job_id}
        told = [*event.get("running", [None]), *event.get("without_result", ())]
        if not all(job_id in numbers for job_id in told):
            raise EvoLinkConfigError("the trigger's event is about other jobs than those recorded")
        self._running = [numbers[job_id] for job_id in event["running"]]
        lost = [numbers[job_id] for job_id in event.get("without_result", ())]
        self._read(lost)
        for number in lost:
            if not self._parts[number].is_over:
                self._do(number, self._parts[number].look)
        self._wait_on(lost)
        self._settle([number for number in lost if number not in self._running and self._is_open(number)])

    def is_ready(self) -> bool:
        """Tell whether all can be delivered: nothing is left to order or to wait for, and all jobs are read."""
        if not self._waiting and not self._running:
            self._read([number for number in self._open if not self._parts[number].is_over])
            self._wait_on(self._open)
        return not self._waiting and not self._running

    def deliver(self) -> list[dict[str, Any]]:
        """Return the results in the order of the requests, or raise why there are none."""
        self._settle(self._open, all_over=True)
        for number in self._results:
            self._parts[number].note_delivered()
        self._log.info("%d of %d requests have a result", len(self._results), len(self._parts))
        return [
            self._results[number] if number in self._results else part.without_result(self._failed[number])
            for number, part in enumerate(self._parts)
        ]

    def _read(self, numbers: Iterable[int]) -> None:
        read_together([self._parts[number] for number in numbers], self._operator.evolink_conn_id)

    def _wait_on(self, numbers: Iterable[int]) -> None:
        """Wait on this worker for what is not seen to be over: right now it cannot be read, here or elsewhere."""
        for number in numbers:
            part = self._parts[number]
            if part.job_id and self._is_open(number) and not part.is_over and time.time() < part.deadline:
                self._running.append(number)
                self.stays = True

    @property
    def _open(self) -> list[int]:
        return [number for number in range(len(self._parts)) if self._is_open(number)]

    def _is_open(self, number: int) -> bool:
        return number not in self._results and number not in self._failed

    def _check(self) -> None:
        """Build all orders before the first is sent, and add up what they may cost."""
        orders, wrong = [], {}
        for number in self._waiting:
            try:
                orders.append(self._parts[number].order_body())
            except EvoLinkError as error:
                wrong[number] = error
        if wrong:
            number, first = next(iter(wrong.items()))
            others = f" (so are {len(wrong) - 1} more: {listed(list(wrong)[1:])})" if len(wrong) > 1 else ""
            first.message = f"a request is wrong{others}, none of the batch is ordered now: {first.message}"
            raise self._told(number, first)
        check_budget(orders, self._operator.max_credits, self._operator.unknown_price)

    def _start(self, number: int) -> None:
        part = self._parts[number]
        if self._do(number, part.start) is not None and not part.is_over:
            self._running.append(number)

    def _settle(self, numbers: Iterable[int], *, all_over: bool = False) -> None:
        """Turn jobs that are over into results or failures, and end the try where these mean that."""
        if self._operator.on_failed_job != "fail_fast" and not all_over:
            return  # what they gave counts in the end
        for number in numbers:
            result = self._do(number, self._parts[number].conclude, ends=False)
            if result is not None:
                self._results[number] = result
        self._judge(all_over=all_over)

    def _do(self, number: int, act: Any, *, ends: bool = True) -> Any:
        """Do something for one request; its own failure is noted, everybody's is raised."""
        try:
            return act()
        except REQUEST_ERRORS as error:
            self._failed[number] = error
            self._log.warning("Request %d gave no result: %s", number, error)
        except (EvoLinkRateLimited, EvoLinkUnavailable):
            raise
        except EvoLinkError as error:
            raise self._told(number, error) from error.__cause__
        if ends:
            self._judge()
        return None

    def _judge(self, *, all_over: bool = False) -> None:
        policy = self._operator.on_failed_job
        number = ends_batch(self._failed, policy, all_over=all_over, is_last_try=self._is_last_try)
        if number is not None:
            raise self._told(number, self._failed[number])

    def _told(self, number: int, error: EvoLinkError) -> EvoLinkError:
        error.message = f"request {number} of {len(self._parts)}: {error.message}{self._going_on(number)}"
        return error

    def _going_on(self, but: int | None = None) -> str:
        """Name the jobs that go on: they are paid, and the next try waits for them."""
        return going_on([self._parts[number] for number in self._running if number != but])


def _expected(part: BatchItem) -> float:
    return float("inf") if part.estimated_time is None else part.estimated_time

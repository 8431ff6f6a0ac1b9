"""One try of a batch: which requests are submitted now, which jobs are waited for, and what failures mean."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkContentError,
    EvoLinkError,
    EvoLinkInvalidError,
    EvoLinkNotFoundError,
    EvoLinkOrderStopped,
    EvoLinkRateLimited,
    EvoLinkRerunRefused,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
)
from airflow_provider_evolink.api.files.transfer.side_by_side import WIDTH, side_by_side
from airflow_provider_evolink.api.jobs import schedule
from airflow_provider_evolink.api.polling.batch_wait import BatchWait
from airflow_provider_evolink.execution.batch_decisions import REQUEST_ERRORS, ends_batch, refill_threshold
from airflow_provider_evolink.execution.batch_item import (
    BatchItem,
    BatchResult,
    ItemState,
    Known,
    awaited,
    common_hints,
    described,
    in_state,
    listed,
    poll_together,
    still_running,
)
from airflow_provider_evolink.execution.batch_records import PARALLEL, BatchRecords, poll
from airflow_provider_evolink.execution.budget import check_budget
from airflow_provider_evolink.execution.generation import GenerationAttempt
from airflow_provider_evolink.execution.other_records import adopt
from airflow_provider_evolink.execution.request import ArgumentSource
from airflow_provider_evolink.hooks.evolink import EvoLinkHook

if TYPE_CHECKING:
    from airflow_provider_evolink.api.client import EvoLinkClient
    from airflow_provider_evolink.execution.options import BatchOptions, GenerationOptions
    from airflow_provider_evolink.execution.task_run import TaskRun

MAX_UNKNOWN_IN_A_ROW = 3  # then the connection is broken, and not one order
# Errors of requests without a job, which cross a deferral by their names.
_WITHOUT_JOB = {
    error.__name__: error
    for error in (EvoLinkContentError, EvoLinkInvalidError, EvoLinkNotFoundError, EvoLinkSubmissionUnknown)
}


def _attempt(
    number: int, options: GenerationOptions, run: TaskRun, client: EvoLinkClient, *, reads: bool = False
) -> GenerationAttempt:
    return GenerationAttempt(options, ArgumentSource(options), run, item=number, client=client, reads=reads)


def _wait_arguments(options: BatchOptions, items: Sequence[BatchItem]) -> dict[str, Any]:
    """Return how to wait for the jobs that run."""
    running, queued = in_state(items, ItemState.RUNNING), in_state(items, ItemState.QUEUED)
    return {
        **common_hints(running),
        "min_ended": refill_threshold(len(running), len(queued)),
        "fail_fast": options.on_failed_job == "fail_fast",
        "poll_interval": options.shared.poll_interval,
    }


def _check(items: Sequence[BatchItem], shared: GenerationOptions) -> None:
    """Check the requests that are queued, and add up what they may cost."""
    orders: list[tuple[str, dict[str, Any]]] = []
    wrong: list[tuple[BatchItem, EvoLinkError]] = []
    for item in in_state(items, ItemState.QUEUED):
        try:
            orders.append(item.checked_order())
        except EvoLinkError as error:
            wrong.append((item, error))
    if wrong:
        item, first = wrong[0]
        others = [other.number for other, _ in wrong[1:]]
        also = f" (so are {len(others)} more: {listed(others)})" if others else ""
        message = f"a request is wrong{also}, none of the batch is submitted now: {first.message}"
        raise described(items, item, first.amended(message=message))
    check_budget(orders, shared.max_credits, shared.policies.unknown_price)


class BatchAttempt:
    """
    What one try of a batch operator does. Close it: it owns the HTTP client.

    :param options: The arguments of the operator.
    :param run: The running try.
    """

    def __init__(self, options: BatchOptions, run: TaskRun) -> None:
        self.waits_on_worker = False
        self._options = options
        self._run = run
        self._client = EvoLinkHook(options.shared.evolink_conn_id).get_conn()
        self._items = [
            BatchItem(number, _attempt(number, one, run, self._client)) for number, one in enumerate(options.items)
        ]
        self._records = BatchRecords(self._items, options.shared, run.context)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def is_waiting(self) -> bool:
        """Whether a job runs that is worth waiting for."""
        return bool(in_state(self._items, ItemState.RUNNING))

    @property
    def deadline(self) -> float:
        """Epoch seconds when the last of the waits ends."""
        return max(item.wait.deadline for item in in_state(self._items, ItemState.RUNNING))

    def begin(self) -> None:
        """Find the jobs of earlier tries, check what is to be submitted, and attach to the jobs."""
        beyond = _attempt(len(self._items), self._options.shared, self._run, self._client, reads=True)
        if not beyond.ledger.is_durable:
            raise EvoLinkConfigError(
                "a batch needs a durable record of its orders, or every retry would pay for all of them again; "
                "nothing is submitted. What to do: Airflow 3.3 or later, or ledger_path; and durable=True"
            )
        if beyond.was_submitted_since_clear:
            raise EvoLinkRerunRefused(
                f"an earlier try has submitted more than the {len(self._items)} requests there are now, so nothing "
                "more is submitted. What to do: give all requests again, in the same order"
            )
        self._records.read_at_start()
        single, attempts = replace(beyond.identity, item=None), [item.attempt for item in self._items]
        adopt(attempts, self._run.context, [single], self._options.shared)
        poll([item for item in self._items if item.job_id], self._options.shared.evolink_conn_id, self._client.clock)
        side_by_side(BatchItem.make_sure, [item for item in self._items if not item.attempt.will_submit], PARALLEL)
        for item in self._items:
            item.state = ItemState.QUEUED if item.attempt.will_submit else ItemState.ENDED
            self._do(item, item.find_reusable)
        self._check_queued()
        found = in_state(self._items, ItemState.ENDED)
        attached = [item for item in found if item.only_attaches]
        # After a clear each record is written. Orders go out one after the other, from this thread.
        side_by_side(lambda item: self._do(item, item.start), attached, PARALLEL)
        for item in found:
            if item not in attached:
                self._do(item, item.start)
        self._settle(item for item in found if item.reading.has_failed and item.is_open)

    def resume(self, event: dict[str, Any]) -> None:
        """
        Continue after a deferral.

        :param event: What the trigger reported.
        """
        state = event.get("state") or {}
        if (count := state.get("count", len(self._items))) != len(self._items):
            raise EvoLinkConfigError(
                f"there were {count} requests when this try submitted and there are {len(self._items)} now, so their "
                "jobs are left alone and nothing is submitted. What to do: give all requests again, in the same "
                "order, and clear the task: it waits for the recorded jobs"
            )
        for item in self._items:
            if item.number in state.get("waiting", ()):
                item.state = ItemState.QUEUED
        for number, (name, code) in state.get("failed", {}).items():
            error = _WITHOUT_JOB.get(name, EvoLinkError)(
                "it was refused at submission, see the log of this try", code=code
            )
            self._items[int(number)].fail(error)
        ended_or_running = in_state(self._items, ItemState.ENDED)
        needed = state.get("running", [item.number for item in ended_or_running])
        self._records.read_jobs([item for item in ended_or_running if item.number in needed])
        self._check_queued()
        self.apply_event(event)

    def submit_more(self) -> None:
        """Submit as many requests as may run."""
        unknown = 0
        for item in in_state(self._items, ItemState.QUEUED):
            running = len(in_state(self._items, ItemState.RUNNING))
            if running >= self._options.max_active:
                return
            try:
                self._do(item, item.start)
            except (EvoLinkRateLimited, EvoLinkUnavailable) as error:
                if not running:
                    raise described(self._items, item, error) from error.__cause__
                self._run.log.warning(
                    "Pausing submissions until some of the %d running jobs finish: %s", running, error
                )
                return
            self._records.note_order()
            unknown = unknown + 1 if isinstance(item.error, EvoLinkSubmissionUnknown) else 0
            if unknown >= MAX_UNKNOWN_IN_A_ROW and item.error:
                raise described(self._items, item, item.error)

    def poll_early(self) -> None:
        """Poll for some seconds on the worker, if all jobs are short: that costs less than a deferral."""
        running = in_state(self._items, ItemState.RUNNING)
        slowest = max(running, key=lambda item: item.expected_seconds)
        delays = slowest.attempt.tracker.poll_delays(slowest.reading, slowest.wait)
        for delay in delays if len(delays) > 1 else ():
            time.sleep(delay)
            poll_together(running, self._options.shared.evolink_conn_id, self._client.clock)
            ended = [item for item in running if item.reading.is_over]
            for item in ended:
                item.state = ItemState.ENDED
            self._settle(item for item in ended if item.reading.has_failed)
            running = in_state(self._items, ItemState.RUNNING)
            if not running:
                return

    def trigger_arguments(self) -> dict[str, Any]:
        """Return what the trigger takes: the jobs, and what the next worker of this try cannot find in the ledger."""
        failed = {
            str(item.number): [type(item.error).__name__, item.error.code]
            for item in in_state(self._items, ItemState.FAILED)
            if item.job_id is None and item.error
        }
        waiting = [item.number for item in in_state(self._items, ItemState.QUEUED)]
        # The next worker needs no other records, unless it is the last.
        running = [item.number for item in in_state(self._items, ItemState.RUNNING)]
        self._records.write_index()
        return {
            **_wait_arguments(self._options, self._items),
            "jobs": [
                [job.job_id, job.started, job.deadline]
                for job in awaited(in_state(self._items, ItemState.RUNNING), self._client.clock)
            ],
            "state": {
                "count": len(self._items),
                "waiting": waiting,
                "failed": failed,
                **({"running": running} if waiting else {}),
            },
        }

    def wait_here(self) -> None:
        """Wait on the worker until enough of the jobs have ended."""
        if self.waits_on_worker:
            time.sleep(schedule.POLICY.confirm_failure_after)
        running, conn_id = in_state(self._items, ItemState.RUNNING), self._options.shared.evolink_conn_id
        wait = BatchWait(
            awaited(running, self._client.clock),
            **_wait_arguments(self._options, self._items),
            log=self._run.log.info,
            is_stopping=self._run.is_stopping,
        )
        event = asyncio.run(wait.run(conn_id, functools.partial(EvoLinkHook.aget_settings, conn_id)))
        if self._run.is_stopping():
            raise EvoLinkOrderStopped(f"this worker is being terminated{still_running(running)}")
        self.apply_event(event)

    def apply_event(self, event: dict[str, Any]) -> None:
        """
        Take what a wait has brought. A job without a result is polled again before that counts.

        :param event: The jobs that still run, and those without a result.
        """
        named = [*event.get("running", [None]), *event.get("without_result", ())]
        for read_more in (self._records.read_left, self._records.read_again):
            if not {job_id for job_id in named if isinstance(job_id, str)} <= {item.job_id for item in self._items}:
                read_more()
        by_job: dict[str, list[BatchItem]] = {}
        for item in self._items:
            by_job.setdefault(item.job_id or "", []).append(item)
        if not all(job_id and job_id in by_job for job_id in named):
            raise EvoLinkConfigError(
                "the trigger's event is about other jobs than those recorded, so their results are not returned; "
                "nothing is submitted. What to do: clear the task: it waits for the recorded jobs"
            )
        for item in in_state(self._items, ItemState.RUNNING):
            item.state = ItemState.ENDED
        for item in (item for job_id in event["running"] for item in by_job[job_id]):
            item.state = ItemState.RUNNING
        lost = [item for job_id in event.get("without_result", ()) for item in by_job[job_id]]
        poll(lost, self._options.shared.evolink_conn_id, self._client.clock)
        for item in lost:
            if not item.reading.is_over:
                self._do(item, item.attempt.poll)
        self._wait_for_unread(lost)
        self._settle(item for item in lost if item.state is ItemState.ENDED)

    def is_ready(self) -> bool:
        """Tell whether all can be delivered: nothing is left to submit or to wait for, and all jobs are read."""
        if not in_state(self._items, ItemState.QUEUED) and not self.is_waiting:
            self._records.read_left()
            for item in in_state(self._items, ItemState.ENDED):
                if item.job_id is None:  # its result was in the archive
                    self._do(item, item.find_reusable)
            still_open = in_state(self._items, ItemState.ENDED)
            unread = [item for item in still_open if not item.reading.is_over]
            poll(unread, self._options.shared.evolink_conn_id, self._client.clock)
            self._wait_for_unread(still_open)
        return not in_state(self._items, ItemState.QUEUED) and not self.is_waiting

    def deliver(self) -> BatchResult:
        """Return the results in the order of the requests, or raise why there are none."""
        self._settle(in_state(self._items, ItemState.ENDED), all_over=True)
        succeeded = in_state(self._items, ItemState.SUCCEEDED)
        delivered = [item for item in succeeded if item.reading.is_over]
        side_by_side(lambda item: item.attempt.mark_delivered(item.reading.ended_job), delivered, PARALLEL)
        self._run.log.info("%d of %d requests have a result", len(succeeded), len(self._items))
        return [item.outcome() for item in self._items]

    def _wait_for_unread(self, items: Iterable[BatchItem]) -> None:
        """Wait on this worker for jobs that are not known to have ended: they cannot be read now, here or elsewhere."""
        for item in items:
            may_run = item.job_id and item.is_open and not item.reading.is_over
            if may_run and time.time() < item.wait.deadline:
                item.state = ItemState.RUNNING
                self.waits_on_worker = True

    def _check_queued(self) -> None:
        """Check all requests before the first is submitted. What may be ordered already is read before one is wrong."""
        try:
            _check(self._items, self._options.shared)
        except EvoLinkError:
            unsure = [item for item in in_state(self._items, ItemState.QUEUED) if item.known is not Known.ALL_COPIES]
            side_by_side(BatchItem.read, unsure, PARALLEL)
            poll([item for item in unsure if item.job_id], self._options.shared.evolink_conn_id, self._client.clock)
            ordered = [item for item in unsure if not item.attempt.will_submit]
            if not ordered:
                raise
            for item in ordered:
                item.state = ItemState.ENDED
            _check(self._items, self._options.shared)

    def _do(self, item: BatchItem, act: Callable[[], None], *, judges: bool = True) -> None:
        """Do something for one request; its own failure is noted, one that concerns all is raised."""
        try:
            act()
        except REQUEST_ERRORS as error:
            item.fail(error)
            self._run.log.warning("Request %d has no result: %s", item.number, error)
        except (EvoLinkRateLimited, EvoLinkUnavailable):
            raise
        except EvoLinkError as error:
            raise described(self._items, item, error) from error.__cause__
        if judges:
            self._raise_if_ended()

    def _settle(self, items: Iterable[BatchItem], *, all_over: bool = False) -> None:
        """Take the results of jobs that have ended, and end the try if their failures mean that."""
        if self._options.on_failed_job != "fail_fast" and not all_over:
            return  # they count in the end
        width = WIDTH if self._options.shared.destination else 1
        side_by_side(lambda item: self._do(item, item.conclude, judges=False), list(items), width)
        self._raise_if_ended(all_over=all_over)

    def _raise_if_ended(self, *, all_over: bool = False) -> None:
        failed = {item.number: item.error for item in in_state(self._items, ItemState.FAILED) if item.error}
        policy, is_last_try = self._options.on_failed_job, self._run.is_last_try
        number = ends_batch(failed, policy, all_over=all_over, is_last_try=is_last_try)
        if number is not None:
            raise described(self._items, self._items[number], failed[number])

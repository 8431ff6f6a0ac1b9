"""
Reading the records of a batch: as few as it takes, and several at a time, since every call to a store takes its time.

Nothing is ever ordered because of what is read here: :meth:`BatchItem.start` reads every copy of a record before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_evolink.api.files.transfer.side_by_side import side_by_side
from airflow_provider_evolink.execution.batch_item import BatchItem, ItemState, Known, poll_together
from airflow_provider_evolink.ledger.batch_index import BatchIndex, FolderIndex, StateIndex
from airflow_provider_evolink.ledger.ledger import ledger_root
from airflow_provider_evolink.ledger.record import TaskIdentity

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.http.server_clock import ServerClock
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.ledger.record import Record

PARALLEL = 16  # calls to a store at a time
INDEX_FROM = 32  # requests; the records of fewer are read about as fast
INDEX_EVERY = 32  # orders


class BatchRecords:
    """
    The records of the requests of a batch.

    :param items: All requests.
    :param options: The arguments that they share.
    :param context: Airflow's context.
    """

    def __init__(self, items: Sequence[BatchItem], options: GenerationOptions, context: Context) -> None:
        identity = TaskIdentity.of(context)
        self._items = items
        self._is_first_try = identity.attempt == 1
        is_large = options.durable and len(items) >= INDEX_FROM
        self._index = _index(options, context, identity, len(items)) if is_large else None
        self._indexed: dict[int, Record] | None = None  # what the index holds, once it was read
        self._ordered = 0

    def read_at_start(self) -> None:
        """
        Read one copy of every record, or of so few as show that there is none.

        Orders go out from the first request on, so a first try that has ordered nothing finds nothing at the start
        either. Results that are re-used leave gaps, and come before orders, so all copies count then.

        :raises EvoLinkError: a store does not respond, or holds something else.
        """
        if any(item.attempt.reuse for item in self._items):
            side_by_side(BatchItem.read, self._items, PARALLEL)
            return
        if self._is_first_try and not self._has_records():
            return
        last = self._take_index()
        if last is None:
            _read_copies(self._items)
            return
        _read_copies(self._items[: last + 1])
        for begin in range(last + 1, len(self._items), INDEX_EVERY):  # an old index knows of few
            near = self._items[begin : begin + INDEX_EVERY]
            _read_copies(near)
            if not any(item.attempt.record for item in near):
                return

    def read_jobs(self, items: Sequence[BatchItem]) -> None:
        """
        Read the records of requests that have a job, as far as is known: one copy, and the others where it has none.

        :param items: Some of the requests.
        :raises EvoLinkError: as :meth:`read_at_start`.
        """
        if len([item for item in items if item.known is Known.NOTHING]) >= INDEX_FROM:
            self._take_index()
        _read_copies(items)
        side_by_side(BatchItem.read, [item for item in items if not item.attempt.was_submitted_since_clear], PARALLEL)

    def read_left(self) -> None:
        """
        Read the records that this worker has not needed so far: of jobs that ended under earlier ones.

        :raises EvoLinkError: as :meth:`read_at_start`.
        """
        done = (ItemState.SUCCEEDED, ItemState.QUEUED)
        self.read_jobs([item for item in self._items if item.known is Known.NOTHING and item.state not in done])

    def read_again(self) -> None:
        """
        Read every copy of the records that this worker knows by one copy, or by the index, which may be old.

        :raises EvoLinkError: as :meth:`read_at_start`.
        """
        done = (ItemState.SUCCEEDED, ItemState.QUEUED)
        unsure = [item for item in self._items if item.known is not Known.ALL_COPIES and item.state not in done]
        side_by_side(BatchItem.read, unsure, PARALLEL)

    def note_order(self) -> None:
        """Note that one more request was ordered; now and then this writes the index."""
        self._ordered += 1
        if self._ordered % INDEX_EVERY == 0:
            self.write_index()

    def write_index(self) -> None:
        """Repeat the records of jobs in the index, where there is one."""
        if self._index is None:
            return
        if self._indexed is None:
            self._indexed = self._index.read()
        for item in self._items:
            if item.attempt.record is not None and item.attempt.was_submitted_since_clear:
                self._indexed[item.number] = item.attempt.record
        self._index.write(self._indexed)

    def _take_index(self) -> int | None:
        """Take from the index what no one has read yet; return the last number in it, ``None`` if there is none."""
        self._indexed = found = self._index.read() if self._index is not None else {}
        for item in self._items:
            if item.known is Known.NOTHING and item.number in found:
                item.take_hint(found[item.number])
        return max(found, default=None)

    def _has_records(self) -> bool:
        probes = [self._items[number] for number in _probes(len(self._items))]
        _read_copies(probes)
        return any(item.attempt.record for item in probes)


def poll(items: Sequence[BatchItem], evolink_conn_id: str, clock: ServerClock) -> None:
    """
    Poll jobs; where one has failed, all copies of its record count, as a newer one may name its successor.

    :param items: Items whose jobs are known.
    :param evolink_conn_id: Connection of type ``evolink``.
    :param clock: Learns EvoLink's time.
    """
    poll_together(items, evolink_conn_id, clock)
    failed = [item for item in items if item.reading.has_failed and item.known is not Known.ALL_COPIES]
    side_by_side(BatchItem.read, failed, PARALLEL)
    poll_together([item for item in failed if item.job_id and not item.reading.job], evolink_conn_id, clock)


def _index(options: GenerationOptions, context: Context, identity: TaskIdentity, count: int) -> BatchIndex | None:
    """Return the index in the store that the copies are read from."""
    if root := ledger_root(options.ledger_path):
        return FolderIndex(root, identity)
    accessor = context.get("task_state_store")
    return None if accessor is None else StateIndex(accessor, count)


def _probes(count: int) -> list[int]:
    """Return the numbers of the first request, the last, and some in between, ever farther apart."""
    powers = (2**power for power in range(count.bit_length()))
    return sorted(number for number in {0, *powers, count - 1} if 0 <= number < count)


def _read_copies(items: Sequence[BatchItem]) -> None:
    side_by_side(BatchItem.read_copy, [item for item in items if item.known is Known.NOTHING], PARALLEL)

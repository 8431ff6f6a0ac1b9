"""The books: what was ordered, what it cost, and which job an idempotency key belongs to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job
    from airflow_provider_evolink.emulator.orders.order import Order


class KeyReused(Exception):
    """The idempotency key was used before, with another body."""


@dataclass
class Books:
    """
    Accounts of the emulator: everything that a test may want to prove about money.

    :param spent: Credits charged.
    :param reserved: Credits reserved for jobs that have not ended.
    :param orders: Accepted orders, without replays.
    :param replays: Submissions that returned the job of an earlier one.
    :param media_requests_with_authorization: Downloads that leaked the API key to the media host.
    :param requests: Number of requests per operation.
    """

    spent: float = 0.0
    reserved: float = 0.0
    orders: int = 0
    replays: int = 0
    media_requests_with_authorization: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    _by_key: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def balance(self, start: float) -> float:
        """
        Return the credits that can still be spent.

        :param start: Credits of the account at the start.
        """
        return round(start - self.spent - self.reserved, 4)

    def job_of_key(self, order: Order) -> str | None:
        """
        Return the id of the job that was accepted under the order's idempotency key; None if there is none.

        :raises KeyReused: It was accepted with another body.
        """
        known = self._by_key.get((order.caller.key_fingerprint, order.idempotency_key or ""))
        if known is None:
            return None
        job_id, digest = known
        if digest != _digest(order.body):
            raise KeyReused
        return job_id

    def open(self, job: Job) -> None:
        """Record a new job and reserve its credits."""
        self.orders += 1
        self.reserved = round(self.reserved + job.plan.reserved, 4)
        order = job.order
        if order.idempotency_key is not None:
            self._by_key[(order.caller.key_fingerprint, order.idempotency_key)] = (job.id, _digest(order.body))

    def forget(self, order: Order) -> None:
        """Forget the idempotency key of an order; what it cost stays in the books."""
        self._by_key.pop((order.caller.key_fingerprint, order.idempotency_key or ""), None)

    def settle(self, job: Job) -> None:
        """Record the end of a job: its credits are no longer reserved, and are spent if it completed."""
        self.reserved = round(self.reserved - job.plan.reserved, 4)
        self.spent = round(self.spent + job.credits_charged, 4)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

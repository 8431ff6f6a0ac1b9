"""Who ordered what, what it cost, and which order a repeated key belongs to."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job

_KEY_SHAPE = re.compile(r"[A-Za-z0-9._-]{16,96}")


class KeyReused(Exception):
    """The idempotency key was used before, with another body."""


def is_usable_key(key: str) -> bool:
    """
    Say whether an idempotency key has the accepted shape.

    :param key: The header's value.
    """
    return _KEY_SHAPE.fullmatch(key) is not None


def fingerprint(secret: str) -> str:
    """
    Name an API key without showing it.

    :param secret: The key.
    """
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


@dataclass
class Books:
    """The emulator's accounts. Everything a test may want to prove about money is here."""

    spent: float = 0.0
    reserved: float = 0.0
    orders: int = 0
    replays: int = 0
    media_requests_with_authorization: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    _by_key: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def balance(self, start: float) -> float:
        """
        Say how many credits can still be ordered for.

        :param start: Credits of the account at the start.
        """
        return round(start - self.spent - self.reserved, 4)

    def earlier_order(self, caller: str, key: str, body: dict[str, Any]) -> str | None:
        """
        Find the job an idempotency key already stands for.

        :param caller: Fingerprint of the API key.
        :param key: The idempotency key.
        :param body: The order, as sent.
        :return: The job id, or None.
        :raises KeyReused: The key stands for another body.
        """
        known = self._by_key.get((caller, key))
        if known is None:
            return None
        job_id, content = known
        if content != _content(body):
            raise KeyReused
        return job_id

    def enter(self, job: Job) -> None:
        """
        Enter a new order and hold its credits.

        :param job: The accepted job.
        """
        self.orders += 1
        self.reserved = round(self.reserved + job.reserved, 4)
        if job.idempotency_key is not None:
            self._by_key[(job.key_fingerprint, job.idempotency_key)] = (job.id, _content(job.body))

    def settle(self, job: Job) -> None:
        """
        Charge a completed job, or give the hold of any other ended job back.

        :param job: A job that has just come to its end.
        """
        self.reserved = round(self.reserved - job.reserved, 4)
        if job.status == "completed":
            job.charged = job.due
            self.spent = round(self.spent + job.due, 4)
        else:
            job.refunded = job.reserved


def _content(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

"""
Jobs that need no book-keeping: a job's number holds when it was ordered and how long it takes.

So the server can respond about any job without knowing of it, and its responses cost it next to nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

ESTIMATE = 120  # seconds, what every job says about itself
_DURATION, _SALT = 10**7, 10**4


@dataclass(frozen=True)
class FakeJob:
    """
    One job.

    :param created: Epoch seconds of the order, by whole milliseconds.
    :param seconds: How long it takes.
    """

    created: float
    seconds: float

    @property
    def ends(self) -> float:
        """Epoch seconds at which it is completed."""
        return self.created + self.seconds

    def number(self, epoch: float, salt: int) -> int:
        """
        Return the number that stands for it, small enough for 63 bits.

        :param epoch: Epoch seconds that lie before every order.
        :param salt: Tells jobs apart that are otherwise alike.
        """
        created, seconds = round((self.created - epoch) * 1000), round(self.seconds * 1000)
        return (created * _DURATION + seconds) * _SALT + salt % _SALT


def read_number(number: int, epoch: float) -> FakeJob:
    """
    Return the job a number stands for.

    :param number: From ``FakeJob.number``.
    :param epoch: The same as there.
    """
    created, seconds = divmod(number // _SALT, _DURATION)
    return FakeJob(epoch + created / 1000, seconds / 1000)


def durations(spread: float, seed: int) -> Iterator[float]:
    """
    Yield how long jobs take: around the estimate, log-normal.

    :param spread: Standard deviation of the logarithm.
    :param seed: The same seed gives the same jobs.
    """
    chance = random.Random(seed)
    while True:
        yield ESTIMATE * math.exp(chance.gauss(0.0, spread))


def amid(count: int, spread: float, seed: int, now: float) -> list[FakeJob]:
    """
    Return jobs as they are found at any moment of a long day: of all ages, none over.

    Long jobs are met more often than short ones, in proportion to their length, and each at a random age.

    :param count: How many.
    :param spread: As for ``durations``.
    :param seed: As for ``durations``.
    :param now: Epoch seconds of the moment.
    """
    chance, jobs = random.Random(seed), []
    longest = ESTIMATE * math.exp(4 * spread)
    for seconds in durations(spread, seed + 1):
        if chance.random() * longest < seconds:
            jobs.append(FakeJob(now - chance.random() * seconds, seconds))
            if len(jobs) == count:
                break
    return jobs

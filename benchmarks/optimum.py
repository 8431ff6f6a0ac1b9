"""
The fewest polls any schedule needs that knows only the distribution of durations of such jobs.

Dynamic programming over the moments of the polls. A poll at ``u`` after one at ``t`` is made for all jobs that were
running at ``t``, and is late for those that ended before ``u - late``. For a price on being late, the cheapest way from
each moment on is found backwards; the price is chosen so that 5 % are late.
"""

from __future__ import annotations

import math

import numpy as np

STEPS = 480  # moments in the median time of a job, at least
SHARE = 0.05  # that may be late
TAIL = 1e-5  # of the jobs is forgotten


def fewest_polls(typical: float, spread: float, late: float) -> float:
    """
    Return the mean number of polls of the best schedule whose 95th percentile of the delay is ``late``.

    :param typical: Median seconds of the jobs.
    :param spread: Standard deviation of the logarithm of their seconds.
    :param late: Seconds.
    """
    longest = typical * math.exp(4.3 * spread)
    step = late / math.ceil(late * STEPS / max(typical, 120.0))  # so that a poll can come just in time
    moments = np.arange(0.0, longest + late + step, step)
    over, over_before = _shares(moments, typical, spread), _shares(moments - late, typical, spread)
    low, high = 1.0, 1e4
    few, many = _cheapest(over, over_before, low), _cheapest(over, over_before, high)
    for _ in range(20):
        price = math.sqrt(low * high)
        polls, missed = _cheapest(over, over_before, price)
        if missed > SHARE:
            low, few = price, (polls, missed)
        else:
            high, many = price, (polls, missed)
    if few[1] == many[1]:
        return many[0]
    part = (few[1] - SHARE) / (few[1] - many[1])  # of jobs that get the closer schedule, so that SHARE are late
    return few[0] + part * (many[0] - few[0])


def _shares(moments: np.ndarray, typical: float, spread: float) -> np.ndarray:
    """Return which share of the jobs is over at each moment."""
    shares = [
        0.5 * (1.0 + math.erf(math.log(moment / typical) / spread / math.sqrt(2.0))) if moment > 0 else 0.0
        for moment in moments
    ]
    return np.array(shares)


def _cheapest(over: np.ndarray, over_before: np.ndarray, price: float) -> tuple[float, float]:
    """Return polls and share of late jobs of the schedule that is cheapest at a price."""
    count = len(over)
    cost, following = np.zeros(count), np.full(count, -1)
    for now in range(count - 2, -1, -1):
        left = 1.0 - over[now]
        if left < TAIL:
            continue
        ways = left + price * np.maximum(0.0, over_before[now + 1 :] - over[now]) + cost[now + 1 :]
        best = int(np.argmin(ways))
        cost[now], following[now] = ways[best], now + 1 + best
    polls = missed = 0.0
    now = 0
    while following[now] >= 0:
        then = following[now]
        polls += 1.0 - over[now]
        missed += max(0.0, over_before[then] - over[now])
        now = then
    return polls, missed

"""The queue of waiters: tables of who is polled when, and with whom. No clock, no loop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_evolink.api.polling.due_queue import GATHER_SECONDS, DueQueue


@dataclass(eq=False)
class Waiter:
    name: str
    isolated: bool = False
    is_done: bool = False
    deadline: float = math.inf


def queue_of(*entries, paused_until=-math.inf):
    """Return a queue of (name, due, early_by) or (waiter, due, early_by)."""
    queue = DueQueue(jitter=lambda: 0.5)
    for waiter, due, early_by in entries:
        queue.push(Waiter(waiter) if isinstance(waiter, str) else waiter, due, early_by)
    queue.paused_until = paused_until
    return queue


def popped(queue, now, size=50, count=8):
    return ["".join(waiter.name for waiter in batch) for batch in queue.pop_batches(now, size, count)]


LONELY = Waiter("x", isolated=True)
GONE = Waiter("x", is_done=True)

BATCHES = {
    "nobody is due": ([("a", 5.0, 0.0)], 4.9, 50, 8, []),
    "whoever is due shares a call": ([("a", 5.0, 0.0), ("b", 4.0, 0.0)], 5.0, 50, 8, ["ba"]),
    "the first one in is the first one out": ([("b", 5.0, 0.0), ("a", 5.0, 0.0)], 5.0, 1, 8, ["b", "a"]),
    "nobody who may come early starts a call": ([("a", 5.5, 1.0)], 5.0, 50, 8, []),
    "who may come early joins a call": ([("a", 5.0, 0.0), ("b", 5.5, 0.5), ("c", 5.5, 0.4)], 5.0, 50, 8, ["ab"]),
    "nobody comes early by more than a second": ([("a", 5.0, 0.0), ("b", 6.1, 9.0)], 5.0, 50, 8, ["a"]),
    "a call reads so many": ([(name, 5.0, 0.0) for name in "abcde"], 5.0, 2, 8, ["ab", "cd", "e"]),
    "so many calls at a time": ([(name, 5.0, 0.0) for name in "abcde"], 5.0, 2, 2, ["ab", "cd"]),
    "no call is left": ([("a", 5.0, 0.0)], 5.0, 50, 0, []),
    "single calls are made together": ([("a", 5.0, 0.0), ("b", 5.5, 0.5), ("c", 5.5, 0.4)], 5.0, 1, 8, ["a", "b"]),
    "an isolated one has its own call": (
        [("a", 4.0, 0.0), (LONELY, 4.5, 0.0), ("b", 5.0, 0.0)],
        5.0,
        50,
        8,
        ["ab", "x"],
    ),
    "nobody joins an isolated one": ([(LONELY, 4.0, 0.0), ("a", 4.5, 0.0), ("b", 5.0, 0.0)], 5.0, 50, 8, ["x", "ab"]),
    "whoever is done is dropped": ([(GONE, 4.0, 0.0), ("a", 5.0, 0.0)], 5.0, 50, 8, ["a"]),
    "only those who are done": ([(GONE, 4.0, 0.0)], 5.0, 50, 8, []),
}


@pytest.mark.parametrize("case", BATCHES)
def test_who_is_polled_now_and_with_whom(case):
    entries, now, size, count, expected = BATCHES[case]
    queue = queue_of(*entries)
    assert popped(queue, now, size, count) == expected
    names = [getattr(waiter, "name", waiter) for waiter, _, _ in entries if waiter is not GONE]
    later = popped(queue, 100.0, 1)
    assert sorted("".join(expected + later)) == sorted(names), "the others stay in the queue"


def test_the_next_moment_is_that_of_the_first_one():
    queue = queue_of()
    assert queue.next_due is None
    assert queue.push(Waiter("a"), 5.0)
    assert not queue.push(Waiter("b"), 6.0)
    assert not queue.push(Waiter("c"), 5.0)
    assert queue.push(Waiter("d"), 4.0)
    assert queue.next_due == 4.0


PAUSES = {
    "due after the pause": (Waiter("a"), 12.0, 12.0),
    "due in the pause": (Waiter("a"), 6.0, 10.0),
    "isolated: others find out first": (Waiter("a", isolated=True), 6.0, 10.0 + GATHER_SECONDS),
    "a deadline in the pause": (Waiter("a", deadline=8.0), 6.0, 8.0),
    "a deadline before it was due": (Waiter("a", deadline=5.0), 6.0, 6.0),
    "no deadline at all": (Waiter("a", deadline=math.nan), 6.0, 10.0),
}


@pytest.mark.parametrize("case", PAUSES)
def test_a_pause_delays_whoever_is_queued_during_it(case):
    waiter, due, expected = PAUSES[case]
    queue = queue_of(paused_until=10.0)
    queue.push(waiter, due, early_by=1.0)
    assert queue.next_due == pytest.approx(expected)
    if due < 10.0 < expected + 1e-9 and not waiter.isolated:
        assert popped(queue, 9.5) == [], "nor does anybody come early"


def test_nobody_is_polled_during_a_pause_and_nobody_is_lost():
    entries = [
        (Waiter(name, deadline=deadline), 5.0, 0.0) for name, deadline in zip("abc", (7.0, 20.0, 5.0), strict=True)
    ]
    queue = queue_of(*entries, (Waiter("d"), 6.0, 0.0), (Waiter("x", is_done=True), 5.0, 0.0), paused_until=10.0)
    assert popped(queue, 5.0) == []
    assert [waiter.name for waiter in queue.postpone(5.0)] == ["c"], "its deadline has come"
    assert queue.next_due == 6.0, "not due yet, so not postponed yet"
    assert queue.postpone(6.0) == []
    assert queue.next_due == 7.0, "no later than a deadline"
    assert [waiter.name for waiter in queue.postpone(7.0)] == ["a"]
    assert queue.next_due == 10.0 + 0.5 * GATHER_SECONDS
    assert sorted(popped(queue, 10.1)[0]) == ["b", "d"]


def test_without_a_pause_nothing_is_postponed():
    queue = queue_of(("a", 5.0, 0.0), paused_until=6.0)
    assert queue.postpone(6.0) == []
    assert popped(queue, 6.0) == ["a"]


@pytest.mark.parametrize("due", [math.nan, math.inf, -math.inf])
def test_what_is_no_moment_is_refused_and_disorders_nothing(due):
    queue = queue_of(("a", 5.0, 0.0))
    with pytest.raises(ValueError, match="cannot poll"):
        queue.push(Waiter("b"), due)
    assert popped(queue, 5.0) == ["a"]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["push", "pop", "pause"]),
        st.floats(0.0, 5.0),
        st.floats(0.0, 2.0),
        st.booleans(),
        st.integers(1, 3),
    ),
    max_size=60,
)


@given(OPERATIONS)
def test_whoever_is_queued_comes_out_once(operations):
    queue = queue_of()
    now, pushed, out = 0.0, [], []
    for what, delay, early_by, isolated, size in operations:
        if what == "push":
            pushed.append(Waiter("a", isolated=isolated, deadline=now + 3 * delay))
            queue.push(pushed[-1], now + delay, early_by)
            continue
        now += delay
        out += queue.postpone(now)
        if what == "pause":
            queue.paused_until = max(queue.paused_until, now + early_by)
            continue
        for batch in queue.pop_batches(now, size, 4):
            assert 1 <= len(batch) <= size
            assert len(batch) == 1 or not any(waiter.isolated for waiter in batch)
            out += batch
    while queue.next_due is not None:
        now = max(now, queue.next_due)
        out += queue.postpone(now)
        out += [waiter for batch in queue.pop_batches(now, 50, 4) for waiter in batch]
    assert sorted(map(id, out)) == sorted(map(id, pushed))

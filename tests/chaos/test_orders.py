"""Files, records and stores that change between the tries of a task: it gets its own clip, once, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from chaos_rows import TASK, Row, Seen, World, patience
from test_people import DAY

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
RECORD = "evolink_generation"
DAYS = 86400.0
THEIRS: dict[str, dict[str, Any]] = {
    "video": {
        "path": "/v1/videos/generations",
        "model": "wan2.7-image-to-video",
        "image_start": "https://example.com/a.png",
    },
    "image": {"path": "/v1/images/generations", "model": "z-image-turbo", "prompt": "Of a stranger"},
}


@dataclass(frozen=True)
class Orders(Row):
    """
    A row of orders whose results are compared with what was asked for.

    :param prompts: What the last try asks for, without the name of the row.
    :param gets: Which of these have a result in the end, by their numbers; all by default.
    :param says: What the log of a failure has to say.
    """

    prompts: tuple[str, ...] = ("a boat",)
    gets: tuple[int, ...] | None = None
    says: tuple[str, ...] = ()
    source: str = "orders"

    def check_clips(self, seen: Seen, found: list[str | None]) -> None:
        """Compare what came of each order with what was asked for."""
        assert len(seen.paid) in self.paid, seen.errors()
        assert seen.state == self.state, seen.errors()
        assert (seen.tries == 1) if self.tries == 1 else (seen.tries >= self.tries), seen.errors()
        assert seen.done == ("point" in self.arguments), seen.errors()
        gets = range(len(self.prompts)) if self.gets is None else self.gets
        wanted = [named(self, prompt) if number in gets else None for number, prompt in enumerate(self.prompts)]
        assert found == (wanted if any(wanted) else [None] * len(found)), "a wrong clip, or none"
        for text in self.says:
            assert text in seen.log, seen.errors()


def named(row: Row, prompt: str) -> str:
    """Return a prompt with the name of its row, by which its orders are found in the books."""
    return f"{prompt} of row {row.name}"


def change(row: Row, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return other arguments of the row's DAG, their prompts with its name."""
    prompts = [named(row, prompt) for prompt in arguments.get("prompts", ())]
    return {**arguments, "prompts": prompts} if prompts else arguments


def clips(world: World, row: Row, run_id: str) -> list[str | None]:
    """Return, for each result of a run, the prompt from which EvoLink has made it; ``None``: there is no result."""
    made = {job["id"]: job["body"].get("prompt") for job in world.books.books()["jobs"]}
    tasks = [task for task in world.airflow.tasks(row.name, run_id) if task["task_id"] == TASK]
    results: list[Any] = []
    for task in sorted(tasks, key=lambda task: task["map_index"]):
        try:
            found = world.airflow.xcom(row.name, run_id, TASK, task["map_index"])
        except httpx.HTTPStatusError:
            found = None
        results += found if isinstance(found, list) else [found]
    return [made.get(result["job_id"], "a stranger's") if result else None for result in results]


def swap(world: World, row: Row, *, steps: tuple[dict[str, Any], ...]) -> str:
    """Write the DAG file anew while the first try stands; it dies, and its retries find the other operator."""
    run_id = world.begin(row.name)
    world.word(row.name, "held")
    for number, step in enumerate(steps):
        world.rewrite(row.name, **change(row, step))
        if number + 1 < len(steps):  # let the try with this file begin and stand too
            (world.folder / f"{row.name}.held").unlink()
            (world.folder / f"{row.name}.done").unlink()
            world.go(row.name)
            wait_for_next(world, row.name, run_id, number + 1)
            (world.folder / f"{row.name}.go").unlink()
            world.word(row.name, "held")
    world.go(row.name)
    world.over(row.name, run_id)
    return run_id


def wait_for_next(world: World, dag_id: str, run_id: str, tries: int) -> None:
    """Wait until the task is in a later try."""
    for _ in patience(120, f"{dag_id} has no try after {tries}"):
        if world.task(dag_id, run_id)["try_number"] > tries:
            return


def change_then_clear(world: World, row: Row, *, again: Callable[[World, str, str], None], **changes: Any) -> str:
    """Let it succeed, change its inputs, and run it again."""
    world.known(row.name)
    run_id = world.airflow.trigger_at(row.name, DAY) if again is backfill else world.airflow.trigger(row.name)
    world.over(row.name, run_id)
    world.rewrite(row.name, **change(row, changes))
    again(world, row.name, run_id)
    world.over(row.name, run_id)
    return run_id


def clear(world: World, dag_id: str, run_id: str) -> None:
    """Clear all tasks of a run."""
    world.airflow.clear(dag_id, run_id)


def backfill(world: World, dag_id: str, run_id: str) -> None:
    """Backfill the day of a run that has succeeded."""
    for _ in patience(60, "the backfill cannot be begun", every=3.0):
        try:
            world.airflow.backfill(dag_id, DAY)
        except httpx.HTTPStatusError:  # SQLite is locked; what was begun has to be cleaned up first
            continue
        break
    wait_for_next(world, dag_id, run_id, 1)


def edit_then_die(
    world: World, row: Row, *, edit: Callable[[World, Row, dict[str, Any]], dict[str, Any] | None]
) -> str:
    """Change the record while the first try stands; it dies, and the retry finds what somebody has made of it."""
    run_id = world.begin(row.name)
    world.word(row.name, "held")
    record = world.airflow.record(row.name, run_id, TASK, RECORD)
    world.airflow.edit_record(row.name, run_id, TASK, RECORD, edit(world, row, record))
    world.go(row.name)
    world.over(row.name, run_id)
    return run_id


def of_a_stranger(world: World, row: Row, record: dict[str, Any], *, kind: str) -> dict[str, Any]:
    """Let the record name a job that another program of the account has ordered."""
    body = dict(THEIRS[kind])
    answer = httpx.post(
        world.books.url + body.pop("path"),
        json=body,
        headers={"Authorization": "Bearer chaos-test-key"},
        timeout=30,
        trust_env=False,
    )
    answer.raise_for_status()
    return record | {"job_id": answer.json()["id"]}


def older(world: World, row: Row, record: dict[str, Any]) -> dict[str, Any]:
    """Let the record be of an order three days before its job was created."""
    return record | {"ordered_at": record["ordered_at"] - 3 * DAYS, "newest_job_created": 0.0}


def out_of_range(world: World, row: Row, record: dict[str, Any]) -> dict[str, Any]:
    """Let the record hold a number that no order has."""
    return record | {"ordered_at": 1e300}


def lost(world: World, row: Row, record: dict[str, Any]) -> None:
    """Delete the record."""


def hostile_beside_a_crowd(world: World, row: Row) -> str:
    """Let tasks wait, then others with hostile arguments in the same triggerer; the jobs end only after those."""
    run_id = world.begin(row.name)
    for _ in patience(240, "the crowd does not wait", every=1.0):
        for job in world.paid(row.name):
            world.books.job(job["id"], state="processing")
        tasks = world.airflow.tasks(row.name, run_id)
        if len(tasks) == row.logical and all(task["state"] == "deferred" and task["triggerer_job"] for task in tasks):
            break
    jobs = [job["id"] for job in world.paid(row.name)]
    beside = f"{row.name}_beside"
    whole = {"job_id": jobs[0], "request": {"prompt": "A boat"}, "results": ["https://example.com/1.mp4"]}
    their_run = world.begin(beside, conf={"job": whole})
    for _ in patience(240, "the hostile tasks do not end", every=1.0):
        ends = {task["task_id"]: task["state"] for task in world.airflow.tasks(beside, their_run)}
        if ends.pop(WHOLE) == "deferred" and set(ends.values()) <= {"success", "failed"}:
            break
    reads = {job: world.books.job(job)["reads"] for job in jobs}
    for _ in patience(60, "a wait of the crowd has no next poll"):
        if all(world.books.job(job)["reads"] > before + 1 for job, before in reads.items()):
            break
    for job in jobs:
        world.books.job(job, release=True)
    world.over(beside, their_run)
    world.over(row.name, run_id)
    states = {task["task_id"]: task["state"] for task in world.airflow.tasks(beside, their_run)}
    assert states.pop(WHOLE) == "success"
    assert {state for name, state in states.items() if name.startswith("sensor")} == {"failed"}
    return run_id


WHOLE = "sensor_whole"
NOT_A_NUMBER = float("nan")
OF_NOBODY = "task-unified-1-nobody00"
WAITS: tuple[dict[str, Any], ...] = (
    {"job_id": {"job_id": OF_NOBODY}},
    {"job_id": [OF_NOBODY]},
    {"job_id": None},
    {"job_id": "../../v1/credits"},
    {"job_id": OF_NOBODY, "deadline": NOT_A_NUMBER},
    {"job_id": OF_NOBODY, "deadline": "soon"},
    {"job_id": OF_NOBODY, "poll_interval": NOT_A_NUMBER, "deadline": 0},
    {"jobs": [[{"id": OF_NOBODY}, 0, 1e12]]},
    {"jobs": [[OF_NOBODY, 0, NOT_A_NUMBER]]},
    {"jobs": "all of them"},
)
SENSORS: tuple[Any, ...] = ({"job_id": {"job_id": OF_NOBODY}}, [OF_NOBODY], "{'job_id': 1}", 7)


def order(form: str, *prompts: str, **arguments: Any) -> Callable[[str], dict[str, Any]]:
    """Return what makes the arguments of a DAG for a row of this name."""
    return lambda name: {"form": form, "prompts": [f"{prompt} of row {name}" for prompt in prompts], **arguments}


def row(name: str, done: str, first: Callable[[str], dict[str, Any]], **rest: Any) -> Orders:
    """Return a row whose first try asks for something."""
    return Orders(name, done, arguments=first(name), **rest)


DIES = {"point": "s8", "act": "hold_and_kill"}
DIES_LATER = {"point": "all_sent", "act": "hold_and_kill"}
ABC = ("a", "b", "c")
REFUSED = "EvoLinkRerunRefused"
CHANGED = (REFUSED, "the inputs of this task have changed")
SWAPS = (
    row(
        "batch_became_single",
        "A1: a batch of three, replaced by the third as a single order before the retry",
        order("batch", *ABC, **DIES_LATER),
        act=partial(swap, steps=({"form": "single", "prompts": ["c"]},)),
        prompts=("c",),
        paid=(3,),
        logical=3,
    ),
    row(
        "single_became_batch",
        "A1: a single order, replaced by a batch that has it and two more before the retry",
        order("single", "b", **DIES),
        act=partial(swap, steps=({"form": "batch", "prompts": ABC},)),
        prompts=ABC,
        paid=(3,),
        logical=3,
    ),
    row(
        "batch_became_another",
        "A1: a batch, replaced by a single order of something else before the retry: refused, jobs named",
        order("batch", *ABC, **DIES_LATER),
        act=partial(swap, steps=({"form": "single", "prompts": ["d"]},)),
        prompts=("d",),
        gets=(),
        state="failed",
        says=(REFUSED, "open orders of another operator"),
        paid=(3,),
        logical=3,
    ),
    row(
        "single_became_others",
        "A1: a single order, replaced by a batch of others before the retry: refused, job named",
        order("single", "d", **DIES),
        act=partial(swap, steps=({"form": "batch", "prompts": ABC},)),
        prompts=ABC,
        gets=(),
        state="failed",
        says=(REFUSED, "open orders of another operator"),
    ),
    row(
        "swapped_and_back",
        "A1: a single order, a batch of it alone, and the single order again, one try each",
        order("single", "b", **DIES),
        act=partial(swap, steps=({"form": "batch", **DIES}, {"form": "single"})),
        prompts=("b",),
        tries=3,
    ),
)
CHANGES = (
    row(
        "reuse_same",
        'A2: cleared under on_clear="reuse", inputs as before',
        order("single", "a", on_clear="reuse"),
        act=partial(change_then_clear, again=clear),
        prompts=("a",),
    ),
    row(
        "reuse_changed",
        'A2: cleared under on_clear="reuse" with changed inputs: refused',
        order("single", "a", on_clear="reuse"),
        act=partial(change_then_clear, again=clear, prompts=["x"]),
        prompts=("x",),
        gets=(),
        state="failed",
        says=CHANGED,
    ),
    row(
        "reuse_backfill_changed",
        'A2: backfilled under on_backfill="reuse" with changed inputs: refused',
        order("single", "a", on_backfill="reuse", daily=True),
        act=partial(change_then_clear, again=backfill, prompts=["x"]),
        prompts=("x",),
        gets=(),
        state="failed",
        says=CHANGED,
    ),
    row(
        "reuse_batch_changed",
        'A2: a batch, cleared under on_clear="reuse" with another in front: refused',
        order("batch", *ABC, on_clear="reuse"),
        act=partial(change_then_clear, again=clear, prompts=["x", *ABC]),
        prompts=("x", *ABC),
        gets=(),
        state="failed",
        says=CHANGED,
        paid=(3,),
        logical=3,
    ),
    row(
        "reuse_mapped_shifted",
        'A2: a mapped list a, b, c, cleared under on_clear="reuse" as x, a, b, c: x, a, b refused; the last is new',
        order("mapped", *ABC, on_clear="reuse"),
        act=partial(change_then_clear, again=clear, prompts=["x", *ABC]),
        prompts=("x", *ABC),
        gets=(3,),
        state="failed",
        says=CHANGED,
        paid=(4,),
        logical=4,
    ),
)
NOT_ITS_ORDER = "names a job that is not its order"
EDITS = (
    row(
        "record_of_other_model",
        "A3: the record names a stranger's job of another model before the retry: refused",
        order("single", "a", **DIES),
        act=partial(edit_then_die, edit=partial(of_a_stranger, kind="video")),
        gets=(),
        state="failed",
        says=(NOT_ITS_ORDER,),
    ),
    row(
        "record_of_other_kind",
        "A3: the record names a stranger's job that makes a picture before the retry: refused",
        order("single", "a", **DIES),
        act=partial(edit_then_die, edit=partial(of_a_stranger, kind="image")),
        gets=(),
        state="failed",
        says=(NOT_ITS_ORDER,),
    ),
    row(
        "record_of_other_time",
        "A3: the record names a job of another time before the retry: refused",
        order("single", "a", timeout=7 * DAYS, **DIES),
        act=partial(edit_then_die, edit=older),
        gets=(),
        state="failed",
        says=("created at another time",),
    ),
    row(
        "record_out_of_range",
        "A3: the record holds a number that no order has: nothing is ordered",
        order("single", "a", **DIES),
        act=partial(edit_then_die, edit=out_of_range),
        gets=(),
        state="failed",
        says=("not readable",),
    ),
)
TWICE = "this try has already submitted another request"
BODIES = (
    row(
        "two_in_a_task",
        "A4: two operators executed inside @task: the second is refused",
        order("in_a_task", "a", "b"),
        prompts=("a", "b"),
        gets=(),
        state="failed",
        says=(TWICE, "EvoLinkBatchOperator"),
        tries=1,
    ),
    row(
        "super_twice",
        "A4: super().execute() twice with other inputs: the second is refused",
        order("twice", "a", "b"),
        prompts=("a", "b"),
        gets=(),
        state="failed",
        says=(TWICE, "EvoLinkBatchOperator"),
        tries=1,
    ),
)
LEDGERS = (
    row(
        "ledger_templated",
        "A5: ledger_path is a template, each try runs in another folder, Airflow's record is deleted before the retry",
        order("elsewhere", "a", ledger_path="file://{{ var.value.chaos_folder }}/records", **DIES),
        act=partial(edit_then_die, edit=lost),
        prompts=("a",),
    ),
    row(
        "ledger_relative",
        "A5: ledger_path renders to a relative path: refused before the order",
        order("elsewhere", "a", ledger_path="{{ 'records' }}"),
        gets=(),
        state="failed",
        says=("ledger_path must be an absolute path",),
        paid=(0,),
        tries=1,
    ),
    row(
        "ledger_unrendered",
        "A5: ledger_path is still a template after rendering: refused before the order",
        order("elsewhere", "a", ledger_path="file:///records/{{ '{{ ds }}' }}"),
        gets=(),
        state="failed",
        says=("ledger_path must be an absolute path",),
        paid=(0,),
        tries=1,
    ),
)
STORES = (
    row(
        "batch_one_late_write",
        "A8: a batch of three; the store takes 12 s for one intent",
        order("batch", *ABC, point="intent_stored", act="sleep"),
        prompts=ABC,
        paid=(3,),
        logical=3,
        tries=1,
    ),
    row(
        "batch_slow_store",
        "A8: a batch of two; each call of the store takes 6 s, two of them longer than the lease",
        order("slow_store", "a", "b"),
        prompts=("a", "b"),
        paid=(2,),
        logical=2,
        tries=1,
    ),
)
CROWD = tuple(f"clip {number}" for number in range(5))
WAITING = (
    row(
        "hostile_waits",
        f"B1: five tasks wait; beside them {len(WAITS)} waits and {len(SENSORS)} sensors with hostile arguments",
        order("crowd", *CROWD),
        act=hostile_beside_a_crowd,
        prompts=CROWD,
        paid=(5,),
        logical=5,
        tries=1,
        beside={"hostile_waits_beside": {"form": "hostile", "waits": WAITS, "sensors": SENSORS}},
    ),
)
ROWS = (*SWAPS, *CHANGES, *EDITS, *BODIES, *LEDGERS, *STORES, *WAITING)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_task_gets_its_own_clip_once(
    row: Orders, world: World, together: dict[str, Future[str]], note: Callable[[Seen], Seen]
) -> None:
    """Whatever changes between its tries: nothing is paid twice, no clip is another's, no wait is stranded."""
    run_id = together[row.name].result()
    ends = [task for task in world.airflow.tasks(row.name, run_id) if task["task_id"] == TASK]
    worst = min(ends, key=lambda task: (task["state"] == "success", -task["try_number"]))
    log = world.airflow.log_files(row.name, run_id, TASK)
    done = (world.folder / f"{row.name}.done").exists()
    seen = note(Seen(worst["state"], worst["try_number"], world.paid(row.name), None, log, done))
    row.check_clips(seen, clips(world, row, run_id))

"""One task instance and everything that may happen to it: a program of bytes decides what does."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from evolink_model import Clock, Fenced, Killed, ModelClient, Order, Place, Seams, Server

from airflow_provider_evolink.api.errors import EvoLinkError
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

RETRIES = 3
STEP = 3  # bytes
PLAIN = {"task_id": "task", "retries": RETRIES, "model": "wan2.7-text-to-video", "poll_interval": 900.0}
OPERATOR = EvoLinkGenerateOperator(**PLAIN, parameters={"prompt": "a paper boat", "duration": 2})
EXECUTE = getattr(EvoLinkGenerateOperator.execute, "__wrapped__", EvoLinkGenerateOperator.execute)

OPS = (
    "nothing",
    *["try"] * 7,
    *["clear"] * 2,
    *["job completes"] * 3,
    *["job fails"] * 2,
    "job fails for good",
    "backfill",
    "a minute",
    "an hour",
    "a day",
    "late order arrives",
    "state store down",
    "folder down",
    "record lost",
    "trigger fails",
)
ANSWERS = (*["ok"] * 6, "answer lost", "late", "never arrives", "throttled", "refused", "unreachable")
POINTS = (
    *[None] * 8,
    "before the order",
    "connected",
    "order under way",
    "order accepted",
    "read",
    "state store: read",
    "folder: read",
    *[f"{place}: {when} {state}" for place in ("state store", "folder") for when in ("before", "after")
      for state in ("intent", "submitted", "delivered", "refused", "unknown")],
    "result handed over",
)  # fmt: skip
PAUSES = (2, 1, 0, 3)


@dataclass(frozen=True)
class Setting:
    """The settings of a world."""

    unknown: str = "fail"
    honored: bool = False
    clear: str = "regenerate"
    backfill: str = "generate"
    places: str = "both"
    deferrable: bool = True
    shows_xcom: bool = True
    most: int | None = None

    @classmethod
    def of(cls, first: int, second: int) -> Setting:
        """Read it from two bytes."""
        unknown = ("fail", "replay", "reconcile", "resubmit")[first % 4]
        return cls(
            unknown=unknown,
            honored=unknown == "replay" or bool(first & 4),
            clear=("regenerate", "reuse")[first >> 3 & 1],
            backfill=("generate", "reuse", "fail")[(first >> 4) % 3],
            places=("both", "state", "folder")[second % 3],
            deferrable=bool(second & 4),
            shows_xcom=bool(second & 8),
            most=(None, 0, 1)[(second >> 4) % 3],
        )


class World:
    """
    A task instance with its stores, its clock and its EvoLink, and what its owner is owed.

    :param setting: Its settings.
    """

    current: World

    def __init__(self, setting: Setting) -> None:
        self.setting, self.clock = setting, Clock()
        self.server = Server(self.clock, honored=setting.honored)
        self.state, self.folder = Place("state store", self.point), Place("folder", self.point)
        self.seen: set[str] = set()
        self.paid: set[str] = set()
        self.said: list[str] = []
        self.story: list[str] = []
        self.steps = self.depth = self.under_way = self.holder = 0
        self.number, self.max_tries = 0, RETRIES
        self.task = "new"  # new, retry, stopped, success, deferred, running
        self.deferred: TaskDeferred | None = None
        self.xcom = self.is_backfill = self.has_result = False
        self.wish = 0  # which generation the owner wants
        self.clears = self.own_clears = 0
        self.wishes: dict[str, int] = {}  # of the keys
        self.cleared_at: dict[str, int] = {}
        self.program = b""
        self.at = 0
        self._answer, self._strike = "ok", (None, False, 0)

    # --- running a program

    def run(self, program: bytes) -> None:
        """Run a program, then everything that is still in flight, then one undisturbed try."""
        World.current, self.program, self.at = self, program, 0
        self._go(len(program) // STEP)
        for _ in self.server.late[:]:
            self._do("late order arrives", 0, 0)
        self.state.down = self.folder.down = 0
        if not self.setting.deferrable or self.task != "deferred":
            self._do("try", 0, 0)
        self._nothing_is_lost()

    def _go(self, most: int) -> None:
        while most and self.at + STEP <= len(self.program):
            op, how, where = self.program[self.at : self.at + STEP]
            self.at += STEP
            most -= 1
            if (name := OPS[op % len(OPS)]) != "nothing":
                self.steps += 1
                self._do(name, how, where)

    def _do(self, name: str, how: int, where: int) -> None:
        self.seen.add(name)
        self.story.append(f"{'  ' * self.depth}{name} {how} {where}")
        if name == "try":
            self._try(how, where)
        elif name in ("clear", "backfill"):
            self._clear(backfill=name == "backfill")
        elif name.startswith("job "):
            self._job_ends(name)
        elif name in ("a minute", "an hour", "a day"):
            self._time_passes({"a minute": 60.0, "an hour": 3600.0, "a day": 21 * 3600.0}[name])
        elif name == "late order arrives" and self.server.late:
            self._accepted(self.server.accept(*self.server.late.pop(0)))
        elif name.endswith(" down"):
            (self.state if name.startswith("state") else self.folder).down = 1 + how % 4
        elif name == "record lost" and self.setting.places == "both":
            self._lose(self.state if how % 2 else self.folder)
        elif name == "trigger fails" and self.task == "deferred":
            self._resume("__fail__", {"error": "Trigger timeout"})

    # --- what Airflow does

    def _clear(self, *, backfill: bool) -> None:
        if self.number == 0:
            return
        self.max_tries = self.number + RETRIES
        self.holder += 1
        self.clears += 1
        self.task, self.is_backfill, self.deferred = "retry", backfill, None

    def _wish_anew(self) -> None:
        """After a clear of a task whose result its owner has, the owner wants another one; or not, by policy."""
        newest = self._newest()
        if newest is None or newest["clear_count"] == self.max_tries:
            return  # never cleared, or an earlier try has seen to it
        delivered = newest["state"] == "delivered"
        ordered = self.wish in self.wishes.values()
        policy = self.setting.backfill if self.is_backfill else self.setting.clear
        if policy in ("generate", "regenerate") and ordered and self.has_result and delivered:
            self.wish, self.has_result = self.wish + 1, False
        elif policy == "reuse" and not ordered and delivered:
            self.wish, self.has_result = self.wish - 1, True

    def _newest(self) -> dict[str, Any] | None:
        records = [record for place in (self.state, self.folder) if (record := place.peek())]
        return max(records, key=lambda record: record["revision"], default=None)

    def _may_have_result(self) -> bool:
        """Return whether the owner may have the present wish, as far as a task can know: a try empties XCom."""
        newest = self._newest()
        if newest is None or newest["state"] != "delivered" or self.wishes[newest["key"]] != self.wish:
            return False
        return not self.setting.shows_xcom or self.number > newest["attempt"] + 1

    def _try(self, how: int, where: int) -> None:
        self._answer = ANSWERS[how % len(ANSWERS)]
        self._strike = (POINTS[where % len(POINTS)], bool(how & 32), PAUSES[how >> 6])
        if self.task == "deferred":
            event = self._event()
            if event:
                self._resume("execute_complete", event)
            return
        if self.task in ("success", "stopped"):
            return  # Airflow runs it again only if it is cleared
        if self.task == "running" and not self.depth:
            self.task = "retry"
        self.number += 1
        self.holder += 1
        self.has_result = self.has_result or self._may_have_result()
        self._wish_anew()
        keys = ["return_value"] if self.xcom else []
        self.xcom = False
        context = self._context(keys)
        self._ended(lambda: EXECUTE(OPERATOR, context), self.holder)

    def _event(self) -> dict[str, Any] | None:
        assert self.deferred is not None
        trigger: Any = self.deferred.trigger
        order = self.server.of(trigger.job_id)
        if order is not None and order.status != "processing":
            return {"job_id": trigger.job_id, "status": order.status}
        return {"job_id": trigger.job_id, "status": "timeout"} if self.clock.now > trigger.deadline else None

    def _resume(self, method: str, event: dict[str, Any]) -> None:
        kwargs = {"event": event} if method == "execute_complete" else event
        context = self._context([])
        self._ended(lambda: OPERATOR.resume_execution(method, kwargs, context), self.holder)

    def _context(self, keys: list[str]) -> Any:
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)
        ti.try_number, ti.max_tries = self.number, self.max_tries
        if self.setting.shows_xcom:
            ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=keys)
        run_type = SimpleNamespace(value="backfill" if self.is_backfill else "manual")
        context = {"ti": ti, "dag_run": SimpleNamespace(run_type=run_type)}
        if self.setting.places != "folder":
            holder = self.holder
            context["task_state_store"] = Fenced(self.state, lambda: self.holder == holder)
        return context

    def _ended(self, run: Any, holder: int) -> None:
        """Run a try and update the task's state as Airflow would, unless another try has taken over."""
        self._set_policies()
        task, deferred, result = "retry", None, None
        before, number, self.own_clears = self.own_clears, self.number, self.clears
        self.task = "running"
        try:
            result = run()
            self.point("result handed over")
            task = "success"
        except TaskDeferred as error:
            task, deferred = "deferred", error
        except AirflowFailException as error:
            task = "stopped"
            self.said.append(str(error))
            self.seen.add("unknown" if "EvoLinkSubmissionUnknown" in str(error) else "stopped")
        except Killed:
            self.seen.add("killed")
        except EvoLinkError as error:
            self.said.append(f"{error} {error.job_id}")
            self.seen.add(type(error).__name__)
        self.story.append(f"{'  ' * self.depth}= {task}: {str(self.said[-1:])[:70]}")
        self.own_clears = before
        if not (task == "success" and self.holder == holder):
            self._is_not_handed_over(number)
        if self.holder != holder:
            self.seen.add("a stale worker woke up")
            return
        self.task, self.deferred = task, deferred
        if result is not None and task == "success":
            self._is_true(result)
            self.xcom = self.has_result = True

    def _is_not_handed_over(self, number: int) -> None:
        """Note that what a try delivered, perhaps again, never reached XCom, which it had emptied."""
        newest = self._newest()
        if newest and (newest["state"], newest["attempt"]) == ("delivered", number) and self.setting.shows_xcom:
            self.has_result = False

    def _set_policies(self) -> None:
        setting = self.setting
        OPERATOR.on_unknown_submit, OPERATOR.on_clear = setting.unknown, setting.clear  # type: ignore[assignment]
        OPERATOR.on_backfill, OPERATOR.max_regenerations = setting.backfill, setting.most  # type: ignore[assignment]
        OPERATOR.deferrable = setting.deferrable
        OPERATOR.ledger_path = None if setting.places == "state" else "memory://ledger"

    # --- what happens outside

    def client(self) -> ModelClient:
        """Return the stand-in for EvoLink's client."""
        seams = Seams(self.point, self._take_answer, self._sent, self._accepted)
        return ModelClient(self.server, seams, says_so=self.setting.honored and self.setting.unknown == "replay")

    def _take_answer(self) -> str:
        answer, self._answer = self._answer, "ok"
        self.seen.add(answer)
        return answer

    def point(self, name: str) -> None:
        """Kill the try that reaches this point, or stall it while other things happen."""
        where, stands, steps = self._strike
        if not name.endswith("read"):
            self.story.append(f"{'  ' * self.depth}  ({name})")
        if where != name:
            return
        self._strike = (None, False, 0)
        if stands and name.startswith("folder: before"):
            return  # known limit: a file is put in its place at once, since a folder cannot compare and set
        if not stands or self.depth >= 3:
            self.seen.add(f"killed: {name}")
            raise Killed(name)
        self.seen.add(f"stalled: {name}")
        kept = self._answer
        self.depth += 1
        self.under_way += name == "order under way"
        self.task = "retry" if self.number else "new"
        self._go(steps)
        self.clock.now += (0.0, 15.0, 400.0)[steps % 3]
        self.under_way -= name == "order under way"
        self.depth -= 1
        self._answer, self._strike = kept, (None, False, 0)

    def _job_ends(self, name: str) -> None:
        running = [order for order in self.server.orders if order.status == "processing"]
        if not running:
            return
        running[0].status = "completed" if name == "job completes" else "failed"
        if running[0].status == "failed":
            running[0].code = "content_policy_violation" if name.endswith("for good") else "service_error"

    def _lose(self, place: Place) -> None:
        """Lose one of two copies; losing the only good one would permit a new order."""
        mine, other = place.peek(), (self.folder if place is self.state else self.state).peek()
        if mine and other and other["revision"] >= mine["revision"]:
            place.content = None

    def _time_passes(self, seconds: float) -> None:
        if seconds > 60:  # no order is under way for an hour
            if self.under_way:
                return
            while self.server.late:
                self._accepted(self.server.accept(*self.server.late.pop(0)))
        self.clock.now += seconds

    # --- what is owed

    def _sent(self, key: str) -> int:
        """Return which wish an order is for, by its key: the first one sent for a new wish, or one that replaces it."""
        if not any(key == one for one in [*(order.key for order in self.server.orders), *dict(self.server.late)]):
            self.wishes[key] = self.wish  # also where an earlier order under it was refused
        self.cleared_at[key] = self.own_clears
        return self.wishes[key]

    def _accepted(self, order: Order) -> None:
        """P-PAY: one accepted order per wish; one more for each that EvoLink failed, and for resubmit."""
        order.cleared = self.cleared_at[order.key]
        if order.job_id in self.paid:
            return
        self.paid.add(order.job_id)
        of_wish = [one for one in self.server.orders if one.wish == order.wish]
        failed = [one for one in of_wish if one.status == "failed" and one is not order]
        bad = [one for one in failed if one.fails_for_good and one.cleared == self.clears]
        maximum = 1 + len(failed) - len(bad) + (1 if self.setting.unknown == "resubmit" else 0)
        assert len(of_wish) <= maximum, f"P-PAY: {len(of_wish)} orders for one wish, at most {maximum}: {of_wish}"

    def _is_true(self, result: dict[str, Any]) -> None:
        """P-TRUTH: a success is a completed job of the present wish."""
        order = self.server.of(result["job_id"])
        assert order is not None, f"P-TRUTH: {result['job_id']} was never ordered"
        assert order.status == result["status"] == "completed", f"P-TRUTH: {order}"
        assert order.wish == self.wish, f"P-TRUTH: {order}, wanted is {self.wish}"
        self.seen.add("delivered")

    def _nothing_is_lost(self) -> None:
        """P-LOSS: the ID of every accepted order is recorded or logged, or its key was reported as unknown."""
        records = [record for place in (self.state, self.folder) if (record := place.peek())]
        asked = [record["key"] for record in records if record["state"] in ("intent", "unknown")]
        said = " ".join([*self.said, *asked, *(f"{record['job_id']}" for record in records)]) + " "
        for order in self.server.orders:
            known = f"{order.job_id} " in said.replace("]", " ").replace(",", " ") or order.key in said
            assert known, f"P-LOSS: {order} is nowhere, records {records}"

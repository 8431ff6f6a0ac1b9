"""
Follow one order from ``execute()`` to the first byte of its POST: which functions of the package does a reader meet?

    python scripts/trace_order.py

It is a real order on the emulator, the second one of the process, so that caches are warm. Counted are distinct
functions of the package; comprehensions, lambdas and module bodies are not. Exit status 1: over a limit,
back into the operators, or not validated exactly once.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

# What came later: the network policy, the open orders of another operator, arguments checked by one table, metrics,
# conditions of writes to a ledger folder, the hash of the request for the archive, hosts that may be private.
MAX_FUNCTIONS = 80 + 20
MAX_FILES = 28 + 4
VALIDATION = "api/catalog/catalog.py: check_request"
KEY = "test-key-0123456789"


class MemoryStore:
    """Airflow's task state store, in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is stored."""
        return json.loads(self._rows[key]) if key in self._rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:  # noqa: ARG002 - Airflow's signature
        """Store it."""
        self._rows[key] = json.dumps(value)


@dataclass
class Trace:
    """
    What was called, in order.

    :param functions: Each function once, as ``file: name``.
    :param calls: How often each was called.
    :param returns_to_operators: Functions of ``operators/`` that were called from another folder.
    """

    package: Path
    functions: dict[CodeType, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    returns_to_operators: list[str] = field(default_factory=list)
    is_over: bool = False

    @property
    def files(self) -> list[str]:
        """The files, in the order in which they are met."""
        return list(dict.fromkeys(name.partition(":")[0] for name in self.functions.values()))

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take one event of ``sys.setprofile``."""
        if event == "c_call" and getattr(argument, "__name__", "") in ("send", "sendall"):
            self.is_over = True
            sys.setprofile(None)
        elif event == "call" and (name := self._name(frame)):
            self.functions.setdefault(frame.f_code, name)
            self.calls[name] = self.calls.get(name, 0) + 1
            caller = frame.f_back and self._name(frame.f_back)
            if name.startswith("operators/") and caller and not caller.startswith(("operators/", "decorators/")):
                self.returns_to_operators.append(f"{caller} -> {name}")

    def _name(self, frame: FrameType) -> str | None:
        code = frame.f_code
        if not code.co_filename.startswith(str(self.package)) or code.co_name.startswith("<"):
            return None
        file = Path(code.co_filename).relative_to(self.package)
        return None if file.parts[0] == "emulator" else f"{file}: {code.co_qualname}"


def context(task_id: str) -> dict[str, Any]:
    """
    Return what ``execute`` needs of Airflow's context.

    :param task_id: Name of the task.
    """
    ti = SimpleNamespace(
        dag_id="traced", run_id="r1", task_id=task_id, map_index=-1, try_number=1, max_tries=0, task=None
    )
    ti.xcom_push = ti.xcom_pull = lambda **_: None
    return {
        "ti": ti,
        "task_store": None,
        "task_state_store": MemoryStore(),
        "dag_run": SimpleNamespace(run_type="manual"),
    }


def trace_order() -> Trace:
    """Order twice on the emulator, and follow the second order."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    import airflow_provider_evolink
    from airflow_provider_evolink.emulator.server import EmulatorServer
    from airflow_provider_evolink.operators import EvoLinkTextToVideoOperator

    trace = Trace(Path(airflow_provider_evolink.__file__).parent)
    with EmulatorServer() as emulator:
        connection = {"conn_type": "evolink", "host": emulator.url, "password": KEY}
        os.environ["AIRFLOW_CONN_EVOLINK_DEFAULT"] = json.dumps(connection)
        for profile, task_id in ((None, "first"), (trace, "second")):
            operator = EvoLinkTextToVideoOperator(task_id=task_id, prompt="a paper boat", deferrable=True)
            sys.setprofile(profile)
            try:
                operator.execute(context(task_id))  # type: ignore[arg-type]
            except TaskDeferred:
                pass
            finally:
                sys.setprofile(None)
    return trace


def main() -> int:
    """Print the trip, and return the exit status."""
    trace = trace_order()
    for name in trace.functions.values():
        print(f"  {name}" + (f"  ({trace.calls[name]} calls)" if trace.calls[name] > 1 else ""))
    print(f"{len(trace.functions)} functions (limit {MAX_FUNCTIONS}) in {len(trace.files)} files (limit {MAX_FILES})")
    for back in trace.returns_to_operators:
        print(f"BACK into operators/: {back}")
    checks = trace.calls.get(VALIDATION, 0)
    print(f"the request is validated {checks} time(s)" + ("" if trace.is_over else ", and no byte was sent"))
    within = len(trace.functions) <= MAX_FUNCTIONS and len(trace.files) <= MAX_FILES
    return int(not within or bool(trace.returns_to_operators) or not trace.is_over or checks != 1)


if __name__ == "__main__":
    sys.exit(main())

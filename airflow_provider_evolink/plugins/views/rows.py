"""What was read of a run, as plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_evolink.ledger.record import Record
from airflow_provider_evolink.plugins.views.values import Handed


class Place(NamedTuple):
    """
    A task instance within its run.

    :param task_id: Its task.
    :param map_index: Its number among mapped tasks; -1: it is not mapped.
    """

    task_id: str
    map_index: int


class RunAt(NamedTuple):
    """
    A run, as the path of an address names it.

    :param dag_id: Its DAG.
    :param run_id: Its ID.
    """

    dag_id: str
    run_id: str


class TaskAt:
    """
    A task instance, as the path of an address names it.

    :param dag_id: Its DAG.
    :param task_id: Its task.
    :param map_index: Its map index; Airflow leaves the placeholder where a task is not mapped.
    :param run_id: Its run.
    """

    def __init__(self, dag_id: str, task_id: str, map_index: str, run_id: str) -> None:
        self.dag_id = dag_id
        self.run_id = run_id
        is_number = map_index.isdecimal() and len(map_index) < 10
        self.place = Place(task_id, int(map_index) if is_number else -1)


@dataclass(frozen=True)
class TaskRow:
    """
    A task instance.

    :param state: Airflow's state; ``None``: it has none yet.
    :param operator: Name of its operator.
    :param started: When its try started.
    :param ended: When it ended.
    """

    place: Place
    state: str | None
    operator: str | None
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ("success", "failed", "skipped", "upstream_failed", "removed")

    @property
    def names_us(self) -> bool:
        """Whether its operator is one of ours, by its name."""
        return "evolink" in (self.operator or "").lower()


@dataclass(frozen=True)
class RunRows:
    """
    What a page needs of a run.

    :param tasks: Its task instances.
    :param handed: What each has handed on.
    :param failures: Why one failed, as :func:`~airflow_provider_evolink.task_failures.failure_note` has it.
    :param records: The records of its generations.
    :param unread: Task instances whose value is in a store that cannot be read here, and why.
    """

    tasks: Mapping[Place, TaskRow] = field(default_factory=dict)
    handed: Mapping[Place, Handed] = field(default_factory=dict)
    failures: Mapping[Place, Mapping[str, Any]] = field(default_factory=dict)
    records: Mapping[Place, tuple[Record, ...]] = field(default_factory=dict)
    unread: Mapping[Place, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seat:
    """
    A task instance in some run of some DAG.

    :param state: Airflow's state; ``None``: it has none, or there is no such task instance.
    """

    run: RunAt
    place: Place
    state: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return TaskRow(self.place, self.state, None).is_over


@dataclass(frozen=True)
class AllRows:
    """
    What the page of all DAGs needs, of those DAGs that the user may read.

    :param handed: What task instances have handed on, and when.
    :param failures: Why some failed, and when, as :func:`~airflow_provider_evolink.task_failures.failure_note` has it.
    :param records: The records of generations.
    :param dags: The DAGs.
    :param unread: How many values are in a store of XComs, which is not read for this page.
    :param is_cut: Whether there were more rows than are read.
    """

    handed: tuple[tuple[Seat, datetime, Handed], ...] = ()
    failures: tuple[tuple[Seat, datetime, Mapping[str, Any]], ...] = ()
    records: tuple[tuple[Seat, Record], ...] = ()
    dags: tuple[str, ...] = ()
    unread: int = 0
    is_cut: bool = False

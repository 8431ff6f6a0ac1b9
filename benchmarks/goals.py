"""What the figures should be, and what they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import plots
import transfer_report

Goal = tuple[str, str, str, bool | None]


def table(found: dict[str, Any]) -> str:
    """
    Return goals and figures side by side, as Markdown.

    :param found: Results by part, and under ``rows`` the medians of the parts that wait.
    """
    lines = ["| goal | limit | measured | |", "| --- | --- | --- | --- |"]
    parts = (_waiting(found["rows"]), _rate(found), _schedule(found), _imports(found), _storm(found), _herd(found))
    transfers = transfer_report.goals(found.get("transfers", {}).get("runs", []))
    for name, limit, value, met in itertools.chain.from_iterable((*parts, transfers)):
        lines.append(f"| {name} | {limit} | {value} | {'' if met is None else 'met' if met else '**missed**'} |")
    return "\n".join(lines)


def _at_most(name: str, limit: float, value: float | None, unit: str = "") -> Goal:
    if value is None:
        return name, f"≤ {limit:g}{unit}", "-", None
    return name, f"≤ {limit:g}{unit}", f"{plots.short(value)}{unit}", value <= limit


def _waiting(rows: dict[str, dict[str, Any]]) -> Iterator[Goal]:
    waiting, crowd = rows.get("waiting", {}), rows.get("crowd", {})
    for key, name, share in (("ours", "batch", 20), ("ours_single", "single", 8)):
        if key in waiting and "databricks" in waiting:
            ours, best = waiting[key], waiting["databricks"]["net"]
            ratio = best / ours["net"] if ours["net"] > 0 else float("inf")
            yield (
                f"CPU of waiting, {name} reads, of Databricks'",
                f"≤ 1/{share}",
                f"1/{plots.short(ratio)}",
                ratio >= share,
            )
            yield _at_most(f"delay p95, {name} reads", 5, ours["delay_p95"], " s")
    mine = {key: row for key, row in (waiting | {f"crowd {k}": r for k, r in crowd.items()}).items() if "ours" in key}
    if mine:
        yield _at_most("sockets, at any number of jobs", 16, max(row["sockets"] for row in mine.values()))
        yield _at_most("new connections a request, at every interval", 0.01, max(row["fresh"] for row in mine.values()))
        yield _at_most("memory of a trigger", 30, max(row["kb"] for row in mine.values()), " KB")
    if "ours" in waiting:
        ours = waiting["ours"]
        floor = waiting.get("idle", {}).get("start_each", 0.0)
        yield _at_most("start of 1,000 triggers, net of Airflow's own", 1, ours["start_each"] - floor, " CPU-s")
        yield _at_most("messages to the supervisor at the start", 2, ours["start_messages"])
        yield _at_most("loop lag p99, start included", 10, ours["lag_all"]["p99"], " ms")
        own = waiting.get("idle", {}).get("lag_all", {}).get("max")
        name = f"loop lag max, start included ({plots.short(own)} ms with Airflow alone)" if own else "loop lag max"
        yield _at_most(name, 50, ours["lag_all"]["max"], " ms")
        yield _at_most("loop lag max, after the start", 50, ours["lag_window"]["max"], " ms")
        if "hold_all" in ours:
            runner, collection = (plots.short(ours["hold_all"][each]) for each in ("airflow", "collection"))
            but = f"except by Airflow's runner ({runner} ms) and Python's collection ({collection} ms)"
            yield _at_most(f"loop held in one go, {but}, start included", 50, ours["hold_all"]["others"], " ms")
    if "ours_5s" in crowd:
        yield _at_most("5,000 jobs every 5 s, share of a core", 30, crowd["ours_5s"]["core"], " %")
        yield _at_most("gap between their polls, p99 (interval + 10 % + 0.1 s)", 5.6, crowd["ours_5s"]["gap_p99"], " s")


def _rate(found: dict[str, Any]) -> Iterator[Goal]:
    for run in found.get("rate", {}).get("runs", []):
        name = f"{run['name']}, responses after {1000 * run['response']:.0f} ms"
        is_slow = run["response"] > 0.1
        yield _at_most(f"sockets, {name}", 64 if is_slow else 16, run["sockets"])
        if run["interval"]:
            measured = run["polls"] / run["seconds"]
            yield f"polls a second, {name}", "≥ 190", plots.short(measured), measured >= 190
        else:
            yield _at_most(f"polls a job, {name}", 6.5, run["polls_each"])
            yield _at_most(f"delay p99, {name}", 8, run["delay_p99"], " s")


def _schedule(found: dict[str, Any]) -> Iterator[Goal]:
    cases = {run["case"]: run for run in found.get("schedule", {}).get("runs", []) if "case" in run}
    for name, run in cases.items():
        if name.startswith("honest progress"):
            yield _at_most(f"polls a job, {name}", 6.5, run["polls"])
        if name == "honest progress":
            yield _at_most(f"delay p95, {name}", 4, run["delay_p95"], " s")
        elif name == "no progress":
            yield _at_most(f"polls a job over the optimum's, {name}", 1.15, run["polls"] / run["best"], "x")
        else:
            yield _at_most(f"delay p95, {name}", max(10.0, round(run["seconds_mean"] / 10, 1)), run["delay_p95"], " s")
        if name.startswith("honest progress"):
            yield _at_most(f"delay p99, {name}", 8, run.get("delay_p99"), " s")


def _imports(found: dict[str, Any]) -> Iterator[Goal]:
    for run in found.get("imports", {}).get("runs", [])[:1]:
        yield _at_most("import of the operators", 15, run["ms"], " CPU-ms")
        yield _at_most("modules they add", 25, run["modules"])
        yield _at_most("third-party packages among them", 0, float(len(run["third_party"])))
        yield _at_most("whole process over the bare one", 1.02, run["ratio"], "x")
    for run in found.get("imports", {}).get("runs", []):
        if "plugin" in run["target"]:
            yield _at_most("import of the plugin by workers and DAG processors", 3, run["ms"], " CPU-ms")
            yield _at_most("modules it adds", 3, run["modules"])
            yield _at_most("third-party packages among the plugin's", 0, float(len(run["third_party"])))


def _storm(found: dict[str, Any]) -> Iterator[Goal]:
    for run in found.get("storm", {}).get("runs", []):
        name = "batch reads" if run["key"] == "ours" else "single reads"
        failed = run["failures"] + sum(count for word, count in run["statuses"].items() if word != "completed")
        yield _at_most(f"waits that fail in 429s and an outage, {name}", 0, float(failed))
        yield _at_most(f"early requests of a job and Retry-After, {name}", 1, float(run["early_each"]))
        yield _at_most(f"requests while EvoLink is away, {name}", 1, run["outage"], " a second")
        yield _at_most(f"all jobs that ended meanwhile reported, {name}", 120, run["recovery"], " s")


def _herd(found: dict[str, Any]) -> Iterator[Goal]:
    for run in found.get("herd", {}).get("runs", []):
        name = f"{run['jobs']} jobs that end at once, {run['slots']} slots, {run['rate']:g} readings a second"
        yield _at_most(f"tries lost: {name}", 0, float(run["lost"]))
        yield _at_most("readings before their Retry-After", 0, float(run["early"]))

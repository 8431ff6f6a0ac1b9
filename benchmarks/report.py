"""
Turn results into tables, plots and the page docs/performance.md. Needs nothing but the standard library.

    python benchmarks/report.py     writes the page anew from benchmarks/results/
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import goals
import plots
import transfer_report
from contestants import CONTESTANTS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
NOTHING = "-"
NAMES = {key: contestant.name for key, contestant in CONTESTANTS.items()}
Row = dict[str, Any]
Found = dict[str, Any]


def medians(found: Found) -> dict[str, Row]:
    """
    Return a row for each contestant: the median of its rounds, with the costs put on a common scale.

    :param found: Results of the part ``waiting`` or ``crowd``.
    """
    grouped: dict[str, list[Row]] = {}
    for run in found["runs"]:
        grouped.setdefault(run["key"], []).append(_scaled(run))
    rows = {key: _median(group) | {"rounds": len(group)} for key, group in grouped.items()}
    floor = rows.get("idle", {}).get("cpu_minute", 0.0)
    for row in rows.values():
        row["net"] = row["cpu_minute"] - floor
        polls = row["polls"] * 60 / row["seconds"] * 1000 / row["count"]
        row["ms_poll"] = 1000 * row["net"] / polls if polls else None
        again = (row["start_polls"] or 0) - (row["start_seen"] or 0)  # polls that belong to waiting, not to starting
        spent = row["start_cpu"] - again * (row["ms_poll"] or 0.0) / 1000
        row["start_each"] = spent * 1000 / row["count"]
    return {key: rows[key] for key in NAMES if key in rows}


def _scaled(run: Row) -> Row:
    per = run["polls"] or 1
    return run | {
        "cpu_minute": run["cpu"] * 60 / run["seconds"] * 1000 / run["count"],
        "core": 100 * run["cpu"] / run["seconds"],
        "fresh": run["connections"] / (run["requests"] or 1),
        "lines_each": run["log_lines"] / per,
        "kb": run["memory_each"] / 1000,
        "polls_second": run["polls"] / run["seconds"],
        "server": 100 * run["server_cpu"] / run["seconds"],
    }


def _median(group: list[Row]) -> Row:
    merged: Row = {}
    for name, value in group[0].items():
        values = [run[name] for run in group if run[name] is not None]
        if isinstance(value, dict):
            merged[name] = _median([run[name] for run in group])
        elif values and all(isinstance(each, int | float) for each in values):
            merged[name] = statistics.median(values)
        else:
            merged[name] = value
    return merged


def tables(part: str, found: Found) -> str:
    """
    Return the tables of one part, as Markdown.

    :param part: Its name.
    :param found: Its results.
    """
    if part in ("waiting", "crowd"):
        return _waiting(medians(found))
    makers = {
        "schedule": _schedule,
        "rate": _rate,
        "imports": _imports,
        "share": _share,
        "storm": _storm,
        "herd": _herd,
        "transfers": transfer_report.table,
    }
    return makers[part](found["runs"])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    return NOTHING if value is None else plots.short(value)


def _held(row: Row) -> str:
    held = row.get("hold_all")
    return " / ".join(_number(held[whose]) for whose in ("airflow", "collection", "others")) if held else NOTHING


def _waiting(rows: dict[str, Row]) -> str:
    best = rows.get("databricks", {}).get("net")
    cost = [
        [
            NAMES[key],
            NOTHING if key == "idle" else _number(row["net"]),
            NOTHING if key == "idle" or not best or row["net"] <= 0 else f"1/{_number(best / row['net'])}",
            _number(row["ms_poll"]),
            _number(row["core"]),
            _number(row["start_each"]),
            f"{row['start_messages']:.0f}",
            f"{row['sockets']:.0f}",
            _number(row["fresh"]),
            f"{row['kb']:.0f}",
            _number(row["lines_each"]) if row["polls"] else NOTHING,
        ]
        for key, row in rows.items()
    ]
    head = [
        "trigger",
        "CPU-s/1000/min, net",
        "of Databricks",
        "CPU-ms a poll, net",
        "% of a core",
        "CPU-s to start 1000",
        "messages at start",
    ]
    first = _table([*head, "sockets", "new connections a request", "KB a trigger", "log lines a poll"], cost)
    speed = [
        [
            NAMES[key],
            _number(row["polls_second"]),
            _number(row["polls_each"]) if row["polls"] else NOTHING,
            _number(row["requests_each"]) if row["polls"] else NOTHING,
            " / ".join(_number(row[f"delay_p{rank}"]) for rank in (50, 95, 99)) if row["polls"] else NOTHING,
            f"{_number(row['lag_window']['p99'])} / {_number(row['lag_window']['max'])}",
            f"{_number(row['lag_all']['p99'])} / {_number(row['lag_all']['max'])}",
            _held(row),
            _number(row["gap_p99"]),
            str(int(row["failures"])),
        ]
        for key, row in rows.items()
    ]
    head = ["trigger", "polls a second", "polls a job", "requests a job", "delay p50 / p95 / p99, s"]
    lag = [
        "loop lag p99 / max, ms",
        "the same, start included",
        "held in one go: Airflow's runner / collection / else, ms",
    ]
    return first + "\n\n" + _table([*head, *lag, "gap between polls p99, s", "failed"], speed)


def _schedule(runs: list[Row]) -> str:
    rows = [
        [
            run["case"],
            f"{run['spread']:g}",
            _number(run["polls"]),
            _number(run["delay_p50"]),
            _number(run["delay_p95"]),
            _number(run["delay_p99"]),
            _number(run["best"]),
            f"{run['polls'] / run['best']:.2f}" if run["best"] else NOTHING,
        ]
        for run in runs
        if "case" in run
    ]
    head = ["jobs", "spread", "polls a job", "delay p50, s", "p95, s", "p99, s", "optimum without progress", "ratio"]
    return _table(head, rows)


def _rate(runs: list[Row]) -> str:
    rows = [
        [
            run["name"],
            f"{1000 * run['response']:.0f}",
            _number(run["polls"] / run["seconds"]),
            f"{run['sockets']:.0f}",
            _number(run["polls_each"]),
            *(_number(run[f"delay_p{rank}"]) for rank in (50, 95, 99)),
            _number(run["gap_p99"]),
            f"{run['connections']:.0f}",
            _number(100 * run["cpu"] / run["seconds"]),
            f"{run['failures']:.0f}",
        ]
        for run in runs
    ]
    delays = ["delay p50, s", "p95, s", "p99, s"]
    counts = ["gap between polls p99, s", "new connections", "% of a core", "failed"]
    head = ["trigger", "a response takes, ms", "polls a second", "sockets", "polls a job", *delays, *counts]
    return _table(head, rows)


def _imports(runs: list[Row]) -> str:
    rows = [
        [
            run["target"],
            _number(run["ms"]),
            str(run["modules"]),
            str(len(run["third_party"])) + (f": {', '.join(run['third_party'][:5])}" if run["third_party"] else ""),
            f"{run['ratio']:.3f}",
        ]
        for run in runs
    ]
    return _table(["import", "CPU-ms", "new modules", "third-party packages among them", "whole process"], rows)


def _share(runs: list[Row]) -> str:
    run = runs[0]
    calls = ", ".join(f"{count:g} {name}" for name, count in run["calls"].items())
    rows = [
        [f"whole `execute()` ({calls})", _number(run["wall_ms"]), _number(run["cpu_ms"])],
        ["the same calls by bare httpx", _number(run["http_wall_ms"]), _number(run["http_cpu_ms"])],
        [
            "**the provider's own share**",
            _number(run["wall_ms"] - run["http_wall_ms"]),
            _number(run["cpu_ms"] - run["http_cpu_ms"]),
        ],
        ["the first in a process, with its imports", _number(run["first_wall_ms"]), _number(run["first_cpu_ms"])],
    ]
    return _table(["one job", "ms", "CPU-ms"], rows)


def _storm(runs: list[Row]) -> str:
    rows = [
        [
            NAMES[run["key"]],
            *(_number(run[phase]) for phase in ("calm", "limited", "outage", "after")),
            f"{run['refused']:.0f}",
            f"{run['early_each']:.0f}",
            f"{run['reported_of_them']} of {run['over_in_outage']}",
            _number(run["recovery"]),
            str(run["failures"] + sum(count for word, count in run["statuses"].items() if word != "completed")),
            _number(run["lag_max"]),
        ]
        for run in runs
    ]
    phases = [f"requests a second: {name}" for name in ("calm", "429s", "second half of the 503s", "after")]
    counts = ["429s", "early requests, of a job in a window", "jobs that ended in the outage and were reported"]
    ends = ["all reported within, s", "waits that failed", "loop lag max, ms"]
    return _table(["trigger", *phases, *counts, *ends], rows)


def _herd(runs: list[Row]) -> str:
    rows = [
        [
            f"{run['jobs']} jobs, {run['slots']} slots, {_number(run['rate'])} readings a second",
            f"{run['lost']} of {run['tries']}",
            f"{run['files']} of {run['jobs']}",
            _number(run["seconds"]),
            f"{_number(run['try_p50'])} / {_number(run['try_max'])}",
            str(run["requests"]),
            str(run["refused"]),
            str(run["early"]),
        ]
        for run in runs
    ]
    head = ["finished at once", "tries lost", "results fetched", "all after, s", "a try, p50 / max, s"]
    return _table([*head, "readings", "429s", "before their Retry-After"], rows)


def write() -> Path:
    """Write the page and its plots from the results that are there."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.joinpath("results").glob("*.json"))}
    for name, drawing in drawings(found).items():
        DOCS.joinpath("images", name).write_text(drawing)
    page = DOCS / "performance.md"
    page.write_text(text(found))
    return page


def text(found: dict[str, Found]) -> str:
    """
    Return the page.

    :param found: Results by part.
    """
    parts = {
        "goals": goals.table({**found, "rows": {p: medians(found[p]) for p in ("waiting", "crowd") if p in found}})
    }
    parts |= {part: tables(part, results) for part, results in found.items()}
    parts |= {f"{part}_machine": _machine(results["machine"]) for part, results in found.items()}
    filled = HERE.joinpath("page.md").read_text()
    for name in ("goals", "waiting", "crowd", "rate", "schedule", "imports", "share", "storm", "herd", "transfers"):
        filled = filled.replace(f"<!-- {name} -->", parts.get(name, "Not measured yet."))
        filled = filled.replace(f"<!-- {name}_machine -->", parts.get(f"{name}_machine", ""))
    return filled


def _machine(machine: Row) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    note = f" {machine['note']}" if machine["note"] else ""
    return (
        f"{machine['when']}, {machine['cores']} cores {machine['cpu']}, Python {machine['python']}, "
        f"nice {machine['nice']}, load {machine['load']:.1f}; {versions}.{note}"
    )


def drawings(found: dict[str, Found]) -> dict[str, str]:
    """
    Return the plots by file name.

    :param found: Results by part.
    """
    drawn = {}
    if "waiting" in found:
        rows = {
            key: row for key, row in medians(found["waiting"]).items() if key not in ("idle", "ours_5s", "ours_60s")
        }
        measures = {
            "net": "CPU-seconds a minute, net of Airflow's own",
            "start_each": "CPU-seconds to start",
            "sockets": "sockets",
            "kb": "KB a trigger",
        }
        panels = [
            (title, [(NAMES[key].replace("*", ""), row[name], key.startswith("ours")) for key, row in rows.items()])
            for name, title in measures.items()
        ]
        drawn["performance-waiting.svg"] = plots.bars("1,000 jobs of about two minutes waiting", panels)
    if "schedule" in found:
        runs = found["schedule"]["runs"]
        curve = [run for run in runs if "late" in run]
        dots = [
            (run["case"], run["delay_p95"], run["polls"])
            for run in runs
            if run.get("case") in ("honest progress", "no progress")
        ]
        lines = [
            ("fixed interval", plots.GREY, [(run["late"], run["fixed"]) for run in curve]),
            ("optimum without progress", plots.OTHER, [(run["late"], run["best"]) for run in curve]),
        ]
        axes = ("delay of the event, 95th percentile, seconds", "polls a job")
        drawn["performance-schedule.svg"] = plots.curves("Polls against delay, jobs of about 120 s", axes, lines, dots)
    return drawn


if __name__ == "__main__":
    print(write())

"""The command line: list models, show one, validate a request file. What calls EvoLink is given by the program."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.describe import lines_of, summary, table
from airflow_provider_evolink.api.catalog.media_fields import find_local_files, replace_strings
from airflow_provider_evolink.api.errors import Violation
from airflow_provider_evolink.api.redaction import count, describe_value, sanitize

_WIDEST = 120
BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"


def main(
    arguments: Sequence[str] | None = None,
    *,
    check_network: Callable[..., int] | None = None,
    reconcile: Callable[..., int] | None = None,
    more: Callable[[Any], None] | None = None,
) -> int:
    """
    Run one command.

    :param arguments: Command line without the program's name.
    :param check_network: Runs the command ``network``; given by the program, since the catalog knows no network.
    :param reconcile: Runs the command ``reconcile``; given likewise.
    :param more: Adds further commands; given by the program as well.
    :return: Exit status: 0 fine, 1 a request is invalid, a model unknown, a host out of reach, an order not settled, an
        archived file damaged or nothing found, 2 the command, a file or a setting is wrong.
    """
    # Warnings are part of the output here, not log lines beside it.
    logging.getLogger("airflow_provider_evolink").addHandler(logging.NullHandler())
    options = _parser(check_network, reconcile, more).parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`); what Python still flushes at its end must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser(
    check_network: Callable[..., int] | None,
    reconcile: Callable[..., int] | None,
    more: Callable[[Any], None] | None,
) -> argparse.ArgumentParser:
    is_script = Path(sys.argv[0]).stem == "evolink"
    parser = argparse.ArgumentParser(
        prog="evolink" if is_script else "python -m airflow_provider_evolink",
        description="EvoLink's models as this package knows them, its network, orders whose outcome is unknown, and an "
        "archive of results. Only network and reconcile send anything to EvoLink, only reconcile needs a key, and "
        "nothing is ever submitted.",
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-evolink {_version()}")
    parser.set_defaults(run=lambda _: _help(parser))
    commands = parser.add_subparsers(metavar="COMMAND")
    models = commands.add_parser("models", help="list models")
    models.add_argument("text", nargs="?", default="", help="filter by name, family or task")
    models.add_argument("--kind", choices=("video", "image", "audio"), help="filter by output type")
    models.add_argument("--retired", action="store_true", help="include retired models")
    models.set_defaults(run=_models)
    show = commands.add_parser("show", help="show the parameters and rules of a model")
    show.add_argument("model", metavar="MODEL")
    show.set_defaults(run=_show)
    validate = commands.add_parser("validate", help="validate a request file")
    validate.add_argument("file", metavar="FILE", help="JSON: a request with its model, or a list of them; - for stdin")
    validate.set_defaults(run=_validate)
    network = commands.add_parser("network", help="check whether EvoLink's hosts can be reached from here")
    network.set_defaults(run=lambda options: check_network(as_json=options.json) if check_network else 2)
    lost = _reconcile_parser(commands)
    lost.set_defaults(run=lambda options: reconcile(options) if reconcile else 2)
    if more:
        more(commands)
    for command in (models, show, validate, network, lost):
        command.add_argument("--json", action="store_true", help="write JSON")
    return parser


def _reconcile_parser(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "reconcile", help="list the jobs that can be an order whose outcome is unknown; submits nothing"
    )
    parser.add_argument("--model", required=True, help="EvoLink's name of the model")
    parser.add_argument("--ordered-at", required=True, type=_moment, metavar="TIME", help="of the order, ISO 8601")
    parser.add_argument("--newer-than", default=0.0, type=_moment, metavar="TIME", help="older jobs are not it")
    parser.add_argument("--conn-id", default="evolink_default", help="Airflow connection (default: %(default)s)")
    return parser


def _moment(text: str) -> float:
    """Parse a time, UTC if it names no zone."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _models(options: argparse.Namespace) -> int:
    found = [
        summary(spec)
        for spec in map(catalog.find_spec, catalog.known_models())
        if spec
        and (options.retired or spec.status == "documented")
        and options.kind in (None, spec.kind)
        and options.text.lower() in f"{spec.model} {' '.join(spec.aliases)} {spec.family} {spec.task}".lower()
    ]
    if options.json:
        _write_json(found)
        return int(not found)
    if not found:
        near = difflib.get_close_matches(options.text, catalog.known_models(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; --retired lists withdrawn ones as well"
        return _fail(f"no model matches {sanitize(options.text, 80)!r}{hint}", 1)
    columns = ("model", "kind", "task", "family", "price", "status")
    head, *rows = table([[str(one[name]) for name in columns] for one in found], columns)
    _write([_in(BOLD, head), *rows])
    _write([f"{count(len(found), 'model')}; prices in credits; run `evolink show MODEL` for details"])
    return 0


def _show(options: argparse.Namespace) -> int:
    spec = catalog.find_spec(options.model)
    if spec is None:
        # The warning about an unknown model names the nearest one.
        return _fail(f"{sanitize(options.model, 80)}: {' '.join(catalog.check_request(options.model, {}).warnings)}", 1)
    if options.json:
        _write_json(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        return 0
    name, *lines = lines_of(spec, min(shutil.get_terminal_size().columns, _WIDEST))
    _write([_in(BOLD, name), *(_in(BOLD, line) if line.isupper() else line for line in lines)])
    return 0


def _validate(options: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8-sig")
        requests = json.loads(text)
    except RecursionError:
        return _fail(f"{options.file}: nested too deeply", 2)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON in UTF-8: {error}"
        return _fail(f"{options.file}: {reason}", 2)
    requests = requests if isinstance(requests, list) else [requests]
    if not requests or not all(
        isinstance(request, dict) and isinstance(request.get("model"), str) for request in requests
    ):
        return _fail(f"{options.file}: a request must be an object with the name of a model in it", 2)
    reports = [_report(request) for request in requests]
    if options.json:
        _write_json(reports)
    else:
        for report in reports:
            _write(_lines(report))
    return int(not all(report["valid"] for report in reports))


def _report(request: dict[str, Any]) -> dict[str, Any]:
    model = request["model"]
    inner = request.get("parameters")
    fields = inner if isinstance(inner, dict) and request.keys() <= {"model", "kind", "parameters"} else request
    spec = catalog.find_spec(model)
    files = find_local_files(spec.media_parameters, fields) if spec else []
    # An operator uploads these files and sends links, so links take their place here as well.
    links = {uri: f"https://input.invalid/{number}" for number, (_, uri) in enumerate(files)}
    shown = {describe_value(link): describe_value(uri) for uri, link in links.items()}
    checked = catalog.check_request(model, replace_strings(fields, links) if links else fields)
    return {
        "model": model,
        "known": spec is not None,
        "valid": not checked.violations,
        "violations": [
            {"field": one.field, "rule": one.rule, "value": shown.get(one.value or "", one.value)}
            for one in checked.violations
        ],
        "warnings": [
            *checked.warnings,
            *(f"{field.path}: local file, not inspected here, got {describe_value(uri)}" for field, uri in files),
        ],
    }


def _lines(report: dict[str, Any]) -> Iterator[str]:
    found = report["violations"]
    verdict = _in(GREEN, "valid") if report["known"] else _in(YELLOW, "not checked")
    if found:
        verdict = _in(RED, f"invalid: {count(len(found), 'error')}")
    yield f"{_in(BOLD, sanitize(report['model'], 80))}: {verdict}"
    for one in found:
        yield f"  {_in(RED, 'error')}    {Violation(one['field'], one['rule'], one['value'])}"
    for warning in report["warnings"]:
        yield f"  {_in(YELLOW, 'warning')}  {warning}"


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _in(color: str, text: str) -> str:
    """Return text in a color, where people look at a terminal; ``NO_COLOR`` turns it off."""
    return f"\x1b[{color}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def _version() -> str:
    try:
        return version("airflow-provider-evolink")
    except PackageNotFoundError:
        return "(not installed)"


def _write(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


def _write_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"{message}\n")
    return status

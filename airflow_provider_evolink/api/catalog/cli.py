"""The command line of the catalog: list models, show one, hold a request file against it. Nothing is sent."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.describe import lines_of, summary, table
from airflow_provider_evolink.api.catalog.media_fields import find_local_files, replace_strings
from airflow_provider_evolink.api.redaction import describe_value, sanitize

_WIDEST = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Answer one command.

    :param arguments: Command line without the program's name.
    :return: Exit status: 0 fine, 1 a rule is broken or the model to show is unknown, 2 the command or file is wrong.
    """
    # Warnings are part of the answer here, not log lines beside it.
    logging.getLogger("airflow_provider_evolink").addHandler(logging.NullHandler())
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status: int = options.answer(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`); what Python would still write at its end must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_evolink",
        description="EvoLink's models as this package knows them. Nothing is sent, no key is needed.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    models = commands.add_parser("models", help="list models")
    models.add_argument("text", nargs="?", default="", help="only models with this in name, family or task")
    models.add_argument("--kind", choices=("video", "image", "audio"), help="only models that make this")
    models.add_argument("--retired", action="store_true", help="also those whose page EvoLink has withdrawn")
    models.set_defaults(answer=_models)
    show = commands.add_parser("show", help="show the parameters and rules of a model")
    show.add_argument("model", metavar="MODEL")
    show.set_defaults(answer=_show)
    validate = commands.add_parser("validate", help="hold a request file against the rules of its model")
    validate.add_argument("file", metavar="FILE", help="JSON: a request with its model, or a list of them; - is stdin")
    validate.set_defaults(answer=_validate)
    for command in (models, show, validate):
        command.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _models(options: argparse.Namespace) -> int:
    found = [
        summary(row)
        for row in map(catalog.find_spec, catalog.known_models())
        if row
        and (options.retired or row.status == "documented")
        and options.kind in (None, row.kind)
        and options.text.lower() in f"{row.model} {' '.join(row.aliases)} {row.family} {row.task}".lower()
    ]
    if options.json:
        _write_json(found)
        return 0
    columns = ("model", "kind", "task", "family", "status")
    _write(table([[str(one[name]) for name in columns] for one in found], columns))
    _write([f"{len(found)} models; python -m airflow_provider_evolink show MODEL tells more"])
    return 0


def _show(options: argparse.Namespace) -> int:
    row = catalog.find_spec(options.model)
    if row is None:
        # The warning about an unknown model names the nearest one.
        return _fail(f"{sanitize(options.model, 80)}: {' '.join(catalog.check_request(options.model, {}).warnings)}", 1)
    if options.json:
        _write_json(row.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        return 0
    _write(lines_of(row, min(shutil.get_terminal_size().columns, _WIDEST)))
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
        return _fail(f"{options.file}: a request is an object with the name of a model in it", 2)
    answers = [_checked(request) for request in requests]
    if options.json:
        _write_json(answers)
    else:
        for answer in answers:
            _write(_told(answer))
    return int(not all(answer["valid"] for answer in answers))


def _checked(request: dict[str, Any]) -> dict[str, Any]:
    model = request["model"]
    inner = request.get("parameters")
    fields = inner if isinstance(inner, dict) and request.keys() <= {"model", "kind", "parameters"} else request
    spec = catalog.find_spec(model)
    files = find_local_files(spec.parameters, fields) if spec else []
    # An operator uploads these files and sends links, so links take their place here as well.
    links = {uri: f"https://input.invalid/{number}" for number, (_, uri) in enumerate(files)}
    shown = {describe_value(link): describe_value(uri) for uri, link in links.items()}
    checked = catalog.check_request(model, replace_strings(fields, links) if links else fields)
    return {
        "model": model,
        "known": spec is not None,
        "valid": not checked.violations,
        "violations": [
            {"field": one.field, "rule": one.rule, "value": shown.get(one.value, one.value) if one.value else one.value}
            for one in checked.violations
        ],
        "warnings": [
            *checked.warnings,
            *(
                f"{slot.path}: a file of yours, not looked at here (given: {describe_value(uri)})"
                for slot, uri in files
            ),
        ],
    }


def _told(answer: dict[str, Any]) -> Iterator[str]:
    found = answer["violations"]
    passed = "keeps the rules" if answer["known"] else "not checked"
    yield f"{sanitize(answer['model'], 80)}: {f'{len(found)} rule(s) broken' if found else passed}"
    for one in found:
        given = "" if one["value"] is None else f" (given: {one['value']})"
        yield f"  wrong    {one['field']}: {one['rule']}{given}"
    for warning in answer["warnings"]:
        yield f"  warning  {warning}"


def _write(lines: Sequence[str] | Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


def _write_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"{message}\n")
    return status

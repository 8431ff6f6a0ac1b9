"""A row of the catalog in words, for a terminal and for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_evolink.api.catalog.model_spec import ModelSpec, Outputs
from airflow_provider_evolink.api.catalog.parameter import Parameter
from airflow_provider_evolink.api.catalog.sizes import length_words
from airflow_provider_evolink.api.catalog.wording import size_words, words
from airflow_provider_evolink.api.redaction import count

_NAMES = 26


def summary(row: ModelSpec) -> dict[str, Any]:
    """
    Return the head of a row.

    :param row: The row.
    """
    head = {name: getattr(row, name) or "" for name in ("model", "kind", "task", "family", "status")}
    return head | {"aliases": list(row.aliases)}


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> list[str]:
    """
    Align texts in columns.

    :param rows: Cells.
    :param heads: Names of the columns.
    """
    lines = [[head.upper() for head in heads], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def lines_of(row: ModelSpec, width: int = 100) -> Iterator[str]:
    """
    Describe a model: head, parameters, rules, results.

    :param row: The row.
    :param width: Longest line, in characters.
    """
    yield f"{row.model}: {row.kind}, {row.task or 'task unknown'}"
    if row.status != "documented":
        yield f"withdrawn by EvoLink{f' on {row.retired_on}' if row.retired_on else ''}, it may no longer answer"
    if row.aliases:
        yield f"also called {', '.join(row.aliases)}"
    yield f"POST {row.endpoint}"
    if row.source:
        yield row.source
    yield from ("", "PARAMETERS")
    for depth, name, parameter in _flat(row.parameters):
        label = f"{'  ' * depth}{name}{' *' if parameter.required else ''}"
        yield from _wrapped(label, value_words(parameter), width)
        if parameter.note:
            yield from _wrapped("", f"({parameter.note})", width)
    yield "* required"
    refused = [rule for rule in row.rules if rule.is_refused]
    warned = [rule for rule in row.rules if not rule.is_refused]
    for title, rules in (("RULES", refused), ("WARNINGS, SENT ALL THE SAME", warned)):
        if rules:
            yield from ("", title)
            for rule in rules:
                yield from _wrapped(rule.about(), rule.words(), width)
    yield from ("", "RESULTS", *textwrap.wrap(output_words(row.outputs, row.kind), width))
    if row.price:
        yield f"{row.price.per_second:g} credits a second, published on {row.price.as_of}"


def value_words(parameter: Parameter) -> str:
    """
    Say what values a parameter takes, how many of them, and what EvoLink takes if it is not set.

    :param parameter: The row of the parameter.
    """
    texts = [words(parameter)]
    if size := size_words(parameter):
        texts.append(size)
    if parameter.max_length and not parameter.refuses("maxLength") and "maxLength" not in parameter.stated:
        cut = "EvoLink cuts the rest" if parameter.cut else "only warned about"
        texts.append(f"at most {length_words(parameter.max_length, parameter.length_unit)} ({cut})")
    if parameter.stated:
        texts.append("only warned about")
    if parameter.default is not None:
        default = str(parameter.default).lower() if isinstance(parameter.default, bool) else parameter.default
        texts.append(f"default {default}")
    if parameter.from_job:
        thing = "the id" if parameter.from_job.take == "id" else parameter.from_job.take
        texts.append(f"{thing} of a job of {' or '.join(parameter.from_job.models) or 'any model'}, or that job")
    return "; ".join(texts)


def output_words(outputs: Outputs, kind: str) -> str:
    """
    Say what a job hands back.

    :param outputs: The outputs of a row.
    :param kind: What the model makes.
    """
    number = str(outputs.min_files) if outputs.max_files == outputs.min_files else f"{outputs.min_files} to {outputs.max_files or 'many'}"
    texts = [f"{number} {kind} file{'s' * (outputs.max_files != 1)}" if outputs.media else "no media"]
    if outputs.counted_by:
        texts.append(f"as many as {outputs.counted_by} says")
    if outputs.data:
        texts.append(f"{outputs.data} in result_data")
    if outputs.media:
        hours = outputs.link_hours
        texts.append(f"links live {count(hours, 'hour')}" if hours else "EvoLink does not say how long links live")
    if outputs.note:
        texts.append(outputs.note)
    return "; ".join(texts)


def _flat(parameters: Mapping[str, Parameter], depth: int = 0) -> Iterator[tuple[int, str, Parameter]]:
    for name, parameter in parameters.items():
        yield depth, name, parameter
        inside = parameter.properties or (parameter.items.properties if parameter.items else None)
        yield from _flat(inside or {}, depth + 1)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(width - _NAMES - 2, 30)) or [""]
    first = (
        [f"{label.ljust(_NAMES)}  {wrapped[0]}"] if len(label) <= _NAMES else [label, f"{'':{_NAMES}}  {wrapped[0]}"]
    )
    return first + [f"{'':{_NAMES}}  {line}" for line in wrapped[1:]]

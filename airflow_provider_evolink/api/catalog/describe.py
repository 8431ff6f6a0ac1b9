"""A model of the catalog in words, for a terminal and for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_evolink.api.catalog.model_spec import ModelSpec, Outputs
from airflow_provider_evolink.api.catalog.parameter import Parameter
from airflow_provider_evolink.api.catalog.prices import Price
from airflow_provider_evolink.api.catalog.sizes import describe_length
from airflow_provider_evolink.api.catalog.wording import describe, describe_size
from airflow_provider_evolink.api.redaction import count

_LABEL_WIDTH = 26


def summary(spec: ModelSpec) -> dict[str, Any]:
    """Return what a list of models shows."""
    head = {name: getattr(spec, name) or "" for name in ("model", "kind", "task", "family", "status")}
    return head | {"price": price_text(spec.price), "aliases": list(spec.aliases)}


def price_text(price: Price | None) -> str:
    """
    Return a price as one cell of a table: credits a second, and what the cheapest job costs.

    :param price: Of a model; ``None``: not known.
    """
    if price is None:
        return "-"
    least = f", from {price.min_credits:g}" if price.min_credits else ""
    return f"{price.per_second:g}/s{least}"


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> list[str]:
    """
    Align texts in columns.

    :param rows: Cells.
    :param heads: Names of the columns.
    """
    lines = [[head.upper() for head in heads], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def lines_of(spec: ModelSpec, width: int = 100) -> Iterator[str]:
    """
    Describe a model: head, parameters, rules, results.

    :param width: Maximum length of a line, in characters.
    """
    yield from _head(spec)
    yield from ("", "PARAMETERS")
    for depth, name, parameter in _flat(spec.parameters):
        label = f"{'  ' * depth}{name}{' *' if parameter.required else ''}"
        yield from _wrapped(label, describe_parameter(parameter), width)
        if parameter.note:
            yield from _wrapped("", f"({parameter.note})", width)
    yield "* required"
    refused = [rule for rule in spec.rules if rule.is_refused]
    warned = [rule for rule in spec.rules if not rule.is_refused]
    for title, rules in (("RULES", refused), ("WARNINGS (request is still sent)", warned)):
        if rules:
            yield from ("", title)
            for rule in rules:
                yield from _wrapped(rule.subject(), rule.describe(), width)
    yield from ("", "RESULTS", *textwrap.wrap(describe_outputs(spec.outputs, spec.kind), width))
    if spec.price:
        yield f"{spec.price.per_second:g} credits per second, published on {spec.price.as_of}"


def _head(spec: ModelSpec) -> Iterator[str]:
    yield f"{spec.model}: {spec.kind}, {spec.task or 'task unknown'}"
    if spec.status != "documented":
        yield f"withdrawn by EvoLink{f' on {spec.retired_on}' if spec.retired_on else ''}; it may no longer work"
    if spec.aliases:
        yield f"aliases: {', '.join(spec.aliases)}"
    yield f"POST {spec.endpoint}"
    if spec.source:
        yield spec.source


def describe_parameter(parameter: Parameter) -> str:
    """Describe what values a parameter takes, how many of them, and what EvoLink assumes if it is not set."""
    texts = [describe(parameter)]
    if size := describe_size(parameter):
        texts.append(size)
    if parameter.unit:
        texts.append(parameter.unit)
    if parameter.max_length and (parameter.cut or parameter.length_unit == "tokens"):
        excess = "EvoLink cuts the rest" if parameter.cut else "warning"
        texts.append(f"at most {describe_length(parameter.max_length, parameter.length_unit)} ({excess})")
    if conventions := [limit for limit in parameter.stated if not parameter.refuses(limit)]:
        texts.append(f"{' and '.join(conventions)} only a convention (warning)")
    if parameter.default is not None:
        default = str(parameter.default).lower() if isinstance(parameter.default, bool) else parameter.default
        texts.append(f"default {default}")
    if parameter.from_job:
        thing = "the ID" if parameter.from_job.take == "id" else parameter.from_job.take
        texts.append(f"{thing} of a job of {' or '.join(parameter.from_job.models) or 'any model'}, or that job")
    return "; ".join(texts)


def describe_outputs(outputs: Outputs, kind: str) -> str:
    """
    Describe what a job returns.

    :param kind: What the model makes.
    """
    low, high = outputs.min_files, outputs.max_files
    number = str(low) if high == low else f"{low} to {high or 'many'}"
    texts = [f"{number} {kind} file{'s' * (high != 1)}" if outputs.media else "no media"]
    if outputs.counted_by:
        texts.append(f"as many as {outputs.counted_by}")
    if outputs.data:
        texts.append(f"{outputs.data} in result_data")
    if outputs.media:
        hours = outputs.link_hours
        texts.append(f"links valid for {count(hours, 'hour')}" if hours else "lifetime of links not documented")
    if outputs.note:
        texts.append(outputs.note)
    return "; ".join(texts)


def _flat(parameters: Mapping[str, Parameter], depth: int = 0) -> Iterator[tuple[int, str, Parameter]]:
    for name, parameter in parameters.items():
        yield depth, name, parameter
        inside = parameter.properties or (parameter.items.properties if parameter.items else None)
        yield from _flat(inside or {}, depth + 1)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(width - _LABEL_WIDTH - 2, 30)) or [""]
    if len(label) <= _LABEL_WIDTH:
        first = [f"{label.ljust(_LABEL_WIDTH)}  {wrapped[0]}"]
    else:
        first = [label, f"{'':{_LABEL_WIDTH}}  {wrapped[0]}"]
    return first + [f"{'':{_LABEL_WIDTH}}  {line}" for line in wrapped[1:]]

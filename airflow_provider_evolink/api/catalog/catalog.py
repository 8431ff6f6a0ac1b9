"""
The catalog: model name in, checked request body out. Nothing is sent and nothing is read but ``catalog.json``.

A model is a row of that file, never code. The file is read when a model is first asked for, not on import, and a
model's checks are built when that model is first used. What a row may say: :class:`ModelSpec`,
:class:`~airflow_provider_evolink.api.catalog.parameter.Parameter` and
:mod:`~airflow_provider_evolink.api.catalog.rules`.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from airflow_provider_evolink.api.catalog.model_spec import ModelSpec, Outputs, SharedSpecs
from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.redaction import describe_value, sanitize

Validation = Literal["strict", "warn", "off"]
Kind = Literal["video", "image", "audio"]

log = logging.getLogger(__name__)

_MODES = ("strict", "warn", "off")
_KINDS = ("video", "image", "audio")
_registered: dict[str, ModelSpec] = {}


def build_request(model: str, parameters: Mapping[str, Any], *, validation: Validation = "strict") -> dict[str, Any]:
    """
    Check a request against the rules of its model and return the body to send.

    The body holds ``model`` and what was set, never a default. ``None`` means "not set", also one level deep
    (``model_params``). Airflow templates render to text, so ``"5"`` is read as a number and ``"true"`` as a boolean
    where the model wants one. Where a field takes the id of an earlier job, or a voice or element that it made, the
    job may be given instead. Things that EvoLink accepts but cuts or ignores, and limits that only the words of its
    pages state, are logged as warnings in every mode (:func:`notices`). An unknown model passes unchecked with a
    warning, because models appear every week.

    :param model: EvoLink's name of the model.
    :param parameters: FieldValidator of the request, as EvoLink names them.
    :param validation: ``strict`` refuses a request that breaks a rule. ``warn`` logs the broken rules and builds the
        body all the same. ``off`` checks nothing and passes values as given, text for numbers included.
    :raises EvoLinkRequestError: ``strict`` only; lists every broken rule, not the first one.
    """
    if validation not in _MODES:
        raise EvoLinkConfigError(f"validation must be one of {', '.join(_MODES)}")
    given = _given(parameters)
    violations = _violations_of_model(model, given)
    row = _row(model)
    values: dict[str, Any] = {}
    if row:
        given, broken = row.take_jobs(given)
        violations += broken
    if row and validation != "off":
        values, broken = row.check(given)
        violations += broken
    if validation == "strict" and violations:
        raise EvoLinkRequestError(_shown_model(model), violations)
    if validation == "warn":
        for violation in violations:
            log.warning("request for %s: %s", _shown_model(model), violation)
    for notice in _notices(model, given):
        log.warning("request for %s: %s", _shown_model(model), notice)
    return {"model": model} | {name: values.get(name, given[name]) for name in given if name != "model"}


def notices(model: str, parameters: Mapping[str, Any]) -> list[str]:
    """
    Tell what EvoLink will accept, but cut or ignore, and whether the model is unknown here.

    :func:`build_request` logs these itself.

    :param model: EvoLink's name of the model.
    :param parameters: FieldValidator of the request.
    """
    given = _given(parameters)
    row = _row(model)
    return _notices(model, row.take_jobs(given)[0] if row else given)


def endpoint(model: str, kind: Kind | None = None) -> str:
    """
    Return the path that takes orders for a model.

    :param model: EvoLink's name of the model.
    :param kind: What the model makes, for a model unknown here; ``video`` if not said. A known model knows better.
    """
    row = _row(model)
    if row:
        return row.endpoint
    if kind is not None and kind not in _KINDS:
        raise EvoLinkConfigError(f"kind must be one of {', '.join(_KINDS)}")
    return f"/v1/{kind or 'video'}s/generations"


def kind(model: str) -> Kind | None:
    """Return what a model makes, or ``None`` for a model unknown here."""
    row = _row(model)
    return row.kind if row else None


def outputs(model: str) -> Outputs | None:
    """
    Return what a job of a model hands back, or ``None`` for a model unknown here.

    :param model: EvoLink's name of the model.
    """
    row = _row(model)
    return row.outputs if row else None


def known_row(model: str) -> ModelSpec | None:
    """
    Return the row of a model, or ``None`` for a model unknown here.

    :param model: EvoLink's name of the model, or one of its other names.
    """
    return _row(model)


def most_credits(model: str, body: Mapping[str, Any]) -> float | None:
    """
    Return what an order costs at the most by the price in the catalog, or ``None`` where there is none.

    :param model: EvoLink's name of the model.
    :param body: The order.
    """
    row = _row(model)
    if row is None or row.price is None:
        return None
    return row.price.most(body, {name: parameter.default for name, parameter in row.parameters.items()})


def known_models() -> tuple[str, ...]:
    """Return the names of all models of the catalog, sorted. Other names of the same model are not among them."""
    return tuple(sorted({*_packaged()[0], *_registered}))


def register(row: Mapping[str, Any]) -> None:
    """
    Add a model, or replace one, in this process: for a model that is newer than this package.

    Call it where the task runs (in the DAG file, a plugin), because every process has its own catalog.

    :param row: A row as in ``catalog.json``.
    :raises pydantic.ValidationError: The row is not one.
    """
    added = ModelSpec.read(row, _packaged()[1])
    _registered[added.model] = added


def _notices(model: str, given: Mapping[str, Any]) -> list[str]:
    row = _row(model)
    if row:
        return row.notices_about(given)
    near = difflib.get_close_matches(str(model), known_models(), n=1)
    near = near or [name for name in known_models() if model and name.startswith(str(model))]
    hint = f" Did you mean {near[0]}?" if near else ""
    return [f"the model is not in the catalog of this package, nothing was checked.{hint}"]


def _violations_of_model(model: str, given: Mapping[str, Any]) -> list[Violation]:
    if not isinstance(model, str) or not model.strip():
        return [Violation("model", "the name of a model is needed", describe_value(model))]
    if given.get("model", model) != model:
        return [Violation("model", f"is {_shown_model(model)} already", describe_value(given["model"]))]
    return []


def _shown_model(model: str) -> str:
    return sanitize(model, 80)


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            inner = {str(key): entry for key, entry in value.items() if entry is not None}
            if inner or not value:
                given[str(name)] = inner
        elif value is not None:
            given[str(name)] = value
    return given


def _row(model: str) -> ModelSpec | None:
    added = next((row for row in _registered.values() if model in (row.model, *row.aliases)), None)
    if added:
        return added
    name = _aliases().get(model, model)
    return _packaged_row(name) if name in _packaged()[0] else None


@cache
def _packaged_row(model: str) -> ModelSpec:
    rows, shared = _packaged()
    return ModelSpec.read(rows[model], shared)


@cache
def _aliases() -> dict[str, str]:
    return {alias: name for name, row in _packaged()[0].items() for alias in row.get("aliases", ())}


@cache
def _packaged() -> tuple[dict[str, Any], SharedSpecs]:
    text = resources.files(__package__).joinpath("catalog.json").read_text(encoding="utf-8")
    content = json.loads(text)
    shared = SharedSpecs(content["shared"], content.get("parameters", {}), content.get("rules", {}))
    return {row["model"]: row for row in content["models"]}, shared

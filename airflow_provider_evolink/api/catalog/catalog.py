"""
The catalog: model name in, checked request body out. Nothing is sent.

A model is an entry of a file in ``models``, never code (:mod:`~airflow_provider_evolink.api.catalog.model_files`). What
an entry may say: :class:`~airflow_provider_evolink.api.catalog.model_spec.ModelSpec`,
:class:`~airflow_provider_evolink.api.catalog.parameter.Parameter` and
:mod:`~airflow_provider_evolink.api.catalog.rules`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any, Literal

from airflow_provider_evolink.api.catalog.model_files import model_names, packaged_spec
from airflow_provider_evolink.api.catalog.model_spec import CheckedRequest, ModelSpec, Outputs
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

    The body contains ``model`` and what was set, never a default. ``None`` means "not set", also one level deep
    (``model_params``). Airflow templates render to text, so ``"5"`` is read as a number and ``"true"`` as a boolean
    where the model wants one. Where a field takes the id of an earlier job, or a voice or element that it made, the
    job may be given instead. What EvoLink accepts but cuts or ignores, and limits that only the text of its pages
    states, are logged as warnings in every mode. An unknown model passes unchecked with a warning, because models
    appear every week.

    :param model: EvoLink's name of the model.
    :param parameters: Fields of the request, as EvoLink names them.
    :param validation: ``strict`` refuses a request that breaks a rule. ``warn`` logs the broken rules and builds the
        body all the same. ``off`` checks nothing and passes values as given, text for numbers included.
    :raises EvoLinkRequestError: ``strict`` only; lists every broken rule, not only the first.
    """
    if validation not in _MODES:
        raise EvoLinkConfigError(f"validation must be one of {', '.join(_MODES)}")
    checked = check_request(model, parameters)
    if validation == "strict" and checked.violations:
        raise EvoLinkRequestError(_shown(model), checked.violations)
    logged = [*(map(str, checked.violations) if validation == "warn" else ()), *checked.warnings]
    for line in logged:
        log.warning("request for %s: %s", _shown(model), line)
    return {"model": model} | (_unchecked(model, parameters) if validation == "off" else checked.values)


def check_request(model: str, parameters: Mapping[str, Any]) -> CheckedRequest:
    """
    Check a request against the rules of its model, once. :func:`build_request` raises or logs what this finds.

    :param model: EvoLink's name of the model.
    :param parameters: Fields of the request.
    """
    given = _without_nulls(parameters)
    violations: list[Violation] = []
    if not isinstance(model, str) or not model.strip():
        violations.append(Violation("model", "must be the name of a model", describe_value(model)))
    elif given.get("model", model) != model:
        violations.append(Violation("model", f"must be {_shown(model)} or left out", describe_value(given["model"])))
    given.pop("model", None)
    spec = find_spec(model)
    if spec is None:
        return CheckedRequest(given, tuple(violations), (_unknown_model(model),))
    checked = spec.check(given)
    return CheckedRequest(checked.values, (*violations, *checked.violations), checked.warnings)


def endpoint(model: str, kind: Kind | None = None) -> str:
    """
    Return the path that takes requests for a model.

    :param model: EvoLink's name of the model.
    :param kind: What the model makes, for a model unknown here; ``video`` if not given. Ignored for known models.
    """
    spec = find_spec(model)
    if spec:
        return spec.endpoint
    if kind is not None and kind not in _KINDS:
        raise EvoLinkConfigError(f"kind must be one of {', '.join(_KINDS)}")
    return f"/v1/{kind or 'video'}s/generations"


def kind(model: str) -> Kind | None:
    """Return what a model makes, or ``None`` for a model unknown here."""
    spec = find_spec(model)
    return spec.kind if spec else None


def outputs(model: str) -> Outputs | None:
    """Return what a job of a model returns, or ``None`` for a model unknown here."""
    spec = find_spec(model)
    return spec.outputs if spec else None


def max_credits(model: str, body: Mapping[str, Any]) -> float | None:
    """
    Return the maximum cost of a request in credits, by the price in the catalog, or ``None`` if it has none.

    :param model: EvoLink's name of the model.
    :param body: The request.
    """
    spec = find_spec(model)
    return spec.price.max_credits(body, spec.defaults) if spec and spec.price else None


def find_spec(model: str) -> ModelSpec | None:
    """
    Return everything the catalog knows of a model, or ``None`` for a model unknown here.

    :param model: EvoLink's name of the model, or one of its aliases.
    """
    added = next((spec for spec in _registered.values() if model in (spec.model, *spec.aliases)), None)
    return added or packaged_spec(model)


def known_models() -> tuple[str, ...]:
    """Return the names of all models of the catalog, sorted, without aliases."""
    return tuple(sorted({*model_names(), *_registered}))


def register(model: Mapping[str, Any]) -> None:
    """
    Add a model, or replace one, in this process: for a model that is newer than this package.

    Call it where the task runs (in the DAG file, a plugin), because every process has its own catalog.

    :param model: An entry as in the files of the catalog, without references to shared parameters or rules.
    :raises pydantic.ValidationError: The entry is not valid.
    """
    spec = ModelSpec.model_validate(model)
    _registered[spec.model] = spec


def _unknown_model(model: str) -> str:
    near = difflib.get_close_matches(str(model), known_models(), n=1)
    near = near or [name for name in known_models() if model and name.startswith(str(model))]
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"the model is not in the catalog of this package, so nothing was checked.{hint}"


def _unchecked(model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    given = _without_nulls(parameters)
    given.pop("model", None)
    spec = find_spec(model)
    return spec.resolve(given)[0] if spec else given


def _shown(model: str) -> str:
    return sanitize(model, 80)


def _without_nulls(parameters: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            inner = {str(key): entry for key, entry in value.items() if entry is not None}
            if inner or not value:
                given[str(name)] = inner
        elif value is not None:
            given[str(name)] = value
    return given

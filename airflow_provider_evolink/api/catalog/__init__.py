"""The catalog of models: model name in, checked request body out."""

from __future__ import annotations

from airflow_provider_evolink.api.catalog.catalog import (
    Kind,
    Validation,
    build_request,
    check_request,
    endpoint,
    find_spec,
    kind,
    known_models,
    log,
    max_credits,
    outputs,
    register,
)

__all__ = [
    "Kind",
    "Validation",
    "build_request",
    "check_request",
    "endpoint",
    "find_spec",
    "kind",
    "known_models",
    "log",
    "max_credits",
    "outputs",
    "register",
]

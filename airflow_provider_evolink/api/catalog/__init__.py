"""The catalog of models: model name in, checked request body out."""

from __future__ import annotations

from airflow_provider_evolink.api.catalog.catalog import (
    Kind,
    Validation,
    build_request,
    endpoint,
    kind,
    known_models,
    known_row,
    log,
    most_credits,
    notices,
    outputs,
    register,
)

__all__ = [
    "Kind",
    "Validation",
    "build_request",
    "endpoint",
    "kind",
    "known_models",
    "known_row",
    "log",
    "most_credits",
    "notices",
    "outputs",
    "register",
]

"""The type of a templated argument. For type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import XComArg

    T = TypeVar("T")
    # A value, a template that renders to it, or what another task returns.
    Templated: TypeAlias = T | str | XComArg

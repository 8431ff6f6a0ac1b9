"""The types of templated arguments, in one place. For type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import PurePath
    from typing import Any, TypeAlias, TypeVar

    from airflow.providers.common.compat.sdk import ObjectStoragePath, XComArg

    T = TypeVar("T")

    # A value, a template that renders to it, or what another task returns.
    Templated: TypeAlias = T | str | XComArg
    Location: TypeAlias = str | PurePath | ObjectStoragePath | XComArg
    Entries: TypeAlias = Mapping[str, Any]
    # A link, a local file, a job, or a file that a download returned.
    Media: TypeAlias = Location | Entries
    MediaList: TypeAlias = Templated[Sequence[Media]]
    Seconds: TypeAlias = float | timedelta

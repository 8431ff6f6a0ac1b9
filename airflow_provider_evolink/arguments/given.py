"""What a task is given by another task that returned nothing: the DAG file is right, and somebody skipped that task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.api.errors import EvoLinkConfigError


def is_nothing(value: Any) -> bool:
    """
    Return whether this is what is left of a result that does not exist, as it is or rendered by a template.

    :param value: What a user passes.
    """
    from airflow_provider_evolink.api.catalog.values import MISSING

    return value is None or (isinstance(value, str) and (not value.strip() or value.strip() in MISSING | {"null"}))


def returned_nothing(name: str, todo: str) -> EvoLinkConfigError:
    """
    Return the error of an argument that another task was to give.

    :param name: The argument.
    :param todo: What the user can do.
    """
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

    return EvoLinkConfigError(
        f"{name} is empty: the task that gives it returned nothing. It was marked success, it was skipped, or its XCom "
        f"is gone. What to do: {todo}"
    )

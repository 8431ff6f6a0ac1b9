"""The arguments of an operator with ``hide_prompt``: their free texts are masked in logs and in Airflow's UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import mask_secret

from airflow_provider_evolink.execution.hidden_prompt import private_texts


def mask_arguments(operator: Any) -> None:
    """
    Let Airflow mask the free texts in the rendered arguments, which its UI shows.

    :param operator: A generate operator, its templates rendered.
    """
    for text in dict.fromkeys(_texts(operator)):
        if text.strip():
            mask_secret(text)


def _texts(operator: Any) -> Iterator[str]:
    named = {path.rpartition(".")[2]: getattr(operator, path.rpartition(".")[2]) for path in operator.request_fields}
    parameters = operator.parameters if isinstance(operator.parameters, Mapping) else {}
    requests = getattr(operator, "requests", None)
    for request in [{}, *(requests if isinstance(requests, list | tuple) else ())]:
        if isinstance(request, Mapping):
            yield from private_texts({"model": operator.model, **parameters, **named, **request})
    for given in (getattr(operator, "op_args", None), getattr(operator, "op_kwargs", None)):  # of @task.evolink
        yield from private_texts({"given": given})

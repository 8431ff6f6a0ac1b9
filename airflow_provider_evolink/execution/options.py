"""
What a DAG author chose, checked before anything is paid for: the only readers of an operator.

What an argument may be is in ``arguments/table.py``, which is also used while a DAG file is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.ledger.policies import Policies

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
    from airflow_provider_evolink.arguments.choices import OnFailedJob, OnMissing, Reuse
    from airflow_provider_evolink.execution.inputs.origins import InputOrigins


@dataclass(frozen=True)
class GenerationOptions:
    """
    The arguments of a generate operator, rendered and checked. Times are in seconds.

    :param model: EvoLink's name of the model; empty if the request names it.
    :param fields: The arguments that are fields of the request, as far as they are set. A dotted name is a path, as in
        ``model_params.voice_bindings``.
    :param parameters: Further fields of the request, as given: whatever has become of them, a paid job is delivered.
    :param kind: What the model makes, which decides the endpoint of a model that the catalog does not know.
    :param on_missing: What to do if some of several results cannot be fetched into the destination.
    :param limits: Limits of each of these downloads.
    :param only_kind: The one kind of media that the operator is for; ``None``: any.
    :param keeps_result: Whether the result goes to XCom.
    :param operator_name: Class of the operator, for errors and metrics.
    :param hide_prompt: Whether results and manifests hold checksums in place of the request's free texts.
    :param reuse: Whether an archived result of the same request is handed on in place of an order.
    :param reuse_unseeded: Whether that also holds for requests without a fixed seed.
    :param archive_path: Root of the archive, for ``reuse``.
    :param archive_conn_id: Connection of its store.
    :param empty: Names of fields that were given, and of which nothing is left after rendering.
    :param read_origins: Returns which local files the task may read as inputs; few requests have any.
    """

    model: str
    fields: Mapping[str, Any]
    parameters: Any
    kind: Kind | None
    only_kind: Kind | None
    validation: Validation
    evolink_conn_id: str
    destination: str | None
    on_missing: OnMissing
    limits: Mapping[str, float | None]
    timeout: float
    poll_interval: float | None
    defer_after: float | None
    max_credits: float | None
    durable: bool
    ledger_path: str | None
    idempotency_namespace: str | None
    policies: Policies
    keeps_result: bool
    operator_name: str
    hide_prompt: bool
    reuse: Reuse
    reuse_unseeded: bool
    archive_path: str | None
    archive_conn_id: str | None
    empty: frozenset[str]
    read_origins: Callable[[], InputOrigins]

    @property
    def namespace(self) -> str:
        """Return the name of this deployment that somebody has chosen; empty: nobody has."""
        return str(self.idempotency_namespace or conf.get("evolink", "idempotency_namespace", fallback=""))

    @classmethod
    def of(cls, operator: Any, context: Context) -> Self:
        """
        Read and check the arguments of an operator. Nothing is sent.

        :param operator: A generate operator, its templates rendered.
        :param context: Airflow's context.
        :raises EvoLinkConfigError: an argument has a value that it cannot have.
        """
        checked = operator.checked_arguments()
        taken = (
            *("kind", "validation", "evolink_conn_id", "destination", "durable", "ledger_path", "timeout"),
            *("poll_interval", "defer_after", "max_credits", "idempotency_namespace", "on_missing", "hide_prompt"),
            *("reuse", "reuse_unseeded", "archive_path", "archive_conn_id"),
        )
        typed = {path: getattr(operator, path.rpartition(".")[2]) for path in operator.request_fields}
        given = operator.given
        if getattr(operator, "_BaseOperator__from_mapped", False):  # what Airflow made of expand() and partial()
            given = frozenset(getattr(operator, "_BaseOperator__init_kwargs", {}))
        if checked["reuse"] != "never" and not checked["archive_path"]:
            raise EvoLinkConfigError(
                "reuse needs archive_path, where the archived results are; nothing is submitted. What to do: give the "
                "archive_path of the archive task"
            )
        return cls(
            model=operator.model,
            fields={path: value for path, value in typed.items() if value is not None},
            parameters=operator.parameters or {},
            only_kind=operator.only_kind,
            limits={name: checked[name] for name in ("total_timeout", "max_bytes", "min_rate")},
            policies=Policies(**{field.name: checked[field.name] for field in fields(Policies)}),
            keeps_result=operator.do_xcom_push,
            operator_name=type(operator).__name__,
            empty=_empty(given, typed, operator.parameters) if given else given,
            read_origins=partial(_origins, operator, context),
            **{name: checked[name] for name in taken},
        )


@dataclass(frozen=True)
class BatchOptions:
    """
    The arguments of a batch operator, rendered and checked.

    :param items: The options of each request, as if it were submitted by an operator of its own, without a budget.
    :param shared: What holds for the batch as a whole: connection, budget and ledger.
    :param max_active: How many jobs may run at a time.
    :param on_failed_job: What a request without a result means for the others.
    """

    items: tuple[GenerationOptions, ...]
    shared: GenerationOptions
    max_active: int
    on_failed_job: OnFailedJob

    @classmethod
    def of(cls, operator: Any, context: Context) -> Self:
        """
        Read and check the arguments of an operator. Nothing is sent.

        :param operator: A batch operator, its templates rendered.
        :param context: Airflow's context.
        :raises EvoLinkConfigError: an argument has a value that it cannot have.
        """
        checked = operator.checked_arguments()
        shared = GenerationOptions.of(operator, context)
        items = tuple(_item(shared, number, request) for number, request in enumerate(checked["requests"]))
        return cls(items, shared, checked["max_active"], checked["on_failed_job"])


def _empty(given: frozenset[str], typed: Mapping[str, Any], parameters: Any) -> frozenset[str]:
    """Return the names that were given, and of which neither argument nor entry of parameters holds anything now."""
    entries = parameters.items() if isinstance(parameters, Mapping) else ()
    return given - {str(path).rpartition(".")[2] for path, value in (*typed.items(), *entries) if _holds(value)}


def _holds(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def _origins(operator: Any, context: Context) -> InputOrigins:
    from airflow_provider_evolink.execution.inputs.origins import InputOrigins

    return InputOrigins.of(operator, context)


def _item(shared: GenerationOptions, number: int, request: Mapping[str, Any]) -> GenerationOptions:
    """Return the options of one request: its own fields win over those that all share."""
    parameters = {**dict(shared.parameters), **request}
    model = str(parameters.pop("model", None) or shared.model)
    if not model:
        raise EvoLinkConfigError(f"request {number} names no model, and the operator has none")
    return replace(shared, model=model, parameters=parameters, max_credits=None)

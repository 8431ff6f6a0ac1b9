"""
What a DAG author chose, checked before anything is paid for: the only readers of an operator.

Light, so that literal arguments can be checked while a DAG file is parsed: neither pydantic nor httpx is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, get_args, get_type_hints

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.execution.batch_decisions import OnFailedJob
from airflow_provider_evolink.ledger.policies import Policies

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
    from airflow_provider_evolink.execution.input_origins import InputOrigins

MAX_SECONDS = 365 * 86400.0
MAX_ACTIVE = 1000  # more jobs do not fit into the row that Airflow keeps for a trigger on MySQL


@dataclass(frozen=True)
class GenerationOptions:
    """
    The arguments of a generate operator, rendered and checked. Times are in seconds.

    :param model: EvoLink's name of the model; empty if the request names it.
    :param fields: The arguments that are fields of the request, as far as they are set. A dotted name is a path, as in
        ``model_params.voice_bindings``.
    :param parameters: Further fields of the request, as given: whatever has become of them, a paid job is delivered.
    :param kind: What the model makes, which decides the endpoint of a model that the catalog does not know.
    :param only_kind: The one kind of media that the operator is for; ``None``: any.
    :param execution_timeout: Airflow's own limit for one try.
    :param keeps_result: Whether the result goes to XCom.
    :param operator_name: Class of the operator, for errors and metrics.
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
    timeout: float
    poll_interval: float | None
    defer_after: float | None
    max_credits: float | None
    durable: bool
    ledger_path: str | None
    idempotency_namespace: str | None
    policies: Policies
    execution_timeout: timedelta | None
    keeps_result: bool
    operator_name: str
    read_origins: Callable[[], InputOrigins]

    @classmethod
    def of(cls, operator: Any, context: Context) -> Self:
        """
        Read and check the arguments of an operator. Nothing is sent.

        :param operator: A generate operator, its templates rendered.
        :param context: Airflow's context.
        :raises EvoLinkConfigError: an argument has a value that it cannot have.
        """
        taken = ("kind", "validation", "evolink_conn_id", "destination", "max_credits", "durable", "ledger_path")
        typed = {path: getattr(operator, path.rpartition(".")[2]) for path in operator.request_fields}
        return cls(
            model=operator.model,
            fields={path: value for path, value in typed.items() if value is not None},
            parameters=operator.parameters or {},
            only_kind=operator.only_kind,
            timeout=_seconds("timeout", operator.timeout),
            poll_interval=_seconds("poll_interval", operator.poll_interval, is_optional=True),
            defer_after=_seconds("defer_after", operator.defer_after, is_optional=True),
            idempotency_namespace=operator.idempotency_namespace,
            policies=_policies(operator),
            execution_timeout=operator.execution_timeout,
            keeps_result=operator.do_xcom_push,
            operator_name=type(operator).__name__,
            read_origins=partial(_origins, operator, context),
            **{name: getattr(operator, name) for name in taken},
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
        _check_choice("on_failed_job", operator.on_failed_job, OnFailedJob)
        _check_max_active(operator.max_active)
        if operator.on_unknown_submit == "reconcile":
            raise EvoLinkConfigError(
                'on_unknown_submit="reconcile" is not for a batch: it looks for a lost order by model and time only, '
                "and would take the job of another request for it; nothing is ordered. What to do: choose "
                '"fail", "replay" or "resubmit"'
            )
        shared = GenerationOptions.of(operator, context)
        requests = _requests(operator.requests)
        items = tuple(_item(shared, number, request) for number, request in enumerate(requests))
        return cls(items, shared, operator.max_active, operator.on_failed_job)


def _origins(operator: Any, context: Context) -> InputOrigins:
    from airflow_provider_evolink.execution.input_origins import InputOrigins

    return InputOrigins.of(operator, context)


def _requests(value: Any) -> Sequence[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise EvoLinkConfigError(f"requests must be a list of dicts, not {type(value).__name__}")
    return value


def _item(shared: GenerationOptions, number: int, request: Any) -> GenerationOptions:
    """Return the options of one request: its own fields win over those that all share."""
    if not isinstance(request, Mapping) or not all(isinstance(name, str) for name in request):
        raise EvoLinkConfigError(f"request {number} must be a dict of fields, not {type(request).__name__}")
    parameters = {**dict(shared.parameters), **request}
    model = str(parameters.pop("model", None) or shared.model)
    if not model:
        raise EvoLinkConfigError(f"request {number} names no model, and the operator has none")
    return replace(shared, model=model, parameters=parameters, max_credits=None)


def _policies(operator: Any) -> Policies:
    given = {field.name: getattr(operator, field.name) for field in fields(Policies)}
    for name, hint in get_type_hints(Policies).items():
        if name != "max_regenerations":
            _check_choice(name, given[name], hint)
    maximum = given["max_regenerations"]
    if maximum is not None and (isinstance(maximum, bool) or not isinstance(maximum, int) or maximum < 0):
        raise EvoLinkConfigError("max_regenerations must be a whole number from 0, or None")
    return Policies(**given)


def _check_choice(name: str, value: Any, literal: Any) -> None:
    if value not in get_args(literal):
        raise EvoLinkConfigError(f"{name} must be one of {', '.join(get_args(literal))}")


def _check_max_active(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ACTIVE:
        raise EvoLinkConfigError(f"max_active must be a whole number from 1 to {MAX_ACTIVE}")


def _seconds(name: str, value: Any, *, is_optional: bool = False) -> Any:
    """Check a number of seconds, or a ``timedelta``. Here, since found out later it would cost a job."""
    if value is None and is_optional:
        return None
    value = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_SECONDS:
        given = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
        raise EvoLinkConfigError(
            f"{name} must be a number of seconds from 0 to {MAX_SECONDS:.0f}, and is {given}; this try ordered "
            "nothing. What to do: correct it in the DAG file and clear the task"
        )
    return value

"""
What a DAG author chose, checked before anything is paid for: the only readers of an operator.

Light, so that literal arguments can be checked while a DAG file is parsed: neither pydantic nor httpx is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, get_args, get_type_hints

from airflow_provider_evolink.api.errors import EvoLinkConfigError
from airflow_provider_evolink.execution.batch_decisions import OnFailedJob
from airflow_provider_evolink.ledger.policies import Policies
from airflow_provider_evolink.storage.given import is_nothing, returned_nothing

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.catalog import Kind, Validation
    from airflow_provider_evolink.api.files.transfer.fetching import DownloadLimits
    from airflow_provider_evolink.execution.input_origins import InputOrigins
    from airflow_provider_evolink.storage.results import OnMissing

MAX_SECONDS = 365 * 86400.0
_NUMBER = re.compile(r"\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*")
MAX_ACTIVE = 1000  # more jobs do not fit into the row that Airflow keeps for a trigger on MySQL


@dataclass(frozen=True)
class _Range:
    """Numbers that an argument may be."""

    maximum: float
    minimum: int = 0
    unit: str = ""
    is_whole: bool = False
    is_optional: bool = True


_SECONDS = _Range(MAX_SECONDS, unit=" of seconds")
_CREDITS = _Range(10**9)
_COUNT = _Range(10**6, is_whole=True)
_ACTIVE = _Range(MAX_ACTIVE, minimum=1, is_whole=True, is_optional=False)


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
    limits: DownloadLimits
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
    empty: frozenset[str]
    read_origins: Callable[[], InputOrigins]

    @classmethod
    def of(cls, operator: Any, context: Context) -> Self:
        """
        Read and check the arguments of an operator. Nothing is sent.

        :param operator: A generate operator, its templates rendered.
        :param context: Airflow's context.
        :raises EvoLinkConfigError: an argument has a value that it cannot have.
        """
        from airflow_provider_evolink.storage.results import limits_of, on_missing_of

        taken = ("kind", "validation", "evolink_conn_id", "destination", "durable", "ledger_path", "hide_prompt")
        typed = {path: getattr(operator, path.rpartition(".")[2]) for path in operator.request_fields}
        given = operator.given
        if getattr(operator, "_BaseOperator__from_mapped", False):  # what Airflow made of expand() and partial()
            given = frozenset(getattr(operator, "_BaseOperator__init_kwargs", {}))
        return cls(
            model=operator.model,
            fields={path: value for path, value in typed.items() if value is not None},
            parameters=operator.parameters or {},
            only_kind=operator.only_kind,
            on_missing=on_missing_of(operator.on_missing),
            limits=limits_of(operator),
            timeout=_number("timeout", operator.timeout, replace(_SECONDS, is_optional=False)),
            poll_interval=_number("poll_interval", operator.poll_interval, _SECONDS),
            defer_after=_number("defer_after", operator.defer_after, _SECONDS),
            max_credits=_number("max_credits", operator.max_credits, _CREDITS),
            idempotency_namespace=operator.idempotency_namespace,
            policies=_policies(operator),
            keeps_result=operator.do_xcom_push,
            operator_name=type(operator).__name__,
            empty=_empty(given, typed, operator.parameters) if given else given,
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
        max_active = _number("max_active", operator.max_active, _ACTIVE)
        if operator.on_unknown_submit == "reconcile":
            raise EvoLinkConfigError(
                'on_unknown_submit="reconcile" is not for a batch: it looks for a lost order by model and time only, '
                "and would take the job of another request for it; nothing is ordered. What to do: choose "
                '"fail", "replay" or "resubmit"'
            )
        shared = GenerationOptions.of(operator, context)
        requests = _requests(operator.requests)
        items = tuple(_item(shared, number, request) for number, request in enumerate(requests))
        return cls(items, shared, max_active, operator.on_failed_job)


def _empty(given: frozenset[str], typed: Mapping[str, Any], parameters: Any) -> frozenset[str]:
    """Return the names that were given, and of which neither argument nor entry of parameters holds anything now."""
    entries = parameters.items() if isinstance(parameters, Mapping) else ()
    return given - {str(path).rpartition(".")[2] for path, value in (*typed.items(), *entries) if _holds(value)}


def _holds(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [], {})


def _origins(operator: Any, context: Context) -> InputOrigins:
    from airflow_provider_evolink.execution.input_origins import InputOrigins

    return InputOrigins.of(operator, context)


def _requests(value: Any) -> Sequence[Any]:
    if is_nothing(value):
        raise returned_nothing("requests", "clear that task, or give the requests; nothing is submitted")
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
    maximum = _number("max_regenerations", given["max_regenerations"], _COUNT)
    return Policies(**{**given, "max_regenerations": maximum})


def _check_choice(name: str, value: Any, literal: Any) -> None:
    if value not in get_args(literal):
        raise EvoLinkConfigError(f"{name} must be one of {', '.join(get_args(literal))}")


def _number(name: str, value: Any, rule: _Range) -> Any:
    """
    Check a number, or a ``timedelta`` as seconds. Here, since found out later it would cost a job.

    Forms, and the arguments of mapped task groups, give numbers as text.
    """
    if value is None and rule.is_optional:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) and rule.unit else value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = float(value)
    if rule.is_whole and isinstance(number, float) and number.is_integer():
        number = int(number)
    kinds = int if rule.is_whole else int | float
    if isinstance(number, bool) or not isinstance(number, kinds) or not rule.minimum <= number <= rule.maximum:
        given = repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
        raise EvoLinkConfigError(
            f"{name} must be a {'whole ' if rule.is_whole else ''}number{rule.unit} from {rule.minimum} to "
            f"{rule.maximum:.0f}, and is {given}; this try ordered nothing. What to do: correct it in the DAG file and "
            "clear the task"
        )
    return number

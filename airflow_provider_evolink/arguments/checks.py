"""Check an operator's arguments by the table: literals when a DAG file is parsed, all of them when the task runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_evolink.arguments.given import is_nothing, returned_nothing
from airflow_provider_evolink.arguments.rules import Rule, UnfitValueError, is_template
from airflow_provider_evolink.arguments.table import REQUEST_FIELDS

if TYPE_CHECKING:
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

_MAX_SHOWN = 80
_LOGIN = r"(?i)^(\s*[a-z0-9+.-]+://)[^/]*@"


def check_given(operator: type[Any], given: Mapping[str, Any], task_id: str, defaults: Mapping[str, Any]) -> None:
    """
    Check those arguments of an operator that need no rendering.

    :param operator: The class of the operator.
    :param given: Arguments by name.
    :param task_id: The task, for errors.
    :param defaults: The ``default_args`` around it, for errors.
    :raises EvoLinkConfigError: one cannot have its value.
    """
    for name in _checked_names(operator, given):
        value, rule = given[name], operator.argument_rules[name]
        is_rendered = name in operator.template_fields
        if is_rendered and is_template(value):
            continue
        try:
            rule.read(value, is_parsing=is_rendered)
        except UnfitValueError as error:
            where = _where(task_id, name, value, defaults)
            if is_template(value):
                where += "; it is not a template field, so nothing is rendered in it"
            raise _error(name, value, rule, error, where, is_parsing=True) from None


class _CheckedPartial:
    """``partial()`` of an operator, which builds nothing: what it is given is checked like the arguments of one."""

    def __get__(self, task: Any, operator: type[Any]) -> Callable[..., Any]:
        if task is not None:
            refuse: Callable[..., Any] = super(CheckedOperator, task).partial  # type: ignore[misc]
            return refuse
        plain = super(CheckedOperator, operator).partial  # type: ignore[misc]

        def partial(**given: Any) -> Any:
            check_given(operator, given, str(given.get("task_id")), {})
            mapped = plain(**given)
            if operator.map_label_template and not mapped.kwargs.get("map_index_template"):
                mapped.kwargs["map_index_template"] = operator.map_label_template
            return mapped

        return partial


class CheckedOperator(BaseOperator):
    """
    An operator whose arguments are checked by a table.

    What stands in the DAG file and needs no rendering is checked when the file is parsed: an error is an import error
    of the file, and costs nothing. The rest, and what a mapped task is given, is checked first thing on the worker.
    """

    argument_rules: ClassVar[Mapping[str, Rule]] = {}
    map_label_template: ClassVar[str | None] = None  # the label of mapped tasks, unless the author names one
    partial: Callable[..., Any] = _CheckedPartial()  # type: ignore[assignment]

    def check_literals(self) -> None:
        """
        Check the arguments that are set so far and need no rendering. At the end of ``__init__``.

        :raises EvoLinkConfigError: one cannot have its value; the message names the argument, the rule and the task.
        """
        if getattr(self, "_BaseOperator__from_mapped", False):
            return  # on the worker, where an error here would use up retries
        check_given(type(self), vars(self), self.task_id, _defaults(self))

    def checked_arguments(self) -> dict[str, Any]:
        """
        Return the arguments that the table knows, rendered, as they are used: numbers as numbers, seconds as seconds.

        :raises EvoLinkConfigError: one cannot have its value; nothing was done yet.
        """
        rules = {name: rule for name, rule in self.argument_rules.items() if not rule.is_for_literals}
        found = {}
        for name, rule in rules.items():
            value = getattr(self, name)
            if rule.if_nothing and is_nothing(value):
                raise returned_nothing(name, rule.if_nothing)
            try:
                found[name] = rule.read(value)
            except UnfitValueError as error:
                where = _where(self.task_id, name, value, _defaults(self))
                raise _error(name, value, rule, error, where, is_parsing=False) from None
        return found


def _checked_names(operator: type[Any], given: Mapping[str, Any]) -> Iterable[str]:
    """Yield the arguments that have a rule; fields of the request only where the model's rules are binding."""
    is_strict = given.get("validation", "strict") == "strict"
    fields = {path.rpartition(".")[2] for path in getattr(operator, "request_fields", ()) if is_strict}
    known = (name for name in operator.argument_rules if name in given)
    return (name for name in known if name in fields or name not in REQUEST_FIELDS)


def _defaults(operator: Any) -> dict[str, Any]:
    """Return the ``default_args`` around a task."""
    places = (getattr(operator, "dag", None) if operator.has_dag() else None, getattr(operator, "task_group", None))
    return {name: value for place in places for name, value in (getattr(place, "default_args", None) or {}).items()}


def _where(task_id: str, name: str, value: Any, defaults: Mapping[str, Any]) -> str:
    is_default = name in defaults and defaults[name] is value
    return f"task {task_id}, from default_args" if is_default else f"task {task_id}"


def _error(
    name: str, value: Any, rule: Rule, error: UnfitValueError, where: str, *, is_parsing: bool
) -> EvoLinkConfigError:
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

    if error.position is not None:
        value = value[error.position]
        found = f"entry {error.position} is {_shown(value, rule)}"
    else:
        found = f"is {_shown(value, rule)}"
    end = "" if is_parsing else "; this try ordered nothing"
    todo = "correct it in the DAG file" + ("" if is_parsing else " and clear the task")
    return EvoLinkConfigError(f"{name} {error.rule}, and {found} ({where}){end}. What to do: {todo}")


def _shown(value: Any, rule: Rule) -> str:
    """Return a value as an error may show it: no prompt, no signed link, no password of a URI."""
    from airflow_provider_evolink.api.redaction import sanitize

    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str) and not rule.is_private:
        return sanitize(repr(re.sub(_LOGIN, r"\1", value)), _MAX_SHOWN)
    return f"a {type(value).__name__}"

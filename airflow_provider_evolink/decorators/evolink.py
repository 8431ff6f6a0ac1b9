"""``@task.evolink``: a function returns the request, the task submits it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import check_given
from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.templated import Templated
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.execution.request import Draft, RequestSource

_KEPT = "evolink_request"


class _EvoLinkDecoratedOperator(DecoratedOperator, EvoLinkGenerateOperator):
    """
    Submits the request that a function returns.

    The function is called when a request is to be submitted, and not again for that job: not after a deferral, and not
    in a retry that waits for the same job. So it need not return the same request twice.

    :param python_callable: The function, plain or ``async``. It returns the fields of the request.
    :param op_args: Its positional arguments. (templated)
    :param op_kwargs: Its keyword arguments. (templated)
    :param model: EvoLink's name of the model, unless the function returns it as ``model``. (templated)
    """

    argument_rules = table.DECORATED
    custom_operator_name = "@task.evolink"
    # What the function returns is sent as it is: no field of the request is a template field.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in EvoLinkGenerateOperator.template_fields if name != "parameters"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        model: Templated[str] = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, model=model, **kwargs)
        if self.parameters is not None:
            raise TypeError("@task.evolink takes no parameters: the function returns them")

    def _source(self, options: GenerationOptions, context: Context) -> RequestSource:
        return _FunctionSource(self, options, context)


class _FunctionSource:
    """
    The request that a function returns. It is called at most once in a try.

    What is submitted is kept in an XCom, since no attribute survives a deferral.

    :param operator: The operator, its templates rendered.
    :param options: Its arguments.
    :param context: Airflow's context.
    """

    is_repeatable = False

    def __init__(self, operator: _EvoLinkDecoratedOperator, options: GenerationOptions, context: Context) -> None:
        self._operator = operator
        self._options = options
        self._context = context
        self._draft: Draft | None = None
        self._kept: dict[str, Any] | None = None

    def build(self) -> Draft:
        """
        Call the function, unless this try has called it.

        :raises EvoLinkRequestError: it returned no fields, or no model is known.
        """
        from airflow_provider_evolink.execution.inputs.origins import texts_in_function
        from airflow_provider_evolink.execution.request import draft

        if self._draft is None:
            literals = texts_in_function(self._operator.python_callable)
            fields = self._call()
            model = self._options.model or str(fields.get("model") or "")
            self._draft = replace(draft(self._options, model, fields), literals=literals)
        return self._draft

    def _call(self) -> dict[str, Any]:
        operator = self._operator
        context_merge(self._context, operator.op_kwargs)
        kwargs = determine_kwargs(operator.python_callable, operator.op_args, self._context)
        fields = _awaited(operator.python_callable(*operator.op_args, **kwargs))
        if isinstance(fields, Mapping) and all(isinstance(name, str) for name in fields):
            return dict(fields)
        from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation

        rule = f"the function must return a dict of the request's fields, not {type(fields).__name__}"
        raise EvoLinkRequestError(self._options.model or "(none)", [Violation("(return value)", rule)])

    def remember(self, shown: dict[str, Any]) -> None:
        """
        Keep what is submitted.

        :param shown: The request without secrets.
        """
        self._kept = shown
        push = getattr(self._context["ti"], "xcom_push", None)
        if push and self._options.keeps_result:
            push(key=_KEPT, value=shown)

    def remembered(self) -> dict[str, Any] | None:
        """Return what this try has submitted; ``None`` after a retry, which does not know."""
        if self._kept is None and self._options.keeps_result:
            ti = self._context["ti"]
            try:
                kept = ti.xcom_pull(task_ids=ti.task_id, key=_KEPT, map_indexes=ti.map_index)
            except Exception as error:  # noqa: BLE001 - what is only shown must not fail a job that was paid
                self._operator.log.info("The submitted request cannot be looked up (%s)", type(error).__name__)
                return None
            self._kept = kept if isinstance(kept, dict) else None
        return self._kept


def _awaited(returned: Any) -> Any:
    """Return what a function returned, awaited if need be: in a thread where this one runs an event loop already."""
    if not inspect.isawaitable(returned):
        return returned

    async def wait() -> Any:
        return await returned

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, wait()).result()


def evolink_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a task from a function that returns a request for EvoLink: ``@task.evolink(model="gpt-image-2")``.

    The function returns the fields of the request, with ``model`` among them if the decorator has none. They
    are not rendered: a prompt with braces stays as it is. The function is called once for each job; neither after a
    deferral nor in a retry that waits for the same job is it called again. An ``async`` function is awaited.

    :param python_callable: The function, plain or ``async``.
    :param kwargs: Arguments of :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`,
        except ``parameters``.
    """
    if python_callable is None:
        return partial(evolink_task, **kwargs)  # type: ignore[return-value]
    # Airflow builds a mapped task on the worker only.
    task_id = str(kwargs.get("task_id") or getattr(python_callable, "__name__", "(unnamed)"))
    check_given(_EvoLinkDecoratedOperator, kwargs, task_id, {})
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_EvoLinkDecoratedOperator, **kwargs
    )

"""``@task.evolink``: a function makes the request, the task orders it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_KEPT = "evolink_request"


class _EvoLinkDecoratedOperator(DecoratedOperator, EvoLinkGenerateOperator):
    """
    Orders what a function returns.

    The function is asked when something is to be ordered, and not again while that order is open: not after a
    deferral, and not in a retry that waits for the same job. So it need not return the same twice.

    :param python_callable: The function. It returns the fields of the request.
    :param op_args: Its positional arguments. (templated)
    :param op_kwargs: Its keyword arguments. (templated)
    :param model: EvoLink's name of the model, unless the function returns it as ``model``. (templated)
    """

    custom_operator_name = "@task.evolink"
    # What the function returns is sent as it is: no field of the request is a template field.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in EvoLinkGenerateOperator.template_fields if name != "parameters"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}
    makes_request = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        model: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, model=model, **kwargs)
        if self.parameters is not None:
            raise TypeError("@task.evolink takes no parameters: the function returns them")
        self._takes_model = not model
        self._context: Any = None
        self._made: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None

    def execute(self, context: Context) -> Any:
        """Attach to the job of an earlier try, or ask the function and order; then wait."""
        self._context, self._made, self._kept = context, None, None
        return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait. The function is not asked."""
        self._context = context
        return super().resume_execution(next_method, next_kwargs, context)

    def request(self) -> dict[str, Any]:
        """
        Return what the function made, asking it at most once in a try.

        :raises EvoLinkRequestError: it returned no fields, or no model is known.
        """
        if self._made is None:
            made = self._ask()
            if self._takes_model:
                self.model = str(made.get("model") or "")
            self._made = made
        self.parameters, given = self._made, self.parameters
        try:
            return super().request()
        finally:
            self.parameters = given

    def _ask(self) -> dict[str, Any]:
        context_merge(self._context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, self._context)
        made = self.python_callable(*self.op_args, **kwargs)
        if isinstance(made, Mapping) and all(isinstance(name, str) for name in made):
            return dict(made)
        from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation

        rule = f"the function must return a dict of the request's fields, not {type(made).__name__}"
        raise EvoLinkRequestError(self.model or "(none)", [Violation("(return value)", rule)])

    def keep_request(self, shown: dict[str, Any]) -> None:
        """
        Keep what is ordered for the result: no attribute survives a deferral, an XCom does.

        :param shown: The request without secrets.
        """
        self._kept = shown
        push = getattr(self._context["ti"], "xcom_push", None)
        if push and self.do_xcom_push:
            push(key=_KEPT, value=shown)

    def kept_request(self) -> dict[str, Any] | None:
        """Return what this try has ordered; ``None`` after a retry, which does not know."""
        if self._kept is None and self.do_xcom_push:
            ti = self._context["ti"]
            try:
                kept = ti.xcom_pull(task_ids=ti.task_id, key=_KEPT, map_indexes=ti.map_index)
            except Exception as error:  # noqa: BLE001 - what is only shown must not fail a job that was paid
                self.log.info("What was ordered cannot be looked up (%s)", type(error).__name__)
                return None
            self._kept = kept if isinstance(kept, dict) else None
        return self._kept


def evolink_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a task of a function that returns a request to EvoLink: ``@task.evolink(model="gpt-image-2")``.

    The function returns the fields of the request, with ``model`` among them if the decorator has none. Nothing in
    them is a template: a prompt with braces stays as it is. Each order asks the function once; neither a deferral nor
    a retry that waits for the same job asks it again.

    :param python_callable: The function.
    :param kwargs: Arguments of :class:`~airflow_provider_evolink.operators.generate.EvoLinkGenerateOperator`, but
        for ``parameters``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_EvoLinkDecoratedOperator, **kwargs
    )

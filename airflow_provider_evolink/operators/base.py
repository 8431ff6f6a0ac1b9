"""What operators with input files share: they know which texts stand in the DAG file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.arguments.checks import CheckedOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

MAX_LABEL = 40  # more would push the state off the list of mapped tasks


class InputOperator(CheckedOperator):
    """
    Keep the arguments as they stand in the DAG file, when Airflow renders them.

    A local file may be sent if its name stands there. What templates make of it may come from whoever triggers a run.
    """

    unrendered: frozenset[str] | None = None  # the texts in the template fields; None: nothing was rendered
    given: frozenset[str] = frozenset()  # the arguments, and the entries of parameters, that were set before that

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """
        Render the template fields, once their texts are kept.

        :param context: Airflow's context.
        :param jinja_env: Jinja's environment.
        """
        from airflow_provider_evolink.execution.inputs.origins import texts

        if self.unrendered is None:
            self.given = frozenset(_given(self))
            self.unrendered = frozenset(texts([getattr(self, name, None) for name in self.template_fields]))
        super().render_template_fields(context, jinja_env)
        if getattr(self, "hide_prompt", False):
            from airflow_provider_evolink.execution.inputs.hidden_prompt import mask_arguments

            mask_arguments(self)


def _given(operator: Any) -> Iterator[str]:
    """Yield the names of the template fields, and of the entries of ``parameters``, that are set."""
    parameters = getattr(operator, "parameters", None)
    named = {name: getattr(operator, name, None) for name in operator.template_fields}
    for values in (named, parameters if isinstance(parameters, Mapping) else {}):
        yield from (str(name) for name, value in values.items() if value is not None)


def prompt_label(operator: Any) -> str | None:
    """
    Return the start of the prompt, as the label of a mapped task; ``None`` without one, or under ``hide_prompt``.

    :param operator: A generate operator, its templates rendered.
    """
    parameters = operator.parameters if isinstance(operator.parameters, Mapping) else {}
    prompt = getattr(operator, "prompt", None) or parameters.get("prompt")
    text = " ".join(prompt.split()) if isinstance(prompt, str) and not operator.hide_prompt else ""
    return (text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…") or None

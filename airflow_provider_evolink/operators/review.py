"""The operator that lets people choose results before the next, dear step. Needs Airflow 3.1."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import CheckedOperator
from airflow_provider_evolink.execution.task_run import TaskRun, push_aside
from airflow_provider_evolink.retry_policies import airflow_failures
from airflow_provider_evolink.review.takes import (
    REJECT_ALL,
    Take,
    chosen_of,
    file_address,
    options_of,
    page_of,
    takes_of,
    time_left,
)

try:
    from airflow.providers.standard.operators.hitl import HITLOperator
except Exception as error:
    raise ImportError(
        "EvoLinkReviewOperator needs Airflow 3.1 or later with apache-airflow-providers-standard, where tasks can wait "
        "for people. What to do: upgrade Airflow, or approve outside of it and trigger the next DAG"
    ) from error

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.templated import Templated

# Before version 1.13 of the standard provider, `execution_timeout` is how long people may take.
_HAS_RESPONSE_TIMEOUT = "response_timeout" in inspect.signature(HITLOperator.__init__).parameters
REVIEW = "evolink_review"  # XCom of what is under review, for the tab Media


class EvoLinkReviewOperator(CheckedOperator, HITLOperator):
    """
    Show results to people, and hand on those that they choose. **Nothing is ordered without a response.**

    The results stand under *Required Actions* and in the tab *Media*: picture, prompt and credits of each. The reviewer
    picks some, approves all or rejects all; without a response in time all are rejected. What was chosen is returned as
    a list to map over. If nothing was chosen, the task is skipped, and so is what follows. No worker slot is used while
    people think.

    One review serves many results. It must not stand in a mapped task group: Airflow does not skip there what
    follows a rejection, so the paid task would run.

    :param results: What generate, batch, download or archive tasks returned. Mere jobs must be used before their links
        expire (24 hours), so the review ends 30 minutes before; a review of files has no such limit. (templated)
    :param subject: Headline. (templated)
    :param body: What the reviewer has to know, in Markdown. (templated)
    :param next_credits: What each chosen result will cost next, in credits; only shown. (templated)
    :param response_timeout: How long people may take. Default: as long as links live, without limit for files.
    :return: The chosen results, as they were given: jobs, or files.
    :raises AirflowSkipException: nothing was chosen.
    :raises AirflowFailException: there is nothing to review, or no time for it.
    """

    argument_rules = table.REVIEW
    template_fields: Sequence[str] = ("results", "subject", "body", "next_credits")
    ui_color = "#e8e4ff"
    # What Airflow's operator is given before the results are known.
    _NOTHING_YET: ClassVar[list[str]] = [REJECT_ALL]

    def __init__(
        self,
        *,
        results: Any,
        subject: Templated[str] = "Choose the results to go on with",
        body: Templated[str | None] = None,
        next_credits: Templated[float | None] = None,
        **kwargs: Any,
    ) -> None:
        if "response_timeout" in kwargs and not _HAS_RESPONSE_TIMEOUT:
            kwargs["execution_timeout"] = kwargs.pop("response_timeout")
        super().__init__(
            subject=cast("str", subject),
            body=cast("str | None", body),
            options=self._NOTHING_YET,
            defaults=REJECT_ALL,
            multiple=True,
            **kwargs,
        )
        self.results = results
        self.next_credits = next_credits
        self.check_literals()
        _refuse_mapped_group(self)

    def execute(self, context: Context) -> Any:
        """Show the results, and wait for people."""
        with airflow_failures(self):
            _refuse_mapped_group(self)
            next_credits = self.checked_arguments()["next_credits"]
            takes = self._offer()
            now = datetime.now(UTC)
            left = time_left(takes, now, self._wanted())
        self._limit(left)
        run = TaskRun(context, self.log, lambda: False)
        push_aside(run, REVIEW, [dict(take.value) for take in takes])
        ti: Any = run.ti
        self.body = page_of(
            takes,
            lambda number: file_address(ti.dag_id, ti.task_id, ti.map_index, number, ti.run_id),
            text=self.body,
            next_credits=next_credits,
            ends=now + left if left else None,
        )
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """
        Hand on what was chosen.

        :param context: Airflow's context.
        :param event: The response.
        """
        with airflow_failures(self):
            takes = self._offer()
        response = super().execute_complete(context, event)
        chosen = chosen_of(takes, response["chosen_options"])
        who = (response.get("responded_by_user") or {}).get("name") or "nobody in time, so the default counts"
        self.log.info("%d of %d results chosen (%s)", len(chosen), len(takes), who)
        if not chosen:
            raise AirflowSkipException("All results were rejected: nothing is handed on, and nothing is ordered")
        return chosen

    def _offer(self) -> list[Take]:
        takes = takes_of(self.results)
        self.options = options_of(takes)
        return takes

    def _wanted(self) -> timedelta | None:
        return self.response_timeout if _HAS_RESPONSE_TIMEOUT else self.execution_timeout

    def _limit(self, left: timedelta | None) -> None:
        if _HAS_RESPONSE_TIMEOUT:
            self.response_timeout = left
        else:
            self.execution_timeout = left


def _refuse_mapped_group(operator: Any) -> None:
    """Refuse a review inside a mapped task group: a rejection there skips nothing, and the paid task behind it runs."""
    from airflow_provider_evolink.api.errors import EvoLinkConfigError

    group = operator.get_closest_mapped_task_group()
    if group is not None:
        raise EvoLinkConfigError(
            f"task {operator.task_id} is a review inside the mapped task group {group.group_id}, where Airflow does "
            "not skip what follows a rejection, so the paid task behind it would run. What to do: put one review "
            "behind the group, and map the next task over what it returns"
        )

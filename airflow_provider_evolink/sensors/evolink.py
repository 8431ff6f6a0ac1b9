"""Waiting for a job that somebody else ordered, or that an earlier run left behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_evolink.compat import default_deferrable
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

PADDING = timedelta(minutes=2)


class EvoLinkJobSensor(BaseSensorOperator):
    """
    Wait for an EvoLink job by its id: the way to salvage one that was paid for. Orders nothing, costs nothing.

    :param job_id: EvoLink's id, e.g. from the log of the task that ordered. (templated)
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable`` of the environment, else True.
    :param poll_interval: Seconds between looks in the triggerer; a blocking sensor uses ``poke_interval``.
    :return: The job, as a generate operator returns it; what was ordered is not known.
    :raises AirflowFailException: EvoLink failed the job.
    :raises AirflowSensorTimeout: it still runs after ``timeout`` seconds.
    :raises EvoLinkNotFoundError: EvoLink does not know the job.
    """

    template_fields: Sequence[str] = ("job_id", "evolink_conn_id")
    ui_color = "#e8e4ff"

    def __init__(
        self,
        *,
        job_id: str,
        evolink_conn_id: str = "evolink_default",
        deferrable: bool = default_deferrable(),
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.evolink_conn_id = evolink_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> Any:
        """Look once; then wait in the triggerer, or poke."""
        if not self.deferrable:
            return super().execute(context)
        try:
            found = self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:  # as Airflow does where a sensor pokes or resumes
                raise AirflowSkipException("Skipping as soft_fail or never_fail is set") from error
            raise
        if found.is_done:
            return found.xcom_value
        from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

        now = time.time()
        return self.defer(
            trigger=EvoLinkJobTrigger(
                evolink_conn_id=self.evolink_conn_id,
                job_id=self.job_id,
                deadline=now + self.timeout,
                started=now,
                poll_interval=self.poll_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + PADDING,
        )

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Read the job once; a failed job fails the task."""
        from airflow_provider_evolink.api.errors import EvoLinkJobTimeout, EvoLinkRateLimited, EvoLinkUnavailable
        from airflow_provider_evolink.api.jobs.failures import job_error
        from airflow_provider_evolink.api.redaction import Redactor
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook
        from airflow_provider_evolink.storage.results import job_id_of, with_results

        with airflow_failures():
            job_id = job_id_of(self.job_id)
            try:
                with EvoLinkHook(self.evolink_conn_id).get_conn() as client:
                    job = with_results(client, client.get_job(job_id))
            except (EvoLinkJobTimeout, EvoLinkRateLimited, EvoLinkUnavailable) as error:
                self.log.warning("EvoLink job %s cannot be read right now, waiting on: %s", job_id, error)
                return PokeReturnValue(is_done=False)
            if not job.status.is_over:
                self.log.info("EvoLink job %s: %s, %.0f %%", job.job_id, job.status_text, job.progress or 0)
                return PokeReturnValue(is_done=False)
            if failure := job_error(job, Redactor.everything()):
                raise failure
        return PokeReturnValue(is_done=True, xcom_value={**job.summary(), "request": None})

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Go on after the trigger: the job is read again, and this reading decides.

        :param context: Airflow's context.
        :param event: Job id and status, as the trigger saw them.
        :raises AirflowSensorTimeout: the job still runs.
        """
        status = (event or {}).get("status")
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        if status == "timeout":
            raise AirflowSensorTimeout(
                f"EvoLink job {self.job_id} still runs after {self.timeout:g} s; it goes on and stays billable, "
                "nothing was lost. What to do: clear this task, or give it a longer timeout"
            )
        self.log.warning("The triggerer ended the wait as %s, the job still runs: poking on the worker", status)
        return super().execute(context)

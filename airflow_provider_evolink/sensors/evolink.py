"""Wait for a job that another task submitted, or that an earlier run left behind."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, PokeReturnValue

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import CheckedOperator
from airflow_provider_evolink.compat import TRIGGER_FAILED, TRIGGER_TIMEOUT, default_deferrable
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.http.patience import Patience
    from airflow_provider_evolink.arguments.templated import Entries, Seconds, Templated

PADDING = timedelta(minutes=2)

# What only the task that ordered knows of a job.
_OF_ORDER = ("request", "fingerprint", "submitted", "completed", "request_id")


class EvoLinkJobSensor(CheckedOperator, BaseSensorOperator):
    """
    Wait for an EvoLink job by its id: the way to recover one that was paid for. Submits nothing, costs nothing.

    :param job_id: EvoLink's id, e.g. from the log of the task that submitted it; or the job, as a generate operator
        returns it. (templated)
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable`` of the environment, else True.
    :param poll_interval: Seconds (or ``timedelta``) between polls in the triggerer; a sensor that is not deferrable
        uses ``poke_interval``.
    :return: The job, as a generate operator returns it; its request is not known.
    :raises AirflowFailException: EvoLink failed the job.
    :raises AirflowSensorTimeout: the job is still running after ``timeout`` seconds, or ``execution_timeout`` if that
        is shorter. With ``soft_fail`` the task is skipped instead.
    :raises EvoLinkNotFoundError: EvoLink does not know the job.
    """

    argument_rules = table.SENSOR
    template_fields: Sequence[str] = ("job_id", "evolink_conn_id")
    ui_color = "#e8e4ff"
    _clock_offset = 0.0

    def __init__(
        self,
        *,
        job_id: Templated[Entries],
        evolink_conn_id: Templated[str] = "evolink_default",
        deferrable: bool = default_deferrable(),
        poll_interval: Seconds | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.evolink_conn_id = evolink_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.check_literals()

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the job once; a deferrable sensor defers while the job is running."""
        result = self._read()
        if self.deferrable and not result.is_done:
            self._defer(self._seconds_left(context))
        return result

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Continue after the trigger: the job is read again, and this reading decides.

        :param context: Airflow's context.
        :param event: Job id and status, as the trigger read them.
        :raises AirflowSensorTimeout: the job is still running.
        """
        from airflow_provider_evolink.api.http.patience import Patience
        from airflow_provider_evolink.api.jobs.schedule import WaitEnd

        status = (event or {}).get("status")
        result = self._read(Patience(self._ends(context)))
        if result.is_done:
            return result.xcom_value
        left = self._seconds_left(context)
        if status == WaitEnd.TIMEOUT or left <= 0:
            raise self._timeout()
        self.log.warning("The trigger ended with status %s, but the job is running: poking on the worker", status)
        self.deferrable, self.timeout = False, left
        return self.execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue on the worker if Airflow ended the trigger: a job that has ended meanwhile counts."""
        if next_method == TRIGGER_FAILED:
            has_timed_out = (next_kwargs or {}).get("error") == TRIGGER_TIMEOUT
            status = "timeout" if has_timed_out else "trigger failed"
            next_method, next_kwargs = "execute_complete", {"event": {"status": status}}
        return super().resume_execution(next_method, next_kwargs, context)

    def _timeout(self) -> AirflowSensorTimeout:
        """Log the end of the wait as every failure is logged, and return Airflow's error for it."""
        from airflow_provider_evolink.api.errors import EvoLinkJobTimeout
        from airflow_provider_evolink.task_failures import log_failure

        message = (
            f"EvoLink job {self._job_id()} is still running after {self._limit():g} s. It keeps running and is still "
            "billed; nothing was lost. What to do: clear this task, or give it a longer timeout"
        )
        log_failure(EvoLinkJobTimeout(message, job_id=self._job_id()))
        return AirflowSensorTimeout(message)

    def _limit(self) -> float:
        """Return the seconds that this try may take; Airflow does not enforce its limit while a task is deferred."""
        execution = self.execution_timeout
        return self.timeout if execution is None else min(self.timeout, execution.total_seconds())

    def _seconds_left(self, context: Context) -> float:
        start = getattr(context.get("ti"), "start_date", None)
        return self._limit() - (time.time() - start.timestamp() if start else 0.0)

    def _ends(self, context: Context) -> float:
        """Return the epoch seconds when Airflow's own limit ends the try."""
        start, limit = getattr(context.get("ti"), "start_date", None), self.execution_timeout
        return float((start + limit).timestamp()) if start and limit else math.inf

    def _job_id(self) -> str:
        return str(self._checked()["job_id"])

    def _checked(self) -> dict[str, Any]:
        with airflow_failures():
            return self.checked_arguments()

    def _read(self, patience: Patience | None = None) -> PokeReturnValue:
        """Read the job; a failed one fails the task, a transient error counts as not done."""
        from airflow_provider_evolink.api.errors import EvoLinkJobTimeout, EvoLinkRateLimited, EvoLinkUnavailable
        from airflow_provider_evolink.api.jobs.failures import job_error
        from airflow_provider_evolink.api.redaction import Redactor
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook
        from airflow_provider_evolink.storage.result_fetch import with_results

        given = self._checked()
        job_id = given["job_id"]
        with airflow_failures():
            try:
                with EvoLinkHook(given["evolink_conn_id"]).get_conn() as client:
                    job = with_results(client, client.get_job(job_id, patience=patience), patience)
                    self._clock_offset = client.clock.offset(time.time())
            except (EvoLinkJobTimeout, EvoLinkRateLimited, EvoLinkUnavailable) as error:
                self.log.warning("EvoLink job %s cannot be read right now, still waiting: %s", job_id, error)
                return PokeReturnValue(is_done=False)
            if not job.status.is_over:
                self.log.info("EvoLink job %s: %s, %.0f%%", job.job_id, job.status_text, job.progress or 0)
                return PokeReturnValue(is_done=False)
            if failure := job_error(job, Redactor.everything()):
                raise failure
        return PokeReturnValue(is_done=True, xcom_value={**job.summary(), **dict.fromkeys(_OF_ORDER)})

    def _defer(self, seconds: float) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkJobTrigger

        given = self._checked()
        now = time.time() + self._clock_offset  # by EvoLink's clock, as triggerers need it
        self.defer(
            trigger=EvoLinkJobTrigger(
                evolink_conn_id=given["evolink_conn_id"],
                job_id=given["job_id"],  # of a whole job its id alone: Airflow stores this in plain text
                deadline=now + seconds,
                started=now,
                poll_interval=given["poll_interval"],
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, seconds)) + PADDING,
        )

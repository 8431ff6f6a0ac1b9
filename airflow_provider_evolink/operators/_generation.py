"""One try of a generation: the steps between the ledger, EvoLink and the result. Imported when a task runs."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_evolink.api import catalogue, schedule
from airflow_provider_evolink.api.client import conclude
from airflow_provider_evolink.api.errors import (
    EvoLinkConfigError,
    EvoLinkError,
    EvoLinkNotFoundError,
    EvoLinkRateLimited,
    EvoLinkSubmissionUnknown,
    EvoLinkUnavailable,
    private_texts,
)
from airflow_provider_evolink.api.failures import failure_code, job_error
from airflow_provider_evolink.api.models import Job, JobStatus
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger import Act, Identity, Ledger, Record, State, decide, fingerprint
from airflow_provider_evolink.media import fetch_media
from airflow_provider_evolink.progress import Progress
from airflow_provider_evolink.storage import open_folder

if TYPE_CHECKING:
    from types import TracebackType

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

# A link as scheme, user-info, the part that is shown, and query or fragment.
_LINK = re.compile(r"^(https?://)(?:[^/?#]*@)?([^?#]*)(?:[?#].*)?$", re.DOTALL | re.IGNORECASE)


class Generation:
    """
    What one try of a generate operator does. A context manager: it owns the HTTP client.

    :param operator: The operator, its templates rendered.
    :param context: Airflow's context.
    """

    def __init__(self, operator: EvoLinkGenerateOperator, context: Context) -> None:
        self._operator = operator
        self._log = operator.log
        self._identity = Identity.of(context)
        self._attempt = int(getattr(context["ti"], "try_number", 1) or 1)
        self._ledger = Ledger.of(context, durable=operator.durable)
        self._record = self._ledger.read()
        self._client = EvoLinkHook(operator.evolink_conn_id).get_conn()
        self._last: Job | None = None
        self.stays = False
        timeout = operator.timeout
        self._timeout = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    @property
    def started(self) -> float:
        """Epoch seconds of the order, as well as we know it."""
        if self._record is not None:
            return self._record.ordered_at
        created = self._last.created if self._last else None
        return min(time.time(), created) if created else time.time()

    @property
    def deadline(self) -> float:
        """Epoch seconds when the wait ends: the same for every try of one order."""
        return self.started + self._timeout

    def start(self) -> str:
        """Return the id of the job this try waits for: the one of an earlier try, or of a new order."""
        act, epoch = decide(self._record, self._identity)
        if act is Act.ASK:
            raise self._unknown()
        if act is Act.ATTACH and self._record is not None and self._record.job_id is not None:
            self._last = self._look(self._record.job_id)
            if self._last is None or not self._orders_again(self._last):
                self._log.info("EvoLink job %s of an earlier try: attached to it, nothing ordered", self._record.job_id)
                self._record = self._ledger.adopt(self._record, self._identity)
                return str(self._record.job_id)
            epoch += 1
        return self._order(epoch)

    def resume(self, event: dict[str, Any]) -> str:
        """
        Return the id of the job after a deferral; an event about another job is refused.

        :param event: What the trigger told.
        """
        told = event.get("job_id")
        known = self._record.job_id if self._record else told
        if not isinstance(told, str) or told != known:
            raise EvoLinkConfigError("the trigger's event is about another job than the one recorded", job_id=known)
        self._last = self._look(told)
        if event.get("status") == schedule.End.TIMEOUT and not (self._last and self._last.status.is_over):
            conclude(told, schedule.End.TIMEOUT, None, None)
        self.stays = event.get("status") == schedule.End.UNREADABLE
        if self.stays:
            self._log.warning("The triggerer cannot read EvoLink job %s, this worker can: it waits here", told)
        return told

    def early_look(self, job_id: str) -> Job | None:
        """
        Look at a job for some seconds on the worker and return it if it is over: cheaper than to defer.

        :param job_id: EvoLink's id.
        """
        job = self._last or self._look(job_id)
        for pause in schedule.worker_looks(job, self.started, time.time()) if job else ():
            if job is None or job.status.is_over:
                break
            time.sleep(pause)
            job = self._look(job_id)
        return job if job and job.status.is_over else None

    def wait(self, job_id: str) -> Job:
        """
        Wait on the worker until the job is over.

        :param job_id: EvoLink's id.
        """
        progress = Progress(self.started)

        def tell(job: Job) -> None:
            if line := progress.line(job, time.time()):
                self._log.info(line)

        return self._client.wait(
            job_id,
            timeout=max(0.0, self.deadline - time.time()),
            poll_interval=self._operator.poll_interval,
            started=self.started,
            on_look=tell,
            private=self._private(),
        )

    def wait_here(self) -> Job:
        """Go on waiting for the recorded job on the worker; at the deadline say that it goes on."""
        if self._record is None or self._record.job_id is None:
            raise self._unknown()
        return self.wait(self._record.job_id)

    def deliver(self, job: Job) -> dict[str, Any]:
        """
        Turn a job that is over into the task's result, or raise why there is none.

        :param job: The job as just read.
        """
        if job.status is JobStatus.COMPLETED and not job.results:
            job = self.wait(job.job_id)
        if failure := job_error(job, self._private()):
            raise failure
        result = {**job.summary(), "request": self._request()}
        if self._operator.destination:
            folder = open_folder(self._operator.destination)
            result["files"] = fetch_media(self._client, job, folder, result["request"])
        if self._record is not None:
            self._record = self._ledger.advance(self._record, State.DELIVERED)
        self._log.info(
            "EvoLink job %s is done: %d result(s), %s credits", job.job_id, len(job.results), result["credits"]
        )
        return result

    def _look(self, job_id: str) -> Job | None:
        """Read a job. ``None``: it cannot be read for a passing reason, which must not fail a try that waits."""
        try:
            return self._client.get_job(job_id)
        except (EvoLinkRateLimited, EvoLinkUnavailable, EvoLinkNotFoundError) as error:
            known = self._record is not None or self._last is not None  # else nobody knows when the wait must end
            young = time.time() - self.started <= schedule.EARLY_404
            if not known or (isinstance(error, EvoLinkNotFoundError) and not young):
                raise
            self._log.warning("EvoLink job %s cannot be read right now, waiting on: %s", job_id, error)
            return None

    def _order(self, epoch: int) -> str:
        operator = self._operator
        body = self._body()
        path = catalogue.endpoint(operator.model, operator.kind)
        if operator.destination:
            open_folder(operator.destination)
        if not self._ledger.is_durable:
            self._log.warning("Nothing remembers this order across tries (durable=False, or Airflow before 3.3)")
        record = Record(
            state=State.INTENT,
            key=self._identity.key(self._namespace(), epoch, None if operator.durable else self._attempt),
            epoch=epoch,
            generation=self._identity.generation,
            fingerprint=fingerprint(body),
            model=operator.model,
            ordered_at=time.time(),
        )
        self._ledger.write(record)
        job = self._submit(record, body, path)
        self._log.info("EvoLink job %s ordered: %s, %s credits reserved", job.job_id, job.model, job.credits_reserved)
        self._record = self._ledger.advance(record, State.SUBMITTED, job.job_id) if self._ledger.is_durable else None
        self._last = job
        return job.job_id

    def _submit(self, record: Record, body: dict[str, Any], path: str) -> Job:
        try:
            return self._client.submit(body, idempotency_key=record.key, path=path)
        except EvoLinkSubmissionUnknown:
            raise
        except EvoLinkError:
            self._ledger.advance(record, State.REFUSED)
            raise

    def _orders_again(self, job: Job) -> bool:
        """Tell whether a job of an earlier try is lost for good and a new order is wanted."""
        if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED) or self._record is None:
            return False
        cleared = self._record.generation != self._identity.generation
        again = cleared or failure_code(job.error.code if job.error else None).repeatable
        if again:
            self._log.warning("EvoLink job %s failed; ordering anew", job.job_id)
        return again

    def _unknown(self) -> EvoLinkSubmissionUnknown:
        key = self._record.key if self._record else None
        return EvoLinkSubmissionUnknown(
            "an earlier try was cut off while it ordered, so a job may be running and cost credits; nothing is sent. "
            "What to do: look for it on the EvoLink dashboard (by time and model). If there is none, delete the record "
            "evolink_generation in the Storage tab of this task instance and clear the task; its idempotency key is "
            f"{key}",
            idempotency_key=key,
        )

    def _namespace(self) -> str:
        chosen = self._operator.idempotency_namespace or conf.get("evolink", "idempotency_namespace", fallback="")
        return str(chosen or self._client.settings.base_url)

    def _body(self) -> dict[str, Any]:
        operator = self._operator
        return catalogue.build_request(operator.model, operator.request(), validation=operator.validation)

    def _request(self) -> dict[str, Any] | None:
        """Return what was ordered, links without their query; ``None`` if the inputs have changed since the order."""
        body = self._same_body()
        if body is None:
            self._log.warning("The inputs of this task have changed since the order; the job is the one that was paid")
            return None
        return {name: _without_query(value) for name, value in body.items() if name != "callback_url"}

    def _same_body(self) -> dict[str, Any] | None:
        """Return the body that was ordered, if the inputs still give it. They must never fail a job that is paid."""
        try:
            body = self._body()
            same = self._record is None or self._record.fingerprint == fingerprint(body)
        except Exception as error:  # noqa: BLE001 - whatever has become of the inputs, the job was paid
            self._log.info("The request cannot be built any more (%s)", type(error).__name__)
            return None
        return body if same else None

    def _private(self) -> tuple[str, ...]:
        """Return what the inputs hold that no error may show."""
        try:
            return tuple(private_texts(self._operator.request()))
        except Exception:  # noqa: BLE001 - as above
            return ()


def _without_query(value: Any) -> Any:
    """Drop the query of links, which may be signed, and user names and passwords."""
    if isinstance(value, str):
        return _LINK.sub(r"\1\2", value)
    if isinstance(value, list):
        return [_without_query(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_query(item) for name, item in value.items()}
    return value

"""The operator that archives paid jobs which no task waits for any more. It never costs credits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import CheckedOperator
from airflow_provider_evolink.compat import TRIGGER_FAILED, default_deferrable
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.choices import Source
    from airflow_provider_evolink.arguments.templated import Entries, Location, Seconds, Templated
    from airflow_provider_evolink.recovery.recovery import Recovery
    from airflow_provider_evolink.recovery.report import RecoveryReport
    from airflow_provider_evolink.storage.media_file import MediaFile

PADDING = timedelta(minutes=2)
DAY = timedelta(hours=24)


class EvoLinkRecoverOperator(CheckedOperator):
    """
    Archive every completed job that no manifest knows, before its links expire. Nothing is ever submitted.

    For jobs whose task was deleted, marked or never ran again. It reads the jobs many in a call, and waits for those
    that still run. What fails for one job does not hold back the others. A second run changes nothing.

    :param destination: Folder for the downloads: ``s3://``, ``gs://``, ``abfs://``, ``file://``. (templated)
    :param archive_path: Root folder of the archive. (templated)
    :param source: Where the jobs come from. ``jobs``: from ``job_ids``. ``ledger``: records of the ledger folder that
        are submitted or delivered; a record names the newest job of its task. ``account``: EvoLink's list of the whole
        account, other deployments and people included; EvoLink does not document it. Default: ``jobs`` if ``job_ids``
        names any, else ``ledger``. (templated)
    :param job_ids: EvoLink's IDs, or what generate operators returned: a list, or a text of IDs. (templated)
    :param ledger_path: The ledger folder. Default: ``[evolink] ledger_path``. With ``job_ids`` it is read only if it is
        given, for what manifests say about the orders. (templated)
    :param since: Orders of this moment or later, as ISO 8601; ignored for ``job_ids``. Default: ``window`` before
        ``until``. (templated)
    :param until: Orders before this moment. Default: now. (templated)
    :param window: Seconds (or ``timedelta``). Default: 24 hours, the life of a link. (templated)
    :param destination_conn_id: Connection for the object store of ``destination``, if required. (templated)
    :param archive_conn_id: Connection for the object store of ``archive_path``, if required. (templated)
    :param layout: As for ``EvoLinkArchiveOperator``: give both the same.
    :param move: As there: remove the staged files once they are verified in the archive.
    :param posters: As there.
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable`` of the environment, else True.
    :param poll_interval: Seconds between polls of running jobs. By default EvoLink's estimate decides.
    :param timeout: Seconds (or ``timedelta``) to wait for jobs that run. Default: 1 hour. Jobs that still run then are
        listed in the report, and the task succeeds.
    :return: A :class:`~airflow_provider_evolink.recovery.report.RecoveryReport`.
    :raises AirflowFailException: an argument, the ledger folder, a store or the key is at fault, or one of ``job_ids``
        cannot be archived for good: no retries are used. All other jobs are archived.
    :raises EvoLinkError: jobs could not be fetched that a retry may fetch; it goes on with these.
    """

    argument_rules = table.RECOVER
    template_fields: Sequence[str] = (
        *("source", "job_ids", "ledger_path", "since", "until", "window", "destination", "destination_conn_id"),
        *("archive_path", "archive_conn_id", "evolink_conn_id"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"job_ids": "json"}
    ui_color = "#e8e4ff"
    delivered: Sequence[MediaFile] = ()  # for OpenLineage

    def __init__(
        self,
        *,
        destination: Location,
        archive_path: Location,
        source: Templated[Source | None] = None,
        job_ids: Templated[Sequence[Templated[Entries]] | None] = None,
        ledger_path: Location | None = None,
        since: Templated[datetime | None] = None,
        until: Templated[datetime | None] = None,
        window: Templated[Seconds] = DAY,
        destination_conn_id: Templated[str | None] = None,
        archive_conn_id: Templated[str | None] = None,
        layout: str | None = None,
        move: bool = False,
        posters: bool = True,
        evolink_conn_id: Templated[str] = "evolink_default",
        deferrable: bool = default_deferrable(),
        poll_interval: Seconds | None = None,
        timeout: Seconds = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.archive_path = archive_path
        self.source = source
        self.job_ids = job_ids
        self.ledger_path = ledger_path
        self.since = since
        self.until = until
        self.window = window
        self.destination_conn_id = destination_conn_id
        self.archive_conn_id = archive_conn_id
        self.layout = layout
        self.move = move
        self.posters = posters
        self.evolink_conn_id = evolink_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.check_literals()

    def execute(self, context: Context) -> RecoveryReport:
        """Archive what is over; then wait for what still runs."""
        return self._run(context, {}, is_resumed=False)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> RecoveryReport:
        """
        Continue after the trigger: everything is read again, and this reading decides.

        :param context: Airflow's context.
        :param event: The window and the deadline, as they were when the task deferred.
        """
        return self._run(context, (event or {}).get("state") or {}, is_resumed=True)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue if Airflow ended the trigger: wait no more, and archive what is over."""
        if next_method == TRIGGER_FAILED:
            self.log.warning("Airflow ended the wait in the triggerer; jobs that still run are left to the next run")
            next_method, next_kwargs = "execute_complete", {"event": {"state": {"deadline": 0.0}}}
        return super().resume_execution(next_method, next_kwargs, context)

    def _run(self, context: Context, state: dict[str, Any], *, is_resumed: bool) -> RecoveryReport:
        from airflow_provider_evolink.metrics import NOT_ARCHIVED, send
        from airflow_provider_evolink.recovery.recovery import wait_here
        from airflow_provider_evolink.recovery.report import summary

        with airflow_failures():
            given = self.checked_arguments()
            deadline = float(state.get("deadline", time.time() + given["timeout"]))
            recovery = self._recovery(context, given, state, is_resumed=is_resumed)
            recovery.run()
            while recovery.is_waiting and time.time() < deadline:
                if self.deferrable:
                    self._defer(recovery, given, deadline)
                wait_here(recovery.awaited(deadline), given["evolink_conn_id"], given["poll_interval"])
                recovery.go_on()
            report = recovery.report()
            source = recovery.scope.source
            if source != "jobs" and not recovery.books.unread:  # what was not read, or not asked for, is not known
                overdue = recovery.books.overdue(recovery.ordered, time.time())
                send(NOT_ARCHIVED, overdue, operator=type(self).__name__, source=source, dag_id=context["ti"].dag_id)
            self.log.info("Recovery: %s", summary(report))
            if error := recovery.books.error():
                self._push_aside(context, report)
                raise error
            self._hand_over(context, recovery)
        return report

    def _recovery(
        self, context: Context, given: dict[str, Any], state: dict[str, Any], *, is_resumed: bool
    ) -> Recovery:
        from airflow_provider_evolink.arguments.layout import DEFAULT_LAYOUT
        from airflow_provider_evolink.recovery.candidates import Scope, chosen_source
        from airflow_provider_evolink.recovery.recovery import Places, Recovery
        from airflow_provider_evolink.storage.archive.archiving import Archiving
        from airflow_provider_evolink.storage.object_store import open_folder

        ti: Any = context["ti"]
        until = state.get("until") or given["until"] or time.time()
        since = state.get("since") or given["since"] or min(until, _begun(context)) - given["window"]
        source = chosen_source(given["source"], given["job_ids"])
        scope = Scope(source, tuple(given["job_ids"]), given["ledger_path"], since, until)
        names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
        run = {**{name: getattr(ti, name, None) for name in names}, "owner": self.owner}
        places = Places(
            open_folder(given["destination"], given["destination_conn_id"]),
            open_folder(given["archive_path"], given["archive_conn_id"], what="archive_path"),
            Archiving(self.layout or DEFAULT_LAYOUT, self.move, self.posters),
            run,
            is_resumed or int(getattr(ti, "try_number", 1) or 1) > 1,
        )
        return Recovery(scope, places, given["evolink_conn_id"])

    def _defer(self, recovery: Recovery, given: dict[str, Any], deadline: float) -> None:
        from airflow_provider_evolink.triggers.evolink import EvoLinkBatchTrigger

        jobs, left = recovery.awaited(deadline), max(0.0, deadline - time.time())
        scope = recovery.scope
        self.log.info("%d EvoLink jobs still run: deferring, timeout in %.0f s", len(jobs), left)
        self.defer(
            trigger=EvoLinkBatchTrigger(
                evolink_conn_id=given["evolink_conn_id"],
                jobs=jobs,
                fail_fast=False,
                poll_interval=given["poll_interval"],
                state={"since": scope.since, "until": scope.until, "deadline": deadline},
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + PADDING,
        )

    def _hand_over(self, context: Context, recovery: Recovery) -> None:
        """Raise an asset event per job, and keep the files for OpenLineage."""
        from airflow_provider_evolink.lineage.assets import event_extras, record_events

        self.delivered = files = recovery.files()
        entries = [file.archived(file.uri, str(file.manifest)) for file in files]
        record_events(context, self.outlets, str(recovery.places.archive), event_extras(files, entries))

    def _push_aside(self, context: Context, report: RecoveryReport) -> None:
        """Show the report of a try that fails, as the XCom ``report``: a failed task returns nothing."""
        push = getattr(context["ti"], "xcom_push", None)
        try:
            if push:
                push(key="report", value=report)
        except Exception as error:  # noqa: BLE001 - every backend has its own errors, and it is only for show
            self.log.warning("The XCom report could not be pushed (%s)", type(error).__name__)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Return the jobs and the archived files, for OpenLineage."""
        from airflow_provider_evolink.lineage.openlineage import of_download

        return of_download([file.model_dump(mode="json") for file in self.delivered])


def _begun(context: Context) -> float:
    """Return when the run began: a late retry looks as far back as its first try."""
    begun = getattr(context.get("dag_run"), "start_date", None)
    return begun.timestamp() if isinstance(begun, datetime) else time.time()

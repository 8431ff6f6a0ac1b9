"""Operators for finished jobs: download the results, archive the files. They never cost credits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import CheckedOperator
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.choices import OnMissing
    from airflow_provider_evolink.arguments.templated import Entries, Location, Seconds, Templated


class EvoLinkDownloadOperator(CheckedOperator):
    """
    Download the results of a finished job into object storage, before their links expire (24 hours).

    The job is read again for fresh links. A file appears only when it is complete and verified: length, container and
    checksum. A second run compares the checksums, and fetches what is damaged or missing. Nothing is ever submitted.

    :param job: The job, as a generate operator returns it, or a job ID. (templated)
    :param destination: Folder: ``s3://``, ``gs://``, ``abfs://``, ``file://``. (templated)
    :param destination_conn_id: Connection for the object store, if required. (templated)
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param on_missing: What to do if some of several results cannot be fetched: ``fail``, so that a retry fetches just
        these, or ``deliver`` the others; the missing ones are then in ``job["missing"]`` of every entry, by index and
        error. Default: ``fail``. If all are missing, the task fails.
    :param total_timeout: Seconds (or ``timedelta``) for each file, pauses included. Default: 24 hours, the life of a
        link. What has arrived is kept for the next try, also after ``execution_timeout``.
    :param max_bytes: Maximum size of a file. Default: 4 GiB.
    :param min_rate: Bytes per second; less, over a minute, counts as an interruption. Default: 10240.
    :return: One entry per file: ``uri``, ``sha256``, ``size``, ``content_type``, ``index``, ``width``, ``height``,
        ``duration`` (if known), ``job_id``, ``model`` and ``job``, with ``created``, ``credits`` and ``request``.
    :raises AirflowFailException: the job failed for good, or has no results: no retries are used.
    :raises EvoLinkMediaError: a link gave no usable file; a retry reads fresh links.
    :raises EvoLinkJobTimeout: the job is still running; a retry tries again.
    """

    argument_rules = table.DOWNLOAD
    template_fields: Sequence[str] = ("job", "destination", "destination_conn_id", "evolink_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}
    ui_color = "#e8e4ff"

    def __init__(
        self,
        *,
        job: Templated[Entries],
        destination: Location,
        destination_conn_id: Templated[str | None] = None,
        evolink_conn_id: Templated[str] = "evolink_default",
        on_missing: OnMissing = "fail",
        total_timeout: Seconds | None = None,
        max_bytes: int | None = None,
        min_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.evolink_conn_id = evolink_conn_id
        self.on_missing = on_missing
        self.total_timeout = total_timeout
        self.max_bytes = max_bytes
        self.min_rate = min_rate
        self.check_literals()

    def execute(self, context: Context) -> list[dict[str, Any]]:  # noqa: ARG002 - Airflow's signature
        """Read the job for fresh links and download its results."""
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook
        from airflow_provider_evolink.storage.object_store import open_folder
        from airflow_provider_evolink.storage.results import download_limits, fetch_media

        with airflow_failures():
            given = self.checked_arguments()
            limits = download_limits(**{name: given[name] for name in ("total_timeout", "max_bytes", "min_rate")})
            folder = open_folder(given["destination"], given["destination_conn_id"])
            request = self.job.get("request") if isinstance(self.job, Mapping) else None
            with EvoLinkHook(given["evolink_conn_id"]).get_conn() as client:
                return fetch_media(client, given["job"], folder, request, limits=limits, on_missing=given["on_missing"])


class EvoLinkArchiveOperator(CheckedOperator):
    """
    Copy staged files into the archive, with a manifest beside them.

    Layout: ``<archive_path>/<model>/<yyyy>/<mm>/<dd>/<job id>/``, by the day the job was created (UTC). The manifest
    holds model, request, seed, job ID, credits, checksums and the DAG run. A file whose checksum has changed since the
    download is not archived. A second run changes nothing.

    :param files: What the download returned. (templated)
    :param archive_path: Root folder of the archive: ``s3://``, ``gs://``, ``abfs://``, ``file://``. (templated)
    :param archive_conn_id: Connection for the object store, if required. (templated)
    :return: One entry per file, as the download returned it: ``uri`` is the file in the archive, ``manifest`` the
        manifest beside it, and ``job`` is left out.
    :raises AirflowFailException: ``files`` is not what a download returns: no retries are used.
    :raises EvoLinkMediaError: a staged file no longer exists or has changed: clear the download task, which fetches it
        again while EvoLink has it, then this one.
    """

    argument_rules = table.ARCHIVE
    template_fields: Sequence[str] = ("files", "archive_path", "archive_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"files": "json"}
    ui_color = "#e8e4ff"

    def __init__(
        self,
        *,
        files: Templated[Sequence[Templated[Entries]]],
        archive_path: Location,
        archive_conn_id: Templated[str | None] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = files
        self.archive_path = archive_path
        self.archive_conn_id = archive_conn_id
        self.check_literals()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Copy the files that are not archived yet, then write the manifest."""
        from airflow_provider_evolink.storage.archive import archive_files
        from airflow_provider_evolink.storage.object_store import open_folder

        ti: Any = context["ti"]
        run = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        with airflow_failures():
            given = self.checked_arguments()
            folder = open_folder(given["archive_path"], given["archive_conn_id"], what="archive_path")
            archived = archive_files(self.files, folder, run)
        for file in archived:
            self.log.info("Archived result %d of EvoLink job %s", file["index"], file["job_id"])
        return archived

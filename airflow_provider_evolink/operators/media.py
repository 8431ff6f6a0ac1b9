"""Operators for finished jobs: download the results, archive the files. They never cost credits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.arguments.checks import CheckedOperator
from airflow_provider_evolink.links.evolink import MEDIA_LINKS
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.choices import OnMissing
    from airflow_provider_evolink.arguments.templated import Entries, Location, Seconds, Templated
    from airflow_provider_evolink.storage.media_file import ArchivedFile, DownloadedFile


class EvoLinkDownloadOperator(CheckedOperator):
    """
    Download the results of finished jobs into object storage, before their links expire (24 hours).

    The job is read again for fresh links. A file appears only when it is complete and verified: length, container and
    checksum. A second run compares the checksums, and fetches what is damaged or missing. Nothing is ever submitted.

    :param job: The job, as a generate operator returns it, or a job ID; or a list of them, as a batch or a mapped task
        returns it. Of a list, up to five results are fetched at a time, and one that fails costs none of the others:
        the error says which of how many, and a retry fetches just these. (templated)
    :param destination: Folder: ``s3://``, ``gs://``, ``abfs://``, ``file://``. (templated)
    :param destination_conn_id: Connection for the object store, if required. (templated)
    :param evolink_conn_id: Connection of type ``evolink``. (templated)
    :param on_missing: What to do if some of several results cannot be fetched: ``fail``, so that a retry fetches just
        these, or ``deliver`` the others; the missing ones are then in ``job["missing"]`` of every entry, by index and
        error. Of several jobs those without a file are then left out. Default: ``fail``. If all are missing, the
        task fails. (templated)
    :param total_timeout: Seconds (or ``timedelta``) for each file, pauses included. Default: 24 hours, the life of a
        link. What has arrived is kept for the next try, also after ``execution_timeout``. (templated)
    :param max_bytes: Maximum size of a file. Default: 4 GiB. (templated)
    :param min_rate: Bytes per second; less, over a minute, counts as an interruption. Default: 10240. (templated)
    :return: One :class:`~airflow_provider_evolink.storage.media_file.DownloadedFile` per file: ``uri``, ``sha256``,
        ``size``, ``content_type``, ``index``, ``width``, ``height``, ``duration`` (if known), ``job_id``, ``model``
        and ``job``, with ``created``, ``credits`` and ``request``.
    :raises AirflowFailException: the job failed for good, or has no results: no retries are used.
    :raises EvoLinkMediaError: a link gave no usable file; a retry reads fresh links.
    :raises EvoLinkJobTimeout: the job is still running; a retry reads it again.
    """

    argument_rules = table.DOWNLOAD
    template_fields: Sequence[str] = (
        *("job", "destination", "destination_conn_id", "evolink_conn_id"),
        *("on_missing", "total_timeout", "max_bytes", "min_rate"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}
    operator_extra_links = MEDIA_LINKS
    ui_color = "#e8e4ff"
    delivered: Sequence[Mapping[str, Any]] = ()  # for OpenLineage

    def __init__(
        self,
        *,
        job: Templated[Entries | Sequence[Templated[Entries] | Sequence[Templated[Entries]]]],
        destination: Location,
        destination_conn_id: Templated[str | None] = None,
        evolink_conn_id: Templated[str] = "evolink_default",
        on_missing: OnMissing = "fail",
        total_timeout: Templated[Seconds | None] = None,
        max_bytes: Templated[int | None] = None,
        min_rate: Templated[float | None] = None,
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

    def execute(self, context: Context) -> list[DownloadedFile]:  # noqa: ARG002 - Airflow's signature
        """Read the job for fresh links and download its results."""
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook
        from airflow_provider_evolink.storage.downloads import fetch_jobs, jobs_by_id
        from airflow_provider_evolink.storage.object_store import open_folder
        from airflow_provider_evolink.storage.results import download_limits

        with airflow_failures():
            given = self.checked_arguments()
            limits = download_limits(**{name: given[name] for name in ("total_timeout", "max_bytes", "min_rate")})
            folder = open_folder(given["destination"], given["destination_conn_id"])
            jobs = jobs_by_id(self.job)
            with EvoLinkHook(given["evolink_conn_id"]).get_conn() as client:
                files = fetch_jobs(client, jobs, folder, limits=limits, on_missing=given["on_missing"])
        self.delivered = files
        return files

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Return the job and the staged files, for OpenLineage."""
        from airflow_provider_evolink.lineage.openlineage import of_download

        return of_download(self.delivered)


class EvoLinkArchiveOperator(CheckedOperator):
    """
    Copy staged files into the archive, with a manifest beside them.

    The manifest holds model, request, seed, job ID, credits, times, checksums and the DAG run; an index of all jobs is
    kept in the folder ``_evolink``. A file whose checksum has changed since the download is not archived. A second run
    changes nothing.

    :param files: What the download returned. (templated)
    :param archive_path: Root folder of the archive: ``s3://``, ``gs://``, ``abfs://``, ``file://``. (templated)
    :param archive_conn_id: Connection for the object store, if required. (templated)
    :param layout: The folder of a job below ``archive_path``, of letters, digits, ``. _ = -`` and the names
        ``{model}``, ``{yyyy}``, ``{mm}``, ``{dd}`` (the day the job was created, UTC) and ``{job_id}``, which must be a
        folder of its own, or in the last one. Checked when the DAG file is parsed. Default:
        ``{model}/{yyyy}/{mm}/{dd}/{job_id}``.
    :param move: Remove the staged files once they are verified in the archive. The receipt stays in staging and names
        where they went, so that a download that is cleared fetches nothing again. Default: staging stays.
    :param posters: Make a small JPEG of each clip and picture beside it; needs the extra ``media``. Default: true.
    :return: One :class:`~airflow_provider_evolink.storage.media_file.ArchivedFile` per file, as the download returned
        it: ``uri`` is the file in the archive, ``manifest`` the manifest beside it, and ``job`` is left out.
    :raises EvoLinkConfigError: ``layout`` is not safe, or would let two jobs share a folder.
    :raises AirflowFailException: ``files`` is not what a download returns, or a newer release has written the manifest:
        no retries are used.
    :raises EvoLinkMediaError: a staged file no longer exists or has changed: clear the download task, which fetches it
        again while EvoLink has it, then this one.
    """

    argument_rules = table.ARCHIVE
    template_fields: Sequence[str] = ("files", "archive_path", "archive_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"files": "json"}
    operator_extra_links = MEDIA_LINKS
    ui_color = "#e8e4ff"
    staged: Sequence[dict[str, Any]] = ()  # for OpenLineage
    delivered: Sequence[Mapping[str, Any]] = ()

    def __init__(
        self,
        *,
        files: Templated[Sequence[Templated[Entries]]],
        archive_path: Location,
        archive_conn_id: Templated[str | None] = None,
        layout: str | None = None,
        move: bool = False,
        posters: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = files
        self.archive_path = archive_path
        self.archive_conn_id = archive_conn_id
        self.layout = layout
        self.move = move
        self.posters = posters
        self.check_literals()

    def execute(self, context: Context) -> list[ArchivedFile]:
        """Copy the files that are not archived yet, then write the manifest."""
        from airflow_provider_evolink.arguments.layout import DEFAULT_LAYOUT
        from airflow_provider_evolink.lineage.assets import event_extras, record_events
        from airflow_provider_evolink.storage.archive.archiving import Archiving, archive_files, staged_files
        from airflow_provider_evolink.storage.object_store import open_folder

        ti: Any = context["ti"]
        names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
        run = {**{name: getattr(ti, name, None) for name in names}, "owner": self.owner}
        how = Archiving(self.layout or DEFAULT_LAYOUT, self.move, self.posters)
        with airflow_failures():
            given = self.checked_arguments()
            root = open_folder(given["archive_path"], given["archive_conn_id"], what="archive_path")
            staged = staged_files(self.files)
            archived = archive_files(self.files, root, run, how)
            record_events(context, self.outlets, str(root), event_extras(staged, archived))
        self.staged, self.delivered = [file.model_dump(mode="json") for file in staged], archived
        for file in archived:
            self.log.info("Archived result %d of EvoLink job %s", file["index"], file["job_id"])
        return archived

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Return the staged and the archived files, for OpenLineage."""
        from airflow_provider_evolink.lineage.openlineage import of_archive

        return of_archive(self.staged, self.delivered)

"""The operator that uploads a local file to EvoLink. It never costs credits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.arguments import table
from airflow_provider_evolink.operators.base import InputOperator
from airflow_provider_evolink.retry_policies import airflow_failures

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.arguments.templated import Media, Templated


class EvoLinkUploadOperator(InputOperator):
    """
    Upload a file to EvoLink and return a link to it, for the media fields of requests. Free.

    Generate operators upload the files in their fields themselves. This operator is for a file that several tasks use,
    and for a model that the catalog does not know. EvoLink keeps a file for 72 hours; until then **anyone who has the
    link can read it**. Only images, video and audio of up to 100 MB are sent, recognized by their content.

    A retry or a clear reuses the upload of an earlier try if that is available for twelve more hours; with a ledger
    folder (``[evolink] ledger_path``) every task reuses it.

    :param path: The file: ``s3://``, ``gs://``, ``abfs://``, ``file://``, an ``ObjectStoragePath``, a path on the
        worker, or what a download or archive task returned for a file. Its name must stand in the DAG file or in such a
        result, or the file be inside ``[evolink] input_roots``. (templated)
    :param path_conn_id: Connection for the object store, if required. (templated)
    :param evolink_conn_id: Connection of type ``evolink``; its extra ``files_host`` sets where files go. (templated)
    :param reuse: Reuse an earlier upload of the same content. False: every try uploads.
    :return: ``url``, ``expires_at`` (UTC), ``sha256``, ``size``, ``content_type``, ``file_id``.
    :raises AirflowFailException: the file does not exist, is not media, is not one that the task may read, or EvoLink
        refuses it: no retries are used.
    :raises EvoLinkError: a transient failure; Airflow's retries apply.
    """

    argument_rules = table.UPLOAD
    template_fields: Sequence[str] = ("path", "path_conn_id", "evolink_conn_id")
    ui_color = "#e8e4ff"

    def __init__(
        self,
        *,
        path: Media,
        path_conn_id: Templated[str | None] = None,
        evolink_conn_id: Templated[str] = "evolink_default",
        reuse: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.path_conn_id = path_conn_id
        self.evolink_conn_id = evolink_conn_id
        self.reuse = reuse
        self.check_literals()

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the file, and upload it unless EvoLink already has it."""
        from airflow_provider_evolink.execution.inputs.uploads import upload_file
        from airflow_provider_evolink.hooks.evolink import EvoLinkHook

        with airflow_failures():
            given = self.checked_arguments()
            settings = EvoLinkHook(given["evolink_conn_id"]).settings
            return upload_file(self, settings, context)

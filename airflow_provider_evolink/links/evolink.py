"""
Links shown on the task instance in the Airflow UI.

Airflow computes a link when its task ends and stores it; the archive runs later. So from Airflow 3.1 on they lead to a
page of the plugin, which reads what is there when the link is clicked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class _PageLink(BaseOperatorLink):
    """A link to a page of the plugin; before Airflow 3.1 to nothing."""

    what: ClassVar[str]

    def get_link(
        self,
        operator: BaseOperator,  # noqa: ARG002 - Airflow's signature
        *,
        ti_key: TaskInstanceKey,
    ) -> str:
        """
        Return the address of the page, relative to Airflow's, or an empty string, which hides the link.

        :param operator: The operator the link belongs to.
        :param ti_key: The task instance it is shown on.
        """
        return self._page(ti_key) if AIRFLOW_V_3_1_PLUS else self._without_page(ti_key)

    def _page(self, ti_key: TaskInstanceKey) -> str:
        parts = (self.what, ti_key.dag_id, ti_key.task_id, ti_key.map_index, ti_key.run_id)
        return "/".join(["evolink/open", *(quote(str(part), safe="") for part in parts)])

    def _without_page(self, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - for subclasses
        return ""


class EvoLinkResultLink(_PageLink):
    """
    Opens the results of a task. Where Airflow has no pages of plugins (before 3.1), it is EvoLink's own link to the
    first result, which expires after 24 hours.
    """

    name = "Open result"
    what = "result"

    def _without_page(self, ti_key: TaskInstanceKey) -> str:
        job: Any = XCom.get_value(ti_key=ti_key, key="return_value")
        results = job.get("results") if isinstance(job, dict) else None
        link = results[0] if isinstance(results, list) and results else ""
        return link if isinstance(link, str) and link.startswith(("https://", "http://")) else ""


class EvoLinkArchivedFileLink(_PageLink):
    """Opens the first archived file of a task, from Airflow 3.1 on; it stays when EvoLink's links have expired."""

    name = "Archived file"
    what = "archived"


class EvoLinkManifestLink(_PageLink):
    """Opens the manifest of the first archived job of a task, from Airflow 3.1 on."""

    name = "Manifest"
    what = "manifest"


MEDIA_LINKS = (EvoLinkResultLink(), EvoLinkArchivedFileLink(), EvoLinkManifestLink())

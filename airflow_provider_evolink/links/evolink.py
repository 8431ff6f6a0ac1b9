"""Links shown on the task instance in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class EvoLinkResultLink(BaseOperatorLink):
    """Opens the first result of a generation. EvoLink's links expire after 24 hours."""

    name = "Open result"

    def get_link(
        self,
        operator: BaseOperator,  # noqa: ARG002 - Airflow's signature
        *,
        ti_key: TaskInstanceKey,
    ) -> str:
        """
        Return the link of the first result, or an empty string while there is none.

        :param operator: The operator the link belongs to.
        :param ti_key: The task instance it is shown on.
        """
        job: Any = XCom.get_value(ti_key=ti_key, key="return_value")
        results = job.get("results") if isinstance(job, dict) else None
        link = results[0] if isinstance(results, list) and results else ""
        return link if isinstance(link, str) and link.startswith(("https://", "http://")) else ""

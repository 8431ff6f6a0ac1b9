"""What a generate operator was told to order: the body to send, what a manifest shows of it, what is private in it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalogue
from airflow_provider_evolink.api.texts import private_texts
from airflow_provider_evolink.record import Record, fingerprint

if TYPE_CHECKING:
    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

# A link as scheme, user-info, the part that is shown, and query or fragment.
_LINK = re.compile(r"^(https?://)(?:[^/?#]*@)?([^?#]*)(?:[?#].*)?$", re.DOTALL | re.IGNORECASE)

log = logging.getLogger(__name__)


class Inputs:
    """
    The inputs of one try, templates rendered.

    :param operator: The operator.
    """

    def __init__(self, operator: EvoLinkGenerateOperator) -> None:
        self._operator = operator

    def body(self) -> dict[str, Any]:
        """
        Return the body to send.

        :raises EvoLinkRequestError: the request breaks rules of the model.
        """
        operator = self._operator
        return catalogue.build_request(operator.model, operator.request(), validation=operator.validation)

    def same_body(self, record: Record | None) -> dict[str, Any] | None:
        """
        Return the body that was ordered, if the inputs still give it. They must never fail a job that is paid.

        :param record: The record of the order.
        """
        try:
            body = self.body()
            same = record is None or record.fingerprint == fingerprint(body)
        except Exception as error:  # noqa: BLE001 - whatever has become of the inputs, the job was paid
            log.info("The request cannot be built any more (%s)", type(error).__name__)
            return None
        return body if same else None

    def shown(self, record: Record | None) -> dict[str, Any] | None:
        """
        Return what was ordered, links without query and user; ``None`` if the inputs have changed since.

        :param record: The record of the order.
        """
        body = self.same_body(record)
        if body is None:
            log.warning("The inputs of this task have changed since the order; the job is the one that was paid")
            return None
        return {name: _without_secrets(value) for name, value in body.items() if name != "callback_url"}

    def private(self) -> tuple[str, ...]:
        """Return the texts that no error may repeat."""
        try:
            return tuple(private_texts(self._operator.request()))
        except Exception:  # noqa: BLE001 - as above
            return ()


def _without_secrets(value: Any) -> Any:
    """Drop the query of links, which may be signed, and user names and passwords."""
    if isinstance(value, str):
        return _LINK.sub(r"\1\2", value)
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return value

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

EVERYTHING = ("",)  # every text repeats the empty one, so nothing that EvoLink wrote is told

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
        given = operator.request()
        body = catalogue.build_request(operator.model, given, validation=operator.validation)
        if operator.makes_request:
            operator.keep_request(_shown(body))
        return body

    def same_body(self, record: Record | None) -> dict[str, Any] | None:
        """
        Return the body that was ordered, if the inputs still give it. They must never fail a job that is paid.

        A request that a function made is not made again for a job that is known: it would be another one. What is
        remembered of it is the body then, which may be nothing.

        :param record: The record of the order.
        """
        if self._operator.makes_request and (record is None or record.job_id is not None):
            return self._operator.kept_request() or {}
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
        return _shown(body) or None

    def private(self) -> tuple[str, ...]:
        """Return the texts that no error may repeat."""
        if self._operator.makes_request:
            kept = self._operator.kept_request()
            return EVERYTHING if kept is None else tuple(private_texts(kept))
        try:
            return tuple(private_texts(self._operator.request()))
        except Exception:  # noqa: BLE001 - as above
            return ()


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    return {name: _without_secrets(value) for name, value in body.items() if name != "callback_url"}


def _without_secrets(value: Any) -> Any:
    """Drop the query of links, which may be signed, and user names and passwords."""
    if isinstance(value, str):
        return _LINK.sub(r"\1\2", value)
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return value

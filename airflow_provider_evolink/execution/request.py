"""What a generate operator was told to order: the body to send, what a manifest shows of it, what is private in it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.addresses import is_web_link
from airflow_provider_evolink.api.catalog import media_fields
from airflow_provider_evolink.api.redaction import Redactor, public_link
from airflow_provider_evolink.ledger.record import Record, fingerprint

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.execution.input_uploads import InputFiles
    from airflow_provider_evolink.operators.generate import EvoLinkGenerateOperator

log = logging.getLogger(__name__)


class Inputs:
    """
    The inputs of one try, templates rendered.

    :param operator: The operator.
    :param context: Airflow's context.
    """

    def __init__(self, operator: EvoLinkGenerateOperator, context: Context) -> None:
        self._operator = operator
        self._context = context

    @functools.cached_property
    def _files(self) -> InputFiles:
        from airflow_provider_evolink.execution.input_uploads import InputFiles

        return InputFiles(self._operator, self._context)

    def body(self, *, known: bool = False) -> dict[str, Any]:
        """
        Return the body as it counts for the record: files of the user's by name and content, not yet as links.

        :param known: The order was sent before: files that are gone since then count as they were.
        :raises EvoLinkRequestError: the request breaks rules of the model.
        """
        operator = self._operator
        given = media_fields.plain(operator.request())
        if found := _files_in(operator.model, given):
            body = self._files.body(given, found, known=known)
        else:
            body = catalog.build_request(operator.model, given, validation=operator.validation)
        if operator.makes_request:
            operator.keep_request(_shown(body))
        return body

    def sent(self, body: dict[str, Any], *, trusts: bool = True, replays: bool = False) -> dict[str, Any]:
        """
        Return the body as it is sent: files of the user's are uploaded, unless EvoLink has them.

        :param body: What :meth:`body` returned.
        :param trusts: Take uploads of earlier tries. Not after an order that came to nothing: they may be the reason.
        :param replays: The order is sent once more, so it must have the links it had.
        """
        return self._files.sent(body, trusts=trusts, replays=replays) if "_files" in self.__dict__ else body

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
            body = self.body(known=True)
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

    def redactor(self) -> Redactor:
        """Return what hides quotes of the request in errors."""
        if self._operator.makes_request:
            kept = self._operator.kept_request()
            return Redactor.everything() if kept is None else Redactor.of(kept)
        try:
            return Redactor.of(media_fields.plain(self._operator.request()))
        except Exception:  # noqa: BLE001 - as above
            return Redactor.everything()


def _files_in(model: str, given: dict[str, Any]) -> list[tuple[media_fields.MediaField, str]]:
    row = catalog.known_row(model)
    return media_fields.find_local_files(row.parameters, given) if row else []


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    return {name: _without_secrets(value) for name, value in body.items() if name != "callback_url"}


def _without_secrets(value: Any) -> Any:
    """Drop the query of links, which may be signed, and user names and passwords."""
    if isinstance(value, str):
        return public_link(value) if is_web_link(value) else value
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return value

"""The request of one try: built and checked once, as it is sent, as it is recorded, and as it may be shown."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog import media_fields
from airflow_provider_evolink.api.errors import EvoLinkRequestError, Violation
from airflow_provider_evolink.api.redaction import Redactor, public_link
from airflow_provider_evolink.arguments.given import is_nothing, returned_nothing
from airflow_provider_evolink.execution.inputs.hidden_prompt import private_texts, without_prompts
from airflow_provider_evolink.execution.inputs.job_outputs import JobOutputs
from airflow_provider_evolink.execution.inputs.origins import named_files, without_entries
from airflow_provider_evolink.execution.inputs.uploads import InputFiles
from airflow_provider_evolink.ledger.record import fingerprint, request_fingerprint

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.ledger.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """
    A request as the DAG author gave it, unchecked.

    :param model: EvoLink's name of the model.
    :param parameters: Fields of the request, as EvoLink names them.
    :param literals: Texts in it that the DAG file holds, beyond the arguments of the operator.
    """

    model: str
    parameters: dict[str, Any]
    literals: frozenset[str] = frozenset()


class RequestSource(Protocol):
    """Where the request of a try comes from."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it builds the same request in a later try."""

    def build(self) -> Draft:
        """Return the request; in one try always the same one."""

    def remember(self, shown: dict[str, Any]) -> None:
        """Keep what is submitted, without secrets, where the request cannot be built again."""

    def remembered(self) -> dict[str, Any] | None:
        """Return what was kept; ``None`` where nothing is known."""


@dataclass(frozen=True)
class ArgumentSource:
    """
    The request that stands in the arguments of an operator.

    :param options: The arguments.
    """

    options: GenerationOptions
    is_repeatable: bool = True

    def build(self) -> Draft:
        """Return the request."""
        return draft(self.options, self.options.model, self.options.parameters)

    def remember(self, shown: dict[str, Any]) -> None:
        """Do nothing: the arguments can be read again."""

    def remembered(self) -> dict[str, Any] | None:
        """Return ``None``: the arguments can be read again."""
        return None


def draft(options: GenerationOptions, model: str, parameters: Any) -> Draft:
    """
    Put the arguments that are fields of the request beside its other fields.

    :param options: The arguments of the operator.
    :param model: EvoLink's name of the model.
    :param parameters: The other fields.
    :raises EvoLinkRequestError: they are not a dict, a field is given twice, with two values, or the model makes
        another kind of media.
    """
    if is_nothing(parameters):
        raise returned_nothing("parameters", "clear that task, or give the parameters; nothing is submitted")
    if not isinstance(parameters, Mapping):
        rule = f"must be a dict of fields, not {type(parameters).__name__}"
        raise EvoLinkRequestError(model, [Violation("parameters", rule)])
    made = catalog.kind(model) if options.only_kind else None
    if made not in (None, options.only_kind):
        rule = f"makes {made}, and {options.operator_name} submits {options.only_kind} only"
        raise EvoLinkRequestError(model, [Violation("model", rule)])
    fields, twice = dict(parameters), []
    for path, value in options.fields.items():
        outer, _, name = path.rpartition(".")
        place = fields if not outer else fields.get(outer) or {}
        given = place.get(name) if isinstance(place, Mapping) else place
        if given not in (None, value):
            twice.append(Violation(name, "is given as an argument and in parameters, with two values"))
        elif outer:
            fields[outer] = {**place, name: value}
        else:
            fields[name] = value
    if twice:
        raise EvoLinkRequestError(model, twice)
    return Draft(model, fields)


@dataclass
class OrderRequest:
    """
    The request of one try.

    :param options: The arguments of the operator.
    :param source: Where the request comes from.
    :param context: Airflow's context.
    :param files: Its local files, once it is built; ``None``: it has none.
    :param outputs: Results of jobs in it, once it is built.
    """

    options: GenerationOptions
    source: RequestSource
    context: Context
    files: InputFiles | None = field(default=None, init=False)
    outputs: JobOutputs = field(default_factory=JobOutputs, init=False)
    _body: dict[str, Any] | None = field(default=None, init=False)

    def body(self, *, known: bool = False) -> dict[str, Any]:
        """
        Return the body as it is recorded: local files by name and content, not as links. It is checked once.

        :param known: It was submitted before: if a file can no longer be read, all are named by URI alone.
        :raises EvoLinkRequestError: the request breaks rules of the model.
        """
        if self._body is not None:
            return self._body
        given = self.source.build()
        spec, parameters = catalog.find_spec(given.model), given.parameters
        if spec and self.options.empty and self.options.validation != "off":
            _refuse_empty_media(given.model, self.options.empty & spec.media_parameters.keys())
        has_media = spec is not None and bool(spec.media_parameters.keys() & parameters.keys())
        if spec is not None and has_media:
            parameters = self.outputs.resolve(spec.media_parameters, parameters, given.model)
        if spec is None or has_media:
            parameters = without_entries(parameters)
        fields = media_fields.plain(parameters)
        found = media_fields.find_local_files(spec.media_parameters, fields) if spec and has_media else []
        if found:
            body = self._with_files(given, fields, found, known=known)
        else:
            body = catalog.build_request(given.model, fields, validation=self.options.validation)
        if self.outputs.outputs:
            body = self.outputs.to_names(body)
        if not self.source.is_repeatable:
            self.source.remember(self._shown(body))
        if not known:
            self._body = body
        return body

    def _with_files(self, draft: Draft, given: dict[str, Any], found: list[Any], *, known: bool) -> dict[str, Any]:
        if self.files is None:
            origins = self.options.read_origins().joined(draft.literals, named_files(draft.parameters))
            self.files = InputFiles(replace(self.options, model=draft.model), self.context, origins)
        return self.files.body(given, found, submitted=known)

    def sent_body(
        self, body: dict[str, Any], *, reuses_uploads: bool = True, is_replay: bool = False
    ) -> dict[str, Any]:
        """
        Return the body as it is sent: local files are uploaded, unless EvoLink has them.

        :param body: What :meth:`body` returned.
        :param reuses_uploads: Use uploads of earlier tries. Not after a refused order: they may be the reason.
        :param is_replay: The order is sent once more, so it must have the links it had.
        """
        sent = self.outputs.to_links(body, self.options.evolink_conn_id) if self.outputs.outputs else body
        return self.files.with_links(sent, reuse=reuses_uploads, replay=is_replay) if self.files else sent

    def same_body(self, record: Record | None) -> dict[str, Any] | None:
        """
        Return the body that was submitted, if the inputs still give it; they must never fail a job that is paid.

        A request that cannot be repeated is not built again for a known job. What is remembered of it is the body
        then, which may be nothing.

        :param record: The record of the order.
        """
        if not self.source.is_repeatable and (record is None or record.job_id is not None):
            return self.source.remembered() or {}
        try:
            body = self.body(known=True)
            same = record is None or record.matches(body)
        except Exception as error:  # noqa: BLE001 - whatever has become of the inputs, the job was paid
            log.info("The request can no longer be built (%s)", type(error).__name__)
            return None
        return body if same else None

    def shown(self, record: Record | None) -> dict[str, Any] | None:
        """
        Return what was submitted, links without query and user; ``None`` if the inputs have changed since.

        :param record: The record of the order.
        """
        body = self.same_body(record)
        if body is None:
            log.warning("The inputs of this task have changed since the order; the result is that of the paid job")
            return None
        return self._shown(body) or None

    def fingerprint(self, record: Record | None) -> str | None:
        """
        Return the hash by which equal requests are found; ``None`` where nobody knows any more what was submitted.

        :param record: The record of the order.
        """
        if record is not None and record.request_fingerprint:
            return record.request_fingerprint
        body = self._body or (self.same_body(record) if self.source.is_repeatable else None)
        is_known = body is not None and (record is None or record.fingerprint == fingerprint(body))
        return request_fingerprint(body, self.options.namespace) if body is not None and is_known else None

    def private_texts(self) -> list[str]:
        """Return the free texts of the request under ``hide_prompt``, as far as this try knows them."""
        return private_texts(self._body or {}) if self.options.hide_prompt else []

    def _shown(self, body: dict[str, Any]) -> dict[str, Any]:
        shown = _shown(body)
        return without_prompts(shown) if self.options.hide_prompt else shown

    def redactor(self) -> Redactor:
        """Return what hides the request in EvoLink's messages."""
        try:
            if self.source.is_repeatable:
                return Redactor.of(media_fields.plain(self.source.build().parameters))
            remembered = None if self.options.hide_prompt else self.source.remembered()
            return Redactor.everything() if remembered is None else Redactor.of(remembered)
        except Exception:  # noqa: BLE001 - an error must not be lost because its request cannot be built
            return Redactor.everything()


def _refuse_empty_media(model: str, names: frozenset[str]) -> None:
    """Refuse media that were given and of which nothing is left: without them it would be another, paid, clip."""
    rule = (
        "was given, and nothing is left of it (a task that was marked success or skipped returns nothing): leave it "
        "out if it is optional, or give a link, a file or a job"
    )
    if names:
        raise EvoLinkRequestError(model, [Violation(name, rule) for name in sorted(names)])


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    return {name: _public(value) for name, value in body.items() if name != "callback_url"}


def _public(value: Any) -> Any:
    """Remove the query of links, which may be signed, and user names and passwords."""
    if isinstance(value, str):
        is_web_link = value[:8].lower().startswith(("http://", "https://"))
        return public_link(value) if is_web_link else value  # the fragment of another URI is a file's checksum
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, dict):
        return {name: _public(item) for name, item in value.items()}
    return value

"""Files of the user's in an order: held against the model's limits, named by content, uploaded before the order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.media_fields import MediaField, replace_strings
from airflow_provider_evolink.api.errors import EvoLinkInputError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.files.probe import can_measure
from airflow_provider_evolink.api.files.upload import Uploaded, upload
from airflow_provider_evolink.api.redaction import describe_value, sanitize
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.upload_cache import ENOUGH, UploadCache
from airflow_provider_evolink.storage.input_files import InputSource, InvalidInputFile
from airflow_provider_evolink.storage.object_store import public_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.media_limits import InputFile
    from airflow_provider_evolink.api.settings import ClientSettings
    from airflow_provider_evolink.execution.options import GenerationOptions

ENOUGH_FOR_REPLAY = 600.0  # seconds; another link under the same key would be another order

log = logging.getLogger(__name__)


class InputFiles:
    """
    The files of one try.

    :param options: The arguments of a generate operator.
    :param context: Airflow's context.
    """

    def __init__(self, options: GenerationOptions, context: Context) -> None:
        self._options = options
        self._memory = UploadCache(context, options.ledger_path)
        self._files: dict[str, InputFile] = {}
        self._sums: dict[str, str] = {}
        self._uris: dict[str, str] = {}

    def body(self, given: dict[str, Any], found: list[tuple[MediaField, str]], *, known: bool) -> dict[str, Any]:
        """
        Return the body with each file as ``uri#sha256=...``, so that the same content is the same order.

        :param given: The request.
        :param found: Its files.
        :param known: The order was sent before: nothing is checked any more, and a file that is gone counts as it was.
        :raises EvoLinkRequestError: request or files break rules of the model.
        """
        uris = list(dict.fromkeys(uri for _, uri in found))
        stand_ins = {uri: f"https://input.invalid/{number}" for number, uri in enumerate(uris)}
        body, broken = self._built(replace_strings(given, stand_ins), {link: uri for uri, link in stand_ins.items()})
        if known:
            self._sums = {uri: self._sum_of(uri, uris) for uri in uris}
        else:
            broken += self._inspect(found, body)
        if broken:
            raise EvoLinkRequestError(sanitize(self._options.model, 80), broken)
        names = {uri: f"{public_uri(uri)}#sha256={self._sums[uri]}" for uri in uris}
        self._uris = {names[uri]: uri for uri in uris}
        return dict(replace_strings(body, {stand_ins[uri]: names[uri] for uri in uris}))

    def sent(self, body: dict[str, Any], *, trusts: bool, replays: bool) -> dict[str, Any]:
        """
        Return the body with a link for each file. What EvoLink does not have is uploaded.

        :param body: What :meth:`body` returned.
        :param trusts: Take uploads of earlier tries.
        :param replays: Take them also when they are near their end.
        :raises EvoLinkError: a file cannot be read or uploaded; nothing was ordered.
        """
        settings = EvoLinkHook(self._options.evolink_conn_id).settings
        enough = ENOUGH_FOR_REPLAY if replays else ENOUGH
        links: dict[str, str] = {}
        by_content: dict[str, Uploaded] = {}
        for name, uri in self._uris.items():
            content = self._sums[uri]
            kept = by_content.get(content) or (self._memory.find(content, settings, enough=enough) if trusts else None)
            by_content[content] = kept or self._upload(uri, settings)
            links[name] = by_content[content].url
        self._memory.saw({uri: self._sums[uri] for uri in self._uris.values()})
        return dict(replace_strings(body, links))

    def _built(self, given: dict[str, Any], uris: dict[str, str]) -> tuple[dict[str, Any], list[Violation]]:
        options = self._options
        try:
            return catalog.build_request(options.model, given, validation=options.validation), []
        except EvoLinkRequestError as error:
            shown = {describe_value(link): describe_value(public_uri(uri)) for link, uri in uris.items()}
            return given, [replace(one, value=shown.get(one.value or "", one.value)) for one in error.violations]

    def _inspect(self, found: list[tuple[MediaField, str]], body: dict[str, Any]) -> list[Violation]:
        """Look at every file, and say what is wrong with them."""
        measures = any(slot.media.needs_probing for slot, _ in found) and self._may_measure()
        broken: list[Violation] = []
        for slot, uri in found:
            try:
                if uri not in self._files:
                    self._files[uri] = InputSource(uri).inspect(measure=measures)
                    self._sums[uri] = self._files[uri].sha256
            except InvalidInputFile as error:
                # In every mode: nothing that is no media leaves this machine.
                broken.append(Violation(slot.path, error.rule, error.given or describe_value(public_uri(uri))))
            else:
                broken += self._faults(slot, self._files[uri], body)
        return broken

    def _faults(self, slot: MediaField, file: InputFile, body: dict[str, Any]) -> Iterator[Violation]:
        mode = self._options.validation
        if mode == "off":
            return
        row = catalog.find_spec(self._options.model)
        longest = body.get(slot.media.within or "")
        if longest is None and row and slot.media.within in row.parameters:
            longest = row.parameters[slot.media.within].default
        number = longest if isinstance(longest, int | float) else None
        for rule, given in slot.media.faults(file, slot.kind, longest=number):
            if mode == "warn":
                log.warning("request for %s: %s", sanitize(self._options.model, 80), Violation(slot.path, rule, given))
            else:
                yield Violation(slot.path, rule, given)

    def _may_measure(self) -> bool:
        if self._options.validation == "off":
            return False
        if can_measure():
            return True
        log.warning(
            "Pixels and length of the input files are not checked: the extra media (PyAV) is not installed here. "
            "Type and size are"
        )
        return False

    def _sum_of(self, uri: str, uris: list[str]) -> str:
        if uri in self._sums:
            return self._sums[uri]
        try:
            return InputSource(uri).checksum()
        except Exception as error:
            remembered = self._memory.contents_of(uris).get(uri)
            if remembered is None:
                raise
            log.info("An input file cannot be read any more (%s); it counts as it was", type(error).__name__)
            return remembered

    def _upload(self, uri: str, settings: ClientSettings) -> Uploaded:
        source = InputSource(uri)
        file = self._files.get(uri)
        try:
            if file is None or file.sha256 != self._sums[uri]:
                file = source.inspect(measure=False)
            return send(source, file, settings, self._memory)
        except InvalidInputFile as error:
            raise EvoLinkInputError(
                f"an input file cannot be uploaded: {error.rule}; nothing is ordered. What to do: put it back"
            ) from None


def send(source: InputSource, file: InputFile, settings: ClientSettings, memory: UploadCache) -> Uploaded:
    """
    Upload a file and remember it.

    :param source: Where it lies.
    :param file: What it is.
    :param settings: Key and hosts.
    :param memory: What was uploaded before.
    """
    with source.copy(file) as local:
        uploaded = upload(settings, local, file)
    memory.keep(file.sha256, settings, uploaded)
    until = datetime.fromtimestamp(uploaded.expires, UTC).isoformat(timespec="minutes")
    log.info("Input file uploaded: %s, %d bytes, there until %s", file.content_type, file.size, until)
    return uploaded


def upload_file(
    uri: str, conn_id: str | None, settings: ClientSettings, context: Context, *, reuse: bool
) -> dict[str, Any]:
    """
    Upload one file, or find the upload of it, and say what it is.

    :param uri: Where it lies.
    :param conn_id: Airflow connection of the store.
    :param settings: Key and hosts.
    :param context: Airflow's context.
    :param reuse: Take an earlier upload of the same content.
    :raises EvoLinkRequestError: there is no such file, or it is no media.
    """
    source, memory = InputSource(uri, conn_id), UploadCache(context)
    try:
        file = source.inspect(measure=False)
    except InvalidInputFile as error:
        given = error.given or describe_value(public_uri(uri))
        raise EvoLinkRequestError("an upload", [Violation("path", error.rule, given)]) from None
    kept = memory.find(file.sha256, settings) if reuse else None
    if kept is not None:
        log.info("EvoLink has this file of %d bytes already: nothing uploaded", file.size)
    uploaded = kept or send(source, file, settings, memory)
    return {
        "url": uploaded.url,
        "expires_at": datetime.fromtimestamp(uploaded.expires, UTC).isoformat(timespec="seconds"),
        "sha256": file.sha256,
        "size": file.size,
        "content_type": file.content_type,
        "file_id": uploaded.file_id,
    }

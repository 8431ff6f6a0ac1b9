"""Local files in a request: checked against the limits of the model, and uploaded before the request is submitted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.media_fields import MediaField, replace_strings
from airflow_provider_evolink.api.errors import EvoLinkInputError, EvoLinkRequestError, Violation
from airflow_provider_evolink.api.files.upload import Uploaded, upload
from airflow_provider_evolink.api.redaction import describe_value, sanitize
from airflow_provider_evolink.arguments.given import is_nothing, returned_nothing
from airflow_provider_evolink.execution.inputs.origins import InputOrigins, named_files, without_entries
from airflow_provider_evolink.hooks.evolink import EvoLinkHook
from airflow_provider_evolink.ledger.record import file_name
from airflow_provider_evolink.ledger.upload_cache import MIN_SECONDS_LEFT, UploadCache
from airflow_provider_evolink.storage.input_files import InvalidInputFile
from airflow_provider_evolink.storage.object_store import public_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_evolink.api.catalog.media_limits import InputFile
    from airflow_provider_evolink.api.settings import ClientSettings
    from airflow_provider_evolink.execution.options import GenerationOptions
    from airflow_provider_evolink.storage.input_files import InputSource

MIN_SECONDS_LEFT_FOR_REPLAY = 600.0  # a replay must send the link it sent before, so an upload serves to its end

_CHANGED = "an input file changed while it was being read; a retry reads it again"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputFileMap:
    """
    The local files of a request, under each name that they have on the way to EvoLink.

    The user gives a **URI**. The catalog checks links only, so a **placeholder** link stands for the file meanwhile. In
    the body that the record's fingerprint is made of, its **name** is URI and checksum. EvoLink gets a **link**.

    :param uris: The files, each once.
    :param checksums: SHA-256 by URI. If one is missing, that file cannot be read any more, and all names are
        URIs alone.
    """

    uris: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, uris: Iterable[str]) -> InputFileMap:
        """
        Return a map of files that were not read yet.

        :param uris: The files; one may be given several times.
        """
        return cls(tuple(dict.fromkeys(uris)))

    @property
    def is_readable(self) -> bool:
        """Whether the content of all files is known."""
        return len(self.checksums) == len(self.uris)

    @property
    def _placeholders(self) -> dict[str, str]:
        return {uri: f"https://input.invalid/{number}" for number, uri in enumerate(self.uris)}

    @property
    def _names(self) -> dict[str, str]:
        known = self.checksums if self.is_readable else {}
        return {uri: file_name(public_uri(uri), known.get(uri)) for uri in self.uris}

    def to_placeholders(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        Return a request with a placeholder for each URI.

        :param request: As the user gave it.
        """
        return dict(replace_strings(request, self._placeholders))

    def to_names(self, body: dict[str, Any]) -> dict[str, Any]:
        """
        Return a body with a name for each placeholder.

        :param body: As the catalog built it.
        """
        names = self._names
        return dict(replace_strings(body, {link: names[uri] for uri, link in self._placeholders.items()}))

    def to_links(self, body: dict[str, Any], links: Mapping[str, str]) -> dict[str, Any]:
        """
        Return a body with a link for each name.

        :param body: With the names of the files.
        :param links: By checksum.
        """
        return dict(replace_strings(body, {name: links[self.checksums[uri]] for uri, name in self._names.items()}))

    def describe(self, violation: Violation) -> Violation:
        """
        Return a violation that shows the URI instead of its placeholder.

        :param violation: As the catalog raised it.
        """
        shown = {describe_value(link): describe_value(public_uri(uri)) for uri, link in self._placeholders.items()}
        return replace(violation, value=shown.get(violation.value or "", violation.value))


class InputFiles:
    """
    Reads, checks and uploads the local files of the request of one try.

    :param options: The arguments of a generate operator.
    :param context: Airflow's context.
    :param origins: Which files the task may read.
    """

    def __init__(self, options: GenerationOptions, context: Context, origins: InputOrigins) -> None:
        self._options = options
        self._origins = origins
        self._uploads = UploadCache(context, options.ledger_path)
        self._inspected: dict[tuple[str, str | None], InputFile] = {}
        self._checksums: dict[str, str] = {}
        self._map = InputFileMap()

    def body(self, request: dict[str, Any], found: list[tuple[MediaField, str]], *, submitted: bool) -> dict[str, Any]:
        """
        Return the body with each file named by URI and content, so that the same content is the same request.

        :param request: The request, as the user gave it.
        :param found: Its local files.
        :param submitted: The request was submitted before: files are not checked again, and if one of them cannot be
            read any more, all are named by URI alone.
        :raises EvoLinkRequestError: request or files break rules of the model.
        """
        files = InputFileMap.of(uri for _, uri in found)
        body, violations = self._build(request, files)
        if submitted:
            self._read_checksums(files.uris)
        else:
            violations += self._check(found, body)
        if violations:
            raise EvoLinkRequestError(sanitize(self._options.model, 80), violations)
        known = {uri: self._checksums[uri] for uri in files.uris if uri in self._checksums}
        self._map = replace(files, checksums=known)
        return self._map.to_names(body)

    def with_links(self, body: dict[str, Any], *, reuse: bool, replay: bool) -> dict[str, Any]:
        """
        Return the body with a link for each file. A file that EvoLink does not have is uploaded.

        :param body: What :meth:`body` returned.
        :param reuse: Use uploads of earlier tries.
        :param replay: Use them also when they expire soon.
        :raises EvoLinkError: a file cannot be read or uploaded; nothing was submitted.
        """
        if not self._map.is_readable:
            raise EvoLinkInputError(
                "an input file cannot be read any more, so the order cannot be sent again; nothing was submitted. What "
                "to do: put it back"
            )
        settings = EvoLinkHook(self._options.evolink_conn_id).settings
        min_seconds_left = MIN_SECONDS_LEFT_FOR_REPLAY if replay else MIN_SECONDS_LEFT
        links: dict[str, str] = {}
        for uri, sha256 in self._map.checksums.items():
            if sha256 not in links:
                cached = self._uploads.get(sha256, settings, min_seconds_left=min_seconds_left) if reuse else None
                links[sha256] = (cached or self._upload(uri, sha256, settings)).url
        return self._map.to_links(body, links)

    def _build(self, request: dict[str, Any], files: InputFileMap) -> tuple[dict[str, Any], list[Violation]]:
        given = files.to_placeholders(request)
        try:
            return catalog.build_request(self._options.model, given, validation=self._options.validation), []
        except EvoLinkRequestError as error:
            return given, [files.describe(violation) for violation in error.violations]

    def _check(self, found: list[tuple[MediaField, str]], body: dict[str, Any]) -> list[Violation]:
        """Read each file and return what is wrong with the files."""
        violations: list[Violation] = []
        for media_field, uri in found:
            try:
                file = self._inspect(uri, media_field.kind)
            except InvalidInputFile as error:
                # In every mode of validation: what is not media never leaves this machine.
                violations.append(
                    Violation(media_field.path, error.rule, error.given or describe_value(public_uri(uri)))
                )
            else:
                violations += self._broken_limits(media_field, file, body)
        return violations

    def _inspect(self, uri: str, kind: str | None) -> InputFile:
        if (uri, kind) not in self._inspected:
            file = self._origins.source(uri).inspect(kind)
            if self._checksums.setdefault(uri, file.sha256) != file.sha256:
                raise EvoLinkInputError(_CHANGED)
            self._inspected[uri, kind] = file
        return self._inspected[uri, kind]

    def _broken_limits(self, media_field: MediaField, file: InputFile, body: dict[str, Any]) -> Iterator[Violation]:
        mode = self._options.validation
        if mode == "off":
            return
        if unknown := media_field.media.unknown(file):
            log.warning("%s: %s not known, so not checked", media_field.path, " and ".join(unknown))
        for rule, given in media_field.media.faults(
            file, media_field.kind, longest=self._seconds_ordered(media_field, body)
        ):
            violation = Violation(media_field.path, rule, given)
            if mode == "warn":
                log.warning("request for %s: %s", sanitize(self._options.model, 80), violation)
            else:
                yield violation

    def _seconds_ordered(self, media_field: MediaField, body: dict[str, Any]) -> float | None:
        """Return the value of the field that a clip must fit into, or its default."""
        spec = catalog.find_spec(self._options.model)
        seconds = body.get(media_field.media.within or "")
        if seconds is None and spec and media_field.media.within in spec.parameters:
            seconds = spec.parameters[media_field.media.within].default
        return seconds if isinstance(seconds, int | float) else None

    def _read_checksums(self, uris: Iterable[str]) -> None:
        for uri in uris:
            if uri in self._checksums:
                continue
            try:
                self._checksums[uri] = self._origins.source(uri).checksum()
            except Exception as error:  # noqa: BLE001 - every store has its own errors, and the job is paid
                log.info("An input file cannot be read any more, comparing by URI only (%s)", type(error).__name__)

    def _upload(self, uri: str, sha256: str, settings: ClientSettings) -> Uploaded:
        try:
            source = self._origins.source(uri)
            known = (file for (name, _), file in self._inspected.items() if name == uri)
            file = next(known, None) or source.inspect()
            if file.sha256 != sha256:
                raise EvoLinkInputError(_CHANGED)
            return _send(source, file, settings, self._uploads)
        except InvalidInputFile as error:
            raise EvoLinkInputError(
                f"an input file cannot be uploaded: {error.rule}; nothing was submitted. What to do: put it back"
            ) from None


def _send(source: InputSource, file: InputFile, settings: ClientSettings, uploads: UploadCache) -> Uploaded:
    with source.copy(file) as local:
        uploaded = upload(settings, local, file)
    uploads.put(file.sha256, settings, uploaded)
    until = datetime.fromtimestamp(uploaded.expires, UTC).isoformat(timespec="minutes")
    log.info("Uploaded an input file: %s, %d bytes, available until %s", file.content_type, file.size, until)
    return uploaded


def upload_file(operator: Any, settings: ClientSettings, context: Context) -> dict[str, Any]:
    """
    Upload one file, or find an earlier upload of it, and describe it.

    :param operator: An upload operator, its templates rendered.
    :param settings: Key and hosts.
    :param context: Airflow's context.
    :raises EvoLinkConfigError: there is no path.
    :raises EvoLinkRequestError: the file does not exist, is not media, or is not one that the task may read.
    """
    if is_nothing(operator.path):
        raise returned_nothing("path", "clear that task, or give a path; nothing was uploaded")
    uri, uploads = str(without_entries(operator.path)), UploadCache(context)
    origins = InputOrigins.of(operator, context).joined(frozenset(), named_files(operator.path))
    try:
        source = origins.source(uri, operator.path_conn_id)
        file = source.inspect()
    except InvalidInputFile as error:
        given = error.given or describe_value(public_uri(uri))
        raise EvoLinkRequestError("an upload", [Violation("path", error.rule, given)]) from None
    cached = uploads.get(file.sha256, settings) if operator.reuse else None
    if cached is not None:
        log.info("Nothing uploaded: EvoLink already has this file of %d bytes", file.size)
    uploaded = cached or _send(source, file, settings, uploads)
    return {
        "url": uploaded.url,
        "expires_at": datetime.fromtimestamp(uploaded.expires, UTC).isoformat(timespec="seconds"),
        "sha256": file.sha256,
        "size": file.size,
        "content_type": file.content_type,
        "file_id": uploaded.file_id,
    }

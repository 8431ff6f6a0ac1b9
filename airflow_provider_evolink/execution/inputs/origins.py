"""
Which local files a task may send as inputs, by where their names come from.

The text of a template, of a form or of a mapped list was not chosen by the author of the DAG: whoever triggers a run
could name any picture that the worker may read. See ``docs/decisions/0026-input-origins.md``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from airflow_provider_evolink.api.catalog.parameter import is_list
from airflow_provider_evolink.api.errors import EvoLinkInputError
from airflow_provider_evolink.storage.input_files import InputSource, InvalidInputFile
from airflow_provider_evolink.storage.input_roots import root_of
from airflow_provider_evolink.storage.object_store import open_folder

if TYPE_CHECKING:
    from types import CodeType

    from airflow.providers.common.compat.sdk import Context

NamedFiles: TypeAlias = dict[str, frozenset[tuple[str, int]]]  # by URI: SHA-256 and size
_PACKAGE = __name__.partition(".")[0]
_REFUSED = (
    "is a local file that this task may not send: its name stands neither in the DAG file nor in the result of a "
    "download or archive task. What to do: write it into the DAG file, pass what the download returned, or let the "
    "deployment list its folder in [evolink] input_roots"
)


class UpstreamFiles:
    """
    The files that results of this package's tasks name, of those that the running task follows.

    :param context: Airflow's context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def by_uri(self) -> NamedFiles:
        """
        The files, from the XComs of this run; read when they are first needed.

        :raises EvoLinkInputError: XCom cannot be read.
        """
        ti: Any = self._context["ti"]
        dag: Any = self._context.get("dag")
        if dag is None:
            return {}
        upstream = sorted(dag.get_task(ti.task_id).get_flat_relative_ids(upstream=True))
        ours = [task_id for task_id in upstream if _is_ours(dag.get_task(task_id))]
        try:
            return named_files(ti.xcom_pull(task_ids=ours)) if ours else {}
        except Exception as error:
            raise EvoLinkInputError(
                f"the results of the tasks before this one cannot be read ({type(error).__name__}), so it is not known "
                "whether one of them names the input file; nothing was submitted. A retry reads them again"
            ) from error


def _is_ours(task: Any) -> bool:
    """Return whether a task, which may be mapped, runs an operator of this package."""
    operator = getattr(task, "operator_class", type(task))
    return any(base.__module__.partition(".")[0] == _PACKAGE for base in getattr(operator, "__mro__", ()))


@dataclass(frozen=True)
class InputOrigins:
    """
    Where the names of a try's local files may come from.

    :param literals: Texts that stand in the DAG file.
    :param named: Files that the request itself names with checksum and size.
    :param upstream: Files that results of earlier tasks name.
    """

    literals: frozenset[str] = frozenset()
    named: NamedFiles = field(default_factory=dict)
    upstream: UpstreamFiles | None = None

    @classmethod
    def of(cls, operator: Any, context: Context) -> Self:
        """
        Return what a running operator may read.

        :param operator: An operator of this package.
        :param context: Airflow's context.
        """
        return cls(literals_of(operator, context), upstream=UpstreamFiles(context))

    def joined(self, literals: frozenset[str], named: NamedFiles) -> Self:
        """
        Return the same with further files.

        :param literals: Further texts that stand in the DAG file.
        :param named: Further files named with checksum and size.
        """
        return replace(self, literals=self.literals | literals, named={**self.named, **named})

    def source(self, uri: str, conn_id: str | None = None) -> InputSource:
        """
        Return a file to read.

        :param uri: Its name in the request.
        :param conn_id: Connection for the object store, if required.
        :raises InvalidInputFile: this task may not read it. It was not touched.
        """
        expected = self.named.get(uri, frozenset())
        if expected or uri in self.literals:
            return InputSource(uri, conn_id, expected=expected)
        root = root_of(open_folder(uri, conn_id, what="input file"))
        if root is None:
            expected = self.upstream.by_uri.get(uri, frozenset()) if self.upstream else frozenset()
            if not expected:
                raise InvalidInputFile(_REFUSED)
        return InputSource(uri, conn_id, root=root, expected=expected)


def literals_of(operator: Any, context: Context) -> frozenset[str]:
    """
    Return the texts that stand in the arguments of an operator in the DAG file.

    A mapped operator is made on the worker from what ``expand()`` resolved, so only its ``partial()`` counts. One that
    a function makes and runs inside another task has no arguments in the DAG file.

    :param operator: An operator of this package.
    :param context: Airflow's context.
    """
    names = operator.template_fields
    if getattr(operator, "_BaseOperator__from_mapped", False):
        dag: Any = context.get("dag")
        partial = getattr(dag.get_task(operator.task_id), "partial_kwargs", {}) if dag else {}
        return frozenset(texts([partial.get(name) for name in names]))
    if operator.unrendered is not None:
        return operator.unrendered  # type: ignore[no-any-return]
    is_running_task = context.get("task", operator) is operator
    return frozenset(texts([getattr(operator, name, None) for name in names])) if is_running_task else frozenset()


def texts(value: Any) -> Iterator[str]:
    """
    Yield the texts and paths in a value, at every depth. What Airflow resolves later is no text.

    :param value: An argument of an operator.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, PathLike) or (hasattr(value, "protocol") and hasattr(value, "as_uri")):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from texts(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from texts(entry)


def texts_in_function(function: Any) -> frozenset[str]:
    """
    Return the texts that a function holds itself: its constants, defaults, and constants of its module it names.

    :param function: The function under ``@task.evolink``.
    """
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return frozenset()
    outer = inspect.getclosurevars(function)
    named = [*outer.nonlocals.values(), *outer.globals.values()]
    fixed = [value for value in named if isinstance(value, str | tuple | PathLike)]  # the others may have changed since
    defaults = [function.__defaults__ or (), list((function.__kwdefaults__ or {}).values())]
    return frozenset(texts([*_constants(function.__code__), *fixed, *defaults]))


def _constants(code: CodeType) -> Iterator[Any]:
    for value in code.co_consts:
        if inspect.iscode(value):
            yield from _constants(value)
        else:
            yield value


def named_files(value: Any) -> NamedFiles:
    """
    Return the files in a value, at every depth, that are named as a download or archive task names them.

    :param value: A request, or the result of a task.
    """
    found: NamedFiles = {}
    for entry in _entries(value):
        found[entry["uri"]] = found.get(entry["uri"], frozenset()) | {(entry["sha256"], entry["size"])}
    return found


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if is_entry(value):
            yield value
        yield from _entries(list(value.values()))
    elif is_list(value):
        for inner in value:
            yield from _entries(inner)


def is_entry(value: Mapping[str, Any]) -> bool:
    """
    Return whether this is a file as a download or archive task names it.

    :param value: A dict in a request, or in the result of a task.
    """
    kinds = {"uri": str, "sha256": str, "size": int, "content_type": str}
    return all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def without_entries(value: Any) -> Any:
    """
    Return a request with the URI of each file in place of what a download or archive task returned for it.

    :param value: A request or a part of it.
    """
    if isinstance(value, Mapping):
        inner = {name: without_entries(entry) for name, entry in value.items()}
        return value["uri"] if is_entry(value) else inner
    return [without_entries(entry) for entry in value] if is_list(value) else value

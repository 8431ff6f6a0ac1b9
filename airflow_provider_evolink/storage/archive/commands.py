"""The commands ``evolink archive ...``. Light: whatever reads an archive is imported when a command runs."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_COLUMNS = ("job_id", "model", "created", "credits", "folder")


def add_commands(commands: Any) -> None:
    """
    Add the command ``archive`` to the program.

    :param commands: The subparsers of the program.
    """
    archive = commands.add_parser("archive", help="read, verify and clean an archive")
    parts = archive.add_subparsers(required=True, metavar="COMMAND")
    _command(parts, "index", _index, "fold the index rows of finished days into Parquet (extra index)")
    _command(parts, "rebuild", _rebuild, "build the index again from the manifests")
    verify = _command(parts, "verify", _verify, "read files again and compare their checksums")
    verify.add_argument("--sample", type=_count, metavar="N", help="only N jobs, at random")
    clean = _command(parts, "clean", _clean, "remove staged files that are verified in the archive")
    clean.add_argument("--staging", required=True, metavar="URI", help="folder of the downloads")
    clean.add_argument("--staging-conn-id", metavar="ID", help="its connection")
    clean.add_argument("--older-than", required=True, type=_age, metavar="AGE", help="for example 7d, 12h")
    forget = _command(parts, "forget", _forget, "remove one job, its staged copies too; its ledger record stays")
    forget.add_argument("job_id", metavar="JOB")
    forget.add_argument("--staging-conn-id", metavar="ID", help="connection of the store of its staged copies")
    find = _command(parts, "find", _find, "list archived jobs")
    find.add_argument("--model")
    find.add_argument("--dag-id")
    find.add_argument("--since", metavar="TIME", help="created at this time or later, ISO 8601")
    find.add_argument("--until", metavar="TIME", help="created before this time")


def _command(parts: Any, name: str, act: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = parts.add_parser(name, help=text)
    parser.add_argument("archive", metavar="ARCHIVE", help="root of the archive, for example s3://bucket/archive")
    parser.add_argument("--conn-id", metavar="ID", help="Airflow connection of the object store")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.set_defaults(run=lambda options: _run(act, options))
    return parser


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return int(text)


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a number with s, m, h, d or w, as in 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _run(act: Callable[..., int], options: argparse.Namespace) -> int:
    """Run a command; a wrong setting or a store that does not respond is no traceback."""
    from airflow_provider_evolink.api.errors import EvoLinkError
    from airflow_provider_evolink.storage.object_store import open_folder

    try:
        return act(open_folder(options.archive, options.conn_id, what="archive"), options)
    except EvoLinkError as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"the archive cannot be read or written ({type(error).__name__}: {error.strerror or error})\n")
    return 2


def _report(options: argparse.Namespace, value: Any, lines: Sequence[str]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False) if options.json else "\n".join(lines)
    sys.stdout.write(f"{text}\n")


def _index(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.fold import fold

    folded = fold(root)
    lines = [f"{day}: {count} rows folded" for day, count in folded.items()]
    _report(options, folded, lines or ["nothing to fold"])
    return 0


def _rebuild(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.fold import rebuild

    count = rebuild(root)
    _report(options, {"jobs": count}, [f"the index holds {count} jobs; `evolink archive index` folds them"])
    return 0


def _verify(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.retention import verify

    count, wrong = verify(root, options.sample)
    lines = [f"{one['job_id']}: {one['name']} is {one['problem']}" for one in wrong]
    _report(options, {"files": count, "problems": wrong}, [*lines, f"{count} files read, {len(wrong)} problems"])
    return int(bool(wrong))


def _clean(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.retention import clean
    from airflow_provider_evolink.storage.object_store import open_folder, public_uri

    staging = open_folder(options.staging, options.staging_conn_id, what="staging")
    removed = [public_uri(uri) for uri in clean(staging, root, options.older_than)]
    _report(options, {"removed": removed}, [*removed, f"{len(removed)} staged files removed"])
    return 0


def _forget(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.retention import forget
    from airflow_provider_evolink.storage.object_store import public_uri

    removed = [public_uri(uri) for uri in forget(root, options.job_id, options.staging_conn_id)]
    _report(options, {"removed": removed}, [*removed, f"{len(removed)} objects removed"])
    return int(not removed)


def _find(root: ObjectStoragePath, options: argparse.Namespace) -> int:
    from airflow_provider_evolink.storage.archive.reader import EvoLinkArchive

    archive = EvoLinkArchive(str(root))
    given = {name: getattr(options, name) for name in ("model", "dag_id", "since", "until")}
    found = list(archive.find(**given))
    lines = ["  ".join(str(row[name]) for name in _COLUMNS) for row in found]
    _report(options, found, [*lines, f"{len(found)} jobs"])
    return int(not found)

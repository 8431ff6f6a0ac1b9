"""Reads the packets of a clip or sound in a child process, whose memory and time are limited."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_evolink.api.files.formats.source import damaged
from airflow_provider_evolink.api.files.formats.structure import Structure

_MEMORY = 25 * 1024 * 1024  # bytes of data, beside those of the libraries
_CPU_SECONDS = 10
_SECONDS = 60.0
_SCRIPT = Path(__file__).with_name("packet_reader.py")
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # what an interpreter may need to start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packets:
    """
    What the packets of a file show.

    :param seconds: Length of its clip, or of its sound if it has none.
    """

    seconds: float | None


def can_measure() -> bool:
    """Return whether the extra ``media`` (PyAV) is installed."""
    try:
        return find_spec("av") is not None
    except (ImportError, ValueError):
        return False


def read_packets(file: BinaryIO, structure: Structure) -> Packets | None:
    """
    Return what the packets of a file show; ``None``, with a warning, where they could not be read on this machine.

    :param file: The file, open for reading; one that is not on this machine is copied.
    :param structure: What is known about it.
    :raises EvoLinkMediaError: it is damaged.
    """
    if not can_measure():
        log.warning("Only the structure of the file was verified: the extra media (PyAV) is not installed here")
        return None
    try:
        with _descriptor_of(file) as descriptor:
            found = _run(descriptor, structure)
    except (OSError, subprocess.SubprocessError, TypeError, ValueError) as error:
        found = {"failed": type(error).__name__}
    if not isinstance(found, dict) or "streams" not in found:
        reason = found.get("failed") if isinstance(found, dict) else "output"
        log.warning("Only the structure of the file was verified: its packets could not be read here (%s)", reason)
        return None
    return _judge(found, structure)


def _run(descriptor: int, structure: Structure) -> Any:
    return run_reader(
        _SCRIPT,
        descriptor,
        start=structure.start,
        end=structure.end,
        demuxer=structure.demuxer,
        memory=_MEMORY,
        seconds=_CPU_SECONDS,
    )


def run_reader(script: Path, descriptor: int, **order: Any) -> Any:
    """
    Run a script in a child process that limits itself, and return what it writes as JSON.

    :param script: The script.
    :param descriptor: An open file, which it reads.
    :param order: What it is to do, and its limits ``memory`` and ``seconds``.
    :raises subprocess.SubprocessError: it failed, or took too long.
    """
    order = {**order, "file": descriptor, "path": sys.path}
    done = subprocess.run(  # noqa: S603 - our own script and interpreter
        [sys.executable, "-I", "-S", str(script)],
        input=json.dumps(order) + "\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        timeout=_SECONDS,
        text=True,
        check=True,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )
    return json.loads(done.stdout)


def _judge(found: dict[str, Any], structure: Structure) -> Packets:
    """Return what packets show, or refuse the file for them."""
    streams = [stream for stream in found["streams"] if stream["packets"]]
    kind = "video" if structure.kind == "video" else "audio"
    main = next((stream for stream in streams if stream["type"] == kind), None)
    if main is None:
        raise damaged("it has no frame that can be read")
    if found["error"] or found["corrupt"]:
        raise damaged("not all of its packets can be read")
    if main["start"] is None or main["end"] <= main["start"]:
        return Packets(None)
    return Packets(round(main["end"] - main["start"], 3))


@contextmanager
def _descriptor_of(file: BinaryIO) -> Iterator[int]:
    """Provide a descriptor of the content; a file in an object store is copied to this machine for it."""
    try:
        file.flush()
        descriptor = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        with tempfile.TemporaryFile(prefix="evolink-") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield copy.fileno()
    else:
        yield descriptor

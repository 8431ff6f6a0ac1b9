"""``python -m airflow_provider_evolink.emulator``: run the emulator in the foreground."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from airflow_provider_evolink.emulator.health import is_healthy
from airflow_provider_evolink.emulator.options import read_options
from airflow_provider_evolink.emulator.packages import require_packages

if TYPE_CHECKING:
    import argparse


_ANY = {"", "0.0.0.0", "::"}  # noqa: S104


class Pair(NamedTuple):
    """
    What HTTPS needs.

    :param certificate: PEM file.
    :param key: PEM file.
    """

    certificate: Path
    key: Path


def main(arguments: list[str] | None = None) -> int:
    """
    Run the emulator until it is terminated.

    :param arguments: Command line without the program's name.
    :return: Exit status: 0 if it ran, 2 if it could not start. With ``--check``: 0 if it is well, else 1.
    """
    options = read_options(arguments)
    tls = options.tls_cert is not None or options.tls_self_signed is not None
    if options.check:
        return 0 if is_healthy(options.host, options.port, tls=tls) else 1
    try:
        return _run(options)
    except _Unable as reason:
        sys.stderr.write(f"{reason}\n")
        return 2


class _Unable(Exception):
    """The emulator cannot start, for a reason that is told in one line."""


def _run(options: argparse.Namespace) -> int:
    try:
        require_packages()
        from airflow_provider_evolink.emulator.certificate import CertificateError
        from airflow_provider_evolink.emulator.orders.model_file import ModelFileError
        from airflow_provider_evolink.emulator.orders.models import documented_models
        from airflow_provider_evolink.emulator.server import build_server, listen, raise_file_limit
    except ImportError as error:
        raise _Unable(str(error)) from error
    try:
        documented_models()
        pair = _pair(options)
    except (ModelFileError, CertificateError) as error:
        raise _Unable(str(error)) from error
    try:
        bound = listen(options.host, options.port)
    except OSError as error:
        raise _Unable(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}") from error
    raise_file_limit()
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="evolink-emulator-", ignore_cleanup_errors=True) as folder:
        _announce(options, bound.getsockname()[1], tls=pair is not None)
        try:
            build_server(options.settings, Path(folder), pair).run([bound])
        except SystemExit:
            return 0
        finally:
            bound.close()
    return 0


def _pair(options: argparse.Namespace) -> Pair | None:
    """Return certificate and key; make them if that is wanted."""
    from airflow_provider_evolink.emulator.certificate import check_pair, self_signed

    if options.tls_self_signed is not None:
        file = Path(options.tls_self_signed)
        # A pod's own name changes: it is taken only where there is no other.
        own = urlsplit(options.public_url or "").hostname or socket.gethostname()
        names = ["localhost", "127.0.0.1", "::1", own, *options.allowed_hosts, options.host]
        return Pair(file, self_signed(file, (name for name in names if name.isascii() and name not in _ANY)))
    if options.tls_cert is None:
        return None
    pair = Pair(Path(options.tls_cert), Path(options.tls_key))
    check_pair(*pair)
    return pair


def _announce(options: argparse.Namespace, port: int, *, tls: bool) -> None:
    settings, host = options.settings, options.host
    pace = f"{settings.polls} polls" if settings.mode == "polls" else f"speed {settings.speed:g}"
    shown = f"[{host}]" if ":" in host else host
    links = f", links start with {settings.public_url}" if settings.public_url else ""
    sys.stdout.write(f"EvoLink emulator on {'https' if tls else 'http'}://{shown}:{port} ({pace}){links}\n")
    sys.stdout.flush()


def _stop(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    # before anything slow: the first process of a container is not terminated by a signal that it has no handler for
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    sys.exit(main())

"""``python -m airflow_provider_evolink.emulator``: run the emulator in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from airflow_provider_evolink.emulator.orders.input_media import is_loopback_host
from airflow_provider_evolink.emulator.packages import require_packages
from airflow_provider_evolink.emulator.settings import Settings

_PORT = 8765
HOSTS_VARIABLE = "EVOLINK_EMULATOR_ALLOWED_HOSTS"


def main(arguments: list[str] | None = None) -> int:
    """
    Run the emulator until it is terminated.

    :param arguments: Command line without the program's name.
    :return: Exit status: 0 if it ran, 2 if it could not start.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.allow_remote and not is_loopback_host(options.host):
        parser.error(f"{options.host} is reachable from other machines; add --allow-remote to allow this")
    try:
        settings = _settings(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        require_packages()
        from airflow_provider_evolink.emulator.orders.model_file import ModelFileError
        from airflow_provider_evolink.emulator.orders.models import documented_models
        from airflow_provider_evolink.emulator.server import build_server, listen
    except ImportError as error:
        return _fail(str(error))
    try:
        documented_models()
    except ModelFileError as error:
        return _fail(str(error))
    try:
        bound = listen(options.host, options.port)
    except OSError as error:
        return _fail(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="evolink-emulator-", ignore_cleanup_errors=True) as folder:
        _announce(options.host, bound.getsockname()[1], settings)
        try:
            build_server(settings, Path(folder)).run([bound])
        except SystemExit:
            return 0
        finally:
            bound.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_evolink.emulator",
        description="A local EvoLink: accepts any API key, costs nothing, renders real files.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=_PORT, help="port to listen on; 0 for a free one (default: %(default)s)"
    )
    parser.add_argument("--allow-remote", action="store_true", help="allow an address other than loopback")
    parser.add_argument(
        "--allow-host",
        action="append",
        dest="allowed_hosts",
        metavar="NAME",
        help=f"serve requests that name this host, such as that of a container (repeatable; also ${HOSTS_VARIABLE})",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=float, help="divide the duration of jobs by this (default: 1)")
    pace.add_argument("--polls", type=int, help="finish jobs after this many polls instead of by the clock")
    parser.add_argument("--seconds", type=float, help="nominal seconds of a video job (default: 120)")
    parser.add_argument(
        "--estimated-time", type=int, help="estimated_time that jobs report (default: their real duration)"
    )
    parser.add_argument("--balance", type=float, help="credits of the account (default: 1000)")
    parser.add_argument("--link-seconds", type=float, help="lifetime of a result link (default: 86400)")
    parser.add_argument("--fps", type=int, help="frames per second of rendered videos (default: 24)")
    parser.add_argument("--key", action="append", dest="keys", metavar="KEY", help="accept only this key (repeatable)")
    parser.add_argument("--no-idempotency", action="store_true", help="ignore Idempotency-Key")
    parser.add_argument("--files-images-only", action="store_true", help="refuse uploads other than images")
    parser.add_argument("--quiet", action="store_true", help="do not log jobs")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    names = ("speed", "polls", "seconds", "estimated_time", "balance", "link_seconds", "fps", "keys")
    changes: dict[str, Any] = {name: value for name in names if (value := getattr(options, name)) is not None}
    listed = os.environ.get(HOSTS_VARIABLE, "").replace(",", " ").split()
    changes["allowed_hosts"] = [*(options.allowed_hosts or []), *listed, options.host]
    changes["mode"] = "polls" if "polls" in changes else "seconds"
    changes["idempotency"] = not options.no_idempotency
    changes["files_images_only"] = options.files_images_only
    return Settings().changed(changes)


def _announce(host: str, port: int, settings: Settings) -> None:
    pace = f"{settings.polls} polls" if settings.mode == "polls" else f"speed {settings.speed:g}"
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"EvoLink emulator on http://{shown}:{port} ({pace})\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 2


def _stop(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())

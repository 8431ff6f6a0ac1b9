"""The command line of the emulator, and its environment variables, for containers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.input_media import is_loopback_host
from airflow_provider_evolink.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 8765
PREFIX = "EVOLINK_EMULATOR_"
_SWITCH = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_PACE = ("speed", "polls")
_CHANGES = (
    *(*_PACE, "seconds", "estimated_time", "balance", "link_seconds", "fps"),
    *("public_url", "keep_hours", "files_images_only"),
)


def read_options(arguments: list[str] | None = None, environ: Mapping[str, str] | None = None) -> argparse.Namespace:
    """
    Read the command line and the environment. The command line wins; lists are put together.

    The ``settings`` of the result are those at the start.

    :param arguments: Command line without the program's name; by default that of this process.
    :param environ: The environment, by default that of this process.
    :raises SystemExit: With status 2, if an option, a variable or a combination is not valid.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        _add_environment(options, parser, os.environ if environ is None else environ)
        options.keys += [] if options.keys_file is None else _keys_of(Path(options.keys_file))
        _check(options)
        options.settings = _settings(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _settings(options: argparse.Namespace) -> Settings:
    changes: dict[str, Any] = {name: value for name in _CHANGES if (value := getattr(options, name)) is not None}
    changes["allowed_hosts"] = [*options.allowed_hosts, options.host]
    changes["keys"], changes["media_hosts"] = options.keys, options.media_hosts
    changes["mode"] = "polls" if "polls" in changes else "seconds"
    changes["idempotency"] = not options.no_idempotency
    return Settings().changed(changes)


def variable_of(action: argparse.Action) -> str:
    """Return the environment variable of an option: that of ``--allow-host`` is ``EVOLINK_EMULATOR_ALLOWED_HOSTS``."""
    return PREFIX + action.dest.upper()


def _add_environment(options: argparse.Namespace, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Fill in what the command line leaves open."""
    paced = any(getattr(options, name) is not None for name in _PACE)
    for action in environment_options(parser):
        name, given = action.dest, getattr(options, action.dest)
        if isinstance(given, list):
            setattr(options, name, given + environ.get(variable_of(action), "").replace(",", " ").split())
        elif (given is None or given is False) and not (paced and name in _PACE):
            setattr(options, name, _value(action, environ.get(variable_of(action), "").strip()))


def environment_options(parser: argparse.ArgumentParser | None = None) -> list[argparse.Action]:
    """Return the options that have an environment variable."""
    return [action for action in (parser or build_parser())._actions if action.dest not in {"help", "check"}]


def _value(action: argparse.Action, text: str) -> Any:
    """Return what a variable means; an empty one means nothing."""
    # Kubernetes and Docker give this variable to every container beside a service named evolink-emulator
    if not text or (action.dest == "port" and text.startswith("tcp://")):
        return False if action.nargs == 0 else None
    kind: Any = _switch if action.nargs == 0 else action.type or str
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{variable_of(action)}: invalid value {text!r}") from None


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _keys_of(path: Path) -> list[str]:
    """Return the keys of a file, one a line. A file without any is refused: it would admit every key."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ValueError(f"cannot read the keys in {path}: {reason}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise ValueError(f"{path} has no key: write one a line, or leave out --keys-file to accept any key")
    return keys


def _check(options: argparse.Namespace) -> None:
    options.host = options.host or "127.0.0.1"
    options.port = PORT if options.port is None else options.port
    if not 0 <= options.port <= 65535:
        raise ValueError(f"{options.port} is no port: it must be 0 to 65535")
    if not options.allow_remote and not is_loopback_host(options.host):
        raise ValueError(f"{options.host} is reachable from other machines; add --allow-remote to allow this")
    if all(getattr(options, name) is not None for name in _PACE):
        raise ValueError("argument --polls: not allowed with argument --speed")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ValueError("--tls-cert and --tls-key are only used together")
    if options.tls_cert is not None and options.tls_self_signed is not None:
        raise ValueError("argument --tls-self-signed: not allowed with argument --tls-cert")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_evolink.emulator",
        description="A local EvoLink: accepts any API key, costs nothing, renders real files.",
        epilog=f"Each option is also an environment variable: --link-seconds is {PREFIX}LINK_SECONDS, the lists are "
        f"{PREFIX}ALLOWED_HOSTS, {PREFIX}MEDIA_HOSTS and {PREFIX}KEYS, separated by commas or blanks.",
    )
    _add_network(parser)
    _add_tls(parser)
    _add_keys(parser)
    _add_jobs(parser)
    parser.add_argument("--quiet", action="store_true", help="do not log jobs")
    parser.add_argument(
        "--check", action="store_true", help="ask the emulator that runs with the same options whether it is well"
    )
    return parser


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    group.add_argument("--port", type=int, help=f"port to listen on; 0 for a free one (default: {PORT})")
    group.add_argument("--allow-remote", action="store_true", help="allow an address other than loopback")
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        dest="allowed_hosts",
        metavar="NAME",
        help="serve requests that name this host, such as that of a container (repeatable)",
    )
    group.add_argument(
        "--public-url",
        metavar="URL",
        help="what links to results and uploads start with, such as https://emulator.example.com: where a proxy ends "
        "TLS or maps ports (default: the address of the request)",
    )
    group.add_argument(
        "--media-host",
        action="append",
        default=[],
        dest="media_hosts",
        metavar="HOST[:PORT]",
        help="fetch input media from this host, such as that of an object store (repeatable)",
    )


def _add_tls(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TLS")
    group.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate (PEM, with its chain)")
    group.add_argument("--tls-key", metavar="FILE", help="its private key (PEM, without a password)")
    group.add_argument(
        "--tls-self-signed",
        metavar="FILE",
        help="serve HTTPS with a certificate that is made, and kept in this file for clients to trust",
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("API keys")
    group.add_argument(
        "--key", action="append", default=[], dest="keys", metavar="KEY", help="accept only this key (repeatable)"
    )
    group.add_argument("--keys-file", metavar="FILE", help="accept only the keys in this file: one a line, # comments")


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("jobs")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=float, help="divide the duration of jobs by this (default: 1)")
    pace.add_argument("--polls", type=int, help="finish jobs after this many polls instead of by the clock")
    group.add_argument("--seconds", type=float, help="nominal seconds of a video job (default: 120)")
    group.add_argument(
        "--estimated-time", type=int, help="estimated_time that jobs report (default: their real duration)"
    )
    group.add_argument("--balance", type=float, help="credits of the account (default: 1000)")
    group.add_argument("--link-seconds", type=float, help="lifetime of a result link (default: 86400)")
    group.add_argument(
        "--keep-hours", type=float, help="forget jobs that have ended, and their files, after this (default: never)"
    )
    group.add_argument("--fps", type=int, help="frames per second of rendered videos (default: 24)")
    group.add_argument("--no-idempotency", action="store_true", help="ignore Idempotency-Key")
    group.add_argument("--files-images-only", action="store_true", help="refuse uploads other than images")

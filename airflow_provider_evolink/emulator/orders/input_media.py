"""The input media a request names: what the emulator may fetch, and what it finds in the files."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow_provider_evolink.emulator.settings import canonical_host, split_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")

_PORTS = {"http": 80, "https": 443}
_WAITING = ThreadPoolExecutor(max_workers=64, thread_name_prefix="inputs")
_TIMEOUT = 10
_TOTAL_SECONDS = 30.0
_MAX_BYTES = 100 * 1024 * 1024
_CHUNK = 1024 * 1024
# a playlist would make FFmpeg open whatever else it names
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mp3,wav,ogg,flac,aac,png_pipe,jpeg_pipe,webp_pipe,gif,image2"


class InputUnavailable(Exception):
    """There is no usable file at an address the emulator may fetch."""


@dataclass(frozen=True)
class InputMedia:
    """
    One input of a request.

    :param width: Pixels; 0 without a picture.
    :param height: Pixels; 0 without a picture.
    :param seconds: Length; 0 for images.
    :param open: Returns the file. May take long, since it may have to be rendered first.
    :param fetched: The file, if it was fetched for this request alone.
    """

    width: int
    height: int
    seconds: float
    open: Callable[[], Path]
    fetched: Path | None = None


def is_loopback(address: str) -> bool:
    """
    Return whether an address is plain HTTP on this machine.

    :param address: A URL.
    """
    try:
        parts = urlsplit(address)
        return parts.scheme == "http" and is_loopback_host(parts.hostname or "")
    except ValueError:
        return False


def is_loopback_host(host: str) -> bool:
    """
    Return whether a host is this machine.

    :param host: A name or an address; other names than ``localhost`` are not resolved.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def may_fetch(address: str, media_hosts: Iterable[str], *, local: bool) -> bool:
    """
    Return whether the emulator fetches the file at an address.

    :param address: A URL.
    :param media_hosts: Hosts of the configuration; their files are fetched for everybody.
    :param local: Whether the caller is on this machine; nobody else reaches its other servers over this one.
    """
    try:
        parts = urlsplit(address)
        host, port = canonical_host(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return False
    if port is None:
        return False
    return (local and is_loopback(address)) or any(
        host == name and only in (None, port) for name, only in map(split_host, media_hosts)
    )


def fetch(address: str, folder: Path, max_bytes: int = _MAX_BYTES) -> Path:
    """
    Download a file. Redirects are not followed.

    :param address: A URL that :func:`may_fetch` allows.
    :param folder: Where to put the file.
    :param max_bytes: A larger file is refused.
    :raises InputUnavailable: There is no usable file at the address.
    """
    try:
        status, content = _get(address, max_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputUnavailable(str(error)) from error
    if status != 200 or not content or len(content) > max_bytes:
        raise InputUnavailable(f"HTTP {status}, {len(content)} bytes")
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
    return Path(file.name)


def _get(address: str, max_bytes: int) -> tuple[int, bytes]:
    parts, deadline = urlsplit(address), time.monotonic() + _TOTAL_SECONDS
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port or _PORTS[parts.scheme], timeout=_TIMEOUT)
    content = bytearray()
    try:
        connection.request("GET", target, headers={"User-Agent": "evolink-emulator"})
        response = connection.getresponse()
        while len(content) <= max_bytes and (chunk := response.read1(_CHUNK)):
            content += chunk
            if time.monotonic() > deadline:
                raise TimeoutError("the file takes too long")
    finally:
        connection.close()
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return response.status, bytes(content)


def fetch_and_measure(address: str, folder: Path) -> InputMedia:
    """
    Download a file and read its size and length.

    :param address: A URL that :func:`may_fetch` allows.
    :param folder: Where to put the file; it stays there only if it is a media file.
    :raises InputUnavailable: There is no usable file at the address.
    """
    path = fetch(address, folder)
    try:
        return replace(measure(path), fetched=path)
    except InputUnavailable:
        path.unlink()
        raise


async def in_background(function: Callable[..., Result], *arguments: Any) -> Result:
    """
    Call a function that may wait for the server of an input, without blocking the event loop.

    The threads of ``asyncio.to_thread`` are few: some servers that hang would keep all other orders waiting.

    :param function: The function.
    :param arguments: Its arguments.
    """
    return await asyncio.get_running_loop().run_in_executor(_WAITING, partial(function, *arguments))


def measure(path: Path) -> InputMedia:
    """
    Read size and length of a media file.

    :param path: The file.
    :raises InputUnavailable: It is not a media file.
    """
    import av

    try:
        with av.open(path, options={"format_whitelist": _FORMATS}) as container:
            picture = next(iter(container.streams.video), None)
            seconds = _seconds(container, picture)
            width, height = (picture.width, picture.height) if picture else (0, 0)
    except (av.FFmpegError, ValueError) as error:
        raise InputUnavailable("not a media file") from error
    return InputMedia(width, height, seconds, lambda: path)


def _seconds(container: Any, picture: Any) -> float:
    stream = picture or next(iter(container.streams), None)
    if stream is not None and stream.duration and stream.time_base:
        return round(float(stream.duration * stream.time_base), 3)
    return round(container.duration / 1_000_000, 3) if container.duration else 0.0

"""
Bytes that came encoded although identity was requested: gzip, zlib, or the frames of a signed upload.

What the bytes are decides, not ``Content-Encoding``: hosts repeat there what an uploader declared, or nothing at all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from airflow_provider_evolink.api.errors import EvoLinkMediaError

_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b\x08"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_FRAME = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=[0-9a-fA-F]{1,128}\r\n")
_MAX_FRAME_HEAD = 200


def decode(file: BinaryIO, target: Path, max_bytes: int) -> bool:
    """
    Write the file that is inside an encoded one.

    :param file: What came.
    :param target: Where the decoded file goes, if there is one.
    :param max_bytes: Its maximum size.
    :return: Whether it was encoded.
    :raises EvoLinkMediaError: the encoded bytes are damaged or cut, or the file is too large.
    """
    chunks, size = _decoder(file), 0
    if chunks is None:
        return False
    with target.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise EvoLinkMediaError(f"the decoded file is larger than the {max_bytes} bytes allowed")
            out.write(chunk)
    return True


def _decoder(file: BinaryIO) -> Iterator[bytes] | None:
    file.seek(0)
    head = file.read(_MAX_FRAME_HEAD)
    file.seek(0)
    if head.startswith(_GZIP):
        return _inflated(file, 31)
    if head.startswith(_ZLIB):
        return _inflated(file, 15)
    return _unframed(file) if _FRAME.match(head) else None


def _inflated(file: BinaryIO, window: int) -> Iterator[bytes]:
    """Decompress, a bounded piece at a time: a small body may stand for a very large file."""
    engine, waiting = zlib.decompressobj(window), b""
    while True:
        waiting = waiting or file.read(_CHUNK)
        if not waiting:
            raise EvoLinkMediaError("the compressed file is cut")
        try:
            yield engine.decompress(waiting, _CHUNK)
        except zlib.error:
            raise EvoLinkMediaError("the compressed file is damaged") from None
        waiting = engine.unconsumed_tail
        if engine.eof:
            waiting = engine.unused_data or file.read(_CHUNK)
            if not waiting.startswith(_GZIP):  # several members make one file; anything else is padding
                return
            engine = zlib.decompressobj(window)


def _unframed(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of the frames in which an object store takes signed uploads, if it has stored them as well."""
    while True:
        found = _FRAME.fullmatch(file.readline(_MAX_FRAME_HEAD))
        if found is None:
            raise EvoLinkMediaError("the framed file is damaged")
        left = int(found[1], 16)
        if not left:
            return
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise EvoLinkMediaError("the framed file is cut")
            left -= len(chunk)
            yield chunk
        file.read(2)

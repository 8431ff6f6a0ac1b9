"""
Reads all packets of a file, in a process of its own; a script of the standard library and PyAV.

A file from outside decides what FFmpeg allocates and how long it runs, so this process limits itself first. It is
started by ``packets.py``, which hands it the file as an open descriptor, and reads one line of JSON from it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

# FFmpeg must not guess the format: it takes a text for a playlist or a session, and opens what that names. No other
# file or host, and no decoder. Streams are described by their container, so nothing is read ahead and kept.
_OPTIONS = {"protocol_whitelist": "", "codec_whitelist": "", "probesize": "65536", "analyzeduration": "0"}


class Part(io.RawIOBase):
    """
    The part of a file that is its container. It reads at positions of its own, so that the descriptor can be shared.

    :param descriptor: The open file.
    :param start: Where the container starts.
    :param end: Where it ends.
    """

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._start = start
        self._size = end - start
        self._position = 0

    def seekable(self) -> bool:
        """Return true."""
        return True

    def readable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """
        Go to a position.

        :param offset: From where ``whence`` says.
        :param whence: As in ``os``.
        """
        self._position = offset + {os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence, 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """
        Return the next bytes.

        :param size: How many.
        """
        count = max(0, min(size, self._size - self._position))
        content = os.pread(self._descriptor, count, self._start + self._position)
        self._position += len(content)
        return content


def limit(memory: int, seconds: int) -> None:
    """
    Limit this process.

    :param memory: Bytes of data, beside those it has.
    :param seconds: Of CPU.
    """
    import resource

    memory += data_size()
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def data_size() -> int:
    """Return the bytes of data of this process; 0 where the system does not tell, and does not limit them either."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs more memory
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def walk(file: Part, demuxer: str) -> dict[str, Any]:
    """
    Read all packets, and return what they show.

    :param file: The file.
    :param demuxer: FFmpeg's name of its container.
    """
    import av

    found: dict[str, Any] = {"error": None, "corrupt": 0, "streams": []}
    try:
        with av.open(file, "r", format=demuxer, container_options=_OPTIONS, metadata_errors="ignore") as container:
            streams = found["streams"] = [
                {"type": stream.type, "packets": 0, "start": None, "end": None} for stream in container.streams
            ]
            for packet in container.demux():
                if packet.size and not packet.is_discard:
                    count(streams[packet.stream_index], packet)
                    found["corrupt"] += packet.is_corrupt
    except av.error.MemoryError:
        raise MemoryError from None
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        found["error"] = type(error).__name__
    return found


def count(stream: dict[str, Any], packet: Any) -> None:
    """
    Add a packet to what is known of its stream.

    :param stream: What is known.
    :param packet: The packet.
    """
    stream["packets"] += 1
    begin = packet.dts if packet.pts is None else packet.pts
    if begin is None or packet.time_base is None:
        return
    start, end = float(begin * packet.time_base), float((begin + (packet.duration or 0)) * packet.time_base)
    stream["start"] = start if stream["start"] is None else min(stream["start"], start)
    stream["end"] = end if stream["end"] is None else max(stream["end"], end)


def main() -> None:
    """Read the order from the standard input, and write what was found to the standard output."""
    order = json.loads(sys.stdin.readline())
    sys.path[:] = order["path"]
    try:
        import av  # noqa: F401 - loaded before the limits: it is as large as it is

        limit(order["memory"], order["seconds"])
        found = walk(Part(order["file"], order["start"], order["end"]), order["demuxer"])
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller decides what it means
        found = {"failed": type(error).__name__}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

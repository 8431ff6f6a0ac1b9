"""
Decodes one frame of a clip or picture and makes a small JPEG of it, in a process of its own, limited as its sibling is.

Started by ``posters.py``. Unlike the reader of packets it needs decoders; only those of known formats may be used.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.api.files.packet_reader import Part

_DECODERS = "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mjpeg,png,webp,gif,bmp,prores,theora"
_OPTIONS = {"protocol_whitelist": "", "codec_whitelist": _DECODERS, "probesize": "1048576"}
_TURNS = {90: "transpose=2", -270: "transpose=2", -90: "transpose=1", 270: "transpose=1", 180: "hflip,vflip"}


def describe(container: Any) -> dict[str, Any]:
    """
    Return what the tracks of a file are.

    :param container: The open file.
    """
    tracks = [stream for stream in container.streams if stream.type in ("video", "audio")]
    rates = [stream.average_rate for stream in tracks if stream.type == "video" and stream.average_rate]
    return {
        "codecs": [str(stream.codec_context.codec.canonical_name) for stream in tracks if stream.codec_context],
        "audio": any(stream.type == "audio" for stream in tracks),
        "frame_rate": round(float(rates[0]), 3) if rates else None,
        "jpeg": None,
    }


def poster(container: Any, side: int) -> bytes | None:
    """
    Return the first frame as JPEG.

    :param container: The open file.
    :param side: Maximum of its sides, in pixels.
    """
    stream = next(iter(container.streams.video), None)
    if stream is None:
        return None
    stream.thread_type, stream.thread_count = "NONE", 1
    frame = next(iter(container.decode(stream)), None)
    return None if frame is None else jpeg(scaled(frame, side))


def scaled(frame: Any, side: int) -> Any:
    """
    Return a frame as a player shows it, in a size for a list.

    :param frame: The frame.
    :param side: Maximum of its sides, in pixels.
    """
    import av

    turn = _TURNS.get(int(getattr(frame, "rotation", 0) or 0))
    factor = min(1.0, side / max(frame.width, frame.height))
    width, height = (max(2, round(length * factor / 2) * 2) for length in (frame.width, frame.height))
    small = frame.reformat(width=width, height=height, format="yuvj420p")
    if turn is None:
        return small
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=width, height=height, format=small.format, time_base=frame.time_base)]
    nodes += [graph.add(*step.partition("=")[::2]) for step in turn.split(",")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.push(small)
    return graph.pull()


def jpeg(frame: Any) -> bytes:
    """
    Return a frame as JPEG.

    :param frame: The frame, in the colors of JPEG.
    """
    from fractions import Fraction

    import av

    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"flags": "qscale", "global_quality": "590"}
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def read(file: Part, demuxer: str, side: int) -> dict[str, Any]:
    """
    Return what a file shows.

    :param file: The file.
    :param demuxer: FFmpeg's name of its container.
    :param side: Maximum of the sides of the poster, in pixels; 0: none.
    """
    import av

    with av.open(file, "r", format=demuxer, container_options=_OPTIONS, metadata_errors="ignore") as container:
        found = describe(container)
        try:
            picture = poster(container, side) if side else None
            found["jpeg"] = base64.b64encode(picture).decode() if picture else None
        except Exception as error:  # noqa: BLE001 - what the tracks are is known all the same
            found["failed"] = type(error).__name__
    return found


def main() -> None:
    """Read the order from the standard input, and write what was found to the standard output."""
    order = json.loads(sys.stdin.readline())
    sys.path[:] = [os.path.dirname(os.path.abspath(__file__)), *order["path"]]  # noqa: PTH100, PTH120 - light
    try:
        import av  # noqa: F401 - loaded before the limits: it is as large as it is
        from packet_reader import Part, limit  # type: ignore[import-not-found]

        limit(order["memory"], order["seconds"])
        found = read(Part(order["file"], 0, order["end"]), order["demuxer"], order["side"])
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no poster
        found = {"failed": type(error).__name__}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

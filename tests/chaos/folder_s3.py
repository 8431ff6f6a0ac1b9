"""An S3 for reading that serves a folder: large files stay on disk, of which moto would copy each for every range."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from xml.sax.saxutils import escape

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

FOLDER = Path(sys.argv[1])
PIECE = 256 * 1024


def part(path: Path, start: int, end: int) -> Iterator[bytes]:
    """Yield a part of a file."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(PIECE, end - start))):
            start += len(piece)
            yield piece


def listing(prefix: str) -> Response:
    """Return the keys that begin with a prefix."""
    found = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]
    rows = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{path.stat().st_size}</Size></Contents>"
        for path in found
        if (key := str(path.relative_to(FOLDER))).startswith(prefix)
    )
    text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
    return Response(text, media_type="application/xml")


async def serve(request: Request) -> Response:
    """Answer HEAD, GET with a range, and lists."""
    key = request.path_params.get("key", "")
    if not key:
        return listing(request.query_params.get("prefix", ""))
    path = FOLDER / key
    if not path.is_file():
        return Response("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
    size = path.stat().st_size
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    start, end = (int(span[1]), min(int(span[2] or size - 1), size - 1) + 1) if span else (0, size)
    headers = {
        "Content-Length": str(end - start),
        "ETag": f'"{size:x}"',
        "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
        **({"Content-Range": f"bytes {start}-{end - 1}/{size}"} if span else {}),
    }
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(None, status, headers)
    return StreamingResponse(iterate_in_threadpool(part(path, start, end)), status, headers)


if __name__ == "__main__":
    routes = [Route("/{bucket}/{key:path}", serve), Route("/{bucket}", serve)]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")

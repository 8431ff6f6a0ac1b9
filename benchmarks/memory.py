"""
Measure the memory of a task that downloads a large clip: from its link to a folder, and to S3.

    make memory                     500 MB and 2 GB; two minutes, and twice 2 GB of disk below TMPDIR
    make memory ARGS=64             other sizes, in MB

The links and the S3 are served by this process from files; what is measured is the process of the task, above what it
had after a small download, and the child that reads the packets. Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

MB = 1024 * 1024
GOALS = {"file": 16, "s3": 48}  # MB above start
CHILD = 64
CHILD_SECONDS = 10
CHUNK = MB
READER = "packet_reader.py"
TASK = """
import json, pathlib, sys, time
from airflow_provider_evolink.operators import EvoLinkDownloadOperator

def kb(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

def download(job):
    return EvoLinkDownloadOperator(task_id="t", job=job, destination=sys.argv[1]).execute({})

download("task-small")
pathlib.Path("/proc/self/clear_refs").write_text("5")
start, began = kb("VmRSS"), time.monotonic()
(file,) = download("task-large")
print(json.dumps({"grown": (kb("VmHWM") - start) / 1024, "seconds": time.monotonic() - began, "file": file}))
"""


def write_clip(path: Path, size: int) -> None:
    """Write a clip whose packets are all there, each of them the same picture of noise of about 2 MB."""
    import av

    picture = av.VideoFrame(1280, 720, "yuvj420p")
    for plane in picture.planes:
        plane.update(os.urandom(plane.buffer_size))
    with av.open(io.BytesIO(), "w", format="mov") as scratch:
        encoder: Any = scratch.add_stream("mjpeg", rate=24, options={"qmin": "1", "qmax": "1"})
        encoder.width, encoder.height, encoder.pix_fmt = 1280, 720, "yuvj420p"
        frame = bytes(encoder.encode(picture)[0])
    with av.open(str(path), "w", format="mov", options={"movflags": "faststart"}) as clip:
        stream: Any = clip.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuvj420p"
        for number in range(max(2, size // len(frame))):
            packet = av.Packet(frame)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            packet.time_base, packet.duration = Fraction(1, 24), 1
            clip.mux(packet)


class Handler(BaseHTTPRequestHandler):
    """An EvoLink of finished jobs, its links, and an S3 of files that may be put and got, and not listed."""

    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        """Serve a job, or a file."""
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.path.startswith("/v1/tasks/"):
            link = f"{self.server.url}/media/{name}.mov"
            self._json(
                {"id": name, "created": int(time.time()), "status": "completed", "results": [link], "model": "m"}
            )
        elif self.path.startswith("/media/"):
            self._file(self.server.folder / name)
        else:
            self._file(self._object())

    def do_HEAD(self) -> None:
        """Serve the headers alone."""
        self.do_GET()

    def do_PUT(self) -> None:
        """Keep an object, as its bytes arrive."""
        if "If-Match" in self.headers:  # no object has been written yet
            self._empty(412)
            return
        path = self._object()
        part = path.with_name(path.name + ".part")
        is_chunked = "aws-chunked" in self.headers.get("Content-Encoding", "")
        digest = hashlib.md5(usedforsecurity=False)
        with part.open("wb") as out:
            for block in self._blocks() if is_chunked else self._plain(int(self.headers["Content-Length"])):
                digest.update(block)
                out.write(block)
        part.replace(path)
        self._empty(200, ETag=f'"{digest.hexdigest()}"')

    def _plain(self, left: int) -> Any:
        while left and (block := self.rfile.read(min(CHUNK, left))):
            left -= len(block)
            yield block

    def _blocks(self) -> Any:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._plain(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # the trailer, with the checksum
            pass

    def _object(self) -> Path:
        name = hashlib.sha256(self.path.partition("?")[0].encode()).hexdigest()
        return self.server.folder / f"object-{name}"

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._empty(404)
            return
        size = path.stat().st_size
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", "video/quicktime")
        self.send_header("ETag", f'"{size}"')
        self.end_headers()
        if self.command == "GET":
            with path.open("rb") as file:
                self.connection.sendfile(file)

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class Site(ThreadingHTTPServer):
    """Serves the folder of one size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def measure(site: Site, destination: str) -> dict[str, Any]:
    """Download in a process of its own, and watch its child."""
    evolink = {"conn_type": "evolink", "host": site.url, "password": "memory-test-key-0123"}
    s3 = {"conn_type": "aws", "login": "key", "password": "secret-key"}
    s3 |= {"extra": {"endpoint_url": site.url, "region_name": "us-east-1"}}
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(site.folder),
        "AIRFLOW_CONN_EVOLINK_DEFAULT": json.dumps(evolink),
        "AIRFLOW_CONN_MEASURED": json.dumps(s3),
        "AIRFLOW__EVOLINK__SPOOL_FOLDER": str(site.folder / "spool"),
    }
    command = [sys.executable, "-c", TASK, destination]
    task = psutil.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child = {"peak": 0.0, "seconds": 0.0}
    while task.poll() is None:
        watch(task, child)
        time.sleep(0.002)
    out, errors = task.communicate()
    if task.returncode:
        raise SystemExit(errors)
    return {**json.loads(out.splitlines()[-1]), **{f"child_{name}": value for name, value in child.items()}}


def watch(task: psutil.Popen, child: dict[str, float]) -> None:
    """Note the highest peak and CPU time of the processes that read packets."""
    try:
        for process in task.children():
            if READER in " ".join(process.cmdline()):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
                child["peak"] = max(child["peak"], peak)
                child["seconds"] = max(child["seconds"], sum(process.cpu_times()[:2]))
    except (psutil.Error, OSError, StopIteration):
        return


def measured_sizes(sizes: list[int]) -> list[str]:
    """Print a line for each size and store, and return what missed its goal."""
    missed = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="evolink-memory-") as name:
            folder = Path(name)
            write_clip(folder / "task-small.mov", 0)
            write_clip(folder / "task-large.mov", size * MB)
            site = Site(folder)
            for kind, goal in GOALS.items():
                destination = f"file://{folder}/out" if kind == "file" else "s3://measured@bucket/out"
                found = measure(site, destination)
                reader = f"{found['child_peak']:.1f} MB, {found['child_seconds']:.1f} s of CPU"
                line = (
                    f"{found['file']['size'] / MB:6.0f} MB to {kind:4}: task {found['grown']:5.1f} MB above start "
                    f"(goal {goal}), packet reader {reader} (goals {CHILD}, {CHILD_SECONDS}); {found['seconds']:.0f} s"
                )
                print(line, flush=True)
                if found["grown"] > goal or found["child_peak"] > CHILD or found["child_seconds"] > CHILD_SECONDS:
                    missed.append(line)
                if kind == "file":
                    Path(found["file"]["uri"].removeprefix("file://")).unlink()
            site.shutdown()
    return missed


if __name__ == "__main__":
    sys.exit(1 if measured_sizes([int(size) for size in sys.argv[1:]] or [500, 2000]) else 0)

"""
A server that answers for EvoLink, Databricks, OpenAI and a plain address, over TLS, for next to no CPU.

    python fake_server.py CERTIFICATE EPOCH BATCH RESPONSE

BATCH is 1 or 0, whether EvoLink's batch call exists; RESPONSE the seconds after which it responds.

It prints its port. For each line on stdin it prints one line of JSON: what it has counted so far. The line says what
the weather is from now on: ``calm``, ``limited`` or ``outage``.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import sys
import time
from collections import Counter

import uvloop
from fake_jobs import read_number

NUMBER = re.compile(rb"\d{8,}")
LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
WORDS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}
RETRY_AFTER = 2  # seconds
UNDER_WAY = 0.1  # seconds in which calls arrive that left before the 429 was there


class Books:
    """What was counted. ``polls`` are readings of single jobs, of which a batch call holds many."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sockets = self.most_sockets = 0
        self.seen: dict[int, float] = {}
        self.gaps: list[float] = []
        self.early: Counter[tuple[float, int]] = Counter()  # by window of a Retry-After and job

    def poll(self, number: int, now: float) -> None:
        """Take note that a job was read."""
        self.counts["polls"] += 1
        if (before := self.seen.get(number)) is not None:
            self.gaps.append(now - before)
        self.seen[number] = now

    def report(self) -> bytes:
        """Return the counts as JSON; the gaps are those since the last time."""
        gaps, self.gaps = sorted(self.gaps), []
        report = {
            **self.counts,
            "sockets": self.sockets,
            "most_sockets": self.most_sockets,
            "jobs_seen": len(self.seen),
            "gap_p50": gaps[len(gaps) // 2] if gaps else None,
            "gap_p99": gaps[int(len(gaps) * 0.99)] if gaps else None,
            "early_each": max(self.early.values(), default=0),
            "cpu": time.process_time(),
        }
        self.most_sockets = self.sockets
        return json.dumps(report).encode() + b"\n"


class World:
    """
    All jobs, and the answers about them.

    :param epoch: Of the jobs' numbers.
    :param batch: Whether there is a batch call.
    """

    def __init__(self, epoch: float, *, batch: bool) -> None:
        self.epoch, self.batch, self.books = epoch, batch, Books()
        self.weather, self._chance, self._refused = "calm", random.Random(3), 0.0
        self._running = (
            '{"id":"task-%d","object":"video.generation.task","model":"wan2.7-text-to-video","created":%d,'
            '"status":"processing","progress":%d,"type":"video","task_info":{"can_cancel":true},'
            '"usage":{"billing_rule":"per_second","credits_reserved":27.2,"user_group":"default"}}'
        )
        self._done = (
            '{"id":"task-%d","object":"video.generation.task","model":"wan2.7-text-to-video","created":%d,'
            '"status":"completed","progress":100,"type":"video","results":["https://files.example/%d.mp4"],'
            '"task_info":{"can_cancel":false},"usage":{"billing_rule":"per_second","credits_reserved":27.2,'
            '"credits_used":27.2,"user_group":"default"}}'
        )

    def evolink(self, number: int, now: float) -> str:
        """Return EvoLink's words about a job; its progress is honest, in whole percent."""
        self.books.poll(number, now)
        job = read_number(number, self.epoch)
        if now >= job.ends:
            return self._done % (number, job.created, number)
        return self._running % (number, job.created, max(0, int(100 * (now - job.created) / job.seconds)))

    def answer(self, path: bytes, body: bytes) -> bytes:
        """Return the whole answer to a request."""
        now = time.time()
        self.books.counts["requests"] += 1
        if self.weather != "calm" and (refusal := self._refusal(path + body, now)):
            return refusal
        if path == b"/v1/tasks/batch":
            if not self.batch:
                return reply(404, '{"error":{"message":"Invalid URL (POST /v1/tasks/batch)","type":"invalid_request"}}')
            found = (self.evolink(int(number), now) for number in NUMBER.findall(body))
            return reply(200, '{"data":[' + ",".join(found) + "]}")
        match = NUMBER.search(body if path.startswith(b"/api/") else path)
        number = int(match[0]) if match else 0
        if path.startswith(b"/v1/tasks/"):
            return reply(200, self.evolink(number, now))
        self.books.poll(number, now)
        over = now >= read_number(number, self.epoch).ends
        if path.startswith(b"/api/"):
            state = (
                '"life_cycle_state":"TERMINATED","result_state":"SUCCESS"' if over else '"life_cycle_state":"RUNNING"'
            )
            return reply(200, f'{{"run_id":{number},"state":{{{state},"state_message":""}},"tasks":[]}}')
        if path.startswith(b"/v1/batches/"):
            status = "completed" if over else "in_progress"
            return reply(
                200,
                f'{{"id":"batch-{number}","object":"batch","endpoint":"/v1/responses","input_file_id":"f",'
                f'"completion_window":"24h","created_at":1,"status":"{status}"}}',
            )
        return reply(200, '{"done":true}') if over else reply(404, '{"done":false}')

    def _refusal(self, request: bytes, now: float) -> bytes | None:
        """Return 503, or 429 to every twentieth call; count who calls before the time that a 429 named."""
        if self.weather == "outage":
            return reply(503, '{"error":{"code":"service_unavailable","message":"away","type":"server_error"}}')
        if self._refused + UNDER_WAY < now < self._refused + RETRY_AFTER:
            for number in NUMBER.findall(request):
                self.books.early[self._refused, int(number)] += 1
        if self._chance.random() >= 0.05:
            return None
        self._refused = now
        self.books.counts["refused"] += 1
        body = '{"error":{"code":"rate_limit_exceeded","message":"slow down","type":"rate_limit_error"}}'
        return reply(429, body, f"Retry-After: {RETRY_AFTER}\r\n")


def reply(status: int, body: str, more: str = "") -> bytes:
    """Put an answer into HTTP's words."""
    content = body.encode()
    head = f"HTTP/1.1 {status} {WORDS[status]}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Line(asyncio.Protocol):
    """One connection; it is kept open as long as the client likes."""

    def __init__(self, world: World, response: float) -> None:
        self._world, self._got, self._response = world, b"", response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        books = self._world.books
        books.counts["connections"] += 1
        books.sockets += 1
        books.most_sockets = max(books.most_sockets, books.sockets)

    def connection_lost(self, _: Exception | None) -> None:
        """Count it out."""
        self._world.books.sockets -= 1

    def data_received(self, data: bytes) -> None:
        """Answer all requests that came whole."""
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            length = int(match[1]) if (match := LENGTH.search(head)) else 0
            if len(self._got) < end + 4 + length:
                return
            body, self._got = self._got[end + 4 : end + 4 + length], self._got[end + 4 + length :]
            self._respond(self._world.answer(head.split(b" ", 2)[1], body), b"connection: close" in head.lower())

    def _respond(self, response: bytes, is_last: bool) -> None:
        if self._response:
            asyncio.get_running_loop().call_later(self._response, self._write, response, is_last)
        else:
            self._write(response, is_last)

    def _write(self, response: bytes, is_last: bool) -> None:
        self._transport.write(response)
        if is_last:
            self._transport.close()


async def serve(certificate: str, world: World, response: float) -> None:
    """Serve until stdin ends."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(world, response), "127.0.0.1", 0, ssl=tls, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = loop.create_future()

    def on_input() -> None:
        if line := sys.stdin.buffer.readline():
            world.weather = line.decode().strip() or "calm"
            sys.stdout.buffer.write(world.books.report())
            sys.stdout.buffer.flush()
        elif not over.done():
            over.set_result(None)

    loop.add_reader(0, on_input)
    await over


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], World(float(sys.argv[2]), batch=sys.argv[3] == "1"), float(sys.argv[4])))

"""Renders results when they are first downloaded, and keeps them; finds the input media of requests."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from airflow_provider_evolink.emulator.orders.input_media import (
    InputMedia,
    InputUnavailable,
    fetch_and_measure,
    is_loopback,
    may_fetch,
    measure,
)
from airflow_provider_evolink.emulator.orders.outputs import SHOWS_CLIP, SOURCE, input_clip
from airflow_provider_evolink.emulator.orders.plans import start_image

if TYPE_CHECKING:
    from pathlib import Path
    from urllib.parse import SplitResult

    from airflow_provider_evolink.emulator.orders.jobs import Job
    from airflow_provider_evolink.emulator.state.world import World

_MAX_SEED = 2147483647
_MODELS_SHOWING_CLIP = {"wan2.7-image-to-video", "wan2.7-video-edit"}


class Gallery:
    """
    The media of one emulator.

    :param world: Its state.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="render")
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    async def file(self, job: Job, number: int) -> Path:
        """
        Return a result without blocking the event loop.

        :param job: A completed job.
        :param number: Number of the file, from 1.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.render, job, number)

    def render(self, job: Job, number: int) -> Path:
        """
        Return a result; it is rendered the first time.

        :param job: A completed job.
        :param number: Number of the file, from 1.
        """
        path = job.result_path(self._world.folder, number)
        with self._locks[path.name]:
            if not path.exists():
                unfinished = path.with_suffix(".part")
                _render(job, number, self._world.settings.fps, unfinished)
                unfinished.replace(path)
        return path

    def locate(self, own_urls: tuple[str, ...], address: str, *, local: bool) -> InputMedia | None:
        """
        Return the input media at an address.

        :param own_urls: What links of this emulator start with.
        :param address: The address in the request.
        :param local: Whether the request came from this machine; nobody else reaches its other servers over this one.
        :return: None for an address that the emulator does not fetch.
        :raises InputUnavailable: There is no usable file at the address.
        """
        try:
            parts, own = urlsplit(address), any(_is_below(base, address) for base in own_urls)
        except ValueError as error:
            raise InputUnavailable(address) from error
        if not own:
            allowed = may_fetch(address, self._world.settings.media_hosts, local=local)
            return fetch_and_measure(address, self._world.folder) if allowed else None
        if parts.path.startswith("/files/"):
            upload = self._world.uploads.find(unquote(parts.path).removeprefix("/files/"), self._world.now())
            if upload is None:
                raise InputUnavailable(address)
            return measure(upload.path)
        if parts.path.startswith("/media/"):
            return self._own_result(parts.path, parse_qs(parts.query))
        raise InputUnavailable(address)

    def _own_result(self, path: str, query: dict[str, list[str]]) -> InputMedia:
        _, _, job_id, name = path.split("/", 3)
        job = self._world.jobs.get(job_id)
        expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
        if job is None or self._world.links.rejection(job, name, expires, signature, self._world.now()):
            raise InputUnavailable(path)
        return self.result(job, int(name.split(".")[0]))

    def result(self, job: Job, number: int) -> InputMedia:
        """
        Return a result as input of another job.

        :param job: A completed job.
        :param number: Number of the file, from 1.
        """
        output = job.plan.output
        return InputMedia(output.width, output.height, output.seconds, partial(self.render, job, number))


def _is_below(base: str, address: str) -> bool:
    here, there = urlsplit(base), urlsplit(address)
    same_host = here.hostname == there.hostname or is_loopback(address)
    return there.scheme == here.scheme and same_host and _port(here) == _port(there)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _render(job: Job, number: int, fps: int, path: Path) -> None:
    # imported here: the encoder is slow to import, and many tests never download a result
    from airflow_provider_evolink.emulator.rendering import render
    from airflow_provider_evolink.emulator.rendering.drawing import Scene

    output, body, extension = job.plan.output, job.order.effective, job.plan.output.extension_of(number)
    start, clip = job.plan.inputs.get(start_image(body) or SOURCE), _clip(job)
    scene = Scene(
        prompt=_text(body.get("prompt") or (job.source.order.body.get("prompt") if job.source else "")),
        model=job.order.model,
        job_id=job.id,
        seed=_seed(job),
        width=output.width,
        height=output.height,
        seconds=output.seconds,
        fps=fps,
        number=number,
        start=start.open() if start else None,
        clip=clip.open() if clip else None,
        edits=job.plan.output.content == "edited" or job.order.model == "wan2.7-video-edit",
    )
    if extension in render.VIDEOS:
        render.render_video(scene, path, extension)
    elif extension in render.IMAGES:
        render.render_image(scene, path, extension)
    else:
        render.render_audio(scene, path, extension)


def _clip(job: Job) -> InputMedia | None:
    if job.plan.output.content not in SHOWS_CLIP and job.order.model not in _MODELS_SHOWING_CLIP:
        return None
    return job.plan.inputs.get(input_clip(job.order.effective) or "")


def _seed(job: Job) -> int:
    given = job.order.body.get("seed")
    if isinstance(given, int):
        return given
    return int.from_bytes(hashlib.sha256(job.id.encode()).digest()[:4]) % _MAX_SEED + 1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

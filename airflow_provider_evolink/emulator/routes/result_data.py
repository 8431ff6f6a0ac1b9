"""``result_data``: what a completed job tells of its results, in the shape its kind of model has."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job

_NAMESPACE = uuid.UUID("6f1b6f0e-6a57-4c62-9d0b-0d3c1f1f5a10")


def result_data(job: Job, links: list[str]) -> Any:
    """
    Return ``result_data`` of a completed job, or None where it has none.

    :param job: The job.
    :param links: Its fresh links.
    """
    compose = _SHAPES.get(job.output.shape)
    return compose(job, links) if compose else None


def result_id(job: Job, number: int) -> str:
    """
    Return the id of one song.

    :param job: The job.
    :param number: Which song, from 1.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{job.id}/{number}"))


def _songs(job: Job, links: list[str]) -> dict[str, Any]:
    title = job.body.get("title") or "Untitled"
    return {
        "songs": [
            {
                "result_id": result_id(job, number),
                "audio_url": link,
                "title": title,
                "tags": job.body.get("style") or "",
                "duration": job.output.seconds,
            }
            for number, link in enumerate(links, 1)
        ]
    }


def _layers(job: Job, links: list[str]) -> list[dict[str, Any]]:
    base: dict[str, Any] = {"image_url": links[0], "z_index": 0}
    width, height = job.output.width, job.output.height
    layers = [
        {
            "image_url": link,
            "z_index": number,
            "bounding_box": {"x": 0, "y": 0, "width": width // number, "height": height // number},
            "name": f"layer {number}",
            "description": f"The emulator's layer {number}",
        }
        for number, link in enumerate(links[1:], 1)
    ]
    return [base, *layers]


def _speech(job: Job, links: list[str]) -> list[dict[str, Any]] | None:
    return [{"audio_url": links[0], "duration": job.output.seconds}] if "qwen-audio" in job.model else None


def _voice(job: Job, links: list[str]) -> dict[str, Any]:
    kind = "cloned" if job.body.get("audio_url") else "designed"
    voice = {"voice": f"{job.body.get('preferred_name', 'voice')}-{_short(job)}", "voice_type": kind}
    return voice | ({"audio_url": links[0]} if links else {})


def _persona(job: Job, _: list[str]) -> dict[str, Any]:
    return {"persona_id": str(uuid.uuid5(_NAMESPACE, job.id))}


def _element(job: Job, _: list[str]) -> dict[str, Any]:
    return {"element_id": str(int(_short(job), 16))}


def _character(job: Job, links: list[str]) -> dict[str, Any]:
    return {"character_id": f"ch_{_short(job)}", "name": f"character {_short(job)}", "image_url": links[0]}


def _short(job: Job) -> str:
    return hashlib.sha256(job.id.encode()).hexdigest()[:10]


_SHAPES: dict[str, Callable[[Job, list[str]], Any]] = {
    "songs": _songs,
    "layers": _layers,
    "speech": _speech,
    "voice": _voice,
    "persona": _persona,
    "element": _element,
    "character": _character,
}

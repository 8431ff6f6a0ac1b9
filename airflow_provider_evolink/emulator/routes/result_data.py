"""``result_data`` of a completed job, which depends on what its model produces."""

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
    Return ``result_data`` of a completed job: for ordinary files one object with the link for each, as recorded.

    :param job: The job.
    :param links: Its result links.
    """
    describe: Callable[[Job, list[str]], Any] = _DATA_OF_CONTENT.get(job.plan.output.content, _files)
    return describe(job, links)


def _files(_: Job, links: list[str]) -> list[dict[str, Any]]:
    return [{"url": link} for link in links]


def _result_id(job: Job, number: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{job.id}/{number}"))


def _songs(job: Job, links: list[str]) -> dict[str, Any]:
    title = job.order.body.get("title") or "Untitled"
    return {
        "songs": [
            {
                "result_id": _result_id(job, number),
                "audio_url": link,
                "title": title,
                "tags": job.order.body.get("style") or "",
                "duration": job.plan.output.seconds,
            }
            for number, link in enumerate(links, 1)
        ]
    }


def _layers(job: Job, links: list[str]) -> list[dict[str, Any]]:
    base: dict[str, Any] = {"url": links[0], "z_index": 0}
    width, height = job.plan.output.width, job.plan.output.height
    layers = [
        {
            "url": link,
            "z_index": number,
            "bounding_box": {
                "absolute": [0, 0, width // number, height // number],
                "normalized": [0, 0, 1000 // number, 1000 // number],
            },
            "name": f"layer {number}",
            "description": f"The emulator's layer {number}",
        }
        for number, link in enumerate(links[1:], 1)
    ]
    return [base, *layers]


def _speech(job: Job, links: list[str]) -> list[dict[str, Any]]:
    if "qwen-audio" not in job.order.model:
        return _files(job, links)
    return [{"audio_url": links[0], "duration": job.plan.output.seconds}]


def _voice(job: Job, links: list[str]) -> dict[str, Any]:
    kind = "cloned" if job.order.body.get("audio_url") else "designed"
    voice = {"voice": f"{job.order.body.get('preferred_name', 'voice')}-{_short(job)}", "voice_type": kind}
    return voice | ({"audio_url": links[0]} if links else {})


def _persona(job: Job, _: list[str]) -> dict[str, Any]:
    return {"persona_id": str(uuid.uuid5(_NAMESPACE, job.id))}


def _element(job: Job, _: list[str]) -> dict[str, Any]:
    return {"element_id": str(int(_short(job), 16))}


def _character(job: Job, links: list[str]) -> dict[str, Any]:
    return {"character_id": f"ch_{_short(job)}", "name": f"character {_short(job)}", "image_url": links[0]}


def _short(job: Job) -> str:
    return hashlib.sha256(job.id.encode()).hexdigest()[:10]


_DATA_OF_CONTENT: dict[str, Callable[[Job, list[str]], Any]] = {
    "songs": _songs,
    "layers": _layers,
    "speech": _speech,
    "voice": _voice,
    "persona": _persona,
    "element": _element,
    "character": _character,
}

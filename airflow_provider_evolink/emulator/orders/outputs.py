"""What a model other than Wan 2.7 gives for an order: how many files, of which kind, size and length."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.jobs import Job, Output

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.materials import Material
    from airflow_provider_evolink.emulator.orders.model_file import DocumentedModel

Body = dict[str, Any]
SOURCE = "source"  # the place of an earlier job's result among the materials
SHOWS_CLIP = ("edited", "upscaled", "extended")
_SHAPES = {
    "music": "songs",
    "persona-creation": "persona",
    "element-creation": "element",
    "character-extraction": "character",
    "layer-decomposition": "layers",
    "voice-clone": "voice",
    "voice-design": "voice",
    "speech": "speech",
    "video-edit": "edited",
    "lip-sync": "edited",
    "video-upscale": "upscaled",
    "video-extend": "extended",
}
_SOUNDS = {"mp3": "mp3", "wav": "wav", "opus": "ogg", "ogg_opus": "ogg", "pcm": "pcm"}
_PICTURES = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_ONE_PICTURE = frozenset({"image-upscale", "image-enhance", "background-removal"})
_LINES = {"360p": 360, "480p": 480, "512p": 512, "768p": 768, "1080p": 1080, "2k": 1440, "4k": 2160}
_SIDES = {"0.5K": 512, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 4096}
_SECONDS, _LONGEST = 5.0, 60.0
_SONGS, _LAYERS, _SKETCHES, _SET = 2, 4, 24, 4
_LARGEST = 4096


def output_of(model: DocumentedModel, body: Body, materials: dict[str, Material], source: Job | None) -> Output:
    """
    Say what comes of an order.

    :param model: The model.
    :param body: The checked order.
    :param materials: What could be fetched, by address.
    :param source: The earlier job the order goes on from.
    """
    shape = _SHAPES.get(model.task, "")
    if shape in {"persona", "element"} or (shape == "voice" and body.get("audio_url")):
        return Output(model.kind, 0, 0, 0, 0, shape=shape)
    if shape == "character":
        return Output(model.kind, 512, 512, 0, 1, "png", shape=shape)
    if model.kind == "audio":
        return Output(
            "audio", 0, 0, _seconds(body), _SONGS if shape == "songs" else 1, _sound(model, body), shape=shape
        )
    if model.kind == "image":
        return _picture(model, body, source, shape)
    return _video(model, body, materials, source, shape)


def _sound(model: DocumentedModel, body: Body) -> str:
    for name in ("format", "response_format"):
        wanted = body.get(name) or model.default(name)
        if wanted in _SOUNDS:
            return _SOUNDS[wanted]
    return "mp3"


def _picture(model: DocumentedModel, body: Body, source: Job | None, shape: str) -> Output:
    extension = _PICTURES.get(body.get("output_format") or model.default("output_format") or "", "png")
    width, height = _picture_size(body)
    if source is not None:
        factor = 2 if model.task == "image-upscale" else 1
        width, height = _bounded(source.output.width * factor, source.output.height * factor)
    if shape == "layers":
        return Output("image", width, height, 0, _LAYERS, "png", first=extension, shape=shape)
    return Output("image", width, height, 0, _count(model, body), extension)


def _count(model: DocumentedModel, body: Body) -> int:
    if model.family.startswith("midjourney"):
        sketches = (body.get("model_params") or {}).get("speed") == "draft" and "8." in model.family
        return 1 if model.task in _ONE_PICTURE else _SKETCHES if sketches else _SET
    count = body.get("n")
    return int(count) if isinstance(count, int | float) and 1 <= count <= 15 else 1


def _picture_size(body: Body) -> tuple[int, int]:
    wanted = str(body.get("size") or "")
    if exact := re.fullmatch(r"([1-9]\d{1,4})[x*]([1-9]\d{1,4})", wanted):
        return _bounded(int(exact[1]), int(exact[2]))
    side = _SIDES.get(str(body.get("resolution") or body.get("quality")), 1024)
    ratio = _ratio(wanted)
    if ratio is None:
        return (1280, 720) if side == 1024 else (side, side)
    return _bounded(side * math.sqrt(ratio), side / math.sqrt(ratio))


def _video(
    model: DocumentedModel, body: Body, materials: dict[str, Material], source: Job | None, shape: str
) -> Output:
    clip = materials.get(input_clip(body) or "")
    extension = "mov" if body.get("output_format") == "mov" else "mp4"
    if model.task == "draft-to-video" and source is not None:
        width, height = _scaled(1080, _shape_of(source.body))
        return Output("video", width, height, source.output.seconds, extension=extension)
    width, height = _video_size(model, body, clip, shape)
    seconds = _seconds(body)
    if clip is not None and clip.seconds and shape in {"edited", "upscaled"}:
        seconds = min(clip.seconds, _LONGEST)
    return Output("video", width, height, seconds, _count(model, body), extension, shape=shape)


def _video_size(model: DocumentedModel, body: Body, clip: Material | None, shape: str) -> tuple[int, int]:
    usual = "480p" if body.get("draft") else model.default("quality")
    lines = _LINES.get(str(body.get("quality") or usual), 720)
    if clip is not None and clip.width and shape:
        if shape != "upscaled":
            return _bounded(clip.width, clip.height)
        factor = _factor(body)
        return _bounded(clip.width * factor, clip.height * factor)
    return _scaled(lines, _shape_of(body))


def _shape_of(body: Body) -> float:
    return _ratio(str(body.get("aspect_ratio"))) or 16 / 9


def _factor(body: Body) -> int:
    wanted = str((body.get("model_params") or {}).get("upscale_factor", "2"))
    return int(wanted) if wanted in {"1", "2", "4"} else 2


def input_clip(body: Body) -> str | None:
    """
    Return the address of the video an order starts from.

    :param body: The order.
    """
    videos = body.get("video_urls")
    first = videos[0] if isinstance(videos, list) and videos else body.get("video_url")
    return first if isinstance(first, str) else None


def _seconds(body: Body) -> float:
    value = body.get("duration")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value and 0 < value <= _LONGEST else _SECONDS


def _ratio(text: str) -> float | None:
    found = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)[:x](\d{1,5})", text)
    return float(found[1]) / float(found[2]) if found and float(found[1]) and int(found[2]) else None


def _scaled(lines: int, ratio: float) -> tuple[int, int]:
    return _bounded(lines * ratio, lines) if ratio >= 1 else _bounded(lines, lines / ratio)


def _bounded(width: float, height: float) -> tuple[int, int]:
    shrink = min(1.0, _LARGEST / max(width, height))
    return max(64, round(width * shrink / 2) * 2), max(64, round(height * shrink / 2) * 2)

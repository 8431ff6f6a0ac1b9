"""What a documented model other than Wan 2.7 produces: how many files, of which kind, size and length."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.jobs import Job, Output

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.input_media import InputMedia
    from airflow_provider_evolink.emulator.orders.model_file import DocumentedModel

Body = dict[str, Any]
SOURCE = "source"  # the key of an earlier job's result among the inputs
SHOWS_CLIP = ("edited", "upscaled", "extended")
_CONTENT_OF_TASK = {
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
_AUDIO_EXTENSIONS = {"mp3": "mp3", "wav": "wav", "opus": "ogg", "ogg_opus": "ogg", "pcm": "pcm"}
_IMAGE_EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_JPEG_FAMILIES = frozenset({"nano-banana"})  # as recorded
_ONE_IMAGE = frozenset({"image-upscale", "image-enhance", "background-removal"})
_HEIGHTS = {"360p": 360, "480p": 480, "512p": 512, "768p": 768, "1080p": 1080, "2k": 1440, "4k": 2160}
_SIDES = {"0.5K": 512, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 4096}
_DEFAULT_SECONDS, _MAX_SECONDS = 5.0, 60.0
_SONGS, _LAYERS, _DRAFT_IMAGES, _IMAGES = 2, 4, 24, 4
_MAX_SIDE = 4096


def output_of(model: DocumentedModel, body: Body, inputs: dict[str, InputMedia], source: Job | None) -> Output:
    """
    Return what a request will produce.

    :param model: The model.
    :param body: The checked request.
    :param inputs: The input media that could be fetched, by address.
    :param source: The earlier job that the request continues.
    """
    content = _CONTENT_OF_TASK.get(model.task, "")
    if content in {"persona", "element"} or (content == "voice" and body.get("audio_url")):
        return Output(model.kind, 0, 0, 0, 0, content=content)
    if content == "character":
        return Output(model.kind, 512, 512, 0, 1, "png", content=content)
    if model.kind == "audio":
        count = _SONGS if content == "songs" else 1
        return Output("audio", 0, 0, _seconds(body), count, _audio_extension(model, body), content=content)
    if model.kind == "image":
        return _image(model, body, source, content)
    return _video(model, body, inputs, source, content)


def _audio_extension(model: DocumentedModel, body: Body) -> str:
    for name in ("format", "response_format"):
        wanted = body.get(name) or model.default(name)
        if wanted in _AUDIO_EXTENSIONS:
            return _AUDIO_EXTENSIONS[wanted]
    return "mp3"


def _image(model: DocumentedModel, body: Body, source: Job | None, content: str) -> Output:
    usual = "jpg" if model.family in _JPEG_FAMILIES else "png"
    extension = _IMAGE_EXTENSIONS.get(body.get("output_format") or model.default("output_format") or "", usual)
    width, height = _image_size(body)
    if source is not None:
        factor = 2 if model.task == "image-upscale" else 1
        width, height = _bounded(source.plan.output.width * factor, source.plan.output.height * factor)
    if content == "layers":
        return Output("image", width, height, 0, _LAYERS, "png", first=extension, content=content)
    return Output("image", width, height, 0, _count(model, body), extension)


def _count(model: DocumentedModel, body: Body) -> int:
    if model.family.startswith("midjourney"):
        draft = (body.get("model_params") or {}).get("speed") == "draft" and "8." in model.family
        return 1 if model.task in _ONE_IMAGE else _DRAFT_IMAGES if draft else _IMAGES
    count = body.get("n")
    return int(count) if isinstance(count, int | float) and 1 <= count <= 15 else 1


def _image_size(body: Body) -> tuple[int, int]:
    wanted = str(body.get("size") or "")
    if exact := re.fullmatch(r"([1-9]\d{1,4})[x*]([1-9]\d{1,4})", wanted):
        return _bounded(int(exact[1]), int(exact[2]))
    side = _SIDES.get(str(body.get("resolution") or body.get("quality")), 1024)
    ratio = _ratio(wanted)
    if ratio is None:
        return (1280, 720) if side == 1024 else (side, side)
    return _bounded(side * math.sqrt(ratio), side / math.sqrt(ratio))


def _video(
    model: DocumentedModel, body: Body, inputs: dict[str, InputMedia], source: Job | None, content: str
) -> Output:
    clip = inputs.get(input_clip(body) or "")
    extension = "mov" if body.get("output_format") == "mov" else "mp4"
    if model.task == "draft-to-video" and source is not None:
        width, height = _scaled(1080, _aspect_ratio(source.order.body))
        return Output("video", width, height, source.plan.output.seconds, extension=extension)
    width, height = _video_size(model, body, clip, content)
    seconds = _seconds(body)
    if clip is not None and clip.seconds and content in {"edited", "upscaled"}:
        seconds = min(clip.seconds, _MAX_SECONDS)
    return Output("video", width, height, seconds, _count(model, body), extension, content=content)


def _video_size(model: DocumentedModel, body: Body, clip: InputMedia | None, content: str) -> tuple[int, int]:
    default = "480p" if body.get("draft") else model.default("quality")
    height = _HEIGHTS.get(str(body.get("quality") or default), 720)
    if clip is not None and clip.width and content:
        if content != "upscaled":
            return _bounded(clip.width, clip.height)
        factor = _upscale_factor(body)
        return _bounded(clip.width * factor, clip.height * factor)
    return _scaled(height, _aspect_ratio(body))


def _aspect_ratio(body: Body) -> float:
    return _ratio(str(body.get("aspect_ratio"))) or 16 / 9


def _upscale_factor(body: Body) -> int:
    wanted = str((body.get("model_params") or {}).get("upscale_factor", "2"))
    return int(wanted) if wanted in {"1", "2", "4"} else 2


def input_clip(body: Body) -> str | None:
    """
    Return the address of the video a request starts from.

    :param body: The request.
    """
    videos = body.get("video_urls")
    first = videos[0] if isinstance(videos, list) and videos else body.get("video_url")
    return first if isinstance(first, str) else None


def _seconds(body: Body) -> float:
    value = body.get("duration")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value and 0 < value <= _MAX_SECONDS else _DEFAULT_SECONDS


def _ratio(text: str) -> float | None:
    found = re.fullmatch(r"(\d{1,5}(?:\.\d+)?)[:x](\d{1,5})", text)
    return float(found[1]) / float(found[2]) if found and float(found[1]) and int(found[2]) else None


def _scaled(short_side: int, ratio: float) -> tuple[int, int]:
    width, height = (short_side * ratio, short_side) if ratio >= 1 else (short_side, short_side / ratio)
    return _bounded(width, height)


def _bounded(width: float, height: float) -> tuple[int, int]:
    shrink = min(1.0, _MAX_SIDE / max(width, height))
    return max(64, round(width * shrink / 2) * 2), max(64, round(height * shrink / 2) * 2)

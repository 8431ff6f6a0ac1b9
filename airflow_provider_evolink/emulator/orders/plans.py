"""Plans a job: what an accepted request will produce and cost, from its fields and its input media."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from airflow_provider_evolink.emulator.orders.fields import Refusal
from airflow_provider_evolink.emulator.orders.input_media import InputMedia, InputUnavailable
from airflow_provider_evolink.emulator.orders.jobs import Failure, Job, Output, Plan
from airflow_provider_evolink.emulator.orders.models import find
from airflow_provider_evolink.emulator.orders.outputs import output_of
from airflow_provider_evolink.emulator.orders.prices import RESERVED_EDIT_SECONDS, price
from airflow_provider_evolink.emulator.orders.rules import STRICT_MODELS

Body = dict[str, Any]
Locate = Callable[[str], InputMedia | None]

SIZES = {
    "720p": {
        "16:9": (1280, 720),
        "9:16": (720, 1280),
        "1:1": (960, 960),
        "4:3": (1104, 832),
        "3:4": (832, 1104),
    },
    "1080p": {
        "16:9": (1920, 1080),
        "9:16": (1080, 1920),
        "1:1": (1440, 1440),
        "4:3": (1648, 1248),
        "3:4": (1248, 1648),
    },
}
_ASSUMED_CLIP_SECONDS = 5.0
_DEFAULT_SECONDS = 5.0
_MAX_SECONDS = 60.0
_CLIP_SECONDS = {
    "wan2.7-image-to-video": (2, 10),
    "wan2.7-reference-video": (1, 30),
    "wan2.7-video-edit": (2, 10),
}
_IMAGE_SIDE = (240, 8000)
_VIDEO_SIDE = (240, 4096)


def plan_job(kind: str, body: Body, locate: Locate, source: Job | None = None) -> Plan:
    """
    Determine result and price of a request. May fetch its input media, so it belongs in a thread.

    :param kind: ``video``, ``image`` or ``audio``.
    :param body: The checked request.
    :param locate: Returns the media at an address, or None for one that the emulator does not fetch.
    :param source: The earlier job that the request continues.
    :raises Refusal: The request does not fit its input media.
    """
    inputs, failure = _fetch_inputs(body, locate)
    model = None if body["model"] in STRICT_MODELS else find(body["model"])
    if model is None and kind == "video":
        return _plan_video(body, inputs, failure)
    if model is not None:
        output = output_of(model, body, inputs, source)
        credits_due = price(body, kind, output.seconds * max(1, output.count), 0, max(1, output.count))
    else:
        output = _image_or_audio(kind, body)
        credits_due = price(body, kind, output.seconds, 0, output.count)
    return Plan(output, credits_due, credits_due, failure, inputs)


def _plan_video(body: Body, inputs: dict[str, InputMedia], failure: Failure | None) -> Plan:
    output = _video(body, inputs)
    input_seconds = sum(_clip_seconds(address, inputs) for address in _addresses(body, "video_urls"))
    reserved_seconds = RESERVED_EDIT_SECONDS if _keeps_length(body) else output.seconds
    reserved = price(body, "video", reserved_seconds, input_seconds)
    return Plan(output, reserved, price(body, "video", output.seconds, input_seconds), failure, inputs)


def _fetch_inputs(body: Body, locate: Locate) -> tuple[dict[str, InputMedia], Failure | None]:
    found: dict[str, InputMedia] = {}
    for name in ("image_start", "image_end", "image_urls", "video_urls", "video_url"):
        for address in _addresses(body, name):
            try:
                media = locate(address)
            except InputUnavailable:
                code = "video_probe_failed" if name.startswith("video") else "image_processing_error"
                return found, Failure(code, f"{name}: the file could not be fetched")
            if media is not None:
                found[address] = media
                failure = _unsuitable(body, name, media)
                if failure is not None:
                    return found, failure
    return found, None


def _unsuitable(body: Body, name: str, media: InputMedia) -> Failure | None:
    if body["model"] not in STRICT_MODELS:
        return None
    is_video = name == "video_urls"
    low, high = _VIDEO_SIDE if is_video else _IMAGE_SIDE
    sides = (media.width, media.height)
    if min(sides) < low or max(sides) > high or max(sides) > 8 * min(sides):
        code = "invalid_parameters" if is_video else "image_dimension_mismatch"
        return Failure(code, f"{name}: {sides[0]}x{sides[1]} is outside the allowed size")
    shortest, longest = _CLIP_SECONDS.get(body["model"], (0, math.inf))
    if is_video and not shortest <= round(media.seconds, 1) <= longest:
        return Failure("invalid_parameters", f"{name}: the clip must last {shortest} to {longest} seconds")
    return None


def _image_or_audio(kind: str, body: Body) -> Output:
    if kind == "audio":
        extension = "wav" if body.get("format") == "wav" else "mp3"
        return Output(kind, 0, 0, _seconds(body), 1, extension)
    width, height = _size(body, None)
    count = body.get("n")
    return Output(kind, width, height, 0, count if isinstance(count, int) and 1 <= count <= 10 else 1, "png")


def _video(body: Body, inputs: dict[str, InputMedia]) -> Output:
    clip = next(iter(_addresses(body, "video_urls")), None)
    start = inputs.get(start_image(body) or "")
    shape_from = start or (inputs.get(clip) if clip and takes_shape_of_clip(body) else None)
    width, height = _size(body, shape_from)
    seconds = _seconds(body)
    if _keeps_length(body):
        seconds = _clip_seconds(clip, inputs) if clip else _DEFAULT_SECONDS
    elif body["model"] == "wan2.7-image-to-video" and clip in inputs:
        _check_continuation(seconds, inputs[clip].seconds)
    return Output("video", width, height, seconds)


def start_image(body: Body) -> str | None:
    """
    Return the address of the image that the video starts from.

    :param body: The request.
    """
    if body["model"] in STRICT_MODELS:
        return body.get("image_start")
    return next(iter([*_addresses(body, "image_start"), *_addresses(body, "image_urls")]), None)


def takes_shape_of_clip(body: Body) -> bool:
    """
    Return whether the input video determines the aspect ratio of the output and its first frames.

    :param body: The request.
    """
    if body["model"] == "wan2.7-video-edit":
        return "aspect_ratio" not in body
    return bool(body["model"] != "wan2.7-reference-video")


def _keeps_length(body: Body) -> bool:
    return bool(body["model"] == "wan2.7-video-edit" and not body.get("duration"))


def _check_continuation(total: float, clip: float) -> None:
    if total < math.floor(clip * 10) / 10:
        raise Refusal(f"duration must be at least the length of the input clip ({clip:g} s)", "duration")


def _seconds(body: Body) -> float:
    value = body.get("duration")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and value and 0 < value <= _MAX_SECONDS else _DEFAULT_SECONDS


def _clip_seconds(address: str | None, inputs: dict[str, InputMedia]) -> float:
    return inputs[address].seconds if address in inputs else _ASSUMED_CLIP_SECONDS


def _size(body: Body, shape_from: InputMedia | None) -> tuple[int, int]:
    quality = body.get("quality")
    sizes = SIZES[quality] if isinstance(quality, str) and quality in SIZES else SIZES["720p"]
    if shape_from is not None and shape_from.width and shape_from.height:
        wanted = math.log(shape_from.width / shape_from.height)
        return min(sizes.values(), key=lambda size: abs(math.log(size[0] / size[1]) - wanted))
    ratio = body.get("aspect_ratio")
    return sizes[ratio] if isinstance(ratio, str) and ratio in sizes else sizes["16:9"]


def _addresses(body: Body, name: str) -> list[str]:
    value = body.get(name)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]

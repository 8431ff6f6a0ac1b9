"""What an accepted order will give and cost, from its fields and its material."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_evolink.emulator.orders.fields import Refusal
from airflow_provider_evolink.emulator.orders.jobs import Failure, Job, Output
from airflow_provider_evolink.emulator.orders.materials import Material, MaterialGone
from airflow_provider_evolink.emulator.orders.models import find
from airflow_provider_evolink.emulator.orders.outputs import output_of
from airflow_provider_evolink.emulator.orders.prices import EDIT_SECONDS_ASSUMED, price
from airflow_provider_evolink.emulator.orders.rules import STRICT_MODELS

Body = dict[str, Any]
Locate = Callable[[str], Material | None]

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
_UNKNOWN_SECONDS = 5.0
_DEFAULT_SECONDS = 5.0
_LONGEST = 60.0
_CLIP_SECONDS = {
    "wan2.7-image-to-video": (2, 10),
    "wan2.7-reference-video": (1, 30),
    "wan2.7-video-edit": (2, 10),
}
_PICTURE_SIDE = (240, 8000)
_VIDEO_SIDE = (240, 4096)


@dataclass
class Plan:
    """
    What will come of an order.

    :param output: The result.
    :param reserved: Credits held at submission.
    :param due: Credits charged at completion.
    :param failure: Why it will fail, if its material is unusable.
    :param materials: What could be fetched, by address.
    """

    output: Output
    reserved: float
    due: float
    failure: Failure | None = None
    materials: dict[str, Material] = field(default_factory=dict)


def plan_order(kind: str, body: Body, locate: Locate, source: Job | None = None) -> Plan:
    """
    Work out result and price of an order. May fetch material, so it belongs in a thread.

    :param kind: ``video``, ``image`` or ``audio``.
    :param body: The checked order.
    :param locate: Gives the material at an address, or None where the emulator does not go.
    :param source: The earlier job the order goes on from.
    :raises Refusal: The order does not fit its material.
    """
    materials, failure = _gather(body, locate)
    model = None if body["model"] in STRICT_MODELS else find(body["model"])
    if model is not None:
        output = output_of(model, body, materials, source)
        credits_due = price(body, kind, output.seconds * max(1, output.count), 0, max(1, output.count))
        return Plan(output, credits_due, credits_due, failure, materials)
    if kind != "video":
        output = _still_or_sound(kind, body)
        credits_due = price(body, kind, output.seconds, 0, output.count)
        return Plan(output, credits_due, credits_due, failure, materials)
    output = _video(body, materials)
    inputs = sum(_length(address, materials) for address in _list(body, "video_urls"))
    asked = EDIT_SECONDS_ASSUMED if _keeps_length(body) else output.seconds
    reserved, due = price(body, kind, asked, inputs), price(body, kind, output.seconds, inputs)
    return Plan(output, reserved, due, failure, materials)


def _gather(body: Body, locate: Locate) -> tuple[dict[str, Material], Failure | None]:
    found: dict[str, Material] = {}
    for name in ("image_start", "image_end", "image_urls", "video_urls", "video_url"):
        for address in _list(body, name):
            try:
                material = locate(address)
            except MaterialGone:
                code = "video_probe_failed" if name.startswith("video") else "image_processing_error"
                return found, Failure(code, f"{name}: the material could not be fetched")
            if material is not None:
                found[address] = material
                problem = _misfit(body, name, material)
                if problem is not None:
                    return found, problem
    return found, None


def _misfit(body: Body, name: str, material: Material) -> Failure | None:
    if body["model"] not in STRICT_MODELS:
        return None
    is_video = name == "video_urls"
    low, high = _VIDEO_SIDE if is_video else _PICTURE_SIDE
    sides = (material.width, material.height)
    if min(sides) < low or max(sides) > high or max(sides) > 8 * min(sides):
        code = "invalid_parameters" if is_video else "image_dimension_mismatch"
        return Failure(code, f"{name}: {sides[0]}x{sides[1]} is outside the allowed size")
    shortest, longest = _CLIP_SECONDS.get(body["model"], (0, math.inf))
    if is_video and not shortest <= round(material.seconds, 1) <= longest:
        return Failure("invalid_parameters", f"{name}: the clip must last {shortest} to {longest} seconds")
    return None


def _still_or_sound(kind: str, body: Body) -> Output:
    if kind == "audio":
        extension = "wav" if body.get("format") == "wav" else "mp3"
        return Output(kind, 0, 0, _seconds(body), 1, extension)
    width, height = _size(body, None)
    count = body.get("n")
    return Output(kind, width, height, 0, count if isinstance(count, int) and 1 <= count <= 10 else 1, "png")


def _video(body: Body, materials: dict[str, Material]) -> Output:
    clip = next(iter(_list(body, "video_urls")), None)
    start = materials.get(start_image(body) or "")
    shape = start or (materials.get(clip) if clip and takes_shape_of_clip(body) else None)
    width, height = _size(body, shape)
    seconds = _seconds(body)
    if _keeps_length(body):
        seconds = _length(clip, materials) if clip else _DEFAULT_SECONDS
    elif body["model"] == "wan2.7-image-to-video" and clip in materials:
        _check_continuation(seconds, materials[clip].seconds)
    return Output("video", width, height, seconds)


def start_image(body: Body) -> str | None:
    """
    Return the address of the picture the video starts from.

    :param body: The order.
    """
    if body["model"] in STRICT_MODELS:
        return body.get("image_start")
    return next(iter([*_list(body, "image_start"), *_list(body, "image_urls")]), None)


def takes_shape_of_clip(body: Body) -> bool:
    """
    Say whether the input video gives the output its shape and its first frames.

    :param body: The order.
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
    return float(value) if number and value and 0 < value <= _LONGEST else _DEFAULT_SECONDS


def _length(address: str | None, materials: dict[str, Material]) -> float:
    return materials[address].seconds if address in materials else _UNKNOWN_SECONDS


def _size(body: Body, shape: Material | None) -> tuple[int, int]:
    quality = body.get("quality")
    sizes = SIZES[quality] if isinstance(quality, str) and quality in SIZES else SIZES["720p"]
    if shape is not None and shape.width and shape.height:
        wanted = math.log(shape.width / shape.height)
        return min(sizes.values(), key=lambda size: abs(math.log(size[0] / size[1]) - wanted))
    ratio = body.get("aspect_ratio")
    return sizes[ratio] if isinstance(ratio, str) and ratio in sizes else sizes["16:9"]


def _list(body: Body, name: str) -> list[str]:
    value = body.get(name)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]

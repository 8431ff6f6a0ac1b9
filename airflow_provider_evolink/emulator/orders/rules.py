"""
Which orders EvoLink accepts, as tables.

Wan 2.7 is checked field by field and between fields, by the tables below. Every other documented model is checked
against its fields in ``models/*.json``. For a model without documentation any request is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.fields import (
    Field,
    Refusal,
    callback,
    check_field,
    choice,
    flag,
    group,
    links,
    text,
    url,
    whole,
)
from airflow_provider_evolink.emulator.orders.models import find
from airflow_provider_evolink.emulator.orders.shapes import check_documented_fields

if TYPE_CHECKING:
    from collections.abc import Callable

Body = dict[str, Any]
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")
MODES = ("first_frame", "first_last_frame", "video_continuation")


@dataclass(frozen=True)
class ModelRules:
    """
    What one model accepts.

    :param kind: ``video``, ``image`` or ``audio``; decides the path.
    :param fields: The fields it knows. Any other one is refused.
    :param checks: What holds between fields.
    """

    kind: str
    fields: dict[str, Field]
    checks: tuple[Callable[[Body], None], ...] = ()


def check_order(kind: str, body: Any) -> tuple[Body, list[str]]:
    """
    Check an order and return it as EvoLink understands it, with the names of the texts that were cut.

    :param kind: The kind of media the path stands for.
    :param body: The decoded JSON body.
    :raises Refusal: The order breaks a rule.
    """
    if not isinstance(body, dict):
        raise Refusal("the request body must be a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise Refusal("model is required", "model")
    rules = STRICT_MODELS.get(model)
    documented = None if rules is not None else find(model)
    known = rules or documented
    if known is not None and known.kind != kind:
        raise Refusal(f"model {model} is not available on this endpoint", "model")
    if rules is None:
        if documented is not None:
            check_documented_fields(documented, body)
        return dict(body), []
    _check_fields(rules, body)
    for check in rules.checks:
        check(body)
    return _cut_texts(rules, body)


def _check_fields(rules: ModelRules, body: Body) -> None:
    for name in body:
        if name not in rules.fields:
            raise Refusal(f"unknown parameter: {name}", name)
    for name, rule in rules.fields.items():
        if name in body:
            check_field(name, body[name], rule)
        elif rule.required:
            raise Refusal(f"{name} is required", name)


def _cut_texts(rules: ModelRules, body: Body) -> tuple[Body, list[str]]:
    cut = [
        name for name, value in body.items() if (limit := rules.fields[name].cut_at) is not None and len(value) > limit
    ]
    return body | {name: body[name][: rules.fields[name].cut_at] for name in cut}, cut


def _materials_fit_mode(body: Body) -> None:
    mode = body.get("generation_mode") or _inferred_mode(body)
    needed, refused = _MODE_MATERIALS[mode]
    for name in refused:
        if body.get(name):
            raise Refusal(f"{name} is not allowed in mode {mode}", name)
    for name in needed:
        if not body.get(name):
            raise Refusal(f"{name} is required in mode {mode}", name)


_MODE_MATERIALS = {
    "first_frame": (("image_start",), ("image_end", "video_urls")),
    "first_last_frame": (("image_start", "image_end"), ("video_urls",)),
    "video_continuation": (("video_urls",), ("image_start", "audio_urls")),
}


def _inferred_mode(body: Body) -> str:
    if body.get("video_urls"):
        return "video_continuation"
    return "first_last_frame" if body.get("image_end") else "first_frame"


def _has_reference(body: Body) -> None:
    count = len(body.get("image_urls") or ()) + len(body.get("video_urls") or ())
    if count == 0:
        raise Refusal("image_urls or video_urls is required; image_start alone is not enough", "image_urls")
    if count > 5:
        raise Refusal("image_urls and video_urls together may hold at most 5 items", "image_urls")


def _short_with_video(body: Body) -> None:
    if body.get("video_urls") and body.get("duration", 5) > 10:
        raise Refusal("duration may be at most 10 when video_urls is given", "duration")


def _voices_point_at_material(body: Body) -> None:
    bindings = (body.get("model_params") or {}).get("voice_bindings") or {}
    for key in bindings:
        kind, number = key[:5], int(key[5:])
        if number > len(body.get(f"{kind}_urls") or ()):
            raise Refusal(f"{key} points past the end of {kind}_urls", f"model_params.voice_bindings.{key}")


def _edit_length(body: Body) -> None:
    if body.get("duration", 0) == 1:
        raise Refusal("duration must be 0 or between 2 and 10", "duration")


def _named(name: str) -> dict[str, Field]:
    return {"model": choice(name, required=True)}


_COMMON = {
    "prompt": text(cut_at=5000),
    "negative_prompt": text(cut_at=500),
    "quality": choice("720p", "1080p"),
    "seed": whole(1, 2147483647),
    "prompt_extend": flag(),
    "callback_url": callback(),
}
_PROMPT_NEEDED = {"prompt": text(cut_at=5000, required=True)}
_VOICES = group(voice_bindings=Field("voices"))

STRICT_MODELS = {
    "wan2.7-text-to-video": ModelRules(
        "video",
        _named("wan2.7-text-to-video")
        | _COMMON
        | _PROMPT_NEEDED
        | {"audio_urls": links(0, 1), "aspect_ratio": choice(*RATIOS), "duration": whole(2, 15)},
    ),
    "wan2.7-image-to-video": ModelRules(
        "video",
        _named("wan2.7-image-to-video")
        | _COMMON
        | {
            "generation_mode": choice(*MODES),
            "image_start": url(),
            "image_end": url(),
            "video_urls": links(0, 1),
            "audio_urls": links(0, 1),
            "duration": whole(2, 15),
        },
        (_materials_fit_mode,),
    ),
    "wan2.7-reference-video": ModelRules(
        "video",
        _named("wan2.7-reference-video")
        | _COMMON
        | _PROMPT_NEEDED
        | {
            "image_start": url(),
            "image_urls": links(0, 5),
            "video_urls": links(0, 5),
            "audio_urls": links(0, 5),
            "model_params": _VOICES,
            "aspect_ratio": choice(*RATIOS),
            "duration": whole(2, 15),
        },
        (_has_reference, _short_with_video, _voices_point_at_material),
    ),
    "wan2.7-video-edit": ModelRules(
        "video",
        _named("wan2.7-video-edit")
        | _COMMON
        | {
            "video_urls": links(1, 1, required=True),
            "image_urls": links(0, 4),
            "keep_original_sound": flag(),
            "aspect_ratio": choice(*RATIOS),
            "duration": whole(0, 10),
        },
        (_edit_length,),
    ),
}

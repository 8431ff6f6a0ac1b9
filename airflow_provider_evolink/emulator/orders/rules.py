"""
Which requests EvoLink accepts.

Wan 2.7 is checked field by field and between fields, by the tables below. Every other documented model is checked
against its fields in ``models/*.json``. For a model without documentation any request is accepted,
unless its name is that of a documented one with a slip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.emulator.orders.documented_fields import check_documented_fields
from airflow_provider_evolink.emulator.orders.fields import (
    Field,
    Refusal,
    boolean,
    callback,
    check_field,
    choice,
    integer,
    object_of,
    string,
    url,
    urls,
)
from airflow_provider_evolink.emulator.orders.models import all_names, find
from airflow_provider_evolink.emulator.orders.near_misses import near_miss

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
    :param fields: Its fields. Any other is refused.
    :param checks: The rules between fields.
    """

    kind: str
    fields: dict[str, Field]
    checks: tuple[Callable[[Body], None], ...] = ()


def check_request(kind: str, body: Any) -> tuple[Body, list[str]]:
    """
    Check a request and return it as EvoLink uses it, with the names of the fields whose text was cut.

    :param kind: The kind of media of the path.
    :param body: The decoded JSON body.
    :raises Refusal: The request breaks a rule.
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
    if known is None and (meant := near_miss(model, [*STRICT_MODELS, *all_names()])):
        raise Refusal(f"model {model[:80]} does not exist; there is {meant}", "model")
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


def _check_mode(body: Body) -> None:
    mode = body.get("generation_mode") or _inferred_mode(body)
    needed, refused = _FIELDS_OF_MODE[mode]
    for name in refused:
        if body.get(name):
            raise Refusal(f"{name} is not allowed in mode {mode}", name)
    for name in needed:
        if not body.get(name):
            raise Refusal(f"{name} is required in mode {mode}", name)


_FIELDS_OF_MODE = {
    "first_frame": (("image_start",), ("image_end", "video_urls")),
    "first_last_frame": (("image_start", "image_end"), ("video_urls",)),
    "video_continuation": (("video_urls",), ("image_start", "audio_urls")),
}


def _inferred_mode(body: Body) -> str:
    if body.get("video_urls"):
        return "video_continuation"
    return "first_last_frame" if body.get("image_end") else "first_frame"


def _check_references(body: Body) -> None:
    count = len(body.get("image_urls") or ()) + len(body.get("video_urls") or ())
    if count == 0:
        raise Refusal("image_urls or video_urls is required; image_start alone is not enough", "image_urls")
    if count > 5:
        raise Refusal("image_urls and video_urls together may hold at most 5 items", "image_urls")


def _check_length_with_video(body: Body) -> None:
    if body.get("video_urls") and body.get("duration", 5) > 10:
        raise Refusal("duration may be at most 10 when video_urls is given", "duration")


def _check_voice_bindings(body: Body) -> None:
    bindings = (body.get("model_params") or {}).get("voice_bindings") or {}
    for key in bindings:
        kind, number = key[:5], int(key[5:])
        if number > len(body.get(f"{kind}_urls") or ()):
            raise Refusal(f"{key} points past the end of {kind}_urls", f"model_params.voice_bindings.{key}")


def _check_edit_length(body: Body) -> None:
    if body.get("duration", 0) == 1:
        raise Refusal("duration must be 0 or between 2 and 10", "duration")


def _model_field(name: str) -> dict[str, Field]:
    return {"model": choice(name, required=True)}


_COMMON = {
    "prompt": string(cut_at=5000),
    "negative_prompt": string(cut_at=500),
    "quality": choice("720p", "1080p"),
    "seed": integer(1, 2147483647),
    "prompt_extend": boolean(),
    "callback_url": callback(),
}
_REQUIRED_PROMPT = {"prompt": string(cut_at=5000, required=True)}
_VOICES = object_of(voice_bindings=Field("voices"))

STRICT_MODELS = {
    "wan2.7-text-to-video": ModelRules(
        "video",
        _model_field("wan2.7-text-to-video")
        | _COMMON
        | _REQUIRED_PROMPT
        | {"audio_urls": urls(0, 1), "aspect_ratio": choice(*RATIOS), "duration": integer(2, 15)},
    ),
    "wan2.7-image-to-video": ModelRules(
        "video",
        _model_field("wan2.7-image-to-video")
        | _COMMON
        | {
            "generation_mode": choice(*MODES),
            "image_start": url(),
            "image_end": url(),
            "video_urls": urls(0, 1),
            "audio_urls": urls(0, 1),
            "duration": integer(2, 15),
        },
        (_check_mode,),
    ),
    "wan2.7-reference-video": ModelRules(
        "video",
        _model_field("wan2.7-reference-video")
        | _COMMON
        | _REQUIRED_PROMPT
        | {
            "image_start": url(),
            "image_urls": urls(0, 5),
            "video_urls": urls(0, 5),
            "audio_urls": urls(0, 5),
            "model_params": _VOICES,
            "aspect_ratio": choice(*RATIOS),
            "duration": integer(2, 15),
        },
        (_check_references, _check_length_with_video, _check_voice_bindings),
    ),
    "wan2.7-video-edit": ModelRules(
        "video",
        _model_field("wan2.7-video-edit")
        | _COMMON
        | {
            "video_urls": urls(1, 1, required=True),
            "image_urls": urls(0, 4),
            "keep_original_sound": boolean(),
            "aspect_ratio": choice(*RATIOS),
            "duration": integer(0, 10),
        },
        (_check_edit_length,),
    ),
}

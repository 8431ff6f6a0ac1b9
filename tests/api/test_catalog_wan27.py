"""Every rule of the four Wan 2.7 models, one broken body each."""

from __future__ import annotations

import itertools

import pytest

from airflow_provider_evolink.api.catalog.catalog import build_request, find_spec
from airflow_provider_evolink.api.errors import EvoLinkRequestError

T2V, I2V = "wan2.7-text-to-video", "wan2.7-image-to-video"
R2V, EDIT = "wan2.7-reference-video", "wan2.7-video-edit"
MODELS = (T2V, I2V, R2V, EDIT)
IMAGE, CLIP, SOUND = "https://example.com/a.png", "https://example.com/a.mp4", "https://example.com/a.mp3"
GOOD = {
    T2V: {"prompt": "a"},
    I2V: {"image_start": IMAGE},
    R2V: {"prompt": "a", "image_urls": [IMAGE, IMAGE]},
    EDIT: {"video_urls": [CLIP]},
}
START, END = {"image_start": IMAGE}, {"image_end": IMAGE}
VIDEO, AUDIO = {"video_urls": [CLIP]}, {"audio_urls": [SOUND]}


def voices(**bindings):
    return {"model_params": {"voice_bindings": bindings}}


COMMON = [
    ({"prompt": 5}, "prompt", "text"),
    ({"negative_prompt": 5}, "negative_prompt", "text"),
    ({"quality": "480p"}, "quality", "one of 720p, 1080p"),
    ({"seed": 0}, "seed", "a whole number from 1 to 2147483647"),
    ({"seed": 2147483648}, "seed", "a whole number from 1 to 2147483647"),
    ({"seed": 1.5}, "seed", "a whole number from 1 to 2147483647"),
    ({"prompt_extend": "on"}, "prompt_extend", "true or false"),
    ({"callback_url": "http://example.com/"}, "callback_url", "must be an https link"),
    ({"callback_url": "https://10.0.0.1/"}, "callback_url", "must lead to a public address"),
    ({"callback_url": f"https://example.com/{'x' * 2029}"}, "callback_url", "an https link to a public address"),
    ({"duration": 16}, "duration", "whole seconds from 2 to 1"),
    ({"duration": 1}, "duration", "whole seconds from 2 to 1"),
    ({"duration": 5.5}, "duration", "whole seconds from 2 to 1"),
    ({"shot_type": "multi"}, "shot_type", "unknown field"),
]
RATIO = ({"aspect_ratio": "21:9"}, "aspect_ratio", "one of 16:9, 9:16, 1:1, 4:3, 3:4")
OWN = {
    T2V: [
        RATIO,
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": ""}, "prompt", "not empty"),
        ({"audio_urls": [SOUND] * 2}, "audio_urls", "exactly 1 item"),
        ({"audio_urls": []}, "audio_urls", "exactly 1 item"),
        ({"audio_urls": ["x"]}, "audio_urls[0]", "must be an http or https link"),
        ({"image_start": IMAGE}, "image_start", "unknown field"),
        ({"video_urls": [CLIP]}, "video_urls", "unknown field"),
        ({"model_params": {"shot_type": "multi"}}, "model_params", "unknown field"),
        ({"generation_mode": "first_frame"}, "generation_mode", "unknown field"),
    ],
    I2V: [
        ({"aspect_ratio": "16:9"}, "aspect_ratio", "unknown field"),
        ({"image_urls": [IMAGE]}, "image_urls", "unknown field"),
        ({"generation_mode": "morph"}, "generation_mode", "one of first_frame, first_last_frame, video_continuation"),
        ({"image_start": "x"}, "image_start", "must be an http or https link"),
        ({**START, "image_end": ""}, "image_end", "must not be empty"),
        ({"audio_urls": [SOUND] * 2}, "audio_urls", "exactly 1 item"),
        ({**START, "video_urls": []}, "video_urls", "exactly 1 item"),
        ({"image_start": None, "video_urls": [CLIP] * 2}, "video_urls", "exactly 1 item"),
        (
            {"image_start": None, "generation_mode": "first_frame"},
            "image_start",
            "generation_mode first_frame needs image_start",
        ),
        (
            {**END, "generation_mode": "first_frame"},
            "image_end",
            "generation_mode first_frame refuses image_end and video_urls",
        ),
        (
            {**VIDEO, "generation_mode": "first_frame"},
            "video_urls",
            "generation_mode first_frame refuses image_end and video_urls",
        ),
        (
            {"generation_mode": "first_last_frame"},
            "image_end",
            "generation_mode first_last_frame needs image_start and image_end",
        ),
        (
            {**END, "image_start": None, "generation_mode": "first_last_frame"},
            "image_start",
            "generation_mode first_last_frame needs image_start and image_end",
        ),
        (
            {**END, **VIDEO, "generation_mode": "first_last_frame"},
            "video_urls",
            "generation_mode first_last_frame refuses video_urls",
        ),
        (
            {"image_start": None, "generation_mode": "video_continuation"},
            "video_urls",
            "generation_mode video_continuation needs video_urls",
        ),
        (
            {**VIDEO, "generation_mode": "video_continuation"},
            "image_start",
            "generation_mode video_continuation refuses image_start and audio_urls",
        ),
        (
            {**VIDEO, **AUDIO, "image_start": None, "generation_mode": "video_continuation"},
            "audio_urls",
            "generation_mode video_continuation refuses image_start and audio_urls",
        ),
        ({**VIDEO}, "image_start, video_urls", "the material is image_start (also with image_end, audio_urls or both)"),
    ],
    R2V: [
        RATIO,
        ({"prompt": None}, "prompt", "required"),
        ({"image_urls": None}, "image_urls, video_urls", "at least one reference in image_urls or video_urls"),
        ({"image_urls": []}, "image_urls, video_urls", "at least one reference in image_urls or video_urls"),
        ({"image_urls": None, **START}, "image_urls, video_urls", "at least one reference in image_urls or video_urls"),
        ({"image_urls": [IMAGE] * 6}, "image_urls, video_urls", "together hold at most 5 items"),
        ({"image_urls": [IMAGE] * 3, "video_urls": [CLIP] * 3}, "image_urls, video_urls", "together hold at most 5"),
        ({"video_urls": [CLIP], "duration": 11}, "duration", "at most 10 seconds with video_urls"),
        ({"audio_urls": [SOUND] * 6}, "audio_urls", "at most 5 items"),
        ({"image_start": "x"}, "image_start", "must be an http or https link"),
        ({"image_end": IMAGE}, "image_end", "unknown field"),
        ({"model_params": {"seed": 1}}, "model_params.seed", "unknown field"),
        ({"model_params": "x"}, "model_params", "an object with voice_bindings"),
        ({"model_params": {"voice_bindings": [SOUND]}}, "model_params.voice_bindings", "an object"),
        (voices(image1=""), "model_params.voice_bindings.image1", "must not be empty"),
        (voices(image1=None), "model_params.voice_bindings.image1", "an http or https link"),
        (voices(image1=["x"]), "model_params.voice_bindings.image1", "an http or https link"),
        *(
            (voices(**{key: SOUND}), f"model_params.voice_bindings.{key}", "a key is imageN or videoN")
            for key in ("image3", "video1", "image0", "image01", "Image1", "audio1", "image", "1", "image1x", "image-1")
        ),
        (voices(**{"image1\n": SOUND}), "model_params.voice_bindings.image1", "a key is imageN or videoN"),
        (voices(**{"image" + "9" * 5000: SOUND}), None, "a key is imageN or videoN"),
        (
            {
                "image_urls": [IMAGE] * 4,
                "video_urls": [CLIP],
                **voices(image1=SOUND, image2=SOUND, image3=SOUND, image4=SOUND, video1=SOUND, video2=SOUND),
            },
            "model_params.voice_bindings",
            "at most 5 entries",
        ),
    ],
    EDIT: [
        RATIO,
        ({"video_urls": None}, "video_urls", "required"),
        ({"video_urls": []}, "video_urls", "exactly 1 item"),
        ({"video_urls": [CLIP] * 2}, "video_urls", "exactly 1 item"),
        ({"image_urls": [IMAGE] * 5}, "image_urls", "at most 4 items"),
        ({"keep_original_sound": "maybe"}, "keep_original_sound", "true or false"),
        ({"duration": 1}, "duration", "0 or whole seconds from 2 to 10"),
        ({"duration": 11}, "duration", "0 or whole seconds from 2 to 10"),
        ({"duration": -1}, "duration", "0 or whole seconds from 2 to 10"),
        ({"duration": False}, "duration", "0 or whole seconds from 2 to 10"),
        ({"audio_urls": [SOUND]}, "audio_urls", "unknown field"),
        ({"image_start": IMAGE}, "image_start", "unknown field"),
    ],
}
BROKEN = [(model, *case) for model in MODELS for case in [*COMMON, *OWN[model]]]
SEVERAL = {"at most 5 entries"}


@pytest.mark.parametrize(("model", "change", "field", "rule"), BROKEN)
def test_a_broken_rule_is_refused_and_named(model, change, field, rule):
    build_request(model, GOOD[model])
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, GOOD[model] | change)
    named = [found for found in error.value.violations if rule in found.rule and field in (None, found.field)]
    assert len(named) == 1
    assert len(error.value.violations) == (2 if rule in SEVERAL else 1)


def test_every_rule_between_fields_has_a_broken_body_here():
    texts = {rule.text for model in MODELS for rule in find_spec(model).rules if rule.is_refused}
    assert [text for text in texts if not any(rule in text for *_, rule in BROKEN)] == []


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_has_a_broken_body_here(model):
    broken = {field.partition("[")[0].partition(".")[0] for name, _, field, _ in BROKEN if name == model and field}
    covered = {part for field in broken for part in field.split(", ")}
    assert set(find_spec(model).parameters) - covered == set()


SETS = {("start",), ("start", "audio"), ("start", "end"), ("start", "end", "audio"), ("video",), ("end", "video")}
MATERIAL = {"start": START, "end": END, "video": VIDEO, "audio": AUDIO}
COMBINATIONS = [names for size in range(5) for names in itertools.combinations(MATERIAL, size)]


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_without_a_mode_only_six_sets_of_material_pass(names):
    given = {field: value for name in names for field, value in MATERIAL[name].items()}
    if names in SETS:
        assert build_request(I2V, given) == {"model": I2V, **given}
    else:
        with pytest.raises(EvoLinkRequestError):
            build_request(I2V, given)


MODE_SETS = {
    "first_frame": {("start",), ("start", "audio")},
    "first_last_frame": {("start", "end"), ("start", "end", "audio")},
    "video_continuation": {("video",), ("end", "video")},
}


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("mode", MODE_SETS)
def test_a_mode_takes_only_its_own_material(mode, names):
    given = {"generation_mode": mode, **{field: value for name in names for field, value in MATERIAL[name].items()}}
    if names in MODE_SETS[mode]:
        assert build_request(I2V, given) == {"model": I2V, **given}
    else:
        with pytest.raises(EvoLinkRequestError):
            build_request(I2V, given)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        *((model, {"duration": seconds}) for model in (T2V, I2V, R2V) for seconds in (2, 15)),
        *((EDIT, {"duration": seconds}) for seconds in (0, 2, 10)),
        (R2V, {"video_urls": [CLIP], "duration": 10}),
        (R2V, {"image_urls": None, "video_urls": [CLIP] * 5}),
        (R2V, {"image_urls": [IMAGE] * 5, "video_urls": []}),
        (R2V, {"image_urls": [IMAGE] * 5, "image_start": IMAGE}),
        (R2V, {"audio_urls": [SOUND] * 5}),
        (R2V, voices(image2=SOUND)),
        (R2V, {"model_params": {}}),
        (EDIT, {"image_urls": [IMAGE] * 4}),
        (T2V, {"seed": 1}),
        (T2V, {"seed": 2147483647}),
        (T2V, {"callback_url": f"https://example.com/{'x' * 2028}"}),
        (I2V, {"prompt": ""}),
    ],
)
def test_the_edges_of_the_rules_pass(model, change):
    given = {name: value for name, value in (GOOD[model] | change).items() if value is not None}
    assert build_request(model, given) == {"model": model, **given}

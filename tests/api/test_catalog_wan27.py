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
    ({"prompt": 5}, "prompt", "must be a"),
    ({"negative_prompt": 5}, "negative_prompt", "must be a string"),
    ({"quality": "480p"}, "quality", "must be 720p or 1080p"),
    ({"seed": 0}, "seed", "must be an integer from 1 to 2147483647"),
    ({"seed": 2147483648}, "seed", "must be an integer from 1 to 2147483647"),
    ({"seed": 1.5}, "seed", "must be an integer from 1 to 2147483647"),
    ({"prompt_extend": "on"}, "prompt_extend", "true or false"),
    ({"callback_url": "http://example.com/"}, "callback_url", "must be an https link"),
    ({"callback_url": "https://10.0.0.1/"}, "callback_url", "must lead to a public address"),
    ({"callback_url": f"https://example.com/{'x' * 2029}"}, "callback_url", "an https link to a public address"),
    ({"duration": 16}, "duration", "an integer from 2 to 1"),
    ({"duration": 1}, "duration", "an integer from 2 to 1"),
    ({"duration": 5.5}, "duration", "an integer from 2 to 1"),
    ({"shot_type": "multi"}, "shot_type", "is not a known field"),
]
RATIO = ({"aspect_ratio": "21:9"}, "aspect_ratio", "must be 16:9, 9:16, 1:1, 4:3 or 3:4")
OWN = {
    T2V: [
        RATIO,
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": ""}, "prompt", "must be a non-empty string"),
        ({"audio_urls": [SOUND] * 2}, "audio_urls", "exactly 1 item"),
        ({"audio_urls": []}, "audio_urls", "exactly 1 item"),
        ({"audio_urls": ["x"]}, "audio_urls[0]", "must be an http or https link"),
        ({"image_start": IMAGE}, "image_start", "is not a known field"),
        ({"video_urls": [CLIP]}, "video_urls", "is not a known field"),
        ({"model_params": {"shot_type": "multi"}}, "model_params", "is not a known field"),
        ({"generation_mode": "first_frame"}, "generation_mode", "is not a known field"),
    ],
    I2V: [
        ({"aspect_ratio": "16:9"}, "aspect_ratio", "is not a known field"),
        ({"image_urls": [IMAGE]}, "image_urls", "is not a known field"),
        (
            {"generation_mode": "morph"},
            "generation_mode",
            "must be first_frame, first_last_frame or video_continuation",
        ),
        ({"image_start": "x"}, "image_start", "must be an http or https link"),
        ({**START, "image_end": ""}, "image_end", "must not be empty"),
        ({"audio_urls": [SOUND] * 2}, "audio_urls", "exactly 1 item"),
        ({**START, "video_urls": []}, "video_urls", "exactly 1 item"),
        ({"image_start": None, "video_urls": [CLIP] * 2}, "video_urls", "exactly 1 item"),
        (
            {"image_start": None, "generation_mode": "first_frame"},
            "image_start",
            "must be set when generation_mode is first_frame",
        ),
        (
            {**END, "generation_mode": "first_frame"},
            "image_end",
            "cannot be used when generation_mode is first_frame",
        ),
        (
            {**VIDEO, "generation_mode": "first_frame"},
            "video_urls",
            "cannot be used when generation_mode is first_frame",
        ),
        (
            {"generation_mode": "first_last_frame"},
            "image_end",
            "must be set when generation_mode is first_last_frame",
        ),
        (
            {**END, "image_start": None, "generation_mode": "first_last_frame"},
            "image_start",
            "must be set when generation_mode is first_last_frame",
        ),
        (
            {**END, **VIDEO, "generation_mode": "first_last_frame"},
            "video_urls",
            "cannot be used when generation_mode is first_last_frame",
        ),
        (
            {"image_start": None, "generation_mode": "video_continuation"},
            "video_urls",
            "must be set when generation_mode is video_continuation",
        ),
        (
            {**VIDEO, "generation_mode": "video_continuation"},
            "image_start",
            "cannot be used when generation_mode is video_continuation",
        ),
        (
            {**VIDEO, **AUDIO, "image_start": None, "generation_mode": "video_continuation"},
            "audio_urls",
            "cannot be used when generation_mode is video_continuation",
        ),
        ({**VIDEO}, "image_start, video_urls", "use either image_start"),
    ],
    R2V: [
        RATIO,
        ({"prompt": None}, "prompt", "required"),
        (
            {"image_urls": None},
            "image_urls, video_urls",
            "at least one of them must have an item; image_start does not count",
        ),
        (
            {"image_urls": []},
            "image_urls, video_urls",
            "at least one of them must have an item; image_start does not count",
        ),
        (
            {"image_urls": None, **START},
            "image_urls, video_urls",
            "at least one of them must have an item; image_start does not count",
        ),
        ({"image_urls": [IMAGE] * 6}, "image_urls, video_urls", "must have at most 5 items in total"),
        (
            {"image_urls": [IMAGE] * 3, "video_urls": [CLIP] * 3},
            "image_urls, video_urls",
            "must have at most 5 items in total",
        ),
        ({"video_urls": [CLIP], "duration": 11}, "duration", "must be at most 10 when video_urls is set"),
        ({"audio_urls": [SOUND] * 6}, "audio_urls", "at most 5 items"),
        ({"image_start": "x"}, "image_start", "must be an http or https link"),
        ({"image_end": IMAGE}, "image_end", "is not a known field"),
        ({"model_params": {"seed": 1}}, "model_params.seed", "is not a known field"),
        ({"model_params": "x"}, "model_params", "an object with voice_bindings"),
        ({"model_params": {"voice_bindings": [SOUND]}}, "model_params.voice_bindings", "an object"),
        (voices(image1=""), "model_params.voice_bindings.image1", "must not be empty"),
        (voices(image1=None), "model_params.voice_bindings.image1", "an http or https link"),
        (voices(image1=["x"]), "model_params.voice_bindings.image1", "an http or https link"),
        *(
            (voices(**{key: SOUND}), f"model_params.voice_bindings.{key}", "must be a key imageN or videoN")
            for key in ("image3", "video1", "image0", "image01", "Image1", "audio1", "image", "1", "image1x", "image-1")
        ),
        (voices(**{"image1\n": SOUND}), "model_params.voice_bindings.image1", "must be a key imageN or videoN"),
        (voices(**{"image" + "9" * 5000: SOUND}), None, "must be a key imageN or videoN"),
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
        ({"duration": 1}, "duration", "must be 0 or an integer from 2 to 10"),
        ({"duration": 11}, "duration", "must be 0 or an integer from 2 to 10"),
        ({"duration": -1}, "duration", "must be 0 or an integer from 2 to 10"),
        ({"duration": False}, "duration", "must be 0 or an integer from 2 to 10"),
        ({"audio_urls": [SOUND]}, "audio_urls", "is not a known field"),
        ({"image_start": IMAGE}, "image_start", "is not a known field"),
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

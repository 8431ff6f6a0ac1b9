"""What an error lists, how it says it, and what neither error nor log ever shows."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.catalog import build_request
from airflow_provider_evolink.api.errors import EvoLinkRequestError

T2V, I2V = "wan2.7-text-to-video", "wan2.7-image-to-video"
R2V, EDIT = "wan2.7-reference-video", "wan2.7-video-edit"
IMAGE, CLIP, SOUND = "https://example.com/a.png", "https://example.com/a.mp4", "https://example.com/a.mp3"
SECRET = "whisper-of-lavender"


@pytest.fixture
def logged():
    """Messages of the catalog's logger."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    keeper = Keep()
    catalog.log.addHandler(keeper)
    yield lines
    catalog.log.removeHandler(keeper)


def refused(model, parameters):
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, parameters)
    return error.value


def only_violation(model, parameters):
    (violation,) = refused(model, parameters).violations
    return violation


def test_all_broken_rules_are_listed_at_once():
    error = refused(
        R2V,
        {
            "prompt": " ",
            "image_urls": [IMAGE, "ftp://example.com/x", *[IMAGE] * 3],
            "video_urls": [CLIP],
            "duration": 12,
            "seed": 0,
            "audio_urls": ["nope", *[SOUND] * 5],
            "model_params": {"voice_bindings": {"image9": SOUND, "video1": ""}, "shot_type": "multi"},
            "promt": "x",
        },
    )
    assert sorted(violation.field for violation in error.violations) == [
        "audio_urls",
        "audio_urls[0]",
        "duration",
        "image_urls, video_urls",
        "image_urls[1]",
        "model_params.shot_type",
        "model_params.voice_bindings.image9",
        "model_params.voice_bindings.video1",
        "prompt",
        "promt",
        "seed",
    ]
    assert "and 10 more problems" in str(error)


def test_a_rule_does_not_judge_a_value_that_is_wrong_in_itself():
    error = refused(R2V, {"prompt": "a", "video_urls": [CLIP], "duration": "soon"})
    assert [violation.rule for violation in error.violations] == ["must be an integer from 2 to 15"]
    error = refused(R2V, {"prompt": "a", "image_urls": "nope"})
    assert [violation.field for violation in error.violations] == ["image_urls"]


def test_a_message_says_field_rule_and_value():
    assert str(only_violation(T2V, {"prompt": "a", "duration": 16})) == (
        "duration: must be an integer from 2 to 15, got 16"
    )


@pytest.mark.parametrize(
    ("model", "name", "hint"),
    [
        (T2V, "promt", "did you mean prompt?"),
        (I2V, "start_image", "did you mean image_start?"),
        (R2V, "image_url", "did you mean image_urls?"),
        (EDIT, "keep_sound", "did you mean keep_original_sound?"),
        (I2V, "zzz", "known are prompt, negative_prompt"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(model, name, hint):
    violation = next(one for one in refused(model, {name: "x"}).violations if one.field == name)
    assert hint in violation.rule


def test_an_unknown_nested_field_is_refused_with_the_nearest_known_one():
    given = {"prompt": "a", "image_urls": [IMAGE], "model_params": {"voice_binding": {"image1": SOUND}}}
    violation = only_violation(R2V, given)
    assert violation.field == "model_params.voice_binding"
    assert "did you mean voice_bindings?" in violation.rule


@pytest.mark.parametrize(
    "broken",
    [
        {"prompt": [SECRET]},
        {"prompt": {SECRET: 1}},
        {"negative_prompt": {"text": SECRET}},
        {"promt": SECRET},
        {"text": f"data:text/plain,{SECRET}"},
        {"quality": f"in {SECRET}"},
        {"image_start": f"a {SECRET} portrait"},
        {"image_start": f"https://example.com/a b?token={SECRET}"},
        {"image_start": f"https://user:{SECRET}@example.com/a.png"},
        {"image_start": f"ftp://example.com/a.png?token={SECRET}"},
        {"image_start": f"data:image/png;base64,{SECRET}"},
        {"audio_urls": [f"s3://bucket/a.mp3?X-Signature={SECRET}#{SECRET}"] * 2},
        {"callback_url": f"http://example.com/hook?token={SECRET}"},
        {"callback_url": f"https://127.0.0.1/hook?token={SECRET}"},
    ],
)
@pytest.mark.parametrize("mode", ["strict", "warn"])
def test_no_error_or_log_shows_a_prompt_or_the_query_of_a_link(broken, mode, logged):
    given = {"prompt": SECRET, "image_start": IMAGE} | broken
    try:
        build_request(I2V, given, validation=mode)
    except EvoLinkRequestError as error:
        logged.extend([str(error), repr(error), *(repr(violation) for violation in error.violations)])
    assert logged
    assert not [line for line in logged if SECRET in line]


def test_shown_values_are_short():
    error = refused(I2V, {"image_start": f"ftp://example.com/{'x' * 500}", "image_end": "x" * 500, "quality": "y" * 50})
    assert [violation.value for violation in error.violations if len(violation.value or "") > 60] == []


@pytest.mark.parametrize("model", [T2V, "wan2.5-text-to-video"])
@pytest.mark.parametrize("text", ["\ud800", "a boat \udfff"])
def test_half_a_character_is_refused_because_no_request_can_carry_it(model, text):
    violation = only_violation(model, {"prompt": text})
    assert (violation.field, violation.rule) == ("prompt", "must be valid Unicode, without unpaired surrogates")
    assert build_request(model, {"prompt": "\U0001f6a3"})


@pytest.mark.parametrize("text", ["None", "[]", "{}", "nan", "undefined", " None\n", "\tnan "])
@pytest.mark.parametrize(
    ("model", "field"), [(T2V, "prompt"), (T2V, "negative_prompt"), ("gpt-image-2", "prompt"), ("suno-v5", "prompt")]
)
def test_what_a_template_writes_for_a_missing_value_is_no_text(model, field, text):
    given = {"prompt": "A paper boat"} | {field: text}
    with pytest.raises(EvoLinkRequestError, match=f"{field}: must not be the text") as caught:
        build_request(model, given)
    assert text.strip() in str(caught.value)
    assert build_request(model, given, validation="warn")[field] == text


@pytest.mark.parametrize("text", ["none", "None of them smiles", "null", "nan bread on a table", "[a]", "Undefined"])
def test_other_texts_stay_texts(text):
    assert build_request(T2V, {"prompt": text})["prompt"] == text

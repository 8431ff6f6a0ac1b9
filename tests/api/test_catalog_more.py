"""Jobs as inputs, limits that only warn, sizes of pictures, lengths, other names, withdrawn models."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.catalog.catalog import build_request, check_request, kind, max_credits, outputs
from airflow_provider_evolink.api.catalog.sizes import Pixels, describe_length, measure
from airflow_provider_evolink.api.errors import EvoLinkRequestError
from airflow_provider_evolink.api.jobs.job import Job

IMAGE = "https://example.com/a.png"
JOB = {"job_id": "task-unified-1-a", "model": "mj-v7", "results": [IMAGE], "credits": 3}


def warnings_of(model, parameters):
    """What a request is sent with all the same."""
    return list(check_request(model, parameters).warnings)


def only_violation(model, parameters):
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, parameters)
    (violation,) = error.value.violations
    return violation


@pytest.mark.parametrize("job", [JOB, Job(id=JOB["job_id"], model="mj-v7"), {"id": JOB["job_id"]}, JOB["job_id"]])
@pytest.mark.parametrize("mode", ["strict", "warn", "off"])
def test_a_job_or_its_id_goes_in_where_an_earlier_job_is_wanted(job, mode):
    given = {"model_params": {"task_id": job, "image_number": 2}}
    body = build_request("mj-v7-upscale", given, validation=mode)
    assert body == {"model": "mj-v7-upscale", "model_params": {"task_id": JOB["job_id"], "image_number": 2}}
    assert given["model_params"]["task_id"] is job


@pytest.mark.parametrize(
    ("model", "given", "path", "taken"),
    [
        (
            "seedance-2.5-draft-to-video",
            {"source_task_id": JOB | {"model": "seedance-2.5-text-to-video"}},
            "source_task_id",
            JOB["job_id"],
        ),
        ("qwen3-tts-vd", {"prompt": "a", "voice": {"job_id": "x", "result_data": {"voice": "qv-1"}}}, "voice", "qv-1"),
        (
            "qwen3-tts-vd",
            {"prompt": "a", "voice": {"job_id": "x", "result_data": [{"voice": "qv-1"}]}},
            "voice",
            "qv-1",
        ),
        ("suno-v6", {"prompt": "a", "persona_id": {"model": "suno-persona", "persona_id": "p"}}, "persona_id", "p"),
    ],
)
def test_what_an_earlier_job_made_is_taken_from_it(model, given, path, taken):
    assert build_request(model, given)[path] == taken


def test_an_element_is_taken_from_its_job_inside_a_list():
    job = {"job_id": "x", "model": "kling-custom-element", "result_data": {"element_id": "e-1"}}
    given = {"prompt": "a", "model_params": {"element_list": [{"element_id": job}, {"element_id": "e-2"}]}}
    body = build_request("kling-o3-text-to-video", given)
    assert body["model_params"]["element_list"] == [{"element_id": "e-1"}, {"element_id": "e-2"}]


@pytest.mark.parametrize("source", ["mj-v8.1", "wan2.7-text-to-video", "mj-v7-upscale"])
def test_a_job_of_another_model_is_refused(source):
    violation = only_violation("mj-v7-upscale", {"model_params": {"task_id": JOB | {"model": source}}})
    assert (violation.field, violation.value) == ("model_params.task_id", f"a job of {source}")
    assert "mj-v7-retexture" in violation.rule


def test_the_result_of_a_retexture_can_only_be_upscaled():
    given = {"model_params": {"task_id": JOB | {"model": "mj-v7-retexture"}}}
    assert build_request("mj-v7-upscale", given)
    assert only_violation("mj-v7-variation", given).field == "model_params.task_id"


def test_a_job_without_the_thing_wanted_is_refused():
    with pytest.raises(EvoLinkRequestError, match="voice: must be a job with a voice"):
        build_request("qwen3-tts-vd", {"prompt": "a", "voice": {"job_id": "x", "model": "qwen-voice-design"}})


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_limit_that_only_the_words_of_a_page_state_is_refused_in_strict_and_else_sent(mode):
    given = {"prompt": "a", "duration": 7}
    assert build_request("wan2.5-text-to-video", given, validation=mode)["duration"] == 7
    with pytest.raises(EvoLinkRequestError, match="duration: must be 5 or 10, got 7"):
        build_request("wan2.5-text-to-video", given)
    assert warnings_of("wan2.5-text-to-video", {"prompt": "a", "duration": "10"}) == []


def test_tokens_are_guessed_and_warned_about():
    assert warnings_of("seedance-1.5-pro", {"prompt": "a word " * 1000}) == []
    (warning,) = warnings_of("seedance-1.5-pro", {"prompt": "a word " * 2000})
    assert warning == "prompt: should be at most 2000 tokens, got about 3500"


def test_a_prompt_that_is_wrong_in_bytes_is_refused():
    assert "60000 bytes" in only_violation("gpt-image-2", {"prompt": "€" * 20001}).rule
    assert build_request("gpt-image-2", {"prompt": "€" * 20000})


@pytest.mark.parametrize(("size", "good"), [("auto", 1), ("16:9", 1), ("1024x1024", 1), ("1000x1000", 0), ("5:7", 0)])
def test_a_size_may_be_a_word_a_ratio_or_pixels(size, good):
    found = check_request("gpt-image-2", {"prompt": "a", "size": size})
    assert bool(found.violations) is not bool(good)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        ({"min_side": 10}, "10x10", "9x10"),
        ({"max_side": 10}, "10x10", "10x11"),
        ({"min_area": 100}, "10x10", "10x9"),
        ({"max_area": 100}, "10x10", "10x11"),
        ({"max_ratio": 3}, "10x30", "31x10"),
        ({"step": 8}, "8x16", "8x12"),
        ({}, "1x1", "0x1"),
    ],
)
def test_limits_of_pixels(limits, good, bad):
    pixels = Pixels.model_validate(limits)
    assert pixels.fits(good)
    assert not pixels.fits(bad)
    assert not pixels.fits(f"{good}\n")
    assert pixels.describe().startswith("WIDTHxHEIGHT in pixels")


def test_lengths_are_measured_in_the_unit_of_the_limit():
    text = "ab" + "\u4f60\u597d" + "é€"
    assert [measure(text, unit) for unit in ("characters", "wide", "tokens")] == [6, 8, 4]
    assert describe_length(1, "characters") == "1 character"
    assert "Chinese" in describe_length(5000, "wide")


def test_a_model_is_found_by_its_other_names_and_sent_as_it_was_named():
    assert build_request("suno-v6", {"prompt": "a"}) == {"model": "suno-v6", "prompt": "a"}
    assert kind("suno-v6") == kind("suno-v6-beta") == "audio"


def test_a_withdrawn_model_is_warned_about():
    (warning,) = warnings_of("sora-2-beta", {"prompt": "a"})
    assert "withdrawn" in warning
    assert build_request("sora-2-beta", {"prompt": "a"})


def test_outputs_are_how_many_and_how_long():
    assert outputs("new-model") is None
    assert (outputs("wan2.7-text-to-video").max_files, outputs("wan2.7-text-to-video").link_hours) == (1, 24)
    assert (outputs("mj-v8.1").min_files, outputs("mj-v8.1").max_files) == (4, 24)
    assert (outputs("kling-custom-element").media, outputs("kling-custom-element").data) == (False, "element_id")
    assert (outputs("gpt-image-2").counted_by, outputs("gpt-image-2").max_files) == ("n", 10)


def test_letters_in_any_case_pass_where_evolink_says_so():
    assert build_request("grok-imagine-image-2.0", {"prompt": "a", "quality": "MEDIUM"})["quality"] == "MEDIUM"
    assert only_violation("gpt-image-2", {"prompt": "a", "quality": "MEDIUM"}).field == "quality"


def test_shots_of_kling_add_up_to_the_duration_evolink_takes():
    shots = [{"index": 1, "prompt": "a", "duration": "2"}, {"index": 2, "prompt": "b", "duration": "3"}]
    params = {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots}
    assert build_request("kling-v3-text-to-video", {"prompt": "", "model_params": params})
    violation = only_violation("kling-v3-text-to-video", {"prompt": "", "duration": 6, "model_params": params})
    assert (violation.field, violation.value) == ("model_params.multi_prompt[].duration, duration", "5 and 6")
    assert only_violation("kling-v3-text-to-video", {"prompt": ""}).field == "prompt"


def test_a_model_without_a_price_has_none():
    assert max_credits("gpt-image-2", {"prompt": "a"}) is None


SHOTS = {
    "multi_shot": True,
    "shot_type": "customize",
    "multi_prompt": [
        {"index": 1, "prompt": "a paper boat", "duration": "3"},
        {"index": 2, "prompt": "rain", "duration": "2"},
    ],
}
KLING = [f"kling-{version}-{task}-to-video" for version in ("o3", "v3") for task in ("text", "image")]


@pytest.mark.parametrize("model", KLING)
def test_the_shots_of_kling_take_the_place_of_its_prompt(model):
    start = {"image_start": "https://example.com/a.png"} if "image" in model else {}
    given = {"duration": 5, "model_params": SHOTS, **start}
    for prompt in ({}, {"prompt": ""}, {"prompt": None}, {"prompt": "a boat"}):
        assert build_request(model, given | prompt)
    for params in ({}, {"model_params": {"multi_shot": False}}):
        for prompt in ({}, {"prompt": ""}):
            assert only_violation(model, {"duration": 5, **start} | params | prompt).field == "prompt"

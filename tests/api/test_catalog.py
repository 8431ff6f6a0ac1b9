"""What build_request sends, coerces, refuses and warns about."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.catalog import build_request, check_request, endpoint, kind, known_models
from airflow_provider_evolink.api.errors import EvoLinkConfigError, EvoLinkRequestError

T2V, I2V = "wan2.7-text-to-video", "wan2.7-image-to-video"
R2V, EDIT = "wan2.7-reference-video", "wan2.7-video-edit"
IMAGE, CLIP, SOUND = "https://example.com/a.png", "https://example.com/a.mp4", "https://example.com/a.mp3"

# The four requests of EvoLink's text-to-video page, then one per model of our API notes.
EXAMPLES = [
    {
        "model": T2V,
        "prompt": "A small kitten running under the moonlight",
        "aspect_ratio": "16:9",
        "duration": 5,
    },
    {
        "model": T2V,
        "prompt": "A tense detective chase story. Shot 1 [0-3s] wide angle: rainy night street, neon lights"
        " flickering. Shot 2 [3-6s] medium: detective enters an old building. Shot 3 [6-9s] close-up: detective's"
        " determined eyes, distant sirens. Shot 4 [9-12s] medium: cautious advance through dim corridor. Shot 5"
        " [12-15s] close-up: discovers key clue, sudden realization.",
        "aspect_ratio": "16:9",
        "duration": 15,
    },
    {
        "model": T2V,
        "prompt": "A tiny cute cartoon kitten general in golden armor riding a war horse, reciting a classical poem",
        "audio_urls": ["https://example.com/recital.mp3"],
        "duration": 10,
    },
    {"model": T2V, "prompt": "A small kitten running under the moonlight", "negative_prompt": "flowers"},
    {
        "model": T2V,
        "prompt": "A paper boat drifts down a rainy street, single shot",
        "quality": "1080p",
        "aspect_ratio": "9:16",
        "duration": 6,
        "seed": 7,
    },
    {
        "model": I2V,
        "generation_mode": "first_last_frame",
        "prompt": "the bud opens into a flower",
        "image_start": "https://example.com/bud.png",
        "image_end": "https://example.com/flower.png",
        "duration": 8,
    },
    {
        "model": R2V,
        "prompt": "Image 1 interviews Video 1 in a quiet library",
        "image_urls": ["https://example.com/host.png"],
        "video_urls": ["https://example.com/guest.mp4"],
        "model_params": {"voice_bindings": {"image1": "https://example.com/host.mp3"}},
        "duration": 8,
        "aspect_ratio": "16:9",
    },
    {
        "model": EDIT,
        "prompt": "turn the street into a pencil drawing",
        "video_urls": ["https://example.com/street.mp4"],
        "keep_original_sound": True,
    },
]


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


def warnings_of(model, parameters):
    """What a request is sent with all the same."""
    return list(check_request(model, parameters).warnings)


def refused(model, parameters):
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, parameters)
    return error.value


def only_violation(model, parameters):
    (violation,) = refused(model, parameters).violations
    return violation


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example['model']}-{len(example)}")
def test_the_examples_build_unchanged(example, logged):
    body = build_request(example["model"], {name: example[name] for name in example if name != "model"})
    assert body == example
    assert list(body) == list(example)
    assert logged == []


def test_the_body_holds_only_what_was_set_and_the_model_first():
    body = build_request(T2V, {"duration": 4, "prompt": "a", "seed": None, "quality": None})
    assert list(body.items()) == [("model", T2V), ("duration", 4), ("prompt", "a")]


def test_a_null_inside_model_params_is_not_sent_and_leaves_no_empty_object():
    given = {"prompt": "a", "image_urls": [IMAGE], "model_params": {"voice_bindings": None}}
    assert build_request(R2V, given) == {"model": R2V, "prompt": "a", "image_urls": [IMAGE]}


def test_a_required_field_set_to_null_counts_as_missing():
    violation = only_violation(T2V, {"prompt": None})
    assert (violation.field, violation.rule, violation.value) == ("prompt", "is required", None)


def test_the_given_parameters_stay_untouched():
    links = [IMAGE]
    given = {"prompt": "a", "image_urls": links, "duration": "5", "seed": None}
    body = build_request(R2V, given)
    assert given == {"prompt": "a", "image_urls": [IMAGE], "duration": "5", "seed": None}
    assert body["image_urls"] is not links


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("duration", "5", 5),
        ("duration", " 5\n", 5),
        ("duration", "5.0", 5),
        ("duration", 5.0, 5),
        ("seed", "42", 42),
        ("prompt_extend", "true", True),
        ("prompt_extend", "False", False),
        ("audio_urls", (SOUND,), [SOUND]),
    ],
)
def test_text_from_templates_becomes_the_declared_type(field, value, sent):
    body = build_request(T2V, {"prompt": "a", field: value})
    assert (body[field], type(body[field])) == (sent, type(sent))


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("duration", 5.5, "5.5"),
        ("duration", "5.5", "'5.5'"),
        ("duration", True, "true"),
        ("duration", "", "an empty string"),
        ("duration", "five", "'five'"),
        ("duration", "9" * 5000, "a string of 5000 characters"),
        pytest.param("duration", 10**5000, "a number of more than 60 digits", id="huge"),
        ("duration", float("nan"), "nan"),
        ("duration", float("inf"), "inf"),
        ("duration", [5], "a list of 1 item"),
        ("seed", b"7", "a value of type bytes"),
        ("prompt_extend", "yes", "'yes'"),
        ("prompt_extend", 1, "1"),
        ("prompt_extend", "", "an empty string"),
        ("negative_prompt", 5, "a value of type int"),
        ("negative_prompt", {"a": 1}, "an object with 1 entry"),
        ("audio_urls", SOUND, SOUND),
        ("audio_urls", {SOUND}, "a value of type set"),
        ("audio_urls", {"0": SOUND}, "an object with 1 entry"),
        ("quality", "", "an empty string"),
        ("aspect_ratio", 1, "1"),
    ],
)
def test_everything_else_of_a_wrong_type_is_refused(field, value, shown):
    violation = only_violation(T2V, {"prompt": "a", field: value})
    assert (violation.field, violation.value) == (field, shown)


@pytest.mark.parametrize("mode", ["strict", "warn", "off"])
@pytest.mark.parametrize(("field", "limit"), [("prompt", 5000), ("negative_prompt", 500)])
def test_text_that_evolink_cuts_is_warned_about_in_every_mode(mode, field, limit, logged):
    given = {"prompt": "a", field: "é" * limit}
    build_request(T2V, given, validation=mode)
    assert logged == []
    body = build_request(T2V, given | {field: "é" * (limit + 1)}, validation=mode)
    assert len(body[field]) == limit + 1
    assert logged == [f"request for {T2V}: {field}: EvoLink cuts it to {limit} characters, got {limit + 1}"]


def test_fields_without_effect_are_warned_about():
    given = {"prompt": "a", "image_urls": [IMAGE], "audio_urls": [SOUND], "aspect_ratio": "1:1"}
    assert warnings_of(R2V, given) == []
    (warning,) = warnings_of(R2V, given | {"model_params": {"voice_bindings": {"image1": SOUND}}})
    assert warning.startswith("audio_urls: is ignored")
    (warning,) = warnings_of(R2V, given | {"image_start": IMAGE})
    assert warning.startswith("aspect_ratio: is ignored")


def test_warn_logs_what_is_broken_and_still_builds_the_body(logged):
    given = {"prompt": "a", "duration": "16", "seed": "7", "qualty": "720p"}
    body = build_request(T2V, given, validation="warn")
    assert body == {"model": T2V, "prompt": "a", "duration": "16", "seed": 7, "qualty": "720p"}
    assert logged == [
        f"request for {T2V}: duration: must be an integer from 2 to 15, got 16",
        f"request for {T2V}: qualty: is not a known field; did you mean quality?",
    ]


def test_off_checks_nothing_and_changes_nothing(logged):
    given = {"duration": "16", "seed": "7", "quality": None, "image_start": "nope"}
    body = build_request(I2V, given, validation="off")
    assert body == {"model": I2V, "duration": "16", "seed": "7", "image_start": "nope"}
    assert logged == []


def test_a_misspelt_mode_is_an_error():
    with pytest.raises(EvoLinkConfigError, match="strict, warn, off"):
        build_request(T2V, {"prompt": "a"}, validation="of")


@pytest.mark.parametrize("mode", ["strict", "warn", "off"])
def test_an_unknown_model_passes_with_a_warning_that_names_the_nearest(mode, logged):
    body = build_request("wan2.8-text-to-video", {"prompt": "a", "new": 1, "x": None}, validation=mode)
    assert body == {"model": "wan2.8-text-to-video", "prompt": "a", "new": 1}
    assert len(logged) == 1
    assert "not in the catalog" in logged[0]
    assert f"Did you mean {T2V}?" in logged[0]


def test_a_model_like_no_other_has_no_hint(logged):
    build_request("qqq", {})
    assert "Did you mean" not in logged[0]


@pytest.mark.parametrize("model", ["", "  ", None])
def test_a_blank_model_is_refused(model):
    assert only_violation(model, {"prompt": "a"}).field == "model"


def test_the_model_may_be_repeated_but_not_contradicted():
    assert build_request(T2V, {"model": T2V, "prompt": "a"}) == {"model": T2V, "prompt": "a"}
    violation = only_violation(T2V, {"model": EDIT, "prompt": "a"})
    assert (violation.field, violation.value) == ("model", f"'{EDIT}'")


def test_known_models_have_kind_and_endpoint():
    assert {T2V, I2V, R2V, EDIT} <= set(known_models())
    for model in known_models():
        assert endpoint(model) == f"/v1/{kind(model)}s/generations"
    assert kind(T2V) == "video"


def test_the_endpoint_of_an_unknown_model_follows_the_stated_kind():
    assert kind("new-model") is None
    assert endpoint("new-model") == "/v1/videos/generations"
    assert endpoint("new-model", "image") == "/v1/images/generations"
    assert endpoint("new-model", "audio") == "/v1/audios/generations"
    assert endpoint(T2V, "image") == "/v1/videos/generations"
    with pytest.raises(EvoLinkConfigError, match="video, image, audio"):
        endpoint("new-model", "text")


def test_importing_the_catalog_reads_no_file():
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from airflow_provider_evolink.api import catalog\n"
        "assert not [name for name in opened if '/catalog/models/' in name], 'read on import'\n"
        "catalog.build_request('wan2.7-text-to-video', {'prompt': 'a'})\n"
        "catalog.build_request('wan2.7-video-edit', {'video_urls': ['https://example.com/a.mp4']})\n"
        "read = [name for name in opened if '/catalog/models/' in name]\n"
        "assert read and len(read) == len(set(read)), 'not read exactly once'\n"
        "assert 'airflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

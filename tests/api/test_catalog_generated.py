"""Generated requests: every body that keeps the rules of its model passes, every body with one slip is refused."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_evolink.api.catalog.catalog import build_request
from airflow_provider_evolink.api.catalog.values import MISSING
from airflow_provider_evolink.api.errors import EvoLinkRequestError

T2V, I2V = "wan2.7-text-to-video", "wan2.7-image-to-video"
R2V, EDIT = "wan2.7-reference-video", "wan2.7-video-edit"
MODELS = (T2V, I2V, R2V, EDIT)

names = st.text("abcdefghij0123456789-", min_size=1, max_size=12)
links = st.builds(
    "{}://{}.example.com/{}{}".format,
    st.sampled_from(["http", "https"]),
    names.map(lambda name: f"a{name}z"),
    names,
    st.sampled_from(["", ".png", ".mp4?X-Signature=abc%2F", "#t=3"]),
)
texts = st.text(max_size=40).filter(lambda text: text.strip() not in MISSING)
prompts = texts.filter(lambda text: bool(text.strip()))
seconds = st.integers


def link_lists(least, most):
    return st.lists(links, min_size=least, max_size=most)


COMMON = {
    "negative_prompt": texts,
    "quality": st.sampled_from(["720p", "1080p"]),
    "seed": st.integers(1, 2147483647),
    "prompt_extend": st.booleans(),
    "callback_url": names.map(lambda name: f"https://hooks.example.com/{name}?id={name}"),
}
RATIO = {"aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1", "4:3", "3:4"])}
SETS = [
    ("image_start",),
    ("image_start", "audio_urls"),
    ("image_start", "image_end"),
    ("image_start", "image_end", "audio_urls"),
    ("video_urls",),
    ("video_urls", "image_end"),
]
MODES = {
    frozenset(SETS[0]): "first_frame",
    frozenset(SETS[1]): "first_frame",
    frozenset(SETS[2]): "first_last_frame",
    frozenset(SETS[3]): "first_last_frame",
    frozenset(SETS[4]): "video_continuation",
    frozenset(SETS[5]): "video_continuation",
}


def text_bodies():
    optional = COMMON | RATIO | {"duration": seconds(2, 15), "audio_urls": link_lists(1, 1)}
    return st.fixed_dictionaries({"prompt": prompts}, optional=optional)


@st.composite
def image_bodies(draw):
    optional = COMMON | {"prompt": prompts, "duration": seconds(2, 15)}
    body = draw(st.fixed_dictionaries({}, optional=optional))
    material = draw(st.sampled_from(SETS))
    for field in material:
        body[field] = draw(link_lists(1, 1) if field.endswith("urls") else links)
    if draw(st.booleans()):
        body["generation_mode"] = MODES[frozenset(material)]
    return body


@st.composite
def reference_bodies(draw):
    optional = COMMON | RATIO | {"image_start": links, "audio_urls": link_lists(0, 5)}
    body = draw(st.fixed_dictionaries({"prompt": prompts}, optional=optional))
    images = draw(st.integers(0, 5))
    videos = draw(st.integers(0 if images else 1, 5 - images if images < 5 else 0))
    for field, number in (("image_urls", images), ("video_urls", videos)):
        if number or draw(st.booleans()):
            body[field] = draw(link_lists(number, number))
    if draw(st.booleans()):
        body["duration"] = draw(seconds(2, 10 if videos else 15))
    keys = [f"image{n + 1}" for n in range(images)] + [f"video{n + 1}" for n in range(videos)]
    if draw(st.booleans()):
        bindings = st.dictionaries(st.sampled_from(keys), links, max_size=5)
        body["model_params"] = draw(st.fixed_dictionaries({}, optional={"voice_bindings": bindings}))
    return body


def edit_bodies():
    optional = COMMON | RATIO
    optional |= {"prompt": prompts, "image_urls": link_lists(0, 4), "keep_original_sound": st.booleans()}
    optional |= {"duration": st.just(0) | seconds(2, 10)}
    return st.fixed_dictionaries({"video_urls": link_lists(1, 1)}, optional=optional)


BODIES = {T2V: text_bodies(), I2V: image_bodies(), R2V: reference_bodies(), EDIT: edit_bodies()}

not_links = st.sampled_from(
    ["", "x", "ftp://example.com/a", "https://", "https://u:p@example.com/", "data:image/png;base64,AA", "https://a b"]
)
not_seconds = st.floats(2.1, 9.9).filter(lambda number: not number.is_integer()) | st.sampled_from(
    [True, False, "", "soon", [5], -1, 16, 31, 10**30]
)
SLIPS = {
    "negative_prompt": st.integers() | st.lists(prompts),
    "quality": st.sampled_from(["480p", "4k", "", 720]),
    "seed": st.integers(max_value=0) | st.integers(min_value=2147483648) | st.just(True),
    "prompt_extend": st.sampled_from(["yes", 1, 0, "", []]),
    "callback_url": not_links | links.map(lambda link: link.replace("https:", "http:")),
    "duration": not_seconds,
    "promt": prompts,
}
RATIO_SLIP = {"aspect_ratio": st.sampled_from(["21:9", "auto", "", 1])}
OWN_SLIPS = {
    T2V: RATIO_SLIP
    | {
        "prompt": st.sampled_from(["", " \n", None, 5]),
        "audio_urls": link_lists(2, 4) | st.just([]) | st.tuples(not_links),
        "image_start": links,
    },
    I2V: {
        "aspect_ratio": RATIO["aspect_ratio"],
        "generation_mode": st.sampled_from(["morph", "", 1]),
        "image_start": not_links,
        "image_end": not_links,
        "audio_urls": link_lists(2, 4),
        "video_urls": link_lists(2, 4),
    },
    R2V: RATIO_SLIP
    | {
        "prompt": st.sampled_from(["", " ", None]),
        "image_start": not_links,
        "image_urls": link_lists(6, 8) | st.lists(not_links, min_size=1, max_size=2),
        "video_urls": link_lists(6, 8) | st.lists(not_links, min_size=1, max_size=2),
        "audio_urls": link_lists(6, 8),
        "model_params": st.dictionaries(
            st.from_regex(r"(image|video)([6-9]|0[0-9]*|[1-9][0-9]+|)|[a-h]{1,9}", fullmatch=True),
            links,
            min_size=1,
            max_size=5,
        ).map(lambda bindings: {"voice_bindings": bindings})
        | st.just({"shot_type": "multi"}),
    },
    EDIT: RATIO_SLIP
    | {
        "video_urls": link_lists(2, 4) | st.just([]) | st.none() | links,
        "image_urls": link_lists(5, 8),
        "keep_original_sound": st.sampled_from(["no", 2, ""]),
        "audio_urls": link_lists(1, 1),
        "duration": st.just(1) | not_seconds.filter(lambda value: value != 0 or value is False),
    },
}


@st.composite
def slips(draw, model):
    table = SLIPS | OWN_SLIPS[model]
    field = draw(st.sampled_from(sorted(table)))
    return draw(BODIES[model]), field, draw(table[field])


@pytest.mark.parametrize("model", MODELS)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_body_that_keeps_the_rules_is_built_unchanged(model, data):
    body = data.draw(BODIES[model])
    assert build_request(model, body) == {"model": model, **body}


@pytest.mark.parametrize("model", MODELS)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_body_from_templates_is_built_with_types(model, data):
    body = data.draw(BODIES[model])
    rendered = {name: str(value) if isinstance(value, bool | int) else value for name, value in body.items()}
    assert build_request(model, rendered) == {"model": model, **body}


@pytest.mark.parametrize("model", MODELS)
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_one_slip_is_refused_and_its_field_named(model, data):
    body, field, value = data.draw(slips(model))
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, body | {field: value})
    fields = [violation.field for violation in error.value.violations]
    assert any(field in named for named in fields)


@pytest.mark.parametrize(("model", "field"), [(T2V, "prompt"), (R2V, "prompt"), (EDIT, "video_urls")])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_a_body_without_a_required_field_is_refused(model, field, data):
    body = data.draw(BODIES[model])
    del body[field]
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(model, body)
    assert [violation.field for violation in error.value.violations] == [field]


@settings(deadline=None, max_examples=50)
@given(body=reference_bodies(), seconds=st.integers(11, 15))
def test_a_long_video_from_reference_clips_is_refused(body, seconds):
    with_clip = body | {"video_urls": ["https://example.com/a.mp4"], "image_urls": [], "duration": seconds}
    with_clip.pop("model_params", None)
    with pytest.raises(EvoLinkRequestError) as error:
        build_request(R2V, with_clip)
    assert [violation.field for violation in error.value.violations] == ["duration"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [*COMMON, "prompt", "duration", "aspect_ratio", "generation_mode", "image_start", "image_end"]
FIELDS += ["image_urls", "video_urls", "audio_urls", "model_params", "keep_original_sound", "model", "other"]


@pytest.mark.parametrize("mode", ["strict", "warn", "off"])
@pytest.mark.parametrize("model", [*MODELS, "not-known"])
@settings(deadline=None, max_examples=60)
@given(parameters=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6))
def test_nothing_makes_it_fail_in_another_way(model, mode, parameters):
    with suppress(EvoLinkRequestError) if mode == "strict" else nullcontext():
        body = build_request(model, parameters, validation=mode)
        assert body["model"] == model
        assert set(body) <= {"model", *parameters}

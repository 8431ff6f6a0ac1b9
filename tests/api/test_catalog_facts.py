"""What a comparison of the catalog with the facts it was made from has found, field by field."""

from __future__ import annotations

import pytest

from airflow_provider_evolink.api.catalog.catalog import build_request, check_request, find_spec, known_models
from airflow_provider_evolink.api.catalog.media_fields import find_local_files
from airflow_provider_evolink.api.catalog.media_limits import InputFile
from airflow_provider_evolink.api.errors import EvoLinkRequestError

LINK = "https://example.com/a.png"


def faults(model, body):
    """Fields that strict validation refuses."""
    try:
        build_request(model, body)
    except EvoLinkRequestError as error:
        return [found.field for found in error.violations]
    return []


def warnings_of(model, parameters):
    """What a request is sent with all the same."""
    return list(check_request(model, parameters).warnings)


REQUIRED_LISTS = [
    (model, name)
    for model in known_models()
    for name, parameter in find_spec(model).parameters.items()
    if parameter.required and parameter.type == "array"
]


@pytest.mark.parametrize(("model", "name"), REQUIRED_LISTS)
def test_a_required_list_may_not_be_empty(model, name):
    told = [text for text in warnings_of(model, {name: []}) if text.startswith(f"{name}: ")]
    assert name in faults(model, {name: []}) or told


def size_faults(model, field, width, height, content_type="video/mp4"):
    """What is wrong with a file of this size in pixels where a field takes links."""
    kind, _, ending = content_type.partition("/")
    file = InputFile("0" * 64, 1000, content_type, f".{ending}", width, height, 5.0)
    parameter = find_spec(model).parameters[field]
    return [rule for rule, _ in parameter.media.faults(file, kind)]


@pytest.mark.parametrize(
    ("model", "field", "size", "content_type", "refused"),
    [
        # "short side up to 2160 px": a clip in 4K has one of 2160
        ("tencent-video-upscale", "video_urls", (3840, 2160), "video/mp4", []),
        ("tencent-video-upscale", "video_urls", (2160, 3840), "video/mp4", []),
        (
            "tencent-video-upscale",
            "video_urls",
            (3840, 2162),
            "video/mp4",
            ["have a shorter side of at most 2160 pixels"],
        ),
        ("MiniMax-Hailuo-02", "image_urls", (750, 300), "image/png", []),
        ("MiniMax-Hailuo-02", "image_urls", (760, 300), "image/png", ["have a ratio of at most 2.5:1"]),
        ("MiniMax-Hailuo-02", "image_urls", (400, 299), "image/png", ["have sides of at least 300 pixels"]),
        ("doubao-seedream-5.0-pro-layerize", "image_urls", (512, 512), "image/png", []),
        (
            "doubao-seedream-5.0-pro-layerize",
            "image_urls",
            (511, 600),
            "image/png",
            ["have sides of at least 512 pixels"],
        ),
        ("happyhorse-1.0-video-edit", "video_urls", (640, 640), "video/webm", ["be mp4 or mov"]),
        ("doubao-seedream-5.0-pro", "image_urls", (640, 640), "image/heic", []),
    ],
)
def test_limits_of_files_are_those_of_the_notes(model, field, size, content_type, refused):
    assert size_faults(model, field, *size, content_type) == [f"must {words}" for words in refused]


GEMINI, SEED, MASK = "gemini-omni-flash-image-to-video", "doubao-seed-audio-1-0", "mj-v8.2-upload-paint"
JPEG = "/9j/4AAQSkZJRgABAQAAAQABAAD"


def open_bodies(value):
    """A request for each field that takes more than links, with the value there."""
    sizes = {"canvas": {"width": 1, "height": 1}, "img_pos": {"width": 1, "height": 1, "x": 0, "y": 0}}
    yield GEMINI, {"prompt": "a", "image_urls": [value]}, "image_urls[0]", "image"
    yield SEED, {"prompt": "a", "audio_references": [value]}, "audio_references[0]", "audio"
    mask = {"model_params": {"mask": {"url": value}, **sizes}}
    yield MASK, {"prompt": "a", "image_urls": [LINK], **mask}, "model_params.mask.url", "image"


@pytest.mark.parametrize("value", [LINK, "data:image/png;base64,AAAA", JPEG, "iVBORw0KGgo" * 2000, "a-preset-voice"])
def test_fields_that_take_more_than_links_take_it(value):
    for model, body, _, _ in open_bodies(value):
        assert build_request(model, body) == {"model": model, **body}
        assert list(find_local_files(find_spec(model).media_parameters, body)) == []


@pytest.mark.parametrize("value", ["s3://bucket/a.png", "file:///tmp/a.png", "/tmp/a.png"])
def test_files_in_fields_that_take_more_than_links_are_found_and_never_sent(value):
    for model, body, path, kind in open_bodies(value):
        ((slot, found),) = find_local_files(find_spec(model).media_parameters, body)
        assert (slot.path, slot.kind, found) == (path, kind, value)
        assert faults(model, body) == [path]
    assert faults(GEMINI, {"prompt": "a", "image_urls": ["https://user:secret@example.com/a.png"]}) == ["image_urls[0]"]


def test_files_in_fields_that_take_more_than_links_keep_the_limits_of_the_notes():
    assert find_spec(GEMINI).parameters["image_urls"].media.types == ("png", "jpeg", "webp")
    voices = find_spec(SEED).parameters["audio_references"].media
    assert (voices.max_mb, voices.max_seconds) == (10, 30)

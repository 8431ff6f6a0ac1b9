"""Every documented model: its smallest request, errors that name the field, and results of the right kind."""

from __future__ import annotations

import io

import av
import pytest
from PIL import Image

from airflow_provider_evolink.emulator.orders.models import find, names
from airflow_provider_evolink.emulator.orders.rules import STRICT_MODELS

IMG, VID, SND = "https://example.com/a.png", "https://example.com/a.mp4", "https://example.com/a.mp3"
ADDRESSES = {"image": IMG, "video": VID, "audio": SND}


def inner_fields(name):
    """Return the fields of ``model_params``."""
    params = find(name).fields.get("model_params")
    return params.fields if params else {}


CHAINED = {
    "seedance-2.5-draft-to-video": ("seedance-2.5-text-to-video", {"draft": True}),
    "sora-2-pro-remix": ("sora-2-pro", {}),
    "sora-2-remix": ("sora-2-beta", {}),
    "veo3.1-fast-extend": ("veo3.1-fast-beta", {}),
    "suno-persona": ("suno-v5-beta", {"prompt": "x"}),
    **{
        name: (find(name).family.replace("midjourney", "mj"), {}) for name in names() if "task_id" in inner_fields(name)
    },
}


def example(name, schema):
    """Return a valid value of a field."""
    if schema.variants:
        return example(name, schema.variants[0])
    if schema.enum:
        return schema.enum[0]
    kind = schema.types[0]
    if kind == "object":
        return {inner: example(inner, field) for inner, field in schema.fields.items() if field.required}
    if kind == "array":
        return [example(name, schema.items)] * max(1, schema.minItems or 0)
    if kind == "string":
        address = next((link for word, link in ADDRESSES.items() if word in name), IMG)
        text = address if schema.format == "uri" or name.endswith(("_url", "_urls")) else "a" * 20
        return text[: schema.maxLength or 100]
    return True if kind == "boolean" else 1 if schema.minimum is None else schema.minimum


def minimal(name):
    """Return the smallest request of a model, without the earlier job it may need."""
    fields = find(name).fields
    return {"model": name} | {field: example(field, schema) for field, schema in fields.items() if schema.required}


@pytest.fixture
def run(client):
    """Submit a job, with the earlier job it needs, and return it when it has ended."""

    def read(created):
        assert created.status_code == 200, created.text
        return client.get(f"/v1/tasks/{created.json()['id']}").json()

    def order(name, **changes):
        body = minimal(name) | changes
        if name in CHAINED:
            earlier, more = CHAINED[name]
            source = order(earlier, **more)["id"]
            fields = find(name).fields
            for field in ("source_task_id", "base_video_task_id"):
                body |= {field: source} if field in fields else {}
            for field in {"task_id", "source_task_id"} & inner_fields(name).keys():
                body["model_params"] = {**body["model_params"], field: source}
        return read(client.post(f"/v1/{find(name).kind}s/generations", json=body))

    return order


@pytest.fixture
def fetch(browser):
    def get(link):
        response = browser.get(link, timeout=60)  # it is rendered at the first download
        assert response.status_code == 200
        return response.headers["content-type"], response.content

    return get


def test_every_documented_model_is_known_with_its_page():
    assert len(names()) + len(STRICT_MODELS) >= 173
    assert not set(names()) & set(STRICT_MODELS)
    assert all(find(name).source.startswith("https://docs.evolink.ai/") for name in names())


@pytest.mark.parametrize("name", names())
def test_every_model_accepts_its_smallest_request(run, emulator, name):
    emulator.settings(balance=100_000)
    job = run(name)

    assert (job["status"], job["model"], job["type"]) == ("completed", name, find(name).kind)
    assert job["object"] == f"{job['type']}.generation.task"
    assert job["results"] or job["result_data"]
    assert emulator.books()["jobs"][-1]["credits_charged"] > 0


def test_models_are_listed(client):
    listed = [row["id"] for row in client.get("/v1/models").json()["data"]]

    assert listed == sorted([*names(), *STRICT_MODELS])


def test_an_alias_names_the_same_model(client):
    assert client.post("/v1/audios/generations", json={"model": "suno-v5", "prompt": "x"}).status_code == 200
    assert client.post("/v1/audios/generations", json={"model": "suno-v5", "duration": 3}).status_code == 400


def wrong(schema):
    """Return invalid values of a field."""
    if schema.variants:
        return
    if schema.types == ["string"]:
        yield 7
    if "boolean" not in schema.types:
        yield True
    if "null" not in schema.types:
        yield None
    if "string" not in schema.types:
        yield "text"
    if schema.enum:
        yield "unknown" if "string" in schema.types else 987_654
    if schema.maximum is not None:
        yield schema.maximum + 1
    if schema.minimum is not None:
        yield schema.minimum - 1
    if schema.maxLength is not None:
        yield "https://example.com/" + "x" * schema.maxLength
    if schema.maxItems is not None:
        yield ["https://example.com/a"] * (schema.maxItems + 1)
    if schema.format == "uri":
        yield "no address"


@pytest.mark.parametrize("name", names())
def test_a_wrong_field_is_named_in_the_error(client, emulator, name):
    model = find(name)
    path, good, tried = f"/v1/{model.kind}s/generations", minimal(name), 0
    bad = [({field: value}, field) for field, schema in model.fields.items() for value in wrong(schema)]
    bad += [({field: ...}, field) for field in good if field != "model"]
    bad += [({field: "x"}, field) for field in model.refused_fields]
    bad += [({"surprise": 1}, "surprise")] if model.refuses_unknown_fields else []
    for changes, field in bad:
        body = {key: value for key, value in (good | changes).items() if value is not ...}
        response = client.post(path, json=body)
        error = response.json()["error"]
        assert (response.status_code, error["param"].split("[")[0].split(".")[0]) == (400, field), changes
        assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
        tried += 1
    assert tried >= 3
    assert emulator.books()["orders"] == 0


def test_wrong_nested_values_are_named(client):
    body = minimal("suno-persona")
    body["model_params"] = body["model_params"] | {"name": 7}
    response = client.post("/v1/audios/generations", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "model_params.name")


@pytest.mark.parametrize("kind", ["video", "image", "audio"])
def test_a_model_of_another_kind_is_refused(client, kind):
    name = next(name for name in names() if find(name).kind != kind)
    response = client.post(f"/v1/{kind}s/generations", json=minimal(name))

    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize(
    ("model", "changes", "count", "content_type", "form", "size"),
    [
        ("gpt-image-2", {"output_format": "webp", "n": 3, "size": "512x768"}, 3, "image/webp", "WEBP", (512, 768)),
        ("gpt-image-2", {"size": "512x768"}, 1, "image/png", "PNG", (512, 768)),
        ("doubao-seedream-5.0-pro", {"size": "1:1", "quality": "1K"}, 1, "image/jpeg", "JPEG", (1024, 1024)),
        ("z-image-turbo", {"size": "16:9"}, 1, "image/png", "PNG", (1366, 768)),
        ("mj-v7", {}, 4, "image/png", "PNG", (1280, 720)),
        ("mj-v8.2", {"model_params": {"speed": "draft"}}, 24, "image/png", "PNG", (1280, 720)),
        ("mj-v7-upscale", {}, 1, "image/png", "PNG", (2560, 1440)),
        ("mj-v8.1-variation", {}, 4, "image/png", "PNG", (1280, 720)),
    ],
)
def test_images(run, fetch, model, changes, count, content_type, form, size):
    job = run(model, **changes)

    assert len(job["results"]) == count
    assert job["result_data"] == [{"url": link} for link in job["results"]]
    found, content = fetch(job["results"][-1])
    picture = Image.open(io.BytesIO(content))
    assert (found, picture.format, picture.size) == (content_type, form, size)


@pytest.mark.parametrize(
    ("model", "changes", "content_type", "form"),
    [
        ("suno-v5-beta", {"prompt": "a tune"}, "audio/mpeg", "mp3"),
        ("qwen-audio-3.1-tts-flash", {"prompt": "hello"}, "audio/mpeg", "mp3"),
        ("qwen-audio-3.1-tts-flash", {"prompt": "hello", "response_format": "wav"}, "audio/wav", "wav"),
        ("qwen-audio-3.1-tts-flash", {"prompt": "hello", "format": "opus"}, "audio/ogg", "ogg"),
        ("doubao-seed-audio-1-0", {"prompt": "hello"}, "audio/wav", "wav"),
        ("qwen3-tts-vd", {}, "audio/mpeg", "mp3"),
    ],
)
def test_audio(run, fetch, model, changes, content_type, form):
    found, content = fetch(run(model, **changes)["results"][0])

    assert found == content_type
    with av.open(io.BytesIO(content)) as container:
        assert container.format.name == form
        assert container.duration / 1_000_000 == pytest.approx(5, abs=0.2)


def test_raw_pcm(run, fetch):
    found, content = fetch(run("doubao-seed-audio-1-0", format="pcm")["results"][0])

    assert (found, len(content)) == ("audio/pcm", 5 * 48_000 * 2)


@pytest.mark.parametrize(
    ("model", "changes", "count", "content_type", "size", "seconds"),
    [
        ("seedance-2.5-text-to-video", {"output_format": "mov", "duration": 4}, 1, "video/quicktime", (1280, 720), 4),
        ("seedance-2.5-text-to-video", {"draft": True, "aspect_ratio": "9:16"}, 1, "video/mp4", (480, 854), 5),
        ("seedance-2.5-draft-to-video", {}, 1, "video/mp4", (1920, 1080), 5),
        ("veo-3.1-generate-preview", {"n": 2}, 2, "video/mp4", (1280, 720), 5),
    ],
)
def test_videos(run, fetch, model, changes, count, content_type, size, seconds):
    job = run(model, **changes)

    assert len(job["results"]) == count
    found, content = fetch(job["results"][-1])
    with av.open(io.BytesIO(content)) as container:
        video = container.streams.video[0]
        assert (found, (video.width, video.height)) == (content_type, size)
        assert container.duration / 1_000_000 == pytest.approx(seconds, abs=0.05)


def test_an_upscale_enlarges_the_clip(finished, run, fetch):
    clip = finished(duration=2, aspect_ratio="1:1")["results"][0]
    job = run("topaz-video-upscale", video_urls=[clip])
    with av.open(io.BytesIO(fetch(job["results"][0])[1])) as container:
        video = container.streams.video[0]
        assert ((video.width, video.height), container.duration / 1_000_000) == (
            (1920, 1920),
            pytest.approx(2, abs=0.05),
        )


def test_songs(run):
    job = run("suno-v5-beta", prompt="a tune", title="Boat", style="folk", custom_mode=True)
    songs = job["result_data"]["songs"]

    assert [song["audio_url"] for song in songs] == job["results"]
    assert len({song["result_id"] for song in songs}) == len(songs) == 2
    assert {(song["title"], song["tags"]) for song in songs} == {("Boat", "folk")}


def test_layers(run, fetch):
    job = run("doubao-seedream-5.0-pro-layerize")
    base, *layers = job["result_data"]

    assert [row["url"] for row in job["result_data"]] == job["results"]
    assert base.keys() == {"url", "z_index"}
    assert [row["z_index"] for row in layers] == [1, 2, 3]
    assert all({"bounding_box", "name", "description"} <= row.keys() for row in layers)
    assert all(row["bounding_box"].keys() == {"absolute", "normalized"} for row in layers)
    assert [fetch(link)[0] for link in job["results"][:2]] == ["image/jpeg", "image/png"]


@pytest.mark.parametrize(
    ("model", "changes", "name", "links"),
    [
        ("voice-enrollment", {"audio_url": SND}, "voice", 0),
        ("voice-enrollment", {"voice_prompt": "calm", "preview_text": "x" * 20}, "voice", 1),
        ("qwen-voice-design", {}, "voice", 1),
        ("suno-persona", {}, "persona_id", 0),
        ("kling-custom-element", {}, "element_id", 0),
        ("sora-character", {}, "character_id", 1),
    ],
)
def test_results_without_media(run, model, changes, name, links):
    job = run(model, **changes)

    assert len(job["results"]) == links
    assert isinstance(job["result_data"][name], str)


def test_a_draft_has_an_expiry_and_its_final_names_it(run):
    assert run("seedance-2.5-text-to-video", draft=True)["draft_expires_at"] > 1_700_000_000
    assert run("seedance-2.5-draft-to-video")["source_task_id"].startswith("task-unified-")


@pytest.mark.parametrize(
    ("source", "status"),
    [("task-unified-1-none", 404), ("running", 409), ("final", 400), ("draft", 200), ("old", 410), ("foreign", 404)],
)
def test_only_a_completed_draft_of_the_account_becomes_a_video(emulator, client, source, status):
    def order(**body):
        headers = {"Authorization": "Bearer other-account"} if source == "foreign" and "prompt" in body else None
        return client.post("/v1/videos/generations", json=body, headers=headers)

    made = order(model="seedance-2.5-text-to-video", prompt="x", draft=source != "final").json()["id"]
    if source != "running":
        emulator.job(made, state="completed")
    emulator.settings(clock_shift=8 * 86400 if source == "old" else 0)
    named = source if source.startswith("task") else made
    response = order(model="seedance-2.5-draft-to-video", source_task_id=named)

    assert response.status_code == status, response.text
    if status != 200:
        assert response.json()["error"]["param"] == "source_task_id"


def test_midjourney_continues_jobs_of_the_same_version_only(run, client):
    source = run("mj-v8.1")["id"]
    body = {"model": "mj-v7-upscale", "model_params": {"task_id": source}}
    response = client.post("/v1/images/generations", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model_params.task_id")

    upscaled = run("mj-v7-upscale")["id"]
    body["model_params"]["task_id"] = upscaled
    assert client.post("/v1/images/generations", json=body).status_code == 403


@pytest.mark.parametrize("model", ["kling-o3-text-to-video", "kling-v3-text-to-video", "kling-o3-image-to-video"])
def test_the_shots_of_kling_take_the_place_of_its_prompt(client, model):
    shots = [{"index": 1, "prompt": "a paper boat", "duration": "5"}]
    params = {"multi_shot": True, "shot_type": "customize", "multi_prompt": shots}
    body = {"model": model, "duration": 5, "model_params": params}
    assert client.post("/v1/videos/generations", json=body).status_code == 200

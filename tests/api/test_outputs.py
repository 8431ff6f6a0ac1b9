"""What a job gave: every shape EvoLink has comes out in one form, and nothing in it is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_evolink.api.client import EvoLinkClient
from airflow_provider_evolink.api.jobs.failures import job_error
from airflow_provider_evolink.api.jobs.job import Job
from airflow_provider_evolink.api.settings import ClientSettings
from airflow_provider_evolink.emulator.server import EmulatorServer

JOB = "task-unified-1790000000-demo0001"
A, B = "https://m.example/a.mp3", "https://m.example/b.mp3"
P, Q = "https://m.example/p.png", "https://m.example/q.png"
SONG = {"result_id": "r1", "audio_url": A, "image_url": P, "title": "Boat", "tags": ["folk", "slow"], "duration": 61.5}
TOLD = {"kind": "audio", "result_id": "r1", "title": "Boat", "tags": "folk, slow", "duration": 61.5}


def read(kind, **fields):
    return Job.model_validate({"id": JOB, "type": kind, "status": "completed", **fields})


@pytest.mark.parametrize(
    ("kind", "fields", "links", "outputs"),
    [
        ("video", {"results": [A]}, [A], [{"kind": "video"}]),
        ("audio", {"result_data": {"songs": [SONG]}}, [A], [TOLD]),
        ("audio", {"results": [A], "result_data": {"songs": [SONG]}}, [A], [TOLD]),
        ("audio", {"results": [f"{A}?sig=1"], "result_data": [{**SONG, "audio_url": f"{A}?sig=2"}]}, ..., [TOLD]),
        (
            "audio",
            {"results": [B, A], "result_data": {"songs": [SONG, {"audio_url": B, "title": "Sea"}]}},
            [B, A],
            [{"kind": "audio", "title": "Sea"}, TOLD],
        ),
        (
            "audio",
            {"results": [A, B], "result_data": [{"title": "one"}, {"title": "two"}]},
            [A, B],
            [{"kind": "audio", "title": "one"}, {"kind": "audio", "title": "two"}],
        ),
        ("audio", {"results": [A, B], "result_data": [{"title": "one"}]}, [A, B], [{"kind": "audio"}] * 2),
        ("audio", {"result_data": [{"audio_url": A}]}, [A], [{"kind": "audio"}]),
        ("audio", {"result_data": {"audio_url": A}}, [A], [{"kind": "audio"}]),
        ("audio", {"result_data": {"audio": A}}, [A], [{"kind": "audio"}]),
        ("audio", {"results": [], "result_data": {"songs": [{"title": "not yet"}, SONG]}}, [A], [TOLD]),
        ("video", {"result_data": {"character_id": "c", "image_url": P}}, [P], [{"kind": "image"}]),
        ("video", {"results": [P], "result_data": {"image_url": P}}, [P], [{"kind": "image"}]),
        (
            "image",
            {
                "result_data": [
                    {"image_url": P, "z_index": 0},
                    {"image_url": Q, "z_index": 1, "bounding_box": {"x": 0, "y": 1}, "name": "sky", "description": "d"},
                ]
            },
            [P, Q],
            [
                {"kind": "image", "z_index": 0},
                {"kind": "image", "z_index": 1, "bounding_box": {"x": 0, "y": 1}, "name": "sky", "description": "d"},
            ],
        ),
        ("image", {"results": [P], "result_data": [{"bounding_box": [1, 2, 3, 4]}]}, [P], ...),
        (None, {"results": [P]}, [P], [{"kind": None}]),
        ("text", {"result_data": {"text": "said"}}, [], []),
    ],
)
def test_every_shape_comes_out_in_one_form(kind, fields, links, outputs):
    job = read(kind, **fields)
    summary = job.summary()

    if links is not ...:
        assert summary["results"] == links
    if outputs is not ...:
        assert summary["outputs"] == outputs
    assert len(summary["outputs"]) == len(summary["results"])
    assert job_error(job) is None


@pytest.mark.parametrize(
    ("kind", "data", "made"),
    [
        ("audio", {"voice": "calm-1", "voice_type": "cloned"}, {"voice": "calm-1", "voice_type": "cloned"}),
        ("audio", {"persona_id": "p-1"}, {"persona_id": "p-1"}),
        ("video", {"element_id": 829836802793406551}, {"element_id": "829836802793406551"}),
        ("video", [{"element_id": "e"}], {"element_id": "e"}),
        ("video", {"element": {"element_id": "e", "name": "Ann"}}, {"element_id": "e", "name": "Ann"}),
        ("text", {"text": "said"}, {"text": "said"}),
    ],
)
def test_a_name_instead_of_media_is_a_result(kind, data, made):
    job = read(kind, results=[], result_data=data)

    assert (job.made, job.summary()["made"], job.results) == (made, made, ())
    assert job.has_output
    assert job_error(job) is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        {"status": "ok"},
        {"task_id": "t"},
        {"text": "an echo of the prompt"},
        {"voice": A},
        {"voice": " "},
        {"voice": None},
        {"voice": True},
        {"voice": ["x"]},
        {"voice": "\ud800"},
        {"songs": [{"result_id": "r", "title": "not ready"}]},
        {"audio_url": ""},
        {"audio_url": 7},
    ],
    ids=repr,
)
def test_anything_else_is_no_result(data):
    job = read("audio", results=[], result_data=data)

    assert not job.has_output
    assert job_error(job) is not None


def test_the_expiry_of_a_draft_is_reported_and_is_no_result_of_its_own():
    job = read("video", draft_expires_at=1790600000)

    assert job.summary()["made"] == {"draft_expires_at": "1790600000"}
    assert not job.has_output


def test_remote_texts_are_made_safe():
    song = {
        "audio_url": A,
        "title": "a\r\nb\u202e https://x.example/y?sig=1",
        "tags": "x" * 900,
        "duration": float("nan"),
    }
    (output,) = read("audio", result_data={"songs": [song]}).outputs

    assert output["title"] == "a b  https://x.example/y"
    assert len(output["tags"]) == 300
    assert "duration" not in output


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([A, P, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["audio_url", "image_url", "songs", "voice", "element_id", "title", "z_index", "bounding_box"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(kind=anything, results=anything, data=anything)
def test_whatever_comes_is_readable(kind, results, data):
    job = read(kind, results=results, result_data=data)
    summary = json.loads(json.dumps(job.summary(), allow_nan=False))

    assert len(summary["outputs"]) == len(summary["results"])
    json.dumps(summary, ensure_ascii=False).encode()
    job_error(job)


SND, IMG, VID = "https://example.com/a.mp3", "https://example.com/a.png", "https://example.com/a.mp4"
ELEMENT = {
    "element_name": "Ann",
    "element_description": "a cat",
    "reference_type": "image_refer",
    "element_image_list": {"frontal_image": IMG, "refer_images": [{"image_url": IMG}]},
}


@pytest.mark.parametrize(
    ("path", "body", "count", "kind", "names"),
    [
        ("audios", {"model": "suno-v5-beta", "prompt": "a tune"}, 2, "audio", set()),
        ("audios", {"model": "qwen-audio-3.1-tts-flash", "prompt": "hello"}, 1, "audio", set()),
        ("audios", {"model": "voice-enrollment", "audio_url": SND, "preferred_name": "ann"}, 0, None, {"voice"}),
        ("videos", {"model": "kling-custom-element", "model_params": ELEMENT}, 0, None, {"element_id"}),
        ("videos", {"model": "sora-character", "video_url": VID}, 1, "image", {"character_id"}),
        ("images", {"model": "doubao-seedream-5.0-pro-layerize", "image_urls": [IMG]}, 4, "image", set()),
        ("images", {"model": "mj-v7", "prompt": "a boat"}, 4, "image", set()),
    ],
)
def test_over_http(emulator: EmulatorServer, path, body, count, kind, names):
    """The client reads the emulator's shapes, which were written from the facts alone."""
    with EvoLinkClient(ClientSettings(api_key="test-key-0123456789", base_url=emulator.url)) as client:
        job = client.submit(body, path=f"/v1/{path}/generations")
        emulator.job(job.job_id, state="completed")
        job = client.get_job(job.job_id)

    assert (len(job.results), {output["kind"] for output in job.outputs}) == (count, {kind} if kind else set())
    assert names <= job.made.keys()
    assert job.has_output
    if "suno" in body["model"]:
        assert len({output["result_id"] for output in job.outputs}) == 2
    if "layerize" in body["model"]:
        assert [output["z_index"] for output in job.outputs] == [0, 1, 2, 3]


@pytest.mark.parametrize("signed", ["A", "B"])
def test_links_that_differ_only_in_the_query_keep_their_own_kinds(signed: str) -> None:
    """The query may tell files apart, and it may be signed again each time."""
    link = "https://media.example.com/file"
    payload = {
        "id": "task-1",
        "type": "video",
        "results": [f"{link}?n=0&sign=A", f"{link}?n=1&sign=A"],
        "result_data": [
            {"video_url": f"{link}?n=0&sign={signed}", "title": "clip"},
            {"image_url": f"{link}?n=1&sign={signed}", "title": "frame"},
        ],
    }
    assert [(output["kind"], output["title"]) for output in Job.model_validate(payload).outputs] == [
        ("video", "clip"),
        ("image", "frame"),
    ]

"""One operator per kind of media: where it orders, what it refuses, which files come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_evolink.emulator.orders import models
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import (
    EvoLinkAudioOperator,
    EvoLinkDownloadOperator,
    EvoLinkGenerateOperator,
    EvoLinkImageOperator,
    EvoLinkVideoOperator,
)

OPERATORS = (EvoLinkAudioOperator, EvoLinkImageOperator, EvoLinkVideoOperator)
SND, IMG = "https://example.com/a.mp3", "https://example.com/a.png"
ELEMENT = {
    "element_name": "Ann",
    "element_description": "a cat",
    "reference_type": "image_refer",
    "element_image_list": {"frontal_image": IMG, "refer_images": [{"image_url": IMG}]},
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_typed_arguments_are_the_fields_that_the_kind_really_shares(operator: Any) -> None:
    """Nearly half of a kind's models have each, in several families, and no other field is like that; by the facts."""
    facts = [row for name in models.names() if (row := models.find(name)) and row.kind == operator.only_kind]
    having = {field: [row for row in facts if field in row.fields] for row in facts for field in row.fields}
    shared = {
        field
        for field, rows in having.items()
        if len(rows) >= 0.45 * len(facts) and len({row.family for row in rows}) > 1
    }
    assert set(operator.request_fields) == shared - {"model_params"}


@pytest.mark.parametrize(
    ("operator", "model", "given", "path"),
    [
        (EvoLinkImageOperator, "gpt-image-2", {"prompt": "a boat", "size": "1024x1024", "quality": "low"}, "images"),
        (EvoLinkImageOperator, "picture-of-tomorrow", {"prompt": "a boat"}, "images"),
        (EvoLinkAudioOperator, "suno-v5-beta", {"prompt": "a tune"}, "audios"),
        (EvoLinkAudioOperator, "sound-of-tomorrow", {"prompt": "a tune"}, "audios"),
        (EvoLinkVideoOperator, "film-of-tomorrow", {"prompt": "a boat", "duration": "3"}, "videos"),
        (EvoLinkVideoOperator, "wan2.7-text-to-video", {"prompt": "a boat", "duration": "3"}, "videos"),
    ],
)
def test_each_orders_where_its_kind_is_made(
    stage: Any, make: Any, emulator: EmulatorServer, operator: Any, model: str, given: dict[str, Any], path: str
) -> None:
    result = stage.run(make(operator, model=model, **given))

    assert result["kind"] == path.removesuffix("s")
    body = emulator.books()["jobs"][0]["body"]
    assert body["prompt"] == given["prompt"]
    assert {output["kind"] for output in result["outputs"]} == {result["kind"]}


@pytest.mark.parametrize("operator", [EvoLinkImageOperator, EvoLinkAudioOperator])
def test_a_model_of_another_kind_is_refused(stage: Any, make: Any, emulator: EmulatorServer, operator: Any) -> None:
    with pytest.raises(AirflowFailException) as told:
        stage.run(make(operator, model="wan2.7-text-to-video", prompt="a boat"))

    assert f"model: makes video, and {operator.__name__} submits {operator.only_kind} only" in str(told.value)
    assert "submit" not in emulator.books()["requests"]


def test_a_wrong_request_gets_evolinks_own_refusal(stage: Any, make: Any, emulator: EmulatorServer) -> None:
    """Without a rule of ours the emulator's copy of the facts still refuses, and nothing is paid."""
    with pytest.raises(AirflowFailException, match="output_format"):
        stage.run(make(EvoLinkImageOperator, model="gpt-image-2", prompt="x", parameters={"output_format": "bmp"}))

    assert emulator.books()["orders"] == 0


@pytest.mark.parametrize(
    ("operator", "model", "given", "files"),
    [
        (EvoLinkImageOperator, "gpt-image-2", {"prompt": "x", "parameters": {"n": 2}}, ["png", "png"]),
        (EvoLinkImageOperator, "doubao-seedream-5.0-pro", {"prompt": "x"}, ["jpg"]),
        (EvoLinkImageOperator, "mj-v7", {"prompt": "x"}, ["png"] * 4),
        (EvoLinkImageOperator, "doubao-seedream-5.0-pro-layerize", {"image_urls": [IMG]}, ["jpg", "png", "png", "png"]),
        (EvoLinkAudioOperator, "suno-v5-beta", {"prompt": "x"}, ["mp3", "mp3"]),
        (EvoLinkAudioOperator, "qwen-audio-3.1-tts-flash", {"prompt": "x", "parameters": {"format": "opus"}}, ["ogg"]),
        (EvoLinkAudioOperator, "doubao-seed-audio-1-0", {"prompt": "x", "parameters": {"format": "pcm"}}, ["pcm"]),
        (
            EvoLinkVideoOperator,
            "seedance-2.5-text-to-video",
            {"prompt": "x", "duration": 4, "parameters": {"output_format": "mov"}},
            ["mov"],
        ),
        (EvoLinkVideoOperator, "sora-character", {"parameters": {"video_url": "https://example.com/a.mp4"}}, ["png"]),
    ],
)
def test_files_have_the_extension_of_what_is_in_them(
    stage: Any,
    make: Any,
    emulator: EmulatorServer,
    tmp_path: Path,
    operator: Any,
    model: str,
    given: dict[str, Any],
    files: list[str],
) -> None:
    result = stage.run(make(operator, model=model, destination=tmp_path.as_uri(), **given))

    assert [file["uri"].rpartition(".")[2] for file in result["files"]] == files
    assert len(result["outputs"]) == len(result["results"]) == len(files)
    assert all((tmp_path / file["uri"].rpartition("/")[2]).stat().st_size == file["size"] for file in result["files"])


@pytest.mark.parametrize(
    ("operator", "model", "parameters", "name"),
    [
        (EvoLinkAudioOperator, "voice-enrollment", {"audio_url": SND, "preferred_name": "ann"}, "voice"),
        (EvoLinkVideoOperator, "kling-custom-element", {"model_params": ELEMENT}, "element_id"),
    ],
)
@pytest.mark.parametrize("estimated_time", [1, 60])
def test_a_name_instead_of_media_is_delivered(
    stage: Any,
    make: Any,
    emulator: EmulatorServer,
    tmp_path: Path,
    operator: Any,
    model: str,
    parameters: dict[str, Any],
    name: str,
    estimated_time: int,
) -> None:
    """A job without links is over at once, deferred or not, and its download brings nothing and fails nothing."""
    emulator.settings(polls=2 if estimated_time == 1 else 4, estimated_time=estimated_time)
    result = stage.run(make(operator, model=model, parameters=parameters, destination=tmp_path.as_uri()))

    assert result["made"][name]
    assert (result["results"], result["outputs"], result["files"]) == ([], [], [])
    assert bool(stage.deferrals) is (estimated_time == 60)
    assert stage.store.record["state"] == "delivered"
    assert emulator.books()["requests"]["read"] <= 6
    download = EvoLinkDownloadOperator(task_id="d", job=result, destination=tmp_path.as_uri())
    assert download.execute(stage.context()) == []


def test_a_later_order_goes_on_from_an_earlier_job(stage: Any, make: Any, emulator: EmulatorServer) -> None:
    """The songs of an order have ids, by which the next order names one of them."""
    song = stage.run(make(EvoLinkAudioOperator, model="suno-v5-beta", prompt="a tune"))
    stage.ti.run_id, stage.store.rows = "second", {}
    parameters = {
        "model_params": {
            "source_task_id": song["job_id"],
            "result_id": song["outputs"][0]["result_id"],
            "name": "Ann",
            "description": "a voice",
        }
    }
    persona = stage.run(make(EvoLinkGenerateOperator, model="suno-persona", kind="audio", parameters=parameters))

    assert persona["made"]["persona_id"]
    assert persona["results"] == []

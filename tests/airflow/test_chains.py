"""Earlier jobs as inputs, as they come out of the XCom of their task: whole, as text of a template, or by their id."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

Make = Callable[..., Callable[[], EvoLinkGenerateOperator]]
IMG, SND = "https://example.com/a.png", "https://example.com/a.wav"
ELEMENT = {
    "element_name": "Ann",
    "element_description": "a cat",
    "reference_type": "image_refer",
    "element_image_list": {"frontal_image": IMG, "refer_images": [{"image_url": IMG}]},
}


def ordered(stage: Any, make: Make, model: str, parameters: dict[str, Any]) -> dict[str, Any]:
    another = type(stage)()
    another.ti.run_id = uuid.uuid4().hex
    return another.run(make(model=model, parameters=parameters))


def rendered(job: dict[str, Any]) -> str:
    """Return what ``{{ ti.xcom_pull(...) }}`` makes of a job, by Airflow itself."""
    with DAG("d", schedule=None):
        operator = EvoLinkGenerateOperator(task_id="t", model="m", parameters={"job": "{{ job }}"})
    operator.render_template_fields({"job": job})
    return str(operator.parameters["job"])


@pytest.mark.parametrize("form", ["the job", "rendered", "by id"])
def test_an_order_goes_on_from_the_job_of_an_earlier_task(
    stage: Any, make: Make, emulator: EmulatorServer, form: str
) -> None:
    parameters = {"prompt": "a boat", "duration": 4, "draft": True}
    draft = ordered(stage, make, "seedance-2.5-text-to-video", parameters)
    given = {"the job": draft, "rendered": rendered(draft), "by id": draft["job_id"]}[form]
    final = ordered(stage, make, "seedance-2.5-draft-to-video", {"source_task_id": given})
    assert final["status"] == "completed"
    assert final["request"]["source_task_id"] == draft["job_id"]
    assert emulator.books()["jobs"][1]["body"]["source_task_id"] == draft["job_id"]


MADE: dict[str, tuple[str, dict[str, Any], str, str, Callable[[Any], dict[str, Any]]]] = {
    "a voice": (
        "voice-enrollment",
        {"audio_url": SND, "preferred_name": "ann"},
        "voice",
        "qwen-audio-3.1-tts-flash",
        lambda job: {"prompt": "hello", "voice": job},
    ),
    "an element": (
        "kling-custom-element",
        {"model_params": ELEMENT},
        "element_id",
        "kling-o3-image-to-video",
        lambda job: {
            "prompt": "a cat",
            "image_start": IMG,
            "model_params": {"element_list": [{"element_id": job}]},
        },
    ),
}


@pytest.mark.parametrize("form", ["the job", "rendered"])
@pytest.mark.parametrize("case", MADE)
def test_what_an_earlier_job_made_is_taken_from_its_summary(
    stage: Any, make: Make, emulator: EmulatorServer, case: str, form: str
) -> None:
    maker, wanted, name, model, using = MADE[case]
    first = ordered(stage, make, maker, wanted)
    made = first["made"][name]
    given = first if form == "the job" else rendered(first)
    second = ordered(stage, make, model, using(given))
    assert second["status"] == "completed"
    assert str(made) in str(emulator.books()["jobs"][1]["body"])
    assert "job_id" not in str(emulator.books()["jobs"][1]["body"])


def test_a_persona_goes_into_a_song(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    song = {"prompt": "a boat", "custom_mode": False, "instrumental": True}
    first = ordered(stage, make, "suno-v5-beta", song)
    index = first["outputs"][0]["result_id"]
    details = {"source_task_id": first, "result_id": index, "name": "Ann", "description": "a voice"}
    persona = ordered(stage, make, "suno-persona", {"model_params": details})
    assert persona["made"]["persona_id"]
    ordered(stage, make, "suno-v5-beta", song | {"persona_id": persona})
    assert emulator.books()["jobs"][2]["body"]["persona_id"] == persona["made"]["persona_id"]


def test_a_job_of_another_model_is_refused_in_either_form(stage: Any, make: Make, emulator: EmulatorServer) -> None:
    other = ordered(stage, make, "wan2.7-text-to-video", {"prompt": "a boat", "duration": 2})
    for given in (other, rendered(other)):
        with pytest.raises(AirflowFailException, match="source_task_id: must be a job of"):
            ordered(stage, make, "seedance-2.5-draft-to-video", {"source_task_id": given})
    assert emulator.books()["orders"] == 1

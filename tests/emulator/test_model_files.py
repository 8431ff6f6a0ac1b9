"""The model files: one is enough for a new model, and a mistake is reported when the emulator starts."""

from __future__ import annotations

import json

import httpx
import pytest

from airflow_provider_evolink.emulator.__main__ import main
from airflow_provider_evolink.emulator.orders import models
from airflow_provider_evolink.emulator.orders.model_file import ModelFileError
from airflow_provider_evolink.emulator.server import EmulatorServer

MODEL = {
    "kind": "video",
    "task": "text-to-video",
    "family": "lumen",
    "source": "https://docs.evolink.ai/en/api-manual/video-series/lumen/lumen-1",
    "as_of": "2026-12",
    "fields": {
        "prompt": {"type": "string", "required": True, "maxLength": 100},
        "duration": {"type": "integer", "default": 5, "minimum": 2, "maximum": 10},
        "model_params": {"type": "object", "fields": {"mood": {"type": "string", "enum": ["day", "night"]}}},
    },
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make the emulator read its models from a folder of the test."""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    models.documented_models.cache_clear()
    yield tmp_path
    models.documented_models.cache_clear()


@pytest.fixture
def write(folder):
    """Write a file with one model."""

    def write(file="lumen.json", name="lumen-1", **changes):
        (folder / file).write_text(json.dumps({"models": {name: MODEL | changes}}))

    return write


def changed(field, **keys):
    """Return the fields of the model, one of them changed."""
    return {"fields": MODEL["fields"] | {field: MODEL["fields"][field] | keys}}


def test_a_new_model_needs_one_file(write):
    write(aliases=["lumen"])
    with EmulatorServer(polls=0) as emulator, httpx.Client(base_url=emulator.url) as client:
        client.headers["Authorization"] = "Bearer k"
        for name in ("lumen-1", "lumen"):
            created = client.post("/v1/videos/generations", json={"model": name, "prompt": "x", "duration": 2})
            assert client.get(f"/v1/tasks/{created.json()['id']}").json()["status"] == "completed"
        wrong = client.post("/v1/videos/generations", json={"model": "lumen-1", "prompt": "x", "duration": 11})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "duration")
        assert "lumen-1" in [row["id"] for row in client.get("/v1/models").json()["data"]]


@pytest.mark.parametrize(
    ("changes", "place", "problem"),
    [
        ({"kind": "film"}, "kind", "'video', 'image' or 'audio'"),
        ({"task": ""}, "task", "at least 1 character"),
        ({"source": "EvoLink's page"}, "source", "https"),
        ({"as_of": "December 2026"}, "as_of", "match pattern"),
        ({"aliases": "lumen"}, "aliases", "valid array"),
        ({"closed": True}, "closed", "Extra inputs"),
        ({"refuses_unknown_fields": "no"}, "refuses_unknown_fields", "valid boolean"),
        ({"fields": {"seed": {}}}, "fields.seed.type", "required"),
        ({"fields": {"seed": {"type": "number|text"}}}, "fields.seed.type", "match pattern"),
        (changed("prompt", required="yes"), "fields.prompt.required", "valid boolean"),
        (changed("prompt", minimum=3), "fields.prompt", "minimum has no meaning for type string"),
        (changed("prompt", pattern="("), "fields.prompt.pattern", "regular expression"),
        (changed("prompt", format="email"), "fields.prompt.format", "'uri'"),
        (changed("prompt", maxLength=-1), "fields.prompt.maxLength", "greater than or equal to 0"),
        (changed("duration", minimun=2), "fields.duration.minimun", "Extra inputs"),
        (changed("duration", minimum=11), "fields.duration", "minimum is larger than maximum"),
        (changed("duration", default="5"), "fields.duration", "'5' is not of type integer"),
        (changed("duration", default=None), "fields.duration", "None is not of type integer"),
        (changed("duration", enum=[6, 7]), "fields.duration", "default is not one of enum"),
        (changed("duration", enum=[5, "auto"]), "fields.duration", "'auto' is not of type integer"),
        (
            changed("model_params", fields={"mood": {"type": "string", "enum": []}}),
            "fields.model_params.fields.mood.enum",
            "at least 1 item",
        ),
    ],
)
def test_a_mistake_is_reported_with_file_model_and_field(folder, write, changes, place, problem):
    write(**changes)
    with pytest.raises(ModelFileError) as raised:
        models.read_models(folder)

    assert str(raised.value).startswith(f"lumen.json: lumen-1.{place}: ")
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "Expecting property name"),
        ("[]", "lumen.json: Input should be an object"),
        ('{"models": {"a": {}, "a": {}}}', "a is given twice"),
        ('{"model": {}}', "models"),
    ],
)
def test_a_file_of_another_structure_is_reported(folder, text, problem):
    (folder / "lumen.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"^lumen\.json: .*") as raised:
        models.read_models(folder)

    assert problem in str(raised.value)


@pytest.mark.parametrize("changes", [{}, {"aliases": ["lumen-1"]}])
def test_a_name_can_be_used_only_once(folder, write, changes):
    write()
    write("other.json", "lumen-1" if not changes else "lumen-2", **changes)
    with pytest.raises(ModelFileError, match="the name lumen-1 is already used in lumen"):
        models.read_models(folder)


def test_the_emulator_does_not_start_with_a_wrong_file(write, capsys):
    write(kind="film")

    assert main(["--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("lumen.json: lumen-1.kind: ")
    with pytest.raises(ModelFileError):
        EmulatorServer()

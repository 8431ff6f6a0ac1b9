"""The files of the catalog: all valid, what a slip in one is told, and the pages made from them."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import catalog_docs
import catalog_schema
import check_models
import jsonschema
import pytest
from pydantic import ValidationError

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.catalog import check_request, find_spec, known_models
from airflow_provider_evolink.api.catalog.model_files import read_file
from airflow_provider_evolink.api.catalog.model_spec import ModelSpec

ROOT = Path(__file__).parents[2]
SCHEMA = jsonschema.Draft202012Validator(catalog_schema.file_schema())
FILES = sorted(path for path in check_models.MODELS.glob("*.json") if path != check_models.SCHEMA)


def test_every_model_reads_and_names_are_distinct():
    specs = [find_spec(model) for model in known_models()]
    assert len(specs) > 170
    assert len({name for spec in specs for name in (spec.model, *spec.aliases)}) == sum(
        1 + len(spec.aliases) for spec in specs
    )
    for spec in specs:
        assert spec.source
        assert spec.as_of
        assert all(find_spec(alias) is spec for alias in spec.aliases)


def test_the_check_of_all_models_finds_nothing():
    specs, problems = check_models.check_files(check_models.MODELS)
    assert problems == []
    assert sorted(specs) == list(known_models())


def test_the_schema_that_ships_is_the_one_that_is_checked_and_the_files_name_it():
    shipped = json.loads(check_models.SCHEMA.read_text(encoding="utf-8"))
    assert shipped == catalog_schema.file_schema()
    jsonschema.Draft202012Validator.check_schema(shipped)
    assert all(json.loads(path.read_text(encoding="utf-8"))["$schema"] == check_models.SCHEMA.name for path in FILES)


def test_every_origin_of_a_limit_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    assert '"prose"' in text
    assert '"convention"' in text


def test_what_no_request_shows_is_on_the_page():
    page = (ROOT / "docs" / "unchecked-rules.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for spec in map(find_spec, known_models()):
        for sentence, reason in spec.unchecked.items():
            assert any(row.startswith(f"| {sentence} | {reason} |") and f"`{spec.model}`" in row for row in rows)
    for words in ("span ≤2 s", "0-23 for a draft source", "30 s in total", "aspect ratio must equal the source image"):
        assert any(words in row for row in rows)


def test_the_pages_made_from_the_catalog_are_up_to_date():
    assert check_models.check_pages(write=False) == []


def test_the_page_of_mistakes_has_ten_that_are_all_reported():
    page = (ROOT / "docs" / "mistakes.md").read_text()
    assert len(catalog_docs.MISTAKES) == page.count("\n## ") == 10
    assert page.count("(invalid request for ") == 9
    assert page.count("WARNING request for") == 1


FILE = {
    "$schema": "schema.json",
    "as_of": "2030-01",
    "shared": {
        "parameters": {"prompt": {"type": "string", "required": True, "maxLength": 2000}},
        "rules": {
            "end needs start": {
                "shape": "needs",
                "when": {"image_end": {"given": True}},
                "fields": ["image_start"],
                "text": "must be set with image_end",
            }
        },
    },
    "models": [
        {
            "model": "invented-video-1",
            "aliases": ["invented"],
            "family": "invented",
            "kind": "video",
            "task": "image-to-video",
            "endpoint": "/v1/videos/generations",
            "source": "https://example.com/invented-video-1",
            "parameters": {
                "prompt": "prompt",
                "image_start": {"type": "string", "format": "uri"},
                "image_end": {"type": "string", "format": "uri"},
                "duration": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 4,
                    "default": 2,
                    "stated": {"maximum": "convention"},
                },
            },
            "rules": ["end needs start"],
            "unchecked": {"no real people": "images are not inspected"},
        }
    ],
}


def changed(path, value):
    """The file with one value changed, or taken away; a path is written with dots."""
    content = copy.deepcopy(FILE)
    *around, last = path.split(".")
    place = content
    for key in around:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def test_a_file_without_slips_is_fine():
    specs, problems = check_models.check_file(json.dumps(FILE))
    assert problems == []
    assert specs["invented-video-1"].as_of == "2030-01"
    assert specs["invented-video-1"].parameters["prompt"].required


SLIPS = [
    ("models.0.kind", "text", "kind"),
    ("models.0.kind", ..., "kind"),
    ("models.0.nmae", "x", "nmae"),
    ("models.0.status", "gone", "status"),
    ("models.0.parameters.duration", {"type": "integer", "maximun": 3}, "duration.maximun"),
    ("models.0.parameters.duration", {"type": "int"}, "duration.type"),
    ("models.0.parameters.duration", {"maximum": 3}, "duration"),
    ("models.0.parameters.duration", {"type": "integer", "maximum": "three"}, "duration.maximum"),
    ("models.0.parameters.duration.stated", {"maximum": "hearsay"}, "duration.stated.maximum"),
    ("models.0.parameters.duration.stated", {"maximun": "prose"}, "duration"),
    ("models.0.parameters.image_start.format", "link", "image_start.format"),
    ("models.0.rules", [{"shape": "wishes", "fields": ["duration"], "text": "x"}], "rules.0"),
    ("models.0.rules", [{"shape": "needs", "fields": ["duration"]}], "rules.0"),
    ("models.0.rules", [{"shape": "needs", "text": "x", "fields": ["duration"], "field": "duration"}], "rules.0"),
    ("models.0.unchecked", ["no real people"], "unchecked"),
    ("models.0.outputs", {"most": 4}, "outputs.most"),
    ("models.0.price", {"per_second": 1}, "price.as_of"),
    ("shared.rules.end needs start.when", {"image_end": {"gone": True}}, "rules.0"),
]


@pytest.mark.parametrize(("path", "value", "place"), SLIPS, ids=[f"{path}-{place}" for path, _, place in SLIPS])
def test_a_slip_is_refused_by_the_schema_and_by_the_reader_and_its_place_named(path, value, place):
    content = changed(path, value)
    assert list(SCHEMA.iter_errors(content)) != []
    with pytest.raises(ValidationError):
        ModelSpec.model_validate(read_file(content)["invented-video-1"])
    _, problems = check_models.check_file(json.dumps(content))
    assert any(place in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("models.0.parameters.prompt", "promt", "invented-video-1: prompt: the file shares nothing that is called"),
        ("models.0.rules", [], "shared.rules: no model uses 'end needs start'"),
        ("models.0.parameters.prompt", {"type": "string"}, "shared.parameters: no model uses 'prompt'"),
        ("shared.rules.end needs start.fields", ["start"], "rules.0: the model has no field start"),
        ("shared.rules.end needs start.when", {"end": {"given": True}}, "rules.0: the model has no field end"),
        ("models.0.parameters.duration.default", 0, "parameters.duration: the default breaks minimum"),
        ("models.0.parameters.duration.stated", {"enum": "prose"}, "the parameter has no limit enum"),
        ("models.0.endpoint", "/v1/images/generations", "does not fit kind video"),
        ("models.0.outputs", {"counted_by": "n"}, "the model has no field n"),
        ("models.0.source", ..., "'source' is a required property"),
        ("models.0.as_of", "last year", "does not match"),
        ("models", [*FILE["models"], *FILE["models"]], "invented-video-1 stands there twice"),
        ("as_of", ..., "as_of is missing"),
        ("models", ..., "models is missing"),
    ],
)
def test_what_a_file_may_not_say_is_found_by_the_check(path, value, words):
    _, problems = check_models.check_file(json.dumps(changed(path, value)))
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("text", ["", "[]", "{", '{"models": [1], "as_of": "2030-01"}'])
def test_a_file_that_is_no_file_of_models_is_found_by_the_check(text):
    assert len(check_models.check_file(text)[1]) == 1


def test_a_name_that_is_there_twice_is_found_by_the_check():
    text = json.dumps(FILE).replace('"prompt": "prompt", ', '"prompt": "prompt", "prompt": {"type": "string"}, ')
    assert check_models.check_file(text)[1] == ["prompt is there twice"]


def test_names_are_compared_between_files(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(FILE))
    (tmp_path / "b.json").write_text(json.dumps(changed("models.0.aliases", [])))
    (tmp_path / "c.json").write_text(json.dumps(changed("models.0.model", "invented")))
    problems = check_models.check_files(tmp_path)[1]
    assert "b.json: invented-video-1: is also in another file" in problems
    assert "invented: is the name of several models" in problems


def test_a_job_reference_to_an_unknown_model_is_found_by_the_check(tmp_path):
    source = {"type": "string", "from_job": {"models": ["invented-video-0"]}}
    (tmp_path / "a.json").write_text(json.dumps(changed("models.0.parameters.duration", source)))
    problems = check_models.check_files(tmp_path)[1]
    assert problems == ["invented-video-1: from_job names an unknown model: invented-video-0"]


def test_a_page_that_is_old_is_found_and_written(tmp_path, monkeypatch):
    page = tmp_path / "models.md"
    monkeypatch.setattr(check_models, "ROOT", tmp_path)
    monkeypatch.setattr(check_models, "SCHEMA", tmp_path / "schema.json")
    monkeypatch.setattr(catalog_docs, "pages", lambda: [(page, "new\n")])
    page.write_text("old\n")
    problems = check_models.check_pages(write=False)
    assert [problem.partition(" ")[0] for problem in problems] == ["models.md", "schema.json"]
    assert check_models.check_pages(write=True) == check_models.check_pages(write=False) == []
    assert page.read_text() == "new\n"


def test_importing_operators_reads_no_models():
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import airflow_provider_evolink.operators.wan, airflow_provider_evolink.operators.generate\n"
        "assert not [name for name in opened if '/catalog/models/' in name], 'read on import'\n"
        "assert 'airflow_provider_evolink.api.catalog.catalog' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr[-500:]) == (0, "")


def test_a_model_in_a_new_file_is_used_like_any_other(tmp_path):
    package = tmp_path / "airflow_provider_evolink"
    shutil.copytree(ROOT / package.name, package, ignore=shutil.ignore_patterns("__pycache__", "emulator"))
    (package / "api" / "catalog" / "models" / "invented.json").write_text(json.dumps(FILE))
    request = {"model": "invented", "prompt": "a boat", "duration": 9, "image_end": "https://example.com/a.png"}
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-m", "airflow_provider_evolink", "validate", "--json", "request.json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    (answer,) = json.loads(done.stdout)
    assert (done.returncode, answer["known"]) == (1, True)
    assert [one["field"] for one in answer["violations"]] == ["image_start"]
    assert [text.partition(" ")[0].rstrip(":") for text in answer["warnings"]] == ["duration"]


def test_a_registered_model_is_used_like_any_other(monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})
    catalog.register(
        {
            "model": "invented-video-1",
            "aliases": ["invented"],
            "kind": "video",
            "endpoint": "/v1/videos/generations",
            "parameters": {
                "prompt": {"type": "string", "required": True},
                "duration": {"type": "integer", "minimum": 1, "maximum": 4, "stated": {"maximum": "convention"}},
                "source": {"type": "string", "from_job": {"models": ["invented-video-1"]}},
                "image_urls": {"type": "array", "maxItems": 3, "items": {"type": "string", "format": "uri"}},
            },
            "rules": [{"shape": "at_least_one", "fields": ["source", "image_urls"], "text": "something to start from"}],
            "outputs": {"max_files": 4, "counted_by": "n", "link_hours": 1},
        }
    )
    body = {"prompt": "a boat", "source": {"job_id": "task-1", "model": "invented-video-1"}, "duration": 9}
    assert catalog.build_request("invented-video-1", body)["source"] == "task-1"
    assert catalog.kind("invented") == "video"
    assert catalog.outputs("invented-video-1").max_files == 4
    (warning,) = check_request("invented-video-1", body).warnings
    assert warning.startswith("duration: must be an integer from 1 to 4, got 9")
    with pytest.raises(ValueError, match="something to start from"):
        catalog.build_request("invented-video-1", {"prompt": "a boat"})

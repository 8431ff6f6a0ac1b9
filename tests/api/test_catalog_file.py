"""catalog.json keeps its own format, is what the script makes, and the pages that follow from it are up to date."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import catalog_docs
import catalogue as script
import pytest
from catalogue_parts import written

from airflow_provider_evolink.api.catalog import catalog
from airflow_provider_evolink.api.catalog.catalog import known_models, find_spec

ROOT = Path(__file__).parents[2]
TEXT = resources.files("airflow_provider_evolink.api.catalog").joinpath("catalog.json").read_text(encoding="utf-8")
CONTENT = json.loads(TEXT)
T2V = "wan2.7-text-to-video"


def test_the_file_is_small_and_written_by_the_script():
    assert len(TEXT.encode()) < script.LARGEST == 200_000
    assert written(CONTENT) == TEXT
    assert CONTENT.keys() == {"about", "shared", "parameters", "rules", "models"}


def test_every_row_reads_and_names_are_told_apart():
    rows = [find_spec(model) for model in known_models()]
    assert len(rows) == len(CONTENT["models"]) == 173
    assert sum(row.status == "documented" for row in rows) == 163
    assert len({row.family for row in rows}) == 40
    names = [name for row in rows for name in (row.model, *row.aliases)]
    assert len(names) == len(set(names))
    for row in rows:
        assert row.endpoint == f"/v1/{row.kind}s/generations"
        assert all(find_spec(alias) is row for alias in row.aliases)


def test_what_rows_share_is_used():
    used = {stated for row in CONTENT["models"] for stated in row["parameters"].values() if isinstance(stated, str)}
    assert used == set(CONTENT["parameters"])
    rules = [rule for row in CONTENT["models"] for kind in ("rules", "notices") for rule in row.get(kind, [])]
    assert {rule for rule in rules if isinstance(rule, str)} == set(CONTENT["rules"])


def test_rows_by_hand_and_prices_are_in_the_file_as_they_were_written():
    shipped = {row["model"]: row for row in json.loads(TEXT)["models"]}
    prices = script._data("prices")
    for row in script._data("rows")["models"]:
        assert row.items() <= shipped[row["model"]].items()
    for model, price in prices.items():
        assert shipped[model]["price"] == price
    assert {model for model, row in shipped.items() if "price" in row} == prices.keys()


@pytest.mark.parametrize(
    "note", ["span ≤2 s", "0-23 for a draft source", "30 s in total", "aspect ratio must equal the source image"]
)
def test_rules_that_only_notes_state_are_on_the_page_too(note):
    page = script.PAGE.read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| ") and note in line]


def test_every_rule_that_is_not_checked_is_explained_in_the_docs():
    page = (ROOT / "docs" / "unchecked-rules.md").read_text()
    decided = script._data("sentences") | script._data("notes")
    reasons = {words: one["unchecked"] for words, one in decided.items() if "unchecked" in one}
    assert [words for words, reason in reasons.items() if f"| {words} | {reason} | `" not in page] == []
    assert len(reasons) == len(re.findall(r"^\| .* \| `", page, flags=re.MULTILINE))


def test_the_pages_made_from_the_catalog_are_up_to_date():
    for path, text in catalog_docs.pages():
        assert path.read_text() == text, f"run scripts/catalog_docs.py: {path.name} is old"


def test_the_page_of_mistakes_has_ten_that_are_all_told():
    page = (ROOT / "docs" / "mistakes.md").read_text()
    assert len(catalog_docs.MISTAKES) == page.count("\n## ") == 10
    assert page.count("EvoLinkRequestError: request for") == 9
    assert page.count("WARNING request for") == 1


FACTS = {
    "gathered": "2030-01",
    "models": [
        {
            "model": "made-up-1",
            "kind": "image",
            "family": "made-up",
            "endpoint": "/v1/images/generations",
            "task_type": "text-to-image",
            "source": "https://example.com/made-up",
            "status": "documented",
            "as_of": "2030-01",
            "link_validity_hours": None,
            "rules": ["image_end needs image_start", "cannot be cancelled", "aspect_ratio refused"],
            "parameters": [
                {"name": "prompt", "type": "string", "required": True, "max_tokens": 10, "length_unit": "tokens"},
                {"name": "image_start", "type": "string", "required": False, "format": "uri"},
                {
                    "name": "image_end",
                    "type": "string",
                    "required": False,
                    "format": "uri",
                    "note": "needs image_start",
                },
                {"name": "n", "type": "integer", "required": False, "enum": [1, 2], "from_prose": ["enum"]},
                {"name": "callback_url", "type": "string", "required": False, "format": "uri", "maxLength": 2048},
            ],
        }
    ],
}


@pytest.fixture
def no_rows_by_hand(monkeypatch):
    """Only the facts of the test."""
    data = script._data
    empty = {"rows": {"shared": {}, "models": []}, "prices": {}}
    monkeypatch.setattr(script, "_data", lambda name: empty[name] if name in empty else data(name))


def test_facts_become_a_row(no_rows_by_hand):
    text, page, maker = script.make(FACTS)
    assert script.make(FACTS)[0] == text, "not the same twice"
    (row,) = json.loads(text)["models"]
    assert row["parameters"] == {
        "prompt": {"type": "string", "required": True, "maxLength": 10, "length_unit": "tokens"},
        "image_start": {"type": "string", "format": "uri"},
        "image_end": {"type": "string", "format": "uri", "note": "needs image_start"},
        "n": {"type": "integer", "enum": [1, 2], "soft": ["enum"]},
        "callback_url": {"type": "string", "maxLength": 2048, "format": "callback"},
    }
    assert [rule["shape"] for rule in row["rules"]] == ["needs"], "a rule that two sentences state is one rule"
    assert row["outputs"] == {"counted_by": "n", "most": 2, "link_hours": None}
    assert "| cannot be cancelled |" in page
    assert [model for models in maker.unchecked.values() for model in models] == ["made-up-1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rules": ["a rule nobody has seen"]}, "a rule nobody has seen"),
        ({"rules": ["no reference images"], "parameters": [{"name": "image_urls", "type": "array"}]}, "is refused"),
        ({"parameters": [{"name": "n", "type": "integer", "note": "only on Sundays"}]}, "only on Sundays"),
        ({"parameters": [{"name": "image_end", "type": "string"}]}, "lacks a field"),
    ],
)
def test_a_rule_that_nobody_has_decided_about_stops_the_script(change, words, no_rows_by_hand):
    with pytest.raises(script.Undecided, match=words):
        script.make({**FACTS, "models": [FACTS["models"][0] | change]})


def test_importing_operators_reads_no_catalog():
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import airflow_provider_evolink.operators.wan, airflow_provider_evolink.operators.generate\n"
        "assert not [name for name in opened if name.endswith('catalog.json')], 'read on import'\n"
        "assert 'airflow_provider_evolink.api.catalog.catalog' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr[-500:]) == (0, "")


def test_a_model_that_is_one_row_is_used_like_any_other(monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})
    catalog.register(
        {
            "model": "invented-video-1",
            "aliases": ["invented"],
            "kind": "video",
            "endpoint": "/v1/videos/generations",
            "parameters": {
                "prompt": "prompt 1",
                "duration": {"type": "integer", "minimum": 1, "maximum": 4, "soft": ["maximum"]},
                "source": {"type": "string", "from_job": {"models": ["invented-video-1"]}},
                "image_urls": {"type": "array", "maxItems": 3, "items": {"type": "string", "format": "uri"}},
            },
            "rules": [{"shape": "at_least_one", "fields": ["source", "image_urls"], "text": "something to start from"}],
            "outputs": {"most": 4, "counted_by": "n", "link_hours": 1},
        }
    )
    body = {"prompt": "a boat", "source": {"job_id": "task-1", "model": "invented-video-1"}, "duration": 9}
    assert catalog.build_request("invented-video-1", body)["source"] == "task-1"
    assert catalog.kind("invented") == "video"
    assert catalog.outputs("invented-video-1").max_files == 4
    (notice,) = warnings_of("invented-video-1", body)
    assert notice.startswith("duration: a whole number from 1 to 4 (given: 9)")
    with pytest.raises(ValueError, match="something to start from"):
        catalog.build_request("invented-video-1", {"prompt": "a boat"})

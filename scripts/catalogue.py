"""
Make ``airflow_provider_evolink/api/catalogue.json`` from a file of facts about EvoLink's models.

    python scripts/catalogue.py FACTS           write the catalogue and the page of rules that are not checked
    python scripts/catalogue.py FACTS --check   only say whether both files are as they would be written

The facts are not part of the project. What people decided by hand is, in ``scripts/catalogue_data``: rows that were
written with care (``rows.json``), prices with their day (``prices.json``), what each rule in words means
(``sentences.json``, ``notes.json``), remarks that are no rules (``words.json``), and what the facts have no place for
(``more.json``). A sentence that nobody has decided about stops the script: no rule is lost.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from catalogue_parts import Json, not_empty, parameter, patched, say_once, sizes, without_nulls, written

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "catalogue_data"
CATALOGUE = ROOT / "airflow_provider_evolink" / "api" / "catalog" / "catalog.json"
PAGE = ROOT / "docs" / "unchecked-rules.md"
LARGEST = 200_000
HEAD = """\
# Rules that are not checked

<!-- Written by scripts/catalogue.py; do not edit. -->

EvoLink's pages also say things that no request shows, such as the length of a video behind a link. The package cannot
hold a request against them before it is paid for. They are listed here so that none is lost.
Limits of the given files (format, bytes, pixels, seconds) are in the notes that
`python -m airflow_provider_evolink show MODEL` prints. They are held against [files that this package
uploads](inputs.md); nobody looks behind a link.

| EvoLink says | why it is not checked | models |
|---|---|---|
"""


class Undecided(Exception):
    """A sentence of the facts that nobody has decided about, or a decision that does not fit them."""


class Maker:
    """Makes rows, and remembers what could not be a rule."""

    def __init__(self) -> None:
        self.sentences = _data("sentences")
        self.notes = _data("notes")
        self.words = set(_data("words"))
        self.more = _data("more")
        self.prices = _data("prices")
        self.by_hand = {row["model"]: row for row in _data("rows")["models"]}
        self.unchecked: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.counts: dict[str, int] = defaultdict(int)

    def row(self, facts: Json, names: list[str]) -> Json:
        """Make the row of one model."""
        model = facts["model"]
        row: Json = {"model": model}
        row |= {name: facts[name] for name in ("aliases", "family", "kind") if facts.get(name)}
        row |= {"task": facts["task_type"], "endpoint": facts["endpoint"], "source": facts["source"]}
        if facts["status"] != "documented":
            row |= {"status": facts["status"], "retired_on": facts.get("retired_on")}
        row["as_of"] = facts["as_of"]
        if model in self.by_hand:
            self.counts["rules in words, by hand"] += len(facts["rules"])
            row |= {name: value for name, value in self.by_hand[model].items() if name not in row}
        else:
            row |= self._parameters(facts, names)
        row["outputs"] = self._outputs(facts, row)
        if model in self.prices:
            row["price"] = self.prices[model]
        return {name: value for name, value in row.items() if value not in (None, {}, [])}

    def _parameters(self, facts: Json, names: list[str]) -> Json:
        found: list[tuple[str, Json]] = []
        model = facts["model"]
        made = {stated["name"]: self._noted(parameter(stated), model, found) for stated in facts["parameters"]}
        for sentence in facts["rules"]:
            if sentence not in self.sentences:
                raise Undecided(f"sentences.json says nothing about: {sentence}")
            self._decide(sentence, model, made, found)
        for name in facts.get("not_for_this_version", ()):
            self._absent(name, model, made)
        self._take_jobs(model, made, names)
        not_empty(made, facts.get("reference_inputs") or {})
        row: Json = {"parameters": {name: without_nulls(one) for name, one in made.items()}}
        for kind, stated in found:
            rule = _fitting(stated, made, model)
            if rule and rule not in row.setdefault(kind, []):
                row[kind].append(rule)
        self.counts["parameters"] += len(made)
        self.counts["rules and notices made"] += len(row.get("rules", ())) + len(row.get("notices", ()))
        return row

    def _noted(self, made: Json, model: str, found: list[tuple[str, Json]]) -> Json:
        for inner in (made.get("items"), *made.get("properties", {}).values(), *made.get("variants", ())):
            if inner is not None:
                changed = dict(self._noted(inner, model, found))
                inner.clear()
                inner.update(changed)
        note = made.get("note")
        if note is None or note in self.words:
            return made
        if note not in self.notes:
            raise Undecided(f"notes.json and words.json say nothing about: {note}")
        decided = self.notes[note]
        found += self._rules(decided)
        if "unchecked" in decided and model not in self.unchecked[note, decided["unchecked"]]:
            self.unchecked[note, decided["unchecked"]].append(model)
        patch = dict(decided.get("patch", {}))
        if "url" in patch:
            made["properties"]["url"] |= patch.pop("url")
        if "size" in decided:
            patch |= sizes(decided["size"], made)
        return patched(made, patch)

    def _decide(self, sentence: str, model: str, made: Json, found: list[tuple[str, Json]]) -> None:
        decided = self.sentences[sentence]
        found += self._rules(decided)
        for field in decided.get("absent", ()):
            self._absent(field, model, made)
        for name, patch in decided.get("fields", {}).items():
            made[name] = patched(made[name], patch)
        if "unchecked" in decided:
            self.unchecked[sentence, decided["unchecked"]].append(model)
        self.counts["rules in words"] += 1

    def _rules(self, decided: Json) -> list[tuple[str, Json]]:
        return [
            (kind, copy.deepcopy(self.more["named rules"][stated] if isinstance(stated, str) else stated))
            for kind in ("rules", "notices")
            for stated in decided.get(kind, ())
        ]

    def _absent(self, field: str, model: str, made: Json) -> None:
        if _find(made, field) is not None:
            raise Undecided(f"{model} has {field}, though a rule says it is refused")

    def _take_jobs(self, model: str, made: Json, names: list[str]) -> None:
        for job in self.more["jobs"]:
            match, found = re.fullmatch(job["models"], model), _find(made, job["field"])
            if match and found is not None:
                pattern = re.sub(r"\{(\d)\}", lambda group, of=match: of[int(group[1])], job["from"])
                models = [name for name in names if re.fullmatch(pattern, name)]
                found["fromJob"] = {"models": models, **({"take": job["take"]} if "take" in job else {})}

    def _outputs(self, facts: Json, row: Json) -> Json:
        made: Json = {}
        for pattern, stated in self.more["outputs of families"].items():
            if re.fullmatch(pattern, facts["family"]):
                made |= stated
        if facts.get("result_note"):
            made |= self.more["outputs"][facts["result_note"]]
        count = row["parameters"].get("n")
        if isinstance(count, dict):
            made |= {"counted_by": "n", "most": count.get("maximum") or max(count["enum"])}
        if facts["link_validity_hours"] != 24:
            made["link_hours"] = facts["link_validity_hours"]
        return made


def _fitting(rule: Json, made: Json, model: str) -> Json | None:
    """Leave out of a rule the fields that a model does not have; they are refused as unknown anyway."""
    if not all(_may_hold(condition, _find(made, field)) for field, condition in rule.get("when", {}).items()):
        return None
    if "fields" in rule:
        fields = [field for field in rule["fields"] if _find(made, field) is not None]
        if rule["shape"] == "needs":
            if fields != rule["fields"]:
                raise Undecided(f"{model} lacks a field of: {rule['text']}")
            fields = [field for field in fields if not _is_always_there(_find(made, field) or {})]
        return {**rule, "fields": fields} if fields else None
    named = [rule[name] for name in ("field", "start", "end") if name in rule]
    return rule if all(_find(made, field) is not None for field in named) else None


def _may_hold(condition: Json, found: Json | None) -> bool:
    if found is None:
        return False
    values = condition.get("is")
    return values is None or "enum" not in found or any(value in (None, *found["enum"]) for value in values)


def _is_always_there(made: Json) -> bool:
    return made.get("required", False) and not made.get("blank")


def _find(parameters: Json, path: str) -> Json | None:
    name, _, rest = path.partition(".")
    found = parameters.get(name.removesuffix("[]"))
    if found is None:
        return None
    if name.endswith("[]"):
        found = found["items"]
    return _find(found.get("properties", {}), rest) if rest else found


def _data(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def make(facts: Json) -> tuple[str, str, Maker]:
    """
    Make the catalogue and the page of rules that are not checked.

    :param facts: What the facts file holds.
    :return: Both texts, and the maker for its counts.
    """
    maker = Maker()
    names = [name for one in facts["models"] for name in (one["model"], *one.get("aliases", ()))]
    rows = [maker.row(one, names) for one in sorted(facts["models"], key=lambda one: one["model"].lower())]
    stale = {*maker.by_hand, *maker.prices} - {row["model"] for row in rows}
    if stale:
        raise Undecided(f"the facts no longer hold {', '.join(sorted(stale))}")
    groups = _data("rows")["shared"]
    parameters, rules = say_once([row for row in rows if row["model"] not in maker.by_hand])
    about = {"gathered": facts["gathered"], "written by": "scripts/catalogue.py"}
    content = {"about": about, "shared": groups, "parameters": parameters, "rules": rules, "models": rows}
    page = HEAD + "".join(
        f"| {sentence} | {reason} | {', '.join(f'`{model}`' for model in models)} |\n"
        for (sentence, reason), models in sorted(maker.unchecked.items())
    )
    return written(content), page, maker


def main() -> int:
    """Read the command line; exit status 1: a rule is undecided, the result is too large, or a file differs."""
    parser = argparse.ArgumentParser(description="Make the catalogue of models from a file of facts.")
    parser.add_argument("facts", type=Path, help="the file of facts (JSON)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, say whether the files are as they would be"
    )
    options = parser.parse_args()
    try:
        catalogue, page, maker = make(json.loads(options.facts.read_text(encoding="utf-8")))
    except Undecided as error:
        print(f"undecided: {error}")
        return 1
    for words, count in maker.counts.items():
        print(f"{count:5} {words}")
    print(f"{len(maker.unchecked):5} rules in words that no request can be held against:")
    for (sentence, reason), models in sorted(maker.unchecked.items()):
        print(f"      {sentence} ({len(models)} models): {reason}")
    print(f"{len(catalogue.encode()):,} bytes")
    if len(catalogue.encode()) > LARGEST:
        print(f"too large: at most {LARGEST:,} bytes")
        return 1
    files = {CATALOGUE: catalogue, PAGE: page}
    differing = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in differing:
        print(f"{'differs' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            path.write_text(files[path], encoding="utf-8")
    return int(options.check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())

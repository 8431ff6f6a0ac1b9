"""
Write the emulator's own copy of the facts about EvoLink's models: ``emulator/orders/models.json`` of the package.

    python scripts/emulator_models.py FACTS.json           # write it
    python scripts/emulator_models.py FACTS.json --check   # only say whether it is up to date

It reads the facts and nothing of this package: what the package made of them must not reach the emulator. The four
Wan 2.7 models stay out, since the emulator holds their rules in code (``emulator/orders/rules.py``).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "airflow_provider_evolink" / "emulator" / "orders" / "models.json"
LARGEST = 150_000
IN_CODE = "wan2.7"
KEPT = ("minimum", "maximum", "minLength", "minItems", "maxItems", "multipleOf", "pattern", "format", "enum", "default")
REFUSED = re.compile(
    r"(?:top-level )?(media arrays|media|reference material|[a-z_]+(?:(?:, | and )[a-z_]+)*)"
    r"(?: is| are)? refused(?:;.*)?"
)
MATERIAL = ("media arrays", "media", "reference material")
MEDIA = ("image_urls", "video_urls", "audio_urls")
FIRST_SENTENCES = "Made by scripts/emulator_models.py; do not edit. `fields` are shared: a model names them by number."


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facts", type=Path, help="the facts about all models, as JSON")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the file is out of date")
    options = parser.parse_args()
    text = build(json.loads(options.facts.read_text(encoding="utf-8")))
    if len(text.encode()) > LARGEST:
        sys.exit(f"{len(text.encode())} bytes, {LARGEST} are the most")
    if options.check:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.name}: {len(text.encode())} bytes")
    return 0


def build(facts: dict[str, Any]) -> str:
    """
    Return the content of the file.

    :param facts: The facts about all models.
    """
    fields: list[str] = []
    models = {}
    for model in sorted(facts["models"], key=lambda row: str(row["model"])):
        if model["model"].startswith(IN_CODE):
            continue
        numbers = {}
        for parameter in model["parameters"]:
            line = compact(shape(parameter))
            if line not in fields:
                fields.append(line)
            numbers[parameter["name"]] = fields.index(line)
        models[model["model"]] = row(model, numbers)
    lines = ",\n".join(f"{compact(name)}:{compact(content)}" for name, content in models.items())
    return (
        f'{{"about":{compact(FIRST_SENTENCES)},\n"gathered":{compact(facts["gathered"])},\n"fields":[\n'
        + ",\n".join(fields)
        + f'],\n"models":{{\n{lines}}}}}\n'
    )


def row(model: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """
    Return what the emulator keeps of one model.

    :param model: Its facts.
    :param numbers: Its fields, by their place in the shared list.
    """
    kept: dict[str, Any] = {"kind": model["kind"], "task": model["task_type"], "family": model["family"]}
    if model.get("aliases"):
        kept["aliases"] = model["aliases"]
    if model.get("unknown_fields_refused"):
        kept["closed"] = True
    refused = {*model.get("not_for_this_version", ()), *_refused(model["rules"])} - numbers.keys()
    if refused:
        kept["refused"] = sorted(refused)
    return {**kept, "fields": numbers}


def _refused(rules: list[str]) -> list[str]:
    """Find the fields in rules such as "duration is refused", "image_start and image_end refused", "media refused"."""
    found = [match[1] for rule in rules if (match := REFUSED.fullmatch(rule))]
    return [name for names in found for name in (MEDIA if names in MATERIAL else re.split(r", | and ", names))]


def shape(parameter: dict[str, Any]) -> dict[str, Any]:
    """
    Return what can be checked of a field.

    :param parameter: Its facts.
    """
    kept = {name: parameter[name] for name in KEPT if name in parameter}
    kept["type"] = parameter.get("type", "string")
    note = parameter.get("note", "")
    if parameter.get("required"):
        kept["required"] = True
    # A limit from prose may be one that EvoLink cuts at, and one in tokens cannot be counted here.
    counted = parameter.get("length_unit") != "tokens" and "maxLength" not in parameter.get("from_prose", ())
    if "maxLength" in parameter and counted and "cut" not in note:
        kept["maxLength"] = parameter["maxLength"]
    if "number also accepted" in note:
        kept["type"] = "string|number"
    if "bad values silently become" in note:
        kept.pop("enum", None)
    if "extra items ignored" in note or "first item used" in note:
        kept.pop("maxItems", None)
    if parameter.get("properties"):
        kept["fields"] = {inner["name"]: shape(inner) for inner in parameter["properties"]}
    if parameter.get("items"):
        kept["items"] = shape(parameter["items"])
    if parameter.get("variants"):
        kept["variants"] = [shape(variant) for variant in parameter["variants"]]
    if isinstance(parameter.get("additionalProperties"), dict):
        kept["values"] = shape(parameter["additionalProperties"])
    return kept


def compact(value: Any) -> str:
    """
    Return a value as short JSON.

    :param value: Plain JSON.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())

"""Parts of ``scripts/catalogue.py``: facts about one parameter in, a parameter of our catalogue out; and the file."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

Json = dict[str, Any]

LIMITS = (
    *("enum", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems"),
    *("minProperties", "maxProperties"),
)
UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
TYPES = "jpg|jpeg|png|webp|bmp|tiff|mp4|mov|wav|mp3|m4a"
MEDIA_LIMITS = (
    (r"≤(\d+) MB", ("maxMb",)),
    (r"sides? (\d+)-(\d+) px", ("minSide", "maxSide")),
    (r"sides? (?:≥|above )(\d+) px", ("minSide",)),
    (r"at least (\d+)x\1", ("minSide",)),
    (r"(?<!short )sides? ≤(\d+) px", ("maxSide",)),
    (r"short side ≤(\d+) px", ("maxShortSide",)),
    (r"ratio (?:0\.4|1:2\.5)(?:-| to )(2\.5)", ("maxRatio",)),
    (r"ratio 1/16-(16)", ("maxRatio",)),
    (r"(\d+)-(\d+) s\b", ("minSeconds", "maxSeconds")),
    (r"≤(\d+) s\b", ("maxSeconds",)),
    (r"≥(\d+) s\b", ("minSeconds",)),
)
RATIO = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?:[0-9]+(\\.[0-9]+)?$", "phrase": "a ratio such as 16:9"}


def parameter(facts: Json) -> Json:
    """
    Turn the facts about a parameter into a parameter of the catalogue.

    :param facts: An entry of ``parameters``, ``properties``, ``items`` or ``variants`` of the facts file.
    """
    made: Json = {}
    if facts.get("variants"):
        made["variants"] = [parameter(variant) for variant in facts["variants"]]
    kind = str(facts["type"]).removesuffix("|null")
    if "|" not in kind and not ("variants" in made and "variants" not in facts.get("from_prose", ())):
        made["type"] = kind
    if kind == "integer" and facts.get("name") == "duration":
        made["unit"] = "seconds"
    if facts.get("required"):
        made["required"] = True
    if facts.get("default") not in (None, []):
        made["default"] = facts["default"]
    made |= {name: facts[name] for name in LIMITS if name in facts}
    made |= _text_limits(facts)
    made |= _inside(facts)
    soft = [name for name in (*LIMITS, "variants") if name in facts.get("from_prose", ()) and name in made]
    if made.get("length_unit") == "tokens" and "maxLength" in soft:
        soft.remove("maxLength")
    if soft:
        made["soft"] = soft
    if facts.get("note"):
        made["note"] = facts["note"]
        if "uri" in (made.get("format"), made.get("items", {}).get("format")) and (
            media := media_limits(facts["note"])
        ):
            made["media"] = media
    return made


def media_limits(note: str) -> Json:
    """
    Read what a note on a media field says of the files: types, megabytes, sides, ratio, seconds.

    :param note: The note, such as ``mp4/mov ≤50 MB, 2-15 s each``.
    """
    made: Json = {}
    note = note.replace("2:5 to 5:2", "0.4-2.5")
    types = re.findall(rf"\b(?:{TYPES})\b", note.lower())
    if types and "advised" not in note:
        made["types"] = sorted(dict.fromkeys(types), key=types.index)
    for pattern, names in MEDIA_LIMITS:
        found = re.search(pattern, note)
        if found and "advised" not in note:
            made = {**{name: _number(text) for name, text in zip(names, found.groups(), strict=True)}, **made}
    return made


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


def _text_limits(facts: Json) -> Json:
    made: Json = {}
    if facts.get("max_tokens"):
        made |= {"maxLength": facts["max_tokens"], "length_unit": "tokens"}
    if facts.get("max_billing_chars"):
        made["maxLength"] = facts["max_billing_chars"]
    if facts.get("max_bytes"):
        made["maxBytes"] = facts["max_bytes"]
    if facts.get("pattern") == "\\S":
        made |= {"pattern": None, "blank": False}
    if facts.get("format") == "uuid":
        made |= {"pattern": UUID, "phrase": "a UUID"}
    elif facts.get("format"):
        made["format"] = "callback" if facts.get("name") == "callback_url" else facts["format"]
    if made.get("format") == "callback":
        made["pattern"] = None
    return made


def _inside(facts: Json) -> Json:
    made: Json = {}
    if isinstance(facts.get("items"), dict):
        made["items"] = parameter(facts["items"])
    if facts.get("properties"):
        made["properties"] = {inner["name"]: parameter(inner) for inner in facts["properties"]}
    if isinstance(facts.get("additionalProperties"), dict):
        made["additionalProperties"] = parameter(facts["additionalProperties"])
    return made


def not_empty(made: Json, inputs: Json) -> None:
    """
    Write the least number of references into required lists that state none: an empty list would pass as given.

    :param made: Parameters by name; they are changed.
    :param inputs: ``reference_inputs`` of the model: least and most by kind.
    """
    for name, stated in made.items():
        least = inputs.get(name.partition("_")[0], {}).get("min")
        if least and stated.get("required") and stated.get("type") == "array":
            stated.setdefault("minItems", least)


def sizes(stated: Json, made: Json) -> Json:
    """
    Write the values of a ``size`` that EvoLink gives in words.

    :param stated: What a note means: ``auto``, any ``ratios``, some ``listed`` ones, the ``enum`` there is, ``pixels``.
    :param made: The parameter so far.
    """
    words = [*(["auto"] if stated.get("auto") else []), *stated.get("listed", [])]
    words += made["enum"] if stated.get("enum") else []
    variants: list[Json] = [{"type": "string", "enum": words}] if words else []
    variants += [RATIO] if stated.get("ratios") else []
    variants += [{"type": "string", "pixels": stated["pixels"]}] if "pixels" in stated else []
    return {"enum": None, "variants": variants, "soft": ["variants"]}


def patched(made: Json, patch: Json) -> Json:
    """
    Change a parameter by what a note or a correction says; ``null`` takes a key away.

    :param made: The parameter.
    :param patch: Keys and values.
    """
    changed = {name: value for name, value in {**made, **patch}.items() if value is not None}
    if changed.get("cut") and "soft" in changed:
        changed["soft"] = [name for name in changed["soft"] if name != "maxLength"]
    if changed.get("soft") == []:
        del changed["soft"]
    return changed


def without_nulls(made: Json) -> Json:
    """
    Take away what was set to ``null``, at every depth.

    :param made: A parameter.
    """
    clean = {name: value for name, value in made.items() if value is not None}
    for name in ("items", "additionalProperties"):
        if name in clean:
            clean[name] = without_nulls(clean[name])
    if "properties" in clean:
        clean["properties"] = {name: without_nulls(inner) for name, inner in clean["properties"].items()}
    if "variants" in clean:
        clean["variants"] = [without_nulls(inner) for inner in clean["variants"]]
    return clean


def say_once(rows: list[Json]) -> tuple[Json, Json]:
    """
    Take out what several rows say alike and leave its name there.

    :param rows: Rows; they are changed.
    :return: Parameters and rules by name.
    """
    parameters: Json = {}
    rules: Json = {}
    often = Counter(_key(name, stated) for row in rows for name, stated in row["parameters"].items())
    names: dict[str, str] = {}
    for row in rows:
        for name, stated in row["parameters"].items():
            key = _key(name, stated)
            if often[key] > 1:
                if key not in names:
                    names[key] = f"{name} {sum(taken.startswith(f'{name} ') for taken in parameters) + 1}"
                    parameters[names[key]] = stated
                row["parameters"][name] = names[key]
    often = Counter(_key("", rule) for row in rows for kind in ("rules", "notices") for rule in row.get(kind, ()))
    for row in rows:
        for kind in ("rules", "notices"):
            if kind in row:
                row[kind] = [_named(rule, rules, names) if often[_key("", rule)] > 1 else rule for rule in row[kind]]
    return parameters, rules


def _named(rule: Json, rules: Json, names: dict[str, str]) -> str:
    key = _key("rule", rule)
    if key not in names:
        fields = rule.get("fields") or [rule.get("field") or rule["end"]]
        base = f"{rule['shape']} {' '.join(fields)}"
        names[key] = f"{base} {sum(taken.startswith(base) for taken in rules) + 1}"
        rules[names[key]] = rule
    return names[key]


def _key(name: str, stated: Json) -> str:
    return name + json.dumps(stated, sort_keys=True)


def written(content: Json) -> str:
    """
    Write the catalogue as text that people can read and compare: one parameter, one rule to a line.

    :param content: The whole file.
    """
    return _written(content, "") + "\n"


def _written(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or (indent and _is_leaf(value)):
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {_written(one, inner)}" for name, one in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{_written(one, inner)}" for one in value) + f"\n{indent}]"


def _is_leaf(value: Any) -> bool:
    # Parameters, rules and prices stay on one line, however long: they are compared line by line.
    if isinstance(value, dict) and value.keys() & {"type", "variants", "shape", "per_second"}:
        return True
    inside = value.values() if isinstance(value, dict) else value
    return not any(isinstance(one, dict | list) for one in inside)

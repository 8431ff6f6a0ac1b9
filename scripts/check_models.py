"""
Check the models: the files of the catalog, those of the emulator, and the pages made from them.

    python scripts/check_models.py            check; exit status 1 if something is wrong
    python scripts/check_models.py --write    write the pages and the JSON Schema first

A model of the catalog is an entry of a file in ``airflow_provider_evolink/api/catalog/models``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalog_docs
import catalog_schema
import jsonschema
from pydantic import ValidationError

from airflow_provider_evolink.api.catalog.fields import check_fields
from airflow_provider_evolink.api.catalog.model_files import read_file
from airflow_provider_evolink.api.catalog.model_spec import ModelSpec

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.parameter import Parameter

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "airflow_provider_evolink" / "api" / "catalog" / "models"
SCHEMA = MODELS / "schema.json"


def check_files(folder: Path) -> tuple[dict[str, ModelSpec], list[str]]:
    """
    Read the files of the catalog.

    :param folder: Where they are.
    :return: The models by name, and what is wrong with the files, each with the name of its file.
    """
    specs: dict[str, ModelSpec] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        if path.name == SCHEMA.name:
            continue
        found, wrong = check_file(path.read_text(encoding="utf-8"))
        wrong += [f"{model}: is also in another file" for model in found if model in specs]
        problems += [f"{path.name}: {problem}" for problem in wrong]
        specs |= found
    return specs, problems + list(_between_models(specs))


def check_file(text: str) -> tuple[dict[str, ModelSpec], list[str]]:
    """
    Read one file of the catalog.

    :param text: Its content.
    :return: Its models by name, and what is wrong with it.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
        entries = read_file(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return {}, [f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)]
    specs: dict[str, ModelSpec] = {}
    problems = list(_unused(content))
    for model, entry in entries.items():
        try:
            specs[model] = ModelSpec.model_validate(entry)
        except ValidationError as error:
            problems += [f"{model}: {_place(one['loc'])}: {one['msg']}" for one in error.errors(include_url=False)]
        else:
            problems += [f"{model}: {problem}" for problem in _within_model(specs[model])]
    return specs, problems or list(_against_schema(content))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} is there twice")
    return dict(pairs)


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(map(str, location)) or "entry"


def _against_schema(content: Any) -> Iterator[str]:
    errors = jsonschema.Draft202012Validator(catalog_schema.file_schema()).iter_errors(content)
    if error := jsonschema.exceptions.best_match(errors):
        yield f"{error.json_path}: {error.message}"


def _unused(content: Mapping[str, Any]) -> Iterator[str]:
    shared = content.get("shared", {})
    for kind in ("parameters", "rules"):
        used = {str(one) for entry in content["models"] for one in _named(entry, kind)}
        for name in shared.get(kind, {}).keys() - used:
            yield f"shared.{kind}: no model uses {name!r}"


def _named(entry: Mapping[str, Any], kind: str) -> list[str]:
    given = entry["parameters"].values() if kind == "parameters" else entry.get("rules", ())
    return [one for one in given if isinstance(one, str)]


def _within_model(spec: ModelSpec) -> Iterator[str]:
    if spec.endpoint != f"/v1/{spec.kind}s/generations":
        yield f"endpoint: {spec.endpoint} does not fit kind {spec.kind}"
    for number, rule in enumerate(spec.rules):
        named = [*rule.subject().split(", "), *rule.when]
        for field in named:
            if _find(spec.parameters, field) is None:
                yield f"rules.{number}: the model has no field {field}"
    for name in filter(None, (spec.outputs.counted_by, spec.price and spec.price.duration_field)):
        if name not in spec.parameters:
            yield f"outputs or price: the model has no field {name}"
    defaults = {name: one.default for name, one in spec.parameters.items() if one.default is not None}
    checked = check_fields({name: spec.parameters[name] for name in defaults}, defaults)
    for fault in (*checked.refused, *checked.warned):
        yield f"parameters.{fault.location[0]}: the default breaks {fault.limit}"


def _find(parameters: Mapping[str, Parameter], path: str) -> Parameter | None:
    name, _, rest = path.partition(".")
    found = parameters.get(name)
    return _find(found.properties or {}, rest) if found and rest else found


def _between_models(specs: Mapping[str, ModelSpec]) -> Iterator[str]:
    names = Counter(name for spec in specs.values() for name in (spec.model, *spec.aliases))
    yield from (f"{name}: is the name of several models" for name, count in names.items() if count > 1)
    for spec in specs.values():
        for reference in _references(spec.parameters):
            for model in reference - names.keys():
                yield f"{spec.model}: from_job names an unknown model: {model}"


def _references(parameters: Mapping[str, Parameter]) -> Iterator[set[str]]:
    for parameter in parameters.values():
        if parameter.from_job:
            yield set(parameter.from_job.models)
        yield from _references(parameter.properties or {})
        if parameter.items:
            yield from _references(parameter.items.properties or {})


def check_emulator(specs: Mapping[str, ModelSpec]) -> tuple[int, list[str]]:
    """
    Read the emulator's own files and compare what both know of a model: its kind and the names of its fields.

    :param specs: The models of the catalog.
    :return: Number of the emulator's models, and what is wrong.
    """
    from airflow_provider_evolink.emulator.orders.models import documented_models

    try:
        models = documented_models()
    except ValueError as error:
        return 0, [f"emulator: {error}"]
    problems = []
    for name, model in models.items():
        spec = specs.get(name)
        if spec is None:
            problems.append(f"emulator: {name} is not in the catalog")
        elif spec.kind != model.kind:
            problems.append(f"emulator: {name} makes {model.kind}, in the catalog {spec.kind}")
        elif different := spec.parameters.keys() ^ model.fields.keys():
            problems.append(f"emulator: {name}: only here or only in the catalog: {', '.join(sorted(different))}")
    return len(models), problems


def check_pages(*, write: bool) -> list[str]:
    """
    Compare the pages and the JSON Schema with what they are made from.

    :param write: Write those that differ.
    """
    problems = []
    for path, text in [*catalog_docs.pages(), (SCHEMA, catalog_schema.written(catalog_schema.file_schema()) + "\n")]:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        name = path.relative_to(ROOT)
        if write:
            path.write_text(text, encoding="utf-8")
            print(f"written: {name}")
        else:
            problems.append(f"{name} is not up to date: run `make check-models ARGS=--write`")
    return problems


def main() -> int:
    """Read the command line; exit status 1: something is wrong."""
    parser = argparse.ArgumentParser(description="Check the models of the catalog and of the emulator.")
    parser.add_argument("--write", action="store_true", help="write the pages and the JSON Schema")
    options = parser.parse_args()
    specs, problems = check_files(MODELS)
    known, wrong = check_emulator(specs) if not problems else (0, [])
    problems += wrong
    problems += [] if problems else check_pages(write=options.write)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(specs)} models in the catalog and {known} in the emulator are fine")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

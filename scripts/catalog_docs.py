"""The pages of the documentation that follow from the catalog: models, common mistakes, what is not checked."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.describe import describe_outputs
from airflow_provider_evolink.api.errors import EvoLinkRequestError

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.model_spec import ModelSpec

DOCS = Path(__file__).parent.parent / "docs"
IMAGE, CLIP = "https://example.com/a.png", "https://example.com/a.mp4"
WIDTH = 120
NOT_EDITED = "<!-- Written by scripts/check_models.py; do not edit. -->"
MODELS_HEAD = f"""\
# Models

{NOT_EDITED}

{{documented}} documented models and {{retired}} whose page EvoLink has withdrawn (*retired*: they may no longer
work), in {{families}} families. `EvoLinkGenerateOperator` takes all of them; a model that is not here passes
unchecked, with a warning. The command line shows the parameters and rules of a model, without a network or a key:

```bash
python -m airflow_provider_evolink models upscale       # list; also --kind, --retired, --json
python -m airflow_provider_evolink show wan2.7-image-to-video
python -m airflow_provider_evolink validate request.json
```

`validate` takes a JSON file with a request (`model` beside its fields) or a list of them. Exit status 1: a request is
invalid. See [Common mistakes](mistakes.md) for its messages and [Rules that are not checked](unchecked-rules.md) for
what it cannot check. What EvoLink cuts or ignores, what "may" do harm, and lengths in tokens cause a warning and
no error. Local files pass with a warning: an operator inspects them before it uploads them.

Most models also take `callback_url`.
"""
MISTAKES_HEAD = f"""\
# Common mistakes

{NOT_EDITED}

What `validation="strict"`, the default, reports before anything is sent or paid. Prompts and the queries of links are
never shown. `validation="warn"` logs the same lines and sends the request; `"off"` checks nothing.
"""
UNCHECKED_HEAD = f"""\
# Rules that are not checked

{NOT_EDITED}

EvoLink's pages also state rules that cannot be checked in a request, such as the length of a video behind a link. They
are listed here. Limits of input files (format, bytes, pixels, seconds) are in the notes that
`python -m airflow_provider_evolink show MODEL` prints. They are checked for [files that this package
uploads](inputs.md); files behind links are not inspected.

| EvoLink states | why it is not checked | models |
|---|---|---|
"""
MISTAKES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("A wrong duration", "wan2.7-text-to-video", {"prompt": "a boat", "duration": 20}),
    ("A value that is not on the list", "wan2.7-text-to-video", {"prompt": "a boat", "quality": "480p"}),
    ("A missing image", "kling-v3-image-to-video", {"prompt": "the boat leaves"}),
    (
        "Both a start image and a video",
        "wan2.7-image-to-video",
        {"prompt": "the boat leaves", "image_start": IMAGE, "video_urls": [CLIP]},
    ),
    ("A misspelled field", "wan2.7-text-to-video", {"prompt": "a boat", "aspect_ration": "16:9"}),
    ("A missing prompt", "gpt-image-2", {"size": "1:1"}),
    (
        "Too many references",
        "wan2.7-reference-video",
        {"prompt": "Image 1 meets Video 1", "image_urls": [IMAGE] * 4, "video_urls": [CLIP] * 2},
    ),
    (
        "A callback that is not HTTPS",
        "wan2.7-text-to-video",
        {"prompt": "a boat", "callback_url": "http://example.com/done"},
    ),
    ("Text where a number is wanted", "wan2.7-text-to-video", {"prompt": "a boat", "duration": "five"}),
    ("A misspelled model", "wan2.7-text2video", {"prompt": "a boat"}),
)


def _specs() -> list[ModelSpec]:
    return [spec for spec in map(catalog.find_spec, catalog.known_models()) if spec]


def models_page() -> str:
    """Write the page of models."""
    specs = _specs()
    families: dict[str, list[ModelSpec]] = defaultdict(list)
    for spec in specs:
        families[spec.family or "others"].append(spec)
    retired = sum(spec.status == "retired" for spec in specs)
    parts = [MODELS_HEAD.format(documented=len(specs) - retired, retired=retired, families=len(families))]
    for kind in ("video", "image", "audio"):
        parts.append(f"\n## {kind.capitalize()}\n")
        for family in sorted(families):
            found = [spec for spec in families[family] if spec.kind == kind]
            if found:
                parts.append(
                    f"\n### {family}\n\n| model | task | needs | also takes | results |\n|---|---|---|---|---|\n"
                )
                parts += map(_line, found)
    return "".join(parts)


def _line(spec: ModelSpec) -> str:
    name = f"[`{spec.model}`]({spec.source})" if spec.source else f"`{spec.model}`"
    if spec.aliases:
        name += f", also {', '.join(f'`{alias}`' for alias in spec.aliases)}"
    if spec.status == "retired":
        name += " (retired)"
    needed = [f"`{field}`" for field, parameter in spec.parameters.items() if parameter.required]
    others = [f"`{field}`" for field in spec.parameters if f"`{field}`" not in needed and field != "callback_url"]
    cells = (name, spec.task, ", ".join(needed), ", ".join(others), describe_outputs(spec.outputs, spec.kind))
    return f"| {' | '.join(map(str, cells))} |\n"


def mistakes_page() -> str:
    """Make every mistake and write down what is reported."""
    parts = [MISTAKES_HEAD]
    for title, model, fields in MISTAKES:
        call = _call(model, fields)
        parts.append(f"\n## {title}\n\n```python\n{call}\n```\n\n```text\n{_messages(model, fields)}\n```\n")
    return "".join(parts) + (
        "\nA model that is not in the catalog is sent with a warning, because new ones appear every week.\n"
    )


def _call(model: str, fields: dict[str, Any]) -> str:
    short = f"build_request({model!r}, {fields!r})".replace("'", '"')
    if len(short) <= WIDTH:
        return short
    inside = "".join(f"        {_field(name, value)},\n" for name, value in fields.items())
    return f'build_request(\n    "{model}",\n    {{\n{inside}    }},\n)'


def _field(name: str, value: Any) -> str:
    many = isinstance(value, list) and len(value) > 1
    written = f"{value[:1]!r} * {len(value)}" if many else repr(value)
    return f"{name!r}: {written}".replace("'", '"')


def _messages(model: str, fields: dict[str, Any]) -> str:
    lines: list[str] = []
    keeper = logging.Handler()
    keeper.emit = lambda record: lines.append(f"WARNING {record.getMessage()}")  # type: ignore[method-assign]
    catalog.log.addHandler(keeper)
    try:
        catalog.build_request(model, fields)
    except EvoLinkRequestError as error:
        lines.append(f"EvoLinkRequestError: {error}")
    finally:
        catalog.log.removeHandler(keeper)
    return "\n".join(lines)


def unchecked_page() -> str:
    """Write the page of what the pages of EvoLink state but no request shows."""
    models: dict[tuple[str, str], list[str]] = defaultdict(list)
    for spec in _specs():
        for sentence, reason in spec.unchecked.items():
            models[sentence, reason].append(f"`{spec.model}`")
    lines = [f"| {' | '.join(cells)} | {', '.join(names)} |\n" for cells, names in sorted(models.items())]
    return UNCHECKED_HEAD + "".join(lines)


def pages() -> Iterator[tuple[Path, str]]:
    """Yield the pages and their texts."""
    yield DOCS / "models.md", models_page()
    yield DOCS / "mistakes.md", mistakes_page()
    yield DOCS / "unchecked-rules.md", unchecked_page()

"""
Write the pages of the documentation that follow from the catalog: the table of models, and the likely mistakes.

    python scripts/catalog_docs.py            write docs/models.md and docs/mistakes.md
    python scripts/catalog_docs.py --check    only say whether they are as they would be written
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_evolink.api import catalog
from airflow_provider_evolink.api.catalog.describe import output_words
from airflow_provider_evolink.api.errors import EvoLinkRequestError

if TYPE_CHECKING:
    from airflow_provider_evolink.api.catalog.model_spec import ModelSpec

DOCS = Path(__file__).parent.parent / "docs"
IMAGE, CLIP = "https://example.com/a.png", "https://example.com/a.mp4"
WIDTH = 120
NOT_EDITED = "<!-- Written by scripts/catalog_docs.py; do not edit. -->"
MODELS_HEAD = f"""\
# Models

{NOT_EDITED}

{{documented}} documented models and {{retired}} whose page EvoLink has withdrawn (*retired*: they may no longer
answer), in {{families}} families. `EvoLinkGenerateOperator` takes all of them; a model that is not here passes
unchecked, with a warning. The parameters and rules of a model are best read in a terminal. It needs no network and no
key:

```bash
python -m airflow_provider_evolink models upscale       # list; also --kind, --retired, --json
python -m airflow_provider_evolink show wan2.7-image-to-video
python -m airflow_provider_evolink validate request.json
```

`validate` takes a JSON file with a request (`model` beside its fields) or a list of them. Exit status 1: a rule is
broken. [Mistakes](mistakes.md) shows what it says; [Rules that are not checked](unchecked-rules.md) what it cannot see.
Limits that EvoLink states only in the words of its pages, and lengths in tokens, are warned about and never refused.
Files of your own pass, with a warning: only an operator looks at them, before it uploads them.

Every model but a few takes `callback_url` too.
"""
MISTAKES_HEAD = f"""\
# The ten most likely mistakes

{NOT_EDITED}

What `validation="strict"`, the default, says before anything is sent or paid. Prompts and the queries of links are
never shown. `validation="warn"` logs the same lines and sends; `"off"` checks nothing.
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
    ("A field with a typo", "wan2.7-text-to-video", {"prompt": "a boat", "aspect_ration": "16:9"}),
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
    ("A wrong name of a model", "wan2.7-text2video", {"prompt": "a boat"}),
)


def models_page() -> str:
    """Write the page of models."""
    rows = [row for row in map(catalog.find_spec, catalog.known_models()) if row]
    families: dict[str, list[ModelSpec]] = defaultdict(list)
    for row in rows:
        families[row.family or "others"].append(row)
    retired = sum(row.status == "retired" for row in rows)
    parts = [MODELS_HEAD.format(documented=len(rows) - retired, retired=retired, families=len(families))]
    for kind in ("video", "image", "audio"):
        parts.append(f"\n## {kind.capitalize()}\n")
        for family in sorted(families):
            found = [row for row in families[family] if row.kind == kind]
            if found:
                parts.append(
                    f"\n### {family}\n\n| model | task | needs | also takes | results |\n|---|---|---|---|---|\n"
                )
                parts += map(_line, found)
    return "".join(parts)


def _line(row: ModelSpec) -> str:
    name = f"[`{row.model}`]({row.source})" if row.source else f"`{row.model}`"
    if row.aliases:
        name += f", also {', '.join(f'`{alias}`' for alias in row.aliases)}"
    if row.status == "retired":
        name += " (retired)"
    needed = [f"`{field}`" for field, parameter in row.parameters.items() if parameter.required]
    others = [f"`{field}`" for field in row.parameters if f"`{field}`" not in needed and field != "callback_url"]
    cells = (name, row.task, ", ".join(needed), ", ".join(others), output_words(row.outputs, row.kind))
    return f"| {' | '.join(map(str, cells))} |\n"


def mistakes_page() -> str:
    """Make every mistake and write down what is said."""
    parts = [MISTAKES_HEAD]
    for title, model, fields in MISTAKES:
        call = _call(model, fields)
        parts.append(f"\n## {title}\n\n```python\n{call}\n```\n\n```text\n{_said(model, fields)}\n```\n")
    return "".join(parts) + (
        "\nA model that is not in the catalog is sent all the same, because new ones appear every week.\n"
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


def _said(model: str, fields: dict[str, Any]) -> str:
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


def pages() -> Iterator[tuple[Path, str]]:
    """Yield the pages and their texts."""
    yield DOCS / "models.md", models_page()
    yield DOCS / "mistakes.md", mistakes_page()


def main() -> int:
    """Read the command line; exit status 1: a page differs."""
    parser = argparse.ArgumentParser(description="Write the pages that follow from the catalog.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, say whether the pages are as they would be"
    )
    options = parser.parse_args()
    differing = [path for path, text in pages() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in pages():
        if path in differing:
            print(f"{'differs' if options.check else 'written'}: {path.name}")
            if not options.check:
                path.write_text(text, encoding="utf-8")
    return int(options.check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())

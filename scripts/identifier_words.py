"""
Count the words of our old dialect inside the identifiers of the package: at most 8 of 1,000.

    python scripts/identifier_words.py            the rate, and the words that make it
    python scripts/identifier_words.py --list     each identifier that holds one, with its place

Counted is each place where a name is defined: classes, functions, arguments, and variables and attributes where they
are assigned, split at ``_`` and at capitals. The emulator is left out.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "airflow_provider_evolink"
LIMIT = 8.0  # of 1,000 words
# In every inflection. "place" as a noun is good English; "most" and "least" stand for "max" and "min" in a name.
DIALECT = frozenset(
    [
        "look",
        "looks",
        "looked",
        "looking",
        "glance",
        "glances",
        "glanced",
        "tell",
        "tells",
        "told",
        "telling",
        "say",
        "says",
        "said",
        "saying",
        "saw",
        "see",
        "sees",
        "seen",
        "ask",
        "asks",
        "asked",
        "asking",
        "fact",
        "facts",
        "answer",
        "answers",
        "answered",
        "answering",
        "placed",
        "most",
        "least",
    ]
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def words(identifier: str) -> list[str]:
    """
    Split an identifier into lower-case words.

    :param identifier: e.g. ``OrderSubmitter`` or ``poll_interval``.
    """
    return [word.lower() for word in _WORDS.findall(identifier)]


def defined_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """
    Yield each name that a module defines, with its line.

    :param tree: The parsed module.
    """
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


def main(arguments: list[str] | None = None, package: Path = PACKAGE) -> int:
    """
    Count, print, and return the exit status.

    :param arguments: Of the command line.
    :param package: Folder of the package.
    """
    parser = argparse.ArgumentParser(description="Count the words of our old dialect inside identifiers.")
    parser.add_argument("--list", action="store_true", help="print each identifier that holds one")
    options = parser.parse_args(arguments)
    total, dialect = 0, Counter[str]()
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package)
        if where.parts[0] == "emulator":
            continue
        for name, line in defined_names(ast.parse(path.read_text(encoding="utf-8"))):
            split = words(name)
            total += len(split)
            hits = [word for word in split if word in DIALECT]
            dialect.update(hits)
            if hits and options.list:
                print(f"{where}:{line}: {name}")
    rate = 1000 * dialect.total() / total
    counted = f"{dialect.total()} of {total:,}"
    print(f"{rate:.1f} of 1,000 words inside identifiers are of the old dialect ({counted}; limit {LIMIT:g})")
    print("  " + ", ".join(f"{word} {count}" for word, count in dialect.most_common()))
    return int(rate > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

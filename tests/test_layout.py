"""The layout holds: no import circles; small folders, files, functions and classes; identifiers in plain English."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_evolink"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
# What a class is made from that holds data, or that is a face with Airflow's own attributes.
DATA = {"BaseModel", "TypedDict", "NamedTuple", "Protocol", "StrEnum", "Enum", "IntEnum"}
FACES = ("operators", "sensors", "triggers", "hooks", "links", "decorators", "retry_policies")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def import_graph(root: Path, package: str) -> dict[str, set[str]]:
    """
    Return for each module those of the package that it imports: on top, for type checking, or inside a function.

    An import of a name from a package is one of the module of that name, if there is one, else of the package.
    """
    files = {".".join(path.relative_to(root).with_suffix("").parts): path for path in (root / package).rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in files}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        found = graph.setdefault(name.removesuffix(".__init__"), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name in names}
            elif isinstance(node, ast.ImportFrom) and node.module in names:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (inner & names) or {str(node.module)}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or over others."""
    reach: dict[str, set[str]] = {}
    for start, imported in graph.items():
        seen, left = set(), list(imported)
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += graph.get(name, ())
        reach[start] = seen
    groups = {frozenset(n for n in reach[name] if name in reach[n]) for name in graph if name in reach[name]}
    return sorted(sorted(group) for group in groups)


def test_no_modules_import_each_other() -> None:
    """A circle is a missing module; imports for type checking and inside functions count."""
    graph = import_graph(ROOT, PACKAGE.name)
    assert len(graph) > 100
    assert circles(graph) == []


def test_a_circle_for_type_checking_is_found(tmp_path: Path) -> None:
    """The walk sees what no import at run time would show."""
    folder = tmp_path / "house"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import B\n")
    (folder / "b.py").write_text("def late():\n    from house import a\n")
    (folder / "c.py").write_text("from house import a\n")
    assert circles(import_graph(tmp_path, "house")) == [["house.a", "house.b"]]


def test_folders_stay_small() -> None:
    """A folder is taken in at one glance: at most 16 modules, and at most 6 directly in ``api/``."""
    counts: dict[str, int] = {}
    for path in FILES:
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(PACKAGE))
            counts[folder] = counts.get(folder, 0) + 1
    assert {folder: count for folder, count in counts.items() if count > (6 if folder == "api" else 16)} == {}


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield the functions of a module, inner ones too."""
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def body_lines(node: Function) -> int:
    """Return the length of a function without its docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    """A file ends where its thought ends, at most 400 lines; no function is over 50."""
    long = [
        node.name
        for node in functions(TREES[path])
        if body_lines(node) > 50 and node.name not in ("__init__", "get_provider_info")
    ]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert long == []


def test_most_functions_are_short() -> None:
    """Half of all functions have at most 8 lines."""
    assert statistics.median(body_lines(node) for tree in TREES.values() for node in functions(tree)) <= 8


def own_methods(node: ast.ClassDef) -> list[Function]:
    """Return the methods a class defines."""
    return [child for child in node.body if isinstance(child, Function)]


def own_attributes(node: ast.ClassDef) -> set[str]:
    """Return the attributes a class adds: those its methods set on ``self``, and those it declares."""
    declared = {
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign)
        and isinstance(child.target, ast.Name)
        and "ClassVar" not in ast.unparse(child)
    }
    stored = {
        child.attr
        for method in own_methods(node)
        for child in ast.walk(method)
        if isinstance(child, ast.Attribute)
        and isinstance(child.ctx, ast.Store)
        and isinstance(child.value, ast.Name)
        and child.value.id == "self"
    }
    return declared | stored


@dataclass(frozen=True)
class Classes:
    """
    The classes of a package, and which of them a class is made from.

    :param trees: The parsed modules, by dotted name.
    """

    trees: dict[str, ast.Module]

    def all(self) -> Iterator[tuple[str, ast.ClassDef]]:
        """Yield each class with its module, inner ones too."""
        for module, tree in self.trees.items():
            yield from ((module, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))

    def lineage(self, module: str, node: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """Yield a class and those of the package that it inherits from, in whatever modules."""
        yield node
        for base in node.bases:
            for where, found in self._definitions(module, ast.unparse(base).partition("[")[0]):
                yield from self.lineage(where, found)

    def _definitions(self, module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
        """Yield where a name that stands for a class in a module is defined: there, or where it is imported from."""
        head, _, rest = name.rpartition(".")
        tree = self.trees.get(module, ast.Module([], []))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == name:
                yield module, node
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                known_as = alias.asname or alias.name
                if known_as == name:
                    yield from self._definitions(str(node.module), alias.name)
                elif known_as == head:
                    yield from self._definitions(f"{node.module}.{alias.name}", rest)

    def is_data(self, module: str, node: ast.ClassDef) -> bool:
        """Tell plain data from what behaves: frozen dataclasses, pydantic models, typed dicts, enumerations."""
        if any("frozen=True" in ast.unparse(decorator) for decorator in node.decorator_list):
            return True
        bases = [ast.unparse(base) for one in self.lineage(module, node) for base in one.bases]
        return any(base.rpartition(".")[2].partition("[")[0] in DATA for base in bases)

    def methods(self, module: str, node: ast.ClassDef) -> set[str]:
        """Return the methods of a class, inherited ones too."""
        return {method.name for one in self.lineage(module, node) for method in own_methods(one)}

    def attributes(self, module: str, node: ast.ClassDef) -> set[str]:
        """Return the attributes of a class, inherited ones too."""
        return {name for one in self.lineage(module, node) for name in own_attributes(one)}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


CLASSES = Classes({module_name(path): tree for path, tree in TREES.items()})


def is_face(module: str) -> bool:
    """Tell whether Airflow decides what the classes of a module have."""
    return module.split(".")[1] in FACES


def test_no_class_has_many_methods() -> None:
    """At most 18, those that it inherits within the package counted."""
    many = {
        f"{module}.{node.name}": len(CLASSES.methods(module, node))
        for module, node in CLASSES.all()
        if len(CLASSES.methods(module, node)) > 18
    }
    assert many == {}


def test_no_class_that_behaves_has_many_attributes() -> None:
    """At most 10, those that it inherits within the package counted; faces have Airflow's arguments."""
    many = {
        f"{module}.{node.name}": len(CLASSES.attributes(module, node))
        for module, node in CLASSES.all()
        if not is_face(module) and not CLASSES.is_data(module, node) and len(CLASSES.attributes(module, node)) > 10
    }
    assert many == {}


INHERITING = {
    "house.base": """
        class Base(BaseModel):
            a: int
        @dataclass
        class Half:
            a: int
            b: int
            def one(self): self.c = 1
        @dataclass(frozen=True)
        class Frozen:
            a: int
        """,
    "house.more": """
        from house import base
        from house.base import Base as Lenient, Half, Frozen
        class Model(Lenient):
            b: int
        @dataclass
        class Whole(Half):
            d: int
            e: ClassVar[int] = 1
            def two(self): self.f: int = 2
        class Dotted(base.Half):
            def three(self): self.g, (self.h, _) = 1, (2, 3)
        class Behaves(Frozen):
            def four(self): with_ = 4
        """,
}


@pytest.mark.parametrize(
    ("name", "is_data", "attributes", "methods"),
    [
        ("Model", True, "ab", []),
        ("Whole", False, "abcdf", ["one", "two"]),
        ("Dotted", False, "abcgh", ["one", "three"]),
        ("Behaves", False, "a", ["four"]),
    ],
)
def test_what_a_class_inherits_counts(name: str, is_data: bool, attributes: str, methods: list[str]) -> None:
    """Fields and methods of a base in another module are its own; being frozen is not inherited."""
    house = Classes({module: ast.parse(textwrap.dedent(text)) for module, text in INHERITING.items()})
    module, node = next(found for found in house.all() if found[1].name == name)
    assert house.is_data(module, node) is is_data
    assert sorted(house.attributes(module, node)) == list(attributes)
    assert sorted(house.methods(module, node)) == methods


WORDS = ROOT / "scripts" / "identifier_words.py"


def run_words(script: Path) -> subprocess.CompletedProcess[str]:
    """Count the words of the package beside the script."""
    return subprocess.run([sys.executable, str(script), "--list"], capture_output=True, text=True, check=False)


def test_identifiers_are_in_plain_english() -> None:
    """At most 8 of 1,000 words inside identifiers are of the dialect the package began in."""
    counted = run_words(WORDS)
    assert counted.returncode == 0, counted.stdout


@pytest.mark.parametrize(("of_dialect", "status"), [(8, 0), (9, 1)])
def test_more_words_of_the_dialect_fail_the_check(tmp_path: Path, of_dialect: int, status: int) -> None:
    """The limit is exact, and beyond it the exit status is not zero."""
    script = tmp_path / "scripts" / WORDS.name
    (tmp_path / PACKAGE.name).mkdir()
    script.parent.mkdir()
    script.write_text(WORDS.read_text(encoding="utf-8"))
    names = ["glance"] * of_dialect + ["poll"] * (1000 - of_dialect)
    (tmp_path / PACKAGE.name / "a.py").write_text("\n".join(f"{name} = 1" for name in names))
    counted = run_words(script)
    assert (counted.returncode, counted.stdout.count("a.py:")) == (status, of_dialect), counted.stdout + counted.stderr


def test_make_check_counts_the_words() -> None:
    """What continuous integration runs includes them."""
    check = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert any(line.endswith("python scripts/identifier_words.py") for line in check.stdout.splitlines())

"""
Break the package on purpose, one decision at a time, and ask the tests whether they notice.

    make mutants                          every mutation in tests/mutants/*.toml
    make mutants ONLY="ledger lease"      those of some tables, or whose words hold a text

A mutation is a row of a table: old text, new text, what that breaks, and which tests should see it. It is made in a
copy in a temporary folder, never in the checkout. Exit status 1: a mutation survived, or could not be judged;
2: a row, or a name after ``ONLY``, names nothing.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import multiprocessing
import os
import queue
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from _pytest.mark.expression import Expression

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "tests" / "mutants"
COPIED = ("airflow_provider_evolink", "tests", "scripts", "docs", "pyproject.toml", "README.md", "SECURITY.md")
AT_ONCE = 2
LEFT_OUT = shutil.ignore_patterns("__pycache__", "_build", "images")
SECONDS = 120.0  # for the tests of one mutation; a machine under load is slow
PYTEST = ("-x", "-q", "-n0", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--timeout=60")
TEST_FAILED, NO_TESTS = 1, 5
# A process for each mutation, forked from one that has imported what takes long and is not ours.
FORKS = multiprocessing.get_context("forkserver")
SLOW_IMPORTS = (
    *("pytest", "hypothesis.strategies", "libcst", "rich.console", "jsonschema", "psutil", "anyio.pytest_plugin"),
    *("airflow.sdk", "airflow.providers.common.compat.sdk", "airflow.triggers.base", "uvicorn", "starlette.routing"),
)


@dataclass(frozen=True)
class Mutation:
    """
    One wrong decision.

    :param table: Name of its table.
    :param file: File of the package, from the root.
    :param breaks: What is wrong then.
    :param old: Text that stands in the file exactly once.
    :param new: What a mistaken programmer would have written.
    :param tests: Files of tests that should see it.
    :param k: Which of their tests, in the words of pytest's ``-k``.
    """

    table: str
    file: str
    breaks: str
    old: str
    new: str
    tests: tuple[str, ...]
    k: str = ""

    def applied(self, text: str) -> str | None:
        """
        Return the broken text of the file; ``None`` where the old text is not found exactly once.

        :param text: The file as it is.
        """
        return text.replace(self.old, self.new) if text.count(self.old) == 1 and self.old != self.new else None


@dataclass(frozen=True)
class Verdict:
    """
    What the tests said of a mutation.

    :param caught: Whether a test failed.
    :param why: Which test, or why none.
    """

    caught: bool
    why: str


class Bench:
    """
    A copy of the project to break things in, one at a time.

    :param root: Where it is to be.
    :param proven: Tests that pass where nothing is broken; shared by the copies.
    """

    def __init__(self, root: Path, proven: set[str]) -> None:
        self.root = root
        self._proven = proven
        self._written = 0
        self._stopped = False
        self._process: ForkServerProcess | None = None
        root.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(ROOT / name, root / name)

    def judge(self, mutation: Mutation) -> Verdict:
        """
        Break, run the tests, mend.

        :param mutation: What to break.
        """
        whole = (ROOT / mutation.file).read_text()
        broken = mutation.applied(whole)
        if broken is None:
            return Verdict(caught=False, why=f"NOT FOUND: the old text must stand exactly once in {mutation.file}")
        self._put(mutation.file, broken)
        try:
            status, said = self.run(mutation.tests, mutation.k)
        finally:
            self._put(mutation.file, whole)
        if status == 0:
            return Verdict(caught=False, why="SURVIVED")
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        if status == TEST_FAILED and found:
            if not self._passes_unbroken(found[1]):
                return Verdict(caught=False, why=f"NO VERDICT: {found[1]} fails without the mutation as well")
            return Verdict(caught=True, why=f"caught by {found[1].removeprefix('tests/')}")
        reason = {None: "the tests took too long", NO_TESTS: "no test has such a name"}.get(status, said[-500:])
        return Verdict(caught=False, why=f"NO VERDICT: {reason}")

    def _passes_unbroken(self, test: str) -> bool:
        """Run the test that noticed on the copy as it is: one that fails by itself proves nothing."""
        if test not in self._proven and self.run((test,))[0] == 0:
            self._proven.add(test)
        return test in self._proven

    def run(self, tests: tuple[str, ...], k: str = "") -> tuple[int | None, str]:
        """
        Run tests in this copy. Return the exit status, ``None`` where they took too long, and what they said.

        :param tests: Files.
        :param k: Which of their tests.
        """
        if self._stopped:
            return None, ""
        said = self.root / "said.txt"
        said.write_text("")
        arguments = [*PYTEST, *(["-k", k] if k else []), *tests]
        self._process = FORKS.Process(target=run_pytest, args=(str(self.root), arguments, str(said)))
        self._process.start()
        try:
            self._process.join(SECONDS)
        finally:
            self._kill()
        return self._process.exitcode if self._process.exitcode in range(6) else None, said.read_text()

    def stop(self) -> None:
        """End the tests that run here, and start none any more."""
        self._stopped = True
        self._kill()

    def _kill(self) -> None:
        if self._process is not None and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.join(10)

    def _put(self, file: str, text: str) -> None:
        """Write a file, each time with a new time of change, so that no compiled copy is taken for it."""
        path = self.root / file
        path.write_text(text)
        self._written += 1
        os.utime(path, (1_000_000_000 + self._written,) * 2)


def run_pytest(root: str, arguments: list[str], said: str) -> None:
    """
    Become the process of a copy's tests.

    :param root: The copy.
    :param arguments: For pytest.
    :param said: File for what it says.
    """
    os.setsid()
    out = os.open(said, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(root)
    os.environ |= {"PYTHONPATH": root, "TMPDIR": root}
    tempfile.tempdir = None
    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow_provider_evolink"]:
        del sys.modules[name]  # Airflow asks every provider who it is as it is imported: that was the checkout
    sys.path[:] = [root, *(path for path in sys.path if path != str(ROOT))]
    import pytest

    import airflow_provider_evolink as package

    if not Path(package.__file__).is_relative_to(root):
        print(f"ERROR: the tests would run on {package.__file__}", flush=True)
        os._exit(4)
    status = int(pytest.main(arguments))
    sys.stdout.flush()
    os._exit(status)


def read_tables() -> list[Mutation]:
    """Return all mutations, in the order of their tables."""
    found = []
    for path in sorted(TABLES.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        for row in table["mutation"]:
            tests = tuple(f"tests/{name}" for name in row.pop("tests", None) or table["tests"])
            found.append(Mutation(table=path.stem, tests=tests, **{"file": table["file"], **row}))
    return found


def chosen(mutations: list[Mutation], only: list[str]) -> list[Mutation]:
    """
    Return the mutations that some texts name, or all.

    :param mutations: All rows.
    :param only: Names of tables, or texts that the words of a mutation hold.
    :raises LookupError: one of the texts names nothing.
    """
    named = {text: [one for one in mutations if text == one.table or text in one.breaks] for text in only}
    if unknown := [text for text, found in named.items() if not found]:
        raise LookupError(f"no table and no mutation is named by {', '.join(map(repr, unknown))}")
    return [one for one in mutations if not only or any(one in found for found in named.values())]


def stale(mutation: Mutation) -> str | None:
    """
    Return why a row names something that is not there, or ``None``.

    :param mutation: The row.
    """
    missing = [name for name in (mutation.file, *mutation.tests) if not (ROOT / name).is_file()]
    if missing:
        return f"no such file: {', '.join(missing)}"
    if mutation.applied((ROOT / mutation.file).read_text()) is None:
        return f"the old text must stand exactly once in {mutation.file}, and differ from the new one"
    if not mutation.tests:
        return "it names no tests"
    return None if not mutation.k or any(names_a_test(mutation.k, name) for name in mutation.tests) else "no such test"


def names_a_test(k: str, file: str) -> bool:
    """
    Tell whether a file has a test that pytest's ``-k`` may choose. What its cases are called is found among its texts.

    :param k: The words.
    :param file: File of tests.
    """
    expression = Expression.compile(k)
    tests, cases = tests_of(file)

    def chooses(*texts: str) -> bool:
        return expression.evaluate(lambda word, **_: any(word.lower() in text.lower() for text in texts))

    return any(chooses(name) or chooses(name, *cases) for name in tests)


@cache
def tests_of(file: str) -> tuple[list[str], list[str]]:
    """
    Return the names of the tests of a file, and all its texts.

    :param file: File of tests.
    """
    nodes = list(ast.walk(ast.parse((ROOT / file).read_text())))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [name for name in names if name.startswith("test")], [file, *texts]


def refuse_stale(mutations: list[Mutation]) -> None:
    """
    Refuse rows that would break nothing or that nothing would catch, before any is judged.

    :param mutations: The rows.
    :raises LookupError: a row names something that is not there.
    """
    if found := [f"  {one.table}: {one.breaks}: {why}" for one in mutations if (why := stale(one))]:
        raise LookupError("rows that name nothing:\n" + "\n".join(found))


def judge_all(benches: list[Bench], mutations: list[Mutation]) -> list[tuple[Mutation, Verdict]]:
    """
    Judge all mutations, as many at a time as there are copies, with a line for each.

    :param benches: The copies.
    :param mutations: The rows.
    """
    free: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for bench in benches:
        free.put(bench)

    def judge(mutation: Mutation) -> Verdict:
        bench = free.get()
        try:
            return bench.judge(mutation)
        finally:
            free.put(bench)

    done = []
    pool = ThreadPoolExecutor(len(benches))
    try:
        started = {pool.submit(judge, mutation): mutation for mutation in mutations}
        for future in as_completed(started):
            mutation, verdict = started[future], future.result()
            done.append((mutation, verdict))
            print(f"[{len(done)}/{len(mutations)}] {mutation.table}: {mutation.breaks}: {verdict.why}", flush=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for bench in benches:
            bench.stop()
        pool.shutdown()
    return done


def report(done: list[tuple[Mutation, Verdict]], seconds: float) -> int:
    """
    Print what was not caught, then the figures. Return the exit status.

    :param done: Mutations and what the tests said.
    :param seconds: How long it took.
    """
    missed = [(mutation, verdict) for mutation, verdict in done if not verdict.caught]
    if missed:
        print("\nNot caught:")
    for mutation, verdict in missed:
        print(f"\n  {mutation.table}: {mutation.breaks}\n    {verdict.why}\n    {mutation.file}")
        print("\n".join(f"    - {line}" for line in mutation.old.splitlines()))
        print("\n".join(f"    + {line}" for line in mutation.new.splitlines()))
    print(f"\n{len(done)} mutations in {seconds:.0f} s")
    print(f"{len(done) - len(missed)} passed, {len(missed)} failed")
    return 1 if missed or not done else 0


def main() -> int:
    """Read the tables, make the copies, judge, report."""
    parser = argparse.ArgumentParser(description="Break the package and ask the tests whether they notice.")
    parser.add_argument("only", nargs="*", help="names of tables, or texts that the words of a mutation hold")
    only = parser.parse_args().only
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        mutations = chosen(read_tables(), only)
        refuse_stale(mutations)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="evolink-mutants-") as folder:
        FORKS.set_forkserver_preload(list(SLOW_IMPORTS))
        os.environ["AIRFLOW_HOME"] = f"{folder}/airflow"  # importing Airflow makes files there
        proven: set[str] = set()
        benches = [Bench(Path(folder) / str(number), proven) for number in range(AT_ONCE)]
        return report(judge_all(benches, mutations), time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

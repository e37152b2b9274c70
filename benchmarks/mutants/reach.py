"""Which test runs which lines, measured: each module of tests runs once under coverage.py; ``out`` keeps what it saw.

A compiled function runs its lines once, for the first test that calls it; the others find it compiled. So a line is
reached by the tests that ran it, and maybe by the others of their module.

What was seen of a test is believed for as long as the text of the test stands, whatever else has changed: measuring is
slow, and what a test no longer reaches, or does now, cannot make a mutant look noticed (:mod:`.trial`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paper_reproduction.writing import put

from . import engine
from .found import PACKAGE, ROOT, Mutant, spans, within

STORED = ROOT / "out" / "mutants" / "reach"
PATIENCE = 3600.0
"""Seconds a module of tests may take, measured."""
QUIET = ("-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "--assert=plain")

Lines = dict[str, dict[str, list[int]]]
"""Of each file and function, the lines counted from where the function begins; ``""`` is what is in none."""


@dataclass(frozen=True)
class Test:
    """One that passes, how long it takes, and the lines that it runs."""

    __test__ = False  # it is not one of pytest's own

    name: str
    seconds: float
    lines: Lines

    @property
    def module(self) -> str:
        return self.name.partition("::")[0]

    @property
    def function(self) -> str:
        """Without its parameters, as Python names it in its module."""
        return self.name.partition("::")[2].partition("[")[0].replace("::", ".")

    def share(self, file: str) -> float:
        """Of the lines that it runs, how many are in this file."""
        count = lambda functions: sum(map(len, functions.values()))
        return count(self.lines.get(file, {})) / max(sum(map(count, self.lines.values())), 1)


@dataclass(frozen=True)
class Reach:
    """The tests that were measured."""

    tests: tuple[Test, ...]

    @cached_property
    def _entering(self) -> dict[str, dict[str, list[Test]]]:
        """By file and function."""
        found: dict[str, dict[str, list[Test]]] = {}
        for test in self.tests:
            for file, functions in test.lines.items():
                for function in functions:
                    found.setdefault(file, {}).setdefault(function, []).append(test)
        return found

    def of(self, mutant: Mutant) -> tuple[list[Test], list[Test]]:
        """The tests that run the line, and the others of the modules that run the function; promising ones first.

        A line that is run at import alone belongs to its function, and outside of any to the whole file; so does a
        function that was not there when the tests were measured. A test is promising if it is quick, and if much of
        what it runs is in this file.
        """
        entering, name = self._entering.get(mutant.file, {}), mutant.function
        place = mutant.line - spans(mutant.path).get(name, (0, 0))[0]
        exact = [test for test in entering.get(name, ()) if place in test.lines[mutant.file][name]]
        while name and not any(within(each, name) for each in entering):
            name = name.rpartition(".")[0]
        inside = [tests for each, tests in entering.items() if within(each, name or None)]
        around = list({test.name: test for tests in inside for test in tests}.values())
        first = exact or around
        names, modules = {test.name for test in first}, {test.module for test in around}
        rest = [test for test in self.tests if test.module in modules and test.name not in names]
        promising = lambda test: (test.seconds / max(test.share(mutant.file), 1e-3), test.name)
        return sorted(first, key=promising), sorted(rest, key=promising)


def kept(path: Path, stored: Path = STORED) -> tuple[list[Test], set[str]]:
    """What was measured of the tests of a module, and the functions of it that are still to be."""
    now, file = texts(path), _file(path, stored)
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if "texts" not in content:
        return [], set(now)
    then = content["texts"]
    tests = [Test(**test) for test in content["tests"]]
    stands = lambda name: name in then and then[name] == now.get(name)
    drawn = lambda test: test.function if test.function in now else ""
    missing = {name for name in now if name and not stands(name)}
    if not stands("") and any(not drawn(test) for test in tests):
        missing.add("")
    return [test for test in tests if stands(drawn(test))], missing


def texts(path: Path) -> dict[str, str]:
    """A hash of each test's text; of the whole module under ``""``, for tests that no ``def`` in it makes."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    of = lambda text: hashlib.sha256(text.encode()).hexdigest()[:16]
    found = {
        name: of("\n".join(lines[first - 1 : last]))
        for name, (first, last) in spans(path).items()
        if name.rpartition(".")[2].startswith("test")
    }
    return found | {"": of(text)}


def measured(path: Path, say: Callable[[str], None], stored: Path = STORED) -> list[Test]:
    """The tests of a module; only those run that have not been measured as they are."""
    tests, missing = kept(path, stored)
    if not missing:
        return tests
    name, now, began = path.relative_to(ROOT).as_posix(), texts(path), time.monotonic()
    answer = engine.called(None, _run, name, missing, limit=PATIENCE)
    if answer.value is None:
        say(f"{name}: cannot be measured: {answer.error or 'takes too long'}\n{answer.said[-2000:]}")
        return tests
    tests += [Test(**test) for test in answer.value]
    content = {"texts": now, "tests": [test.__dict__ for test in tests]}
    put(_file(path, stored), json.dumps(content).encode())
    say(f"{name}: {len(answer.value)} tests measured, {time.monotonic() - began:.0f} s")
    return tests


def _file(path: Path, stored: Path) -> Path:
    return stored / (path.relative_to(ROOT).as_posix().replace("/", "--") + ".json")


def _run(module: str, functions: set[str]) -> list[dict[str, Any]]:
    """Those tests of a module, in this process: what each that passes runs."""
    import coverage
    import pytest

    meter = coverage.Coverage(data_file=None, source=[str(PACKAGE)], config_file=False)
    watching = _Watching(meter, functions, set(texts(ROOT / module)))
    meter.start()
    try:
        pytest.main([*QUIET, module], plugins=[watching])
    finally:
        meter.stop()
    data = meter.get_data()
    lines: dict[str, Lines] = {name: {} for name in watching.seconds}
    for file in data.measured_files():
        path = Path(file)
        short, owners = path.relative_to(ROOT).as_posix(), _owners(path)
        for line, contexts in data.contexts_by_lineno(file).items():
            function, begin = owners.get(line, ("", 0))
            for name in contexts:
                if name in lines:
                    lines[name].setdefault(short, {}).setdefault(function, []).append(line - begin)
    return [
        {"name": name, "seconds": round(seconds, 3), "lines": lines[name]}
        for name, seconds in watching.seconds.items()
        if name in watching.passed
    ]


def _owners(path: Path) -> dict[int, tuple[str, int]]:
    """The innermost function of each line, and where it begins."""
    inside = sorted(spans(path).items(), key=lambda item: (item[1][0], -item[1][1]))
    return {line: (name, first) for name, (first, last) in inside for line in range(first, last + 1)}


class _Watching:
    """Chooses the tests, tells the meter which is running, and notes which pass."""

    def __init__(self, meter: Any, functions: set[str], named: set[str]) -> None:
        self.meter, self.functions, self.named = meter, functions, named
        self.seconds: dict[str, float] = {}
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        function = lambda item: Test(item.nodeid, 0.0, {}).function
        drawn = lambda item: function(item) if function(item) in self.named else ""
        items[:] = [item for item in items if drawn(item) in self.functions]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.meter.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)
        elif report.failed:
            self.passed.discard(report.nodeid)

    def pytest_runtest_logfinish(self) -> None:
        self.meter.switch_context("")

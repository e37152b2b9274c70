"""Which test runs which lines, measured: each module of tests runs once under coverage.py; ``out`` keeps what it saw.

A compiled function runs its lines once, for the first test that calls it; the others find it compiled. So a line is
reached by the tests that ran it, and maybe by the others of their module.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paper_reproduction.writing import put

from . import engine
from .found import PACKAGE, ROOT, Mutant, spans

STORED = ROOT / "out" / "mutants" / "reach"
PATIENCE = 3600.0
"""Seconds a module of tests may take, measured."""
QUIET = ("-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "--assert=plain")

Lines = dict[str, list[int]]


@dataclass(frozen=True)
class Test:
    """One that passes, how long it takes, and the lines of each file that it runs."""

    __test__ = False  # it is not one of pytest's own

    name: str
    seconds: float
    lines: Lines

    @property
    def module(self) -> str:
        return self.name.partition("::")[0]

    def share(self, file: str) -> float:
        """Of the lines that it runs, how many are in this file."""
        return len(self.lines.get(file, ())) / max(sum(map(len, self.lines.values())), 1)


@dataclass(frozen=True)
class Reach:
    """The tests that were measured, and where each function stood then: ``spans[file][function]``, two lines."""

    tests: tuple[Test, ...]
    spans: dict[str, dict[str, tuple[int, int]]]

    @cached_property
    def _running(self) -> dict[tuple[str, int], list[Test]]:
        found: dict[tuple[str, int], list[Test]] = {}
        for test in self.tests:
            for file, lines in test.lines.items():
                for line in lines:
                    found.setdefault((file, line), []).append(test)
        return found

    def of(self, mutant: Mutant) -> tuple[list[Test], list[Test]]:
        """The tests that run the line, and the others of the modules that run the function; promising ones first.

        A line that is run at import alone belongs to its function, and outside of any to the whole file. A test is
        promising if it is quick, and if much of what it runs is in this file.
        """
        inside = self._inside(mutant)
        exact = self._of_lines(mutant.file, [inside[0] + mutant.line - inside[1]])
        around = self._of_lines(mutant.file, range(inside[0], inside[2] + 1))
        if not around:
            around = self._of_lines(mutant.file, range(1, 10_000))
        first = exact or around
        modules = {test.module for test in (around if exact else first)}
        rest = [test for test in self.tests if test.module in modules and test not in first]
        promising = lambda test: (test.seconds / max(test.share(mutant.file), 1e-3), test.name)
        return sorted(first, key=promising), sorted(rest, key=promising)

    def _of_lines(self, file: str, lines: Iterable[int]) -> list[Test]:
        found = {test.name: test for line in lines for test in self._running.get((file, line), ())}
        return list(found.values())

    def _inside(self, mutant: Mutant) -> tuple[int, int, int]:
        """Where the innermost function that was there at the measurement began, where it begins now, its last line."""
        now, then = spans(mutant.path), self.spans.get(mutant.file, {})
        name = mutant.function
        while name and (name not in now or name not in then):
            name = name.rpartition(".")[0]
        return (then[name][0], now[name][0], then[name][1]) if name else (1, 1, 0)


def measured(modules: Iterable[Path], say: Callable[[str], None], stored: Path = STORED) -> Reach:
    """The reach of these modules of tests; what was measured of the same module before is read."""
    tests: list[Test] = []
    places: dict[str, dict[str, tuple[int, int]]] = {}
    for path in modules:
        name = path.relative_to(ROOT).as_posix()
        kept = stored / (name.replace("/", "--") + ".json")
        mark = hashlib.sha256(path.read_bytes()).hexdigest()
        if not kept.exists() or json.loads(kept.read_text(encoding="utf-8"))["mark"] != mark:
            began = time.monotonic()
            answer = engine.called(None, _run, name, limit=PATIENCE)
            if answer.value is None:
                say(f"{name}: cannot be measured: {answer.error or 'takes too long'}\n{answer.said[-2000:]}")
                continue
            put(kept, json.dumps(answer.value | {"mark": mark}).encode())
            say(f"{name}: {len(answer.value['tests'])} tests measured, {time.monotonic() - began:.0f} s")
        content = json.loads(kept.read_text(encoding="utf-8"))
        tests += [Test(**test) for test in content["tests"]]
        for file, functions in content["spans"].items():
            places.setdefault(file, functions)
    return Reach(tuple(tests), places)


def _run(module: str) -> dict[str, Any]:
    """One module of tests, in this process: what each runs, and where the functions stand."""
    import coverage
    import pytest

    meter = coverage.Coverage(data_file=None, source=[str(PACKAGE)], config_file=False)
    watching = _Watching(meter)
    meter.start()
    try:
        pytest.main([*QUIET, module], plugins=[watching])
    finally:
        meter.stop()
    data = meter.get_data()
    lines: dict[str, Lines] = {name: {} for name in watching.seconds}
    places = {}
    for file in data.measured_files():
        path = Path(file)
        short = path.relative_to(ROOT).as_posix()
        places[short] = spans(path)
        for line, contexts in data.contexts_by_lineno(file).items():
            for name in contexts:
                if name in lines:
                    lines[name].setdefault(short, []).append(line)
    tests = [
        {"name": name, "seconds": round(seconds, 3), "lines": lines[name]}
        for name, seconds in watching.seconds.items()
        if name in watching.passed
    ]
    return {"tests": tests, "spans": places}


class _Watching:
    """Tells the meter which test is running, and notes which pass."""

    def __init__(self, meter: Any) -> None:
        self.meter = meter
        self.seconds: dict[str, float] = {}
        self.passed: set[str] = set()

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

"""One mutant on trial: the tests that run it, the quickest first, until one fails.

Three rounds, each in a process of its own: a few tests that run the changed line, all that do, and whatever else the
modules hold in which a test runs the function. The test that fails is run once more without the mutant, and counts if
it passes then.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from paper_reproduction.writing import put

from . import engine
from .found import PACKAGE, ROOT, Mutant
from .reach import QUIET, Reach, Test

STORED = ROOT / "out" / "mutants" / "trials"
FEW = 12
"""Tests of the first round. Nine of ten mutants get no further."""
LEAST, TIMES = 60.0, 5.0
"""A round may take so many seconds, and so many times as long as its tests took when they were measured."""

MOST = 120.0
"""Of a round no more tests are run than took so many seconds together, unless the caller has more patience."""

SURVIVED, UNREACHED = "survived", "no test runs it"


@dataclass(frozen=True)
class Trial:
    """How it ended: ``by`` which test it was noticed, or else one of ``SURVIVED``, ``UNREACHED``; and how long it took.

    ``mark`` stands for the source of the mutant's file; ``asked`` holds the tests on which the outcome hangs, each with
    the mark of its module.
    """

    name: str
    by: str
    seconds: float
    mark: str
    asked: dict[str, str] = field(default_factory=dict)

    @classmethod
    def kept(cls, file: Path) -> Trial | None:
        """What was kept there, if anything."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None

    @property
    def killed(self) -> bool:
        return self.by not in (SURVIVED, UNREACHED)

    def keep(self, file: Path) -> Trial:
        """This trial, for whoever asks again."""
        put(file, json.dumps(asdict(self)).encode())
        return self


def rounds(mutant: Mutant, reach: Reach, most: float = MOST) -> Iterator[list[Test]]:
    """The tests of each round: the promising ones, and module by module, as each compiles its own functions."""
    exact, rest = reach.of(mutant)
    yield exact[:FEW]
    yield _by_module(exact[FEW:], most)
    yield _by_module(rest, most)


def _by_module(tests: list[Test], most: float) -> list[Test]:
    """The first ones, as far as the time reaches, sorted by the modules as they come."""
    until = accumulate(test.seconds for test in tests)
    chosen = [test for test, seconds in zip(tests, until, strict=True) if seconds <= most]
    place = {module: i for i, module in enumerate(dict.fromkeys(test.module for test in chosen))}
    return sorted(chosen, key=lambda test: place[test.module])


def tried(mutant: Mutant, reach: Reach, most: float = MOST, stored: Path = STORED) -> Trial:
    """The trial of a mutant; of one that was held on the same sources, only with tests that were not asked."""
    file, mark = stored / f"{mutant.name}.json", _mark(mutant.path)
    before = Trial.kept(file)
    if before is None or before.mark != mark:
        before = Trial(mutant.name, UNREACHED, 0.0, mark)
    still = {name: then for name, then in before.asked.items() if then == _mark(_module(name))}
    if before.killed and still == before.asked:
        return before
    passed = set() if before.killed else set(still)
    asked = [[test for test in tests if test.name not in passed] for tests in rounds(mutant, reach, most)]
    if not any(asked) and passed == set(before.asked):
        return before
    by, deciding, seconds = _judged(mutant, asked)
    if by == UNREACHED and passed:
        by = SURVIVED
    if by == SURVIVED:
        deciding += passed
    marks = {name: _mark(_module(name)) for name in sorted(deciding)}
    return Trial(mutant.name, by, round(before.seconds + seconds, 1), mark, marks).keep(file)


def _judged(mutant: Mutant, asked: list[list[Test]]) -> tuple[str, list[str], float]:
    """How it ended, the tests on which that hangs, and how long it took."""
    seconds, by, names = 0.0, UNREACHED, []
    for tests in asked:
        waiting = tests
        while waiting:
            limit = LEAST + TIMES * sum(test.seconds for test in waiting)
            these = [test.name for test in waiting]
            answer = engine.called(mutant, run, these, limit=limit)
            seconds += answer.seconds
            names += these
            if answer.ended:
                return "the time limit", these, seconds
            if answer.crashed:
                return f"a crash: {answer.error}", these, seconds
            if answer.value is None:
                raise RuntimeError(f"the tests did not run: {answer.error}\n{answer.said[-2000:]}")
            by = answer.value
            if by and (by not in these or _passes(by)):
                return by, [by] if by in these else these, seconds
            by = SURVIVED
            waiting = waiting[these.index(answer.value) + 1 :] if answer.value else []
    return by, names, seconds


@cache
def _passes(test: str) -> bool:
    """Whether a test passes without a mutant: the sources may have changed since it was measured."""
    return engine.called(None, run, [test]).value == ""


def run(names: list[str]) -> str:
    """The first of these tests that fails, or what else went wrong; nothing where all pass."""
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(STORED.with_name("hypothesis"))
    import pytest

    chosen = _Chosen(names)
    modules = list(dict.fromkeys(name.partition("::")[0] for name in names))
    code = pytest.main([*QUIET, "-x", *modules], plugins=[chosen])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ""
    if chosen.failed:
        return chosen.failed
    try:
        importlib.import_module(PACKAGE.name)
    except Exception:
        return "the import of the package"
    raise RuntimeError(f"pytest ended with {code!s}, which is no mutant's doing")


class _Chosen:
    """These tests in this order, and the first that fails."""

    def __init__(self, names: list[str]) -> None:
        self.place = {name: i for i, name in enumerate(names)}
        self.failed = ""

    def pytest_collection(self) -> None:
        """That an example fails is enough; Hypothesis need not look for a simpler one, which may take minutes."""
        from hypothesis import Phase, settings

        settings.register_profile("noticed", settings.default, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("noticed")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )

    def pytest_collectreport(self, report: Any) -> None:
        self._note(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._note(report)

    def _note(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _module(test: str) -> Path:
    return ROOT / test.partition("::")[0]


def _mark(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()[:16]

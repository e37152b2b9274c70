"""One mutant on trial: the tests that run it, the quickest first, until one fails.

Three rounds, each in a process of its own: a few tests that run the changed line, all that do, and whatever else the
modules hold in which a test runs the function. A test is taken for one that passes without the mutant because it did
when its reach was measured.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
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

    ``mark`` stands for the sources that decided it: of the mutant's file and of the tests' modules.
    """

    name: str
    by: str
    seconds: float
    mark: str

    @property
    def killed(self) -> bool:
        return self.by not in (SURVIVED, UNREACHED)


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
    """The trial of a mutant; one that was held on the same sources is not held again."""
    kept = stored / f"{mutant.name}.json"
    asked = list(rounds(mutant, reach, most))
    modules = sorted({test.module for tests in asked for test in tests})
    if kept.exists():
        trial = Trial(**json.loads(kept.read_text(encoding="utf-8")))
        if trial.mark == _mark(mutant, _deciding(trial.by, modules)):
            return trial
    by, seconds = _judged(mutant, asked)
    trial = Trial(mutant.name, by, round(seconds, 1), _mark(mutant, _deciding(by, modules)))
    put(kept, json.dumps(asdict(trial)).encode())
    return trial


def _judged(mutant: Mutant, asked: list[list[Test]]) -> tuple[str, float]:
    seconds, by = 0.0, UNREACHED
    for tests in asked:
        if not tests:
            continue
        limit = LEAST + TIMES * sum(test.seconds for test in tests)
        names = [test.name for test in tests]
        answer = engine.called(mutant, run, names, limit=limit)
        seconds += answer.seconds
        if answer.ended:
            return "the time limit", seconds
        if answer.crashed:
            return f"a crash: {answer.error}", seconds
        if answer.value is None:
            raise RuntimeError(f"the tests did not run: {answer.error}\n{answer.said[-2000:]}")
        if answer.value:
            return answer.value, seconds
        by = SURVIVED
    return by, seconds


def run(names: list[str]) -> str:
    """The first of these tests that fails, or what else went wrong; nothing where all pass."""
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(STORED.with_name("hypothesis"))
    import pytest

    chosen = _Chosen(names)
    modules = list(dict.fromkeys(name.partition("::")[0] for name in names))
    code = pytest.main([*QUIET, "-x", *modules], plugins=[chosen])
    if code == pytest.ExitCode.OK:
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


def _deciding(by: str, modules: list[str]) -> list[str]:
    """The modules of tests on which an outcome hangs: that of the test that fails, or all."""
    module = by.partition("::")[0]
    return [module] if module in modules else modules


def _mark(mutant: Mutant, modules: list[str]) -> str:
    text = [mutant.path.read_text(encoding="utf-8")]
    for module in modules:
        path = ROOT / module
        text += [module, path.read_text(encoding="utf-8") if path.exists() else ""]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]

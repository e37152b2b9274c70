"""A pytest plugin (``-p benchmarks.peers.plugin``): a solver put into a peer, and each test's outcome written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .adapters import Solver
from .suites import SUITES

WRONG = 1e-6
"""The relative error of the solver that is wrong on purpose."""

SOLVERS = {"theirs": None, "ours": 0.0, "wrong": WRONG}
"""Whose solver runs, by the error it is given."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("peers")
    group.addoption("--suite", choices=list(SUITES))
    group.addoption("--solver", choices=list(SOLVERS), default="theirs")
    group.addoption("--outcomes", type=Path, help="the file that each test's outcome is written to")
    group.addoption("--modules", default="", help="only tests of these modules, with commas between")


def pytest_configure(config: pytest.Config) -> None:
    np.random.seed(0)  # noqa: NPY002, some of the tests draw from NumPy's global generator
    option: Any = config.getoption
    error = SOLVERS[option("--solver")]
    solver = Solver(error or 0.0)
    if error is not None:
        for replacement in SUITES[option("--suite")].replaced:
            replacement.put_in(solver)
    modules = set(filter(None, option("--modules").split(",")))
    config.pluginmanager.register(Record(solver, option("--outcomes"), modules))


class Record:
    """What became of each test, and how often it called the solver."""

    def __init__(self, solver: Solver, file: Path, modules: set[str]) -> None:
        self.solver = solver
        self.file = file
        self.modules = modules
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.modules:
            items[:] = [item for item in items if _name(item).partition("::")[0] in self.modules]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before = self.solver.calls
        result = yield
        self.tests[_name(item)]["calls"] = self.solver.calls - before
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report: Any = yield
        kept = self.tests.setdefault(_name(item), {"outcome": "passed"})
        if report.failed:
            kept["outcome"] = "failed"
            kept["message"] = _message(report)
        elif report.skipped:
            kept["outcome"] = "expected to fail" if hasattr(report, "wasxfail") else "skipped"
        return report

    def pytest_sessionfinish(self) -> None:
        written = {"calls": self.solver.calls, "tests": self.tests}
        self.file.write_text(json.dumps(written), encoding="utf-8")


def _name(item: pytest.Item) -> str:
    """The module and what follows it: a node's own name leaves out the module, of tests that lie elsewhere."""
    return f"{getattr(item, 'module').__name__}::{item.nodeid.partition('::')[2]}"  # noqa: B009


def _message(report: Any) -> str:
    """The first line of the error that says something."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = [line.strip() for line in (crash.message if crash else str(report.longrepr)).splitlines()]
    return " ".join(line for line in lines if line)[:300]

"""``python -m pytest benchmarks`` measures everything and writes the table and the picture.

``--quick`` measures at small sizes, into ``out/benchmarks``. What is written is whole or nothing: a run in
which a benchmark failed, or was left out, changes no file.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from .goals import FULL, QUICK, Sizes, goals
from .race import Products, Race, Spread, processor
from .report import PICTURE, RESULTS, store, write

VERSIONS = ("numpy", "scipy", "jax", "scikit-learn", "statsmodels", "lineax")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="benchmarks at small sizes, into out/benchmarks")


class Results:
    """What the benchmarks of this session have measured, in the shape of ``table.json``."""

    def __init__(self, sizes: Sizes, quick: bool) -> None:
        self.goals = goals(sizes)
        self.measured: dict[str, Any] = {}
        self.rates: list[float] = []
        self.parts: dict[str, Any] = {"quick": quick, "sizes": asdict(sizes)}

    def goal(self, name: str, values: Any, **beside: Any) -> None:
        """The values of a goal, one a round; ``multiple`` (of the limit, ``per`` what) and ``seconds`` beside."""
        spread = {key: value if isinstance(value, str) else Spread.of(value) for key, value in beside.items()}
        self.measured[name] = {"goal": self.goals[name], "measured": Spread.of(values), **spread}

    def race(self, race: Race) -> None:
        """Its looks at the limit belong to the machine's."""
        self.rates.extend(race.rates)

    def whole(self, products: Products) -> dict[str, Any] | None:
        """Everything, or None where something is missing."""
        present = {
            "packages",
            "memory",
            "ridge",
            "sweep",
        } <= self.parts.keys() and not self.goals.keys() - self.measured
        if not present:
            return None
        machine = {
            "processor": processor(),
            "cores": products.count,
            "side": products.side,
            "rate": Spread.of(self.rates),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in VERSIONS},
        }
        return self.parts | {"machine": machine, "goals": {name: self.measured[name] for name in self.goals}}


RESULTS_KEY = pytest.StashKey[tuple[Results, Products]]()


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return QUICK if request.config.getoption("--quick") else FULL


@pytest.fixture(scope="session")
def products() -> Products:
    return Products()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, sizes: Sizes, products: Products) -> Results:
    found = Results(sizes, bool(request.config.getoption("--quick")))
    request.config.stash[RESULTS_KEY] = found, products
    return found


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    stored = config.stash.get(RESULTS_KEY, None)
    whole = None if stored is None or exitstatus else stored[0].whole(stored[1])
    if whole is None:
        terminalreporter.write_line("benchmarks: incomplete, so no table was written")
        return
    folder, picture = RESULTS, PICTURE
    if whole["quick"]:
        folder = Path("out/benchmarks")
        picture = folder / "benchmarks.png"
    folder.mkdir(parents=True, exist_ok=True)
    store(whole, folder / "table.json")
    terminalreporter.write_line(write(folder, picture))
    terminalreporter.write_line(f"written: {folder}/table.json, {folder}/table.md, {picture}")

"""One benchmark a goal. Every answer is checked before its time counts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

import linear_theory as lt

from . import works
from .by_hand import BY_HAND, by_hand
from .conftest import Results
from .goals import Sizes
from .memory import STREAM, measure_all
from .packages import OURS, PACKAGES, WITH_RIDGE
from .race import Products, Race, Spread, one_core
from .report import MIB
from .works import AGREE, Rows, relative_error

N_D2, PRODUCT = "n·d²", "product"


@pytest.fixture(scope="module")
def rows(sizes: Sizes) -> Rows:
    return works.rows(*sizes.solve)


def agree(race: Race, given: Rows) -> None:
    """All answers of the race are the leader's."""
    for name, theta in race.answers.items():
        error = relative_error(theta, race.answers[race.leader], given.start)
        assert error <= AGREE, f"{name}: relative difference {error:.2g}"


def flops(given: Rows) -> float:
    """n·d²: half of a product XᵀX, which is symmetric, multiplications and additions counted."""
    n, d = given.X.shape
    return float(n) * d**2


def compared(race: Race, given: Rows, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Of each of these packages: its time over ours, and over the limit."""
    slower = race.slower()
    return {
        name: {
            "slower": slower[name],
            "multiple": Spread.of(race.multiple(name, flops(given))),
            "seconds": Spread.of(race.seconds[name]),
        }
        for name in names
    }


def test_solve(benchmark, results: Results, products: Products, rows: Rows):
    calls = {name: package(rows) for name, package in PACKAGES.items()}
    race = Race({**calls, BY_HAND: by_hand(rows)}, products, rounds=15)
    agree(race, rows)
    results.race(race.run(benchmark))
    of = lambda name: {
        "multiple": race.multiple(name, flops(rows)),
        "per": N_D2,
        "seconds": race.seconds[name],
    }
    results.goal("solve", race.multiple(OURS, flops(rows)), **of(OURS))
    results.goal("by hand", race.ratio(OURS, BY_HAND), **of(BY_HAND))
    for goal, name in {"LinearRegression": "scikit-learn LinearRegression", "WLS": "statsmodels WLS"}.items():
        results.goal(goal, race.ratio(name, OURS), **of(name))
    results.parts["packages"] = compared(race, rows, PACKAGES)


def test_solve_with_ridge(benchmark, results: Results, products: Products, rows: Rows):
    pulled = rows._replace(ridge=0.1)
    race = Race({name: PACKAGES[name](pulled) for name in WITH_RIDGE}, products, rounds=7, patience=5.0)
    agree(race, pulled)
    results.race(race.run(benchmark))
    results.parts["ridge"] = compared(race, pulled, WITH_RIDGE)


def test_memory(results: Results, sizes: Sizes):
    found = dict(zip(PACKAGES, measure_all((name, *sizes.solve) for name in PACKAGES), strict=True))
    results.goal("memory", found[OURS]["resident"] / MIB, traced=found[OURS]["traced"] / MIB)
    results.parts["memory"] = found


def test_temperatures(benchmark, results: Results, products: Products, sizes: Sizes, rows: Rows):
    taus = {f"{count} temperatures": works.two_decades(rows, count) for count in sizes.temperatures}
    call = lambda some: lambda: works.temperatures(some)(rows)
    calls = {"solve": lambda: works.solve(rows), **{name: call(some) for name, some in taus.items()}}
    race = Race(calls, products, rounds=7, patience=15.0)
    for name, some in taus.items():
        works.check_temperatures(rows, some, race.answers[name])
    results.race(race.run(benchmark))
    for name in taus:
        multiple = race.multiple(name, flops(rows))
        seconds = race.seconds[name]
        results.goal(name, race.ratio(name, "solve"), multiple=multiple, per=N_D2, seconds=seconds)


def test_gradient_path(benchmark, results: Results, products: Products, sizes: Sizes):
    given = works.rows(*sizes.path, spread=1.5)  # ill-conditioned enough to take 10⁴ steps and more
    steps = works.chosen_steps(sizes.steps, sizes.chosen)
    calls = {"path": lambda: works.path(steps)(given), "solve": lambda: works.solve(given)}
    race = Race(calls, products, rounds=15)
    works.check_path(given, steps, race.answers["path"])
    results.race(race.run(benchmark))
    multiple = race.multiple("path", flops(given))
    seconds = race.seconds["path"]
    results.goal("path", race.ratio("path", "solve"), multiple=multiple, per=N_D2, seconds=seconds)


def test_stream(benchmark, results: Results, products: Products, sizes: Sizes):
    start, parts = works.chunks(sizes.chunk, sizes.width)
    held = works.rows(sizes.held, sizes.width)
    in_memory = lambda: lt.NormalEquations.of(held.X, held.y, held.start, held.weights)
    calls = {"streamed": lambda: works.streamed(start, parts, sizes.streamed), "in memory": in_memory}
    race = Race(calls, products, rounds=7, patience=25.0)
    works.check_stream(start, parts, sizes.streamed, race.answers["streamed"])
    results.race(race.run(benchmark))
    share = 100 * race.ratio("in memory", "streamed") * sizes.streamed / sizes.held
    multiple = race.multiple("streamed", float(sizes.streamed) * sizes.width**2)
    results.goal("stream", share, multiple=multiple, per=N_D2, seconds=race.seconds["streamed"])


def test_stream_memory(results: Results, sizes: Sizes):
    tenth, whole = measure_all(
        (STREAM, n, sizes.width, sizes.chunk) for n in (sizes.streamed // 10, sizes.streamed)
    )
    growth = {key: (whole[key] - tenth[key]) / MIB for key in whole}
    peak = whole["resident"] / MIB
    results.goal("stream memory", growth["resident"], traced=growth["traced"], peak=peak)


def test_iterate(benchmark, results: Results, products: Products, sizes: Sizes):
    problem = {size: lt.paper_problem(works.RHO, dim=size) for size in (sizes.dim, 4 * sizes.dim)}
    call = lambda size, power: lambda: works.iterate(power)(problem[size])
    calls = {
        "whole": call(sizes.dim, sizes.power),
        "few steps": call(sizes.dim, 10),
        "wide": call(4 * sizes.dim, sizes.power),
    }
    race = Race(calls, products, rounds=21, repeats=1)
    for name, power in {"whole": sizes.power, "few steps": 10, "wide": sizes.power}.items():
        works.check_iterate(power, race.answers[name])
    results.race(race.run(benchmark))
    multiple = race.multiple("whole", products.flops)
    milliseconds = 1e3 * np.array(race.seconds["whole"])
    results.goal("iterate", milliseconds, multiple=multiple, per=PRODUCT, seconds=race.seconds["whole"])
    results.goal("iterate in K", race.ratio("whole", "few steps"))
    results.goal("iterate in d", np.log(race.ratio("wide", "whole")) / math.log(4))


def test_cells(benchmark, results: Results, products: Products, sizes: Sizes):
    given = works.cells(sizes.cells)

    def alone():
        with one_core():
            return works.closed_forms(given)

    race = Race({"cells": alone}, products, rounds=15, repeats=1)
    works.check_cells(given, race.answers["cells"])
    results.race(race.run(benchmark))
    seconds = np.array(race.seconds["cells"])
    multiple = race.multiple("cells", products.flops)
    results.goal("cells", 1e3 * seconds, multiple=multiple, per=PRODUCT, seconds=seconds)

"""Time and peak memory of every package against n and against d: what the picture shows."""

from __future__ import annotations

from . import works
from .conftest import Results
from .goals import Sizes
from .memory import measure_all
from .packages import OURS, PACKAGES
from .race import Products, Race, Spread
from .works import AGREE, relative_error


def shapes(sizes: Sizes) -> dict[str, tuple[int, list[tuple[int, int]]]]:
    """By the axis that grows: the other one, and every (n, d)."""
    return {
        "n": (sizes.columns_fixed, [(n, sizes.columns_fixed) for n in sizes.rows]),
        "d": (sizes.rows_fixed, [(sizes.rows_fixed, d) for d in sizes.columns]),
    }


def test_sweep(results: Results, products: Products, sizes: Sizes):
    found = {}
    for axis, (fixed, several) in shapes(sizes).items():
        time = {name: [] for name in PACKAGES}
        for n, d in several:
            given = works.rows(n, d)
            race = Race({name: package(given) for name, package in PACKAGES.items()}, products, 5, 1.0, 1)
            for name, theta in race.answers.items():
                assert relative_error(theta, race.answers[OURS], given.start) <= AGREE, (name, n, d)
            results.race(race.run())
            for name in PACKAGES:
                time[name].append(Spread.of(race.multiple(name, products.flops)))
        jobs = [(name, n, d) for name in PACKAGES for n, d in several]
        memory = dict(zip(jobs, measure_all(jobs), strict=True))
        found[axis] = {
            "fixed": fixed,
            "sizes": [n if axis == "n" else d for n, d in several],
            "time": time,
            "memory": {name: [memory[name, n, d]["resident"] for n, d in several] for name in PACKAGES},
        }
    results.parts["sweep"] = found

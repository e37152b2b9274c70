"""The claim fails where a formula is bent, or an array wrong or missing; the sum over steps is a derivative."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import optimal_temperature as claim
from paper_reproduction.claim import Settings
from tests import kept

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


READ = ("found", "orthogonal", "converged", "least", "search", "walked", "walked_exact")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset, name, spoil):
    assert not claim.verdict(dataset.assign({name: dataset[name] * spoil})).holds


@pytest.mark.parametrize("name", ["slope", "one_step", "end"])
@pytest.mark.parametrize("off", [1e-6, np.nan])
def test_it_fails_where_what_should_vanish_does_not(dataset, name, off):
    assert not claim.verdict(dataset.assign({name: dataset[name] + off})).holds


def test_it_fails_where_the_package_takes_the_second_minimum_or_the_median(monkeypatch):
    right = lt.best_temperature

    def second(problem, steps=None):
        found = right(problem, steps)
        if np.isnan(found.minima[1]):
            return found
        return dataclasses.replace(found, minima=found.minima[::-1], temperature=found.minima[1])

    monkeypatch.setattr(lt, "best_temperature", second)
    found = claim._printed()
    assert np.nanmax(abs(found.found - found.printed)) > 1

    def median(problem, steps=None):
        tau = lt.population_median_temperature(problem)
        return dataclasses.replace(right(problem, steps), temperature=tau)

    monkeypatch.setattr(lt, "best_temperature", median)
    assert not claim.verdict(claim.compute(QUICK)).holds


@given(st.floats(0.01, 100), st.integers(1, 30), st.floats(0, 2))
def test_the_sum_over_steps_is_the_derivative(tau, steps, noise):
    new = np.array([[1.0, 0.5, 0.1], [0.5, 1.2, 0.0], [0.1, 0.0, 0.7]])
    literal = claim.Literal(np.array([1.0, -0.5, 0.3]), np.diag([3.0, 1.0, 2.0]), new, noise)
    h = 1e-4
    up, down = (float(literal.error(tau * np.exp(sign * h), steps)[0]) for sign in (1, -1))
    slope, size = literal.slope(tau, steps)
    assert abs((up - down) / (2 * h) - slope) <= 1e-6 * (size + 1)


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.05, 5))
def test_the_median_is_best_to_convergence_where_the_page_says(A, B, v):
    """c₀(1 + v/σ²) = 2B/A, v = B‖e‖²."""
    c0 = 0.454936423119572
    if 0.53 * c0 > B / A:
        return
    noise = v / (2 * B / A / c0 - 1)
    e = np.sqrt(v / B)
    problem = lt.FineTuningProblem([e], [0.0], np.array([[B]]), np.array([[A]]), noise)
    assert np.isclose(
        lt.best_temperature(problem).temperature, lt.population_median_temperature(problem), rtol=1e-9
    )

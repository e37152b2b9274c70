"""The claim sees wrong formulas, weights of other rows, and missing numbers; its derivation holds."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import label_noise as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@functools.cache
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("moved", "error", "exact", "left", "path", "shrunk", "round_v", "round_sampled")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(array: str, spoil: float) -> None:
    if (array, spoil) == ("error", 1.1):
        spoil = 0.1  # errors a tenth too large reject nothing
    assert failures(dataset().assign({array: dataset()[array] * spoil}))


@pytest.mark.parametrize("function", ["fixed_point", "iterate"])
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(lt, function)
    monkeypatch.setattr(lt, function, lambda *args, **more: right(*args, **more) * (1 + 1e-6))
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean", "square root"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    broken = failures(claim.compute(Settings(quick=True)))
    assert any("five laws" in name for name in broken)
    assert any("rounds leave" in name for name in broken)


@given(SEEDS, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_the_tilted_noise_has_the_mean_that_is_said(seed: int, tau: float, noise: float) -> None:
    """By quadrature over the noise, given x."""
    p = np.random.default_rng(seed).normal()
    xi = np.sqrt(noise) * np.linspace(-12, 12, 4001)
    tilted = np.exp(-((xi - p) ** 2) / tau - xi**2 / (2 * noise))
    problem = lt.FineTuningProblem([1.0], [0.0], [[1.0]], noise_variance=noise)
    kept = 1 - lt.displacement(problem, tau)
    assert tilted @ xi / tilted.sum() == pytest.approx(kept * p, abs=1e-6 * (1 + abs(p)))


@given(st.floats(1e-100, 100.0), st.floats(0.01, 10.0))
def test_a_round_at_the_median_leaves_at_most_a_fixed_share(v: float, noise: float) -> None:
    problem = lt.FineTuningProblem([v**0.5], [0.0], [[1.0]], noise_variance=noise)
    left = lt.fixed_point(problem, lt.population_median_temperature(problem))[0] ** 2
    assert left <= v * (2 / (claim.COLD + 2)) ** 2 * (1 + 1e-12)

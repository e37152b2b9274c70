"""The claim sees a wrong formula, shuffled weights, weights that say nothing, and missing numbers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from scipy import stats

import linear_theory as lt
from linear_theory.testing.tolerances import near
from paper_reproduction.beyond import hard_samples as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.laws import condition, problems
from tests.strategies import SEEDS, log_uniform


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


@pytest.mark.parametrize("array", ["closed", "integrals", "place_error", "sampled", "fading"])
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


@pytest.mark.parametrize("function", ["hard_sample_error", "target_error"])
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(lt, function)
    monkeypatch.setattr(lt, function, lambda *args: right(*args) * (1 + 1e-9))
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    assert any("trained on rows" in name for name in failures(claim.compute(Settings(quick=True))))


@given(problems(), SEEDS, log_uniform(1e-3, 1.0))
def test_the_excess_is_the_share_of_the_error_along_the_shift(problem, seed: int, q: float) -> None:
    theta = np.random.default_rng(seed).normal(size=problem.dim)
    u, image = theta - problem.target, problem.target_covariance @ problem.shift
    m = 1 + 2 * stats.norm.isf(q / 2) * stats.norm.pdf(stats.norm.isf(q / 2)) / q
    mean = float(u @ problem.target_covariance @ u)
    want = mean + (m - 1) * (u @ image) ** 2 / float(problem.residual_variance)
    assert near(lt.hard_sample_error(problem, theta, q), want, 1e4 * condition(problem), m * mean + want)


@given(problems(), log_uniform(1e-3, 1.0))
def test_a_model_average_pays_the_whole_factor(problem, q: float) -> None:
    """Its error is all along the shift, of which the rank sees v/s²."""
    theta = lt.model_average(problem, 0.3)
    m = float(lt.hard_sample_error(lt.paper_problem(0.0), [1.0, 0.0], q))
    v, s2 = float(problem.shift_variance), float(problem.residual_variance)
    want = (1 + (m - 1) * v / s2) * float(lt.target_error(problem, theta))
    assert near(lt.hard_sample_error(problem, theta, q), want, 1e4 * condition(problem), want)

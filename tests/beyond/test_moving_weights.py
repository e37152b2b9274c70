"""The claim sees a wrong clock, static and shuffled weights and missing numbers; the gradient holds in general."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given

import linear_theory as lt
from linear_theory.tilting import ResidualTilt
from paper_reproduction.beyond import moving_weights as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.laws import problems
from tests.strategies import log_uniform


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("field", "closed", "solved", "clocked", "solved_away", "rows", "rows_exact")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    wrong = 1e9 if array == "solved_away" and spoil == 1.1 else spoil  # a distance of rounding error
    assert failures(dataset.assign({array: dataset[array] * wrong}))


def test_it_fails_where_a_moment_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.residual_tilt

    def off(rule, variance):
        found = right(rule, variance)
        return ResidualTilt(found.mass, found.ratio * (1 + 1e-9), found.deficit)

    monkeypatch.setattr(lt, "residual_tilt", off)
    assert failures(claim.compute(Settings(quick=True)))


def test_it_fails_where_standard_flow_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.gradient_flow
    monkeypatch.setattr(lt, "gradient_flow", lambda *args: right(*args) * (1 + 1e-6))
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    assert any("sampled rows" in name for name in failures(claim.compute(Settings(quick=True))))


@given(problems(), log_uniform(0.1, 10))
def test_weights_at_the_new_start_pull_along_the_standard_gradient(problem, warmth: float) -> None:
    """At θ = θ* moving and static weights are the same: Σ'κe = μ³ Σ̃e, also under noise, in every dimension."""
    tau = warmth * problem.residual_variance
    pull = lt.weighted_covariance(problem, tau) @ problem.shift * lt.displacement(problem, tau)
    tilt = lt.residual_tilt(tau, problem.residual_variance)
    want = tilt.mass * tilt.ratio * problem.target_covariance @ problem.shift
    assert math.isclose(
        float(tilt.mass * tilt.ratio), float(lt.weight_mass(problem, tau)) ** 3, rel_tol=1e-12
    )
    size = np.linalg.norm(problem.target_covariance, 2) * np.linalg.norm(problem.shift)
    assert np.abs(pull - want).max() <= 1e-12 * size

"""The claim sees a wrong formula, shuffled weights and missing numbers; its derivation holds for random problems."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.stalling import Stall
from paper_reproduction.beyond import precision as claim
from paper_reproduction.beyond._covariances import drawn
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("found", "bounds", "eigenvalue", "half", "half_life", "raw_half_life", "digits", "sampled", "exact")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


def scaled(function):
    """Its result off by one part in a million."""

    def off(*args, **kwargs):
        found = function(*args, **kwargs)
        if isinstance(found, Stall):
            return Stall(
                **{
                    name: value if name == "direction" else value * (1 + 1e-6)
                    for name, value in vars(found).items()
                }
            )
        return found * (1 + 1e-6)

    return off  # fmt: skip


@pytest.mark.parametrize("function", ["stall", "weighted_covariance", "gradient_flow", "fixed_point"])
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lt, function, scaled(getattr(lt, function)))
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    broken = failures(claim.compute(Settings(quick=True)))
    assert any("sampled rows" in name for name in broken)


@given(SEEDS)
def test_weights_add_to_the_precision(seed: int) -> None:
    """As a product, where nothing is divided by what may be small."""
    problem, tau = drawn(np.random.default_rng(seed))
    e, T = problem.shift, tau + 2 * float(problem.noise_variance)
    second = lt.weighted_covariance(problem, tau) / lt.weight_mass(problem, tau)
    precision = np.linalg.inv(problem.target_covariance) + 2 / T * np.outer(e, e)
    unit = problem.dim * np.linalg.norm(second, 2) * np.linalg.norm(precision, 2)
    assert np.abs(second @ precision - np.eye(problem.dim)).max() <= 8 * np.finfo(float).eps * unit


@given(SEEDS, st.floats(0.01, 10.0))
def test_noise_bounds_how_much_the_weights_slow_the_slowest_direction(seed: int, noise: float) -> None:
    problem, tau = drawn(np.random.default_rng(seed))
    noisy = lt.FineTuningProblem(
        problem.pretrained, problem.target, problem.target_covariance, noise_variance=noise
    )
    slowest = np.linalg.eigvalsh(noisy.target_covariance)[0]
    assert slowest / lt.stall(noisy, tau).rate <= (1 + float(noisy.shift_variance) / noise) * (1 + 1e-9)

"""The claim sees wrong formulas, weights that do not belong to their rows, and missing numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import _second_moment
from paper_reproduction.beyond import one_pass_sgd as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("exact", "entries", "sampled", "large", "large_numbers", "large_limit", "radius")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


@pytest.mark.parametrize("array", ["cross", "wrong", "mean_path", "shuffled", "after", "radius_forgotten"])
def test_it_fails_where_what_should_differ_is_missing(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * np.nan}))


def test_it_fails_where_the_wrong_formulas_are_right(dataset: xr.Dataset) -> None:
    right = dataset.exact.sel(step=dataset.few)
    same = dataset.assign(
        cross=dataset.entries,
        wrong=dataset.wrong * 0 + dataset.entries,
        mean_path=dataset.exact,
        shuffled=right.sel(training="FLOW"),
        radius_forgotten=dataset.radius.isel(side=1),
        large_wrong=dataset.large_numbers,
    )
    assert len(failures(same)) == 6


def scaled(function):
    """Its result off by one part in a million."""
    return lambda *args, **kwargs: tuple(np.asarray(one) * (1 + 1e-6) for one in function(*args, **kwargs))


def test_it_fails_where_the_errors_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lt, "sgd_errors", scaled(lt.sgd_errors))
    assert len(failures(claim.compute(Settings(quick=True)))) >= 2


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_it_fails_where_the_limit_is_off(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.sgd_stability_limit
    monkeypatch.setattr(lt, "sgd_stability_limit", lambda *args: factor * right(*args))
    assert any("by eigenvalues" in name for name in failures(claim.compute(Settings(quick=True))))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    broken = failures(claim.compute(Settings(quick=True)))
    assert any("both errors of sampled runs" in name for name in broken)


@given(SEEDS, st.sampled_from([0.3, 2.0, math.inf]))
def test_the_mean_in_the_second_moment_is_the_exact_path(seed: int, tau: float) -> None:
    """Its last column is −E[θ − θ̃*], without which err₁ would not be what it is."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((3, 3))
    problem = lt.FineTuningProblem(
        rng.standard_normal(3), rng.standard_normal(3), root @ root.T + 0.1 * np.eye(3)
    )
    rate = 0.2 * float(lt.sgd_stability_limit(problem, tau))
    matrix = np.linalg.matrix_power(_second_moment.one_step(problem, tau, rate), 7)
    u = np.append(problem.shift, -1.0)
    column = (matrix @ np.outer(u, u).ravel()).reshape(4, 4)[:3, 3]
    assert np.allclose(problem.target - column, lt.iterate(problem, 7, rate, tau), rtol=0, atol=1e-11)

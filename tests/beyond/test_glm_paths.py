"""The claim sees a wrong formula, weights that are not their rows', and missing numbers; its helpers are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.testing.tolerances import bound
from paper_reproduction.beyond import _glm, _glm_rows
from paper_reproduction.beyond import glm_paths as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = (
    "mass",
    "path",
    "ratio",
    "cold",
    "half",
    "level",
    "exact",
    "mean",
    "sampled_ratio",
    "log_weight",
    "product_mean",
)


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", ["scaled", "missing"])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: str) -> None:
    """Where one route of several is scaled; all of it missing."""
    values = dataset[array].copy(deep=True)
    if spoil == "missing":
        values[...] = np.nan
    elif array in ("mass", "path", "ratio", "log_weight"):
        values[dict.fromkeys(values.dims[1:2], 0)] *= 1.1
    else:
        values[...] *= 1.1
    assert failures(dataset.assign({array: values}))


def by_formulas(dataset: xr.Dataset) -> xr.Dataset:
    """With the paths, the masses and the first ratios computed anew."""
    paths = [claim._path(name) for name in dataset.plane.values]
    ratio = dataset.ratio.copy(deep=True)
    ratio[0] = claim._compared(*_glm_rows.HALF_MARGINS, float(dataset["median"][0]))
    anew = {key: (dataset[key].dims, np.stack([one[key] for one in paths])) for key in ("mass", "path")}
    return dataset.assign(ratio=ratio, **anew)


def by_rows(dataset: xr.Dataset) -> xr.Dataset:
    """With all that is sampled computed anew."""
    rows = [_glm_rows.sampled(QUICK, name) for name in dataset.case.values]
    ratios = [_glm_rows.sampled_ratios(QUICK, tau) for tau in dataset.some.values]
    anew = {key: (dataset[key].dims, np.stack([one[key] for one in rows])) for key in ("mean", "error")}
    return dataset.assign(sampled_ratio=(dataset.sampled_ratio.dims, np.array(ratios)), **anew)


def test_what_is_computed_anew_is_the_same(dataset: xr.Dataset) -> None:
    xr.testing.assert_equal(by_rows(by_formulas(dataset)), dataset)


@pytest.mark.parametrize("function", ["iterate", "mean_weight", "curvature"])
def test_it_fails_where_a_formula_is_off(
    dataset: xr.Dataset, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(lt.experts, function)
    monkeypatch.setattr(lt.experts, function, lambda *how: right(*how) * (1 + 1e-6 * (how[-1] != math.inf)))
    assert failures(by_formulas(dataset))


@pytest.mark.parametrize("wrong", ["shuffled", "mean", "squared"])
def test_it_fails_where_the_weights_are_not_those_of_their_rows(
    dataset: xr.Dataset, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    broken = failures(by_rows(dataset))
    assert any("iterates of sampled rows" in name for name in broken)
    assert any("curvatures on sampled rows" in name for name in broken)


def test_the_median_of_the_loss_is_that_of_a_sample() -> None:
    old, new = np.array([1.5, 0.3]), np.array([0.75, -1.0])
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400_000, 2))
    y = _glm.draw_labels(_glm.LOGISTIC, x @ new, rng)
    loss = _glm.LOGISTIC.loss(x @ old, y)
    share = (loss <= _glm.median_loss(old, new)).mean()
    assert abs(share - 0.5) <= 4 * 0.5 / math.sqrt(len(x))


def test_without_a_shift_of_labels_the_median_margin_is_that_of_one_number() -> None:
    """θ̃* = 0: labels are coins, the margin is symmetric, and the median loss ln 2."""
    assert math.isclose(_glm.median_loss(np.array([2.0, 1.0]), np.zeros(2)), math.log(2), rel_tol=1e-12)


@given(st.floats(-2, 2), st.floats(-1, 1), st.floats(0.4, 5))
def test_the_weight_without_the_factorial_is_its_sum(new: float, old: float, tau: float) -> None:
    closed, summed = _glm.log_weight_without(new, old, tau)
    assert abs(closed - summed) <= bound(400) * (1 + math.exp(new + old / tau))


@given(st.floats(0.05, 5))
def test_across_the_old_model_coins_do_not_know_the_weights(tau: float) -> None:
    """θ̃* ⊥ θ*: the ratio across θ* is exactly 1, for every law of the temperature."""
    problem = _glm_rows.between([1.2, 0.0], [0.0, 0.7])
    of = lambda t: lt.experts.curvature(problem, _glm.LOGISTIC, problem.target, [0.0, 1.0], t)
    assert math.isclose(
        of(tau) / lt.experts.mean_weight(problem, _glm.LOGISTIC, tau), of(math.inf), rel_tol=bound(60)
    )

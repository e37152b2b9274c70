"""The claim sees a wrong end, weights of other rows, and missing numbers; its derivation holds for any law."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

import linear_theory as lt
from linear_theory.testing.tolerances import bound
from paper_reproduction.beyond import _labelled_rows as rows
from paper_reproduction.beyond import product_of_experts as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


@pytest.mark.parametrize("array", ["off", "averaged", "undone", "contrast", "gaussian", "score", "exponents"])
def test_it_fails_on_missing_numbers(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * np.nan}))


@pytest.mark.parametrize("array", ["softness", "exponents"])
def test_it_fails_on_wrong_numbers(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * 1.2}))


@pytest.mark.parametrize("function", ["fixed_point", "undo", "sharpening"])
def test_it_fails_where_a_formula_of_the_experts_is_off(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(lt.experts, function)
    monkeypatch.setattr(lt.experts, function, lambda *how: right(*how) * (1 + 1e-6))
    assert failures(claim.compute(Settings(quick=True)))


def test_it_fails_where_the_temperature_of_squares_is_not_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.fixed_point
    monkeypatch.setattr(lt, "fixed_point", lambda problem, tau: right(problem, 2 * tau))
    assert any("squares" in name for name in failures(claim.compute(Settings(quick=True))))


@pytest.mark.parametrize("wrong", ["shuffled", "mean", "squared"])
def test_it_fails_where_the_weights_are_not_those_of_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    assert any("gradient of sampled rows" in name for name in failures(claim.compute(Settings(quick=True))))


@given(st.integers(2, 5), st.floats(0.1, 20), SEEDS)
def test_the_weighted_loss_is_a_divergence_from_the_product(classes: int, tau: float, seed: int) -> None:
    """E[w·loss] = W·(KL + entropy), for any three laws of the label."""
    new, old, model = log_softmax(np.random.default_rng(seed).normal(size=(3, classes)) * 2, axis=1)
    joint = np.exp(new + old / tau)
    product = np.log(joint / joint.sum())
    kl, entropy = (np.exp(product) * (product - model)).sum(), -(np.exp(product) * product).sum()
    assert abs(-(joint * model).sum() - joint.sum() * (kl + entropy)) <= bound(200) * (1 + abs(model).max())


@given(st.integers(2, 4), SEEDS)
def test_the_fit_has_no_slope_left(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, masses = rng.normal(size=(60, 2)), rng.uniform(0.1, 1, (60, classes))
    theta, bend = rows.fit(x, masses)
    slope = (
        (masses.sum(axis=1)[:, None] * np.exp(rows.log_law(x, theta)) - masses)[:, :-1].T @ x / masses.sum()
    )
    assert abs(slope).max() <= bound(600) * abs(x).max()
    assert np.linalg.eigvalsh(bend)[0] > 0


def test_labels_are_drawn_with_their_probabilities() -> None:
    law = np.log(np.tile([0.2, 0.5, 0.3], (40000, 1)))
    shares = rows.draw_labels(law, np.random.default_rng(0)).mean(axis=0)
    assert abs(shares - [0.2, 0.5, 0.3]).max() <= 4 * 0.5 / 200

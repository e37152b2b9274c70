"""The claim sees wrong weights, a wrong path, shuffled weights and missing numbers; its threshold holds for every ρ."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import checkpoint_averaging as claim
from paper_reproduction.beyond._checkpoints import threshold
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = (
    "exact",
    "digits",
    "point",
    "weight",
    "standard",
    "path",
    "kldro_last",
    "printed_smallest",
    "sum",
    "least",
)


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    spoilt = dataset[array] * spoil
    if array == "exact":  # of one route
        spoilt = xr.where(dataset.route == "package", spoilt, dataset.exact)
    if array == "sum":  # roundings only
        spoilt = spoilt + 100
    if array == "least":
        spoilt = -np.abs(spoilt) - 100
    assert failures(dataset.assign({array: spoilt}))


@pytest.mark.parametrize("function", ["checkpoint_weights", "iterate", "gradient_flow"])
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(lt, function)
    monkeypatch.setattr(lt, function, lambda *args, **kwargs: right(*args, **kwargs) * (1 + 1e-6))
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    assert "FLOW on sampled rows minus the average of their checkpoints, in standard errors" in failures(
        claim.compute(Settings(quick=True))
    )


@given(st.floats(0.1, 0.98), st.integers(3, 30))
def test_the_first_weight_turns_negative_where_the_page_says(rho: float, steps: int) -> None:
    problem, beta = lt.paper_problem(rho), threshold(rho)
    least = lambda one: lt.checkpoint_weights(
        problem, steps, temperature=lt.stall_temperature(one, rho)
    ).min()
    assert 1 < beta < 1 / rho
    assert least(beta - 1e-4 * (beta - 1)) > -1e-15
    assert least(beta + 1e-4 * (1 / rho - beta)) < 0

"""The claim sees wrong predictions, weights that do not flatten, shuffled weights, missing numbers; the floor."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import linear_theory as lt
from paper_reproduction.beyond import high_dimension as claim
from paper_reproduction.beyond._few_rows import (
    averaged,
    cut,
    floor,
    floor_rows,
    in_last_digits,
    printed_digits,
    problem_of,
    sampled,
)
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("sampled", "predicted", "cold", "cut", "flip_sampled", "flip")
ALONE = ("shuffled", "floor", "classical", "digits", "flip_digits", "floor_digits")
"""Of which all at once may be a tenth too large: wrong variants, ratios, and what is far below its bound."""


@pytest.mark.parametrize("array", [*READ, *ALONE])
def test_it_fails_on_missing_numbers(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * np.nan}))


@pytest.mark.parametrize("array", READ)
def test_it_fails_on_wrong_numbers(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * 1.1}))


@pytest.mark.parametrize(("column", "factor"), [(0, 1.1), (3, 1.1), (1, 0.9), (2, 0.05)])
def test_it_fails_where_the_floor_is_off_or_crossed(dataset: xr.Dataset, column: int, factor: float) -> None:
    off = dataset.floor * xr.where(dataset.floor_method == dataset.floor_method[column], factor, 1.0)
    assert failures(dataset.assign(floor=off))


@pytest.mark.parametrize("array", ["digits", "flip_digits", "floor_digits"])
def test_it_fails_on_a_last_digit_that_is_wrong(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] + 1}))


def test_it_fails_where_wrong_formulas_and_shuffled_weights_are_taken_for_right(dataset: xr.Dataset) -> None:
    same = dataset.sampled.sel(ratio=claim.FEW).transpose("draw", ...).values
    assert len(failures(dataset.assign(classical=dataset.predicted))) == 1
    assert len(failures(dataset.assign(shuffled=(dataset.shuffled.dims, same)))) == 1
    assert failures(dataset.assign(predicted=dataset.classical))
    turned = dataset.flip_sampled.isel(stopped=[1, 0]).assign_coords(stopped=dataset.stopped)
    assert len(failures(dataset.assign(flip_sampled=turned))) >= 2


@pytest.mark.parametrize("function", ["optimum", "path"])
def test_it_fails_where_a_formula_is_off(
    dataset: xr.Dataset, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Already by the floor and the digits, which are computed anew."""
    right = getattr(lt.high_dimension, function)

    def wrong(*args, **kwargs):
        found = right(*args, **kwargs)
        off = {"displacement": found.displacement * 1.0001, "variance": found.variance * 1.0001}
        return dataclasses.replace(found, **off)

    monkeypatch.setattr(lt.high_dimension, function, wrong)
    off = {"floor": floor_rows(dataset.floor_ratio.values.tolist()), "digits": printed_digits()}
    assert failures(dataset.assign({name: (dataset[name].dims, values) for name, values in off.items()}))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    dataset: xr.Dataset, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sampled rows, which alone are weighted, and are computed anew."""
    again = lambda ratio: sampled(ratio, dataset.sizes["draw"], QUICK.rng(f"rows {ratio:g}"))
    ratios = dataset.ratio.values.tolist()
    assert np.array_equal(again(ratios[-1]), dataset.sampled.values[-1])
    spoil_weights(monkeypatch, wrong)
    spoilt = dataset.assign(sampled=(dataset.sampled.dims, np.stack([again(ratio) for ratio in ratios])))
    assert any("sampled rows" in name for name in failures(spoilt))


@settings(max_examples=15)
@given(st.floats(0.05, 3.0))
def test_nobody_is_below_the_floor_and_half_a_ridge_is_at_it(ratio: float) -> None:
    """Halving the displacement of the ridge γσ²/v: ¼‖h‖² + ¼‖h‖² + v − κv = v(1 − k/2), as k²v + V = kv."""
    problem, median = problem_of(1000, 0.0, 1.0)
    found = lt.high_dimension.optimum(problem, ratio, ratio)
    kept, squares = float(found.displacement), float(found.pretrain_error)
    assert math.isclose(squares, kept, rel_tol=1e-12)
    assert math.isclose(squares / 2 + 1 - kept, floor(ratio), rel_tol=1e-12)
    for ridge, tau in ((0.1, median), (1.0, 5 * median), (ratio, math.inf), (3.0, 0.3 * median)):
        assert lt.high_dimension.optimum(problem, ratio, ridge, tau).total_error >= floor(ratio) - 1e-12


def test_the_cut_is_a_rule_of_its_own() -> None:
    """κ of τ → 0 is the population's with a hard threshold at which a share γ of the rows is kept."""
    problem, _ = problem_of(1000, 0.0, 1.0)
    for ratio in (0.2, 0.6):
        rule = lt.weights.HardThreshold(2 * special.erfinv(ratio))  # s² = 2
        assert math.isclose(cut(ratio), float(lt.displacement(problem, rule)), rel_tol=1e-12)


def test_averaging_least_squares_is_the_least_of_a_parabola() -> None:
    case = (0.5, 0.25, 0.9, (1.5, 5.0, -1.3), 1.0)
    problem, _ = problem_of(1000, 0.9, 0.25, case[3])
    found = lt.high_dimension.optimum(problem, 0.5)
    omega = np.linspace(0, 1, 1001)
    squares = float(found.total_error) - 1 + 2  # E‖h‖² in Σ and Σ̃, as ⟨Σ̃e, h̄⟩ = −1
    assert math.isclose(averaged(case), (1 - 2 * omega + omega**2 * squares).min(), abs_tol=1e-6)


def test_a_digit_is_counted_as_it_is_printed() -> None:
    assert np.allclose(in_last_digits([8.1034, 0.67514], ["8.10", "0.675"]), [0.34, 0.14])

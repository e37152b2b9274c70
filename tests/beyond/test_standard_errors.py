"""The claim sees wrong errors, wrong weights and missing numbers; its closed form is what integration finds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import inference
from paper_reproduction.beyond import standard_errors as claim
from paper_reproduction.beyond._asymptotic import closed, integrated
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS, log_uniform, random_covariance

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


@pytest.mark.parametrize("array", ["deviation", "error", "closed", "integrated", "digits", "predicted"])
@pytest.mark.parametrize("spoil", [2.0, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


def test_it_fails_where_the_temperature_is_taken_for_known(dataset: xr.Dataset) -> None:
    """The corrected intervals are swapped for the usual ones, and the other way round."""
    swapped = dataset.error.sel(interval=["usual", "corrected", "textbook"]).values
    broken = failures(dataset.assign(error=(dataset.error.dims, swapped)))
    assert any(name.startswith("corrected") for name in broken)
    assert any(name.startswith("usual") for name in broken)


def test_it_fails_where_rows_are_not_left_out(dataset: xr.Dataset) -> None:
    """The two routes are swapped, or one is missing."""
    for wrong in (dataset.left_out.values[:, ::-1], dataset.left_out.values * np.nan):
        broken = failures(dataset.assign(left_out=(dataset.left_out.dims, wrong)))
        assert any("without each row" in name for name in broken)


def test_it_fails_for_the_wrong_target(dataset: xr.Dataset) -> None:
    """θ̃* = 0 in place of θ_∞: no interval holds it along the shift."""
    off = xr.where(dataset.direction == "along", 0.6, 0.0)
    assert any(
        name.startswith("corrected intervals")
        for name in failures(dataset.assign(deviation=dataset.deviation + off))
    )


@pytest.mark.parametrize("function", ["fixed_point", "population_median_temperature"])
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(lt, function)
    monkeypatch.setattr(lt, function, lambda *args: right(*args) * 1.5)
    assert failures(claim.compute(QUICK))


@given(st.integers(1, 5), SEEDS, log_uniform(1e-3, 1e2), st.booleans())
def test_the_closed_form_is_what_integration_finds(dim: int, seed: int, noise: float, median: bool) -> None:
    matrix, e = random_covariance(dim, 10.0, 1.0, seed), np.random.default_rng(seed).standard_normal(dim)
    noise = noise * float(e @ matrix @ e)
    one, other = (route(matrix, e, noise, median) for route in (closed, integrated))
    assert np.abs(one - other).max() <= 1e4 * np.finfo(float).eps * np.abs(one).max()


@given(log_uniform(1e-6, 1e6))
def test_the_usual_interval_never_covers_less_than_eighty_percent(noise: float) -> None:
    """Of an eigenvector, where least is left beside what the median adds."""
    fixed, median = (closed(np.eye(1), np.ones(1), noise, which)[0, 0] for which in (False, True))
    assert 0.80 < claim._coverage(np.array(fixed / median)) <= 0.95 + 1e-12


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong, inference)
    assert any(name.startswith("corrected intervals") for name in failures(claim.compute(QUICK)))

"""The claim sees a wrong way back, wrong weights and missing numbers; both derivations hold for random laws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory import inference
from paper_reproduction.beyond import _laws
from paper_reproduction.beyond import undo as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS, log_uniform

QUICK = Settings(quick=True)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


READ = ("theta", "told", "population", "large_told", "displacement")


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    spoilt = dataset[array] * spoil + (0.1 if array == "theta" else 0.0)
    assert failures(dataset.assign({array: spoilt}))


def test_it_fails_where_rows_are_not_left_out(dataset: xr.Dataset) -> None:
    """The two routes are swapped, or one is missing."""
    for wrong in (dataset.left_out.values[:, ::-1], dataset.left_out.values * np.nan):
        broken = failures(dataset.assign(left_out=(dataset.left_out.dims, wrong)))
        assert any("without each row" in name for name in broken)


def test_it_fails_where_nothing_is_undone(dataset: xr.Dataset) -> None:
    averaged = xr.where(dataset.model == "undone", dataset.theta.sel(model="averaged"), dataset.theta)
    broken = failures(dataset.assign(theta=averaged.transpose(*dataset.theta.dims)))
    assert any("undone model" in name for name in broken)


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_weights_that_do_not_belong_to_their_rows_are_refused(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave so much of the residuals that κ is not told from 0, and no verdict is reached."""
    spoil_weights(monkeypatch, wrong, inference)
    with pytest.raises(lt.InvalidValueError, match="within two standard errors of 0"):
        claim.compute(QUICK)


def test_it_fails_where_the_displacement_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.displacement
    monkeypatch.setattr(lt, "displacement", lambda *args: right(*args) * (1 + 1e-6))
    assert any("displacement" in name for name in failures(claim.compute(QUICK)))


@given(SEEDS, st.booleans(), log_uniform(0.3, 3.0))
def test_one_of_the_two_has_to_be_gaussian(seed: int, gaussian_noise: bool, tau: float) -> None:
    """The other one takes four random values."""
    rng = np.random.default_rng(seed)
    values, chances = rng.standard_normal(4), rng.dirichlet(np.ones(4))
    law = _laws.Law(lambda rng, shape: rng.choice(values, shape, p=chances), lambda: (values, chances))
    pair = (law, _laws.GAUSSIAN) if gaussian_noise else (_laws.GAUSSIAN, law)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim, "LAWS", {"drawn": pair})
        patch.setattr(claim, "TAU", tau)
        along, told, _, _, aside = claim._population("drawn")
    assert abs(along - told) <= 1e-11
    assert aside <= 1e-11

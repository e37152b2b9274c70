"""The claim sees wrong formulas, weights that do not belong to their rows, and missing numbers."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import task_sequences as claim
from paper_reproduction.beyond._two_tasks import by_angles, two_tasks
from paper_reproduction.claim import Settings
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return claim.compute(Settings(quick=True))


failures = failing(claim)


READ = (
    "exact",
    "literal",
    "means",
    "sampled",
    "few_exact",
    "few_sampled",
    "ridge",
    "v",
    "again",
    "memory",
    "digits",
    "wide",
    "wide_sampled",
    "wide_hand",
)


@pytest.mark.parametrize("array", READ)
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(dataset: xr.Dataset, array: str, spoil: float) -> None:
    assert failures(dataset.assign({array: dataset[array] * spoil}))


@pytest.mark.parametrize(
    "array",
    [
        "wrong",
        "few_wrong",
        "cycle_off",
        "cycle_late",
        "cycle_above",
        "cycle",
        "wide_flat",
        "wide_alone",
        "wide_shuffled",
    ],
)
def test_it_fails_where_a_comparison_is_missing(dataset: xr.Dataset, array: str) -> None:
    assert failures(dataset.assign({array: dataset[array] * np.nan}))


def test_it_fails_where_the_wrong_formulas_are_right(dataset: xr.Dataset) -> None:
    same = dataset.assign(wrong=dataset.literal, few_wrong=dataset.few_exact, cycle_late=dataset.cycle_off)
    same = same.assign(wide_flat=dataset.wide_hand, wide_alone=dataset.wide_hand)
    assert len(failures(same)) == 6


FUNCTIONS = ("flow", "harmonic_temperatures", "plain", "ridge", "plain_distance", "sampled", "task_errors")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_fails_where_a_formula_is_off(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(lt.sequences, function)
    far = 1.1 if function == "plain_distance" else 1 + 1e-4
    scaled = lambda *args, **kwargs: jax.tree.map(lambda leaf: far * leaf, right(*args, **kwargs))
    monkeypatch.setattr(lt.sequences, function, scaled)
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    broken = failures(claim.compute(Settings(quick=True)))
    assert sum("sampled rows" in name or "squared distance to each optimum" in name for name in broken) == 3


@given(SEEDS, st.integers(2, 7))
def test_two_tasks_never_forget_more_than_their_angles_allow(seed: int, dim: int) -> None:
    """Rows no longer than 1: the cycle of principal angles is an upper bound, and 1/(2e(k − 1)) one of that."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, dim))
    X, Y = (np.linalg.qr(rng.standard_normal((dim, rank)))[0].T for _ in range(2))
    start = rng.standard_normal(dim)
    start /= np.linalg.norm(start)
    law = by_angles(X, Y, start, 6)
    shorter = two_tasks(0.7 * X, np.diag(rng.uniform(0.3, 1, rank)) @ Y, start, 6)
    assert (shorter <= law + 1e-12).all()
    assert (law[1:] <= 1 / (2 * np.e * np.arange(1, 6)) + 1e-12).all()

"""The claim sees another end, weights that do not belong to their rows, and missing numbers; its derivation holds."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from paper_reproduction.beyond import interpolation as claim
from paper_reproduction.claim import Settings
from tests import kept
from tests.beyond.spoilt import failing, spoil_weights
from tests.strategies import SEEDS


@functools.cache
def dataset() -> xr.Dataset:
    return kept.quick(claim.compute)


failures = failing(claim)


@pytest.mark.parametrize("array", ["end", "descended", "pseudo", "path", "looped"])
@pytest.mark.parametrize("spoil", [1.1, np.nan])
def test_it_fails_on_wrong_or_missing_numbers(array: str, spoil: float) -> None:
    assert failures(dataset().assign({array: dataset()[array] * spoil}))


def test_it_fails_where_the_ends_that_differ_are_said_to_be_one() -> None:
    ds = dataset()
    for name in ("dropped", "pulled"):
        assert len(failures(ds.assign({name: ds.pseudo}))) == 1
    same = ds.more_rows.where(ds.law != "FLOW", ds.more_rows.sel(law="standard"))
    assert len(failures(ds.assign(more_rows=same))) == 1


def test_it_fails_where_a_minimiser_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    right = lt.solve
    off = lambda *args, **more: replace(found := right(*args, **more), theta=found.theta * (1 + 1e-6))
    monkeypatch.setattr(lt, "solve", off)
    assert failures(claim.compute(Settings(quick=True)))


@pytest.mark.parametrize("wrong", ["shuffled", "mean"])
def test_it_fails_where_the_weights_do_not_belong_to_their_rows(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights(monkeypatch, wrong)
    assert any("easy rows" in name for name in failures(claim.compute(Settings(quick=True))))


@given(SEEDS, st.integers(1, 8), st.integers(1, 8), st.floats(0.1, 3.0))
def test_no_positive_weight_moves_the_end(seed: int, n: int, more: int, decades: float) -> None:
    rng = np.random.default_rng(seed)
    X, y, start = rng.normal(size=(n, n + more)), rng.normal(size=n), rng.normal(size=n + more)
    weighted = lt.solve(X, y, start, 10 ** rng.uniform(-decades, 0, n)).theta
    unit = np.finfo(float).eps * np.linalg.cond(X) * (np.linalg.norm(start) + np.linalg.norm(weighted))
    assert np.abs(weighted - start - np.linalg.pinv(X) @ (y - X @ start)).max() <= 100 * unit


@given(SEEDS, st.integers(2, 8))
def test_what_is_unfitted_shrinks_by_the_weighted_kernel(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    X, y, w = rng.normal(size=(n, n + 3)), rng.normal(size=n), rng.uniform(0.1, 1, n)
    rate = 0.1 / np.linalg.norm(X, 2) ** 2
    (theta,) = lt.descend(X, y, np.zeros(n + 3), w, lt.descent.GradientDescent(rate), steps=[7]).theta
    factor = np.eye(n) - 2 * rate / n * (X @ X.T) * w
    left = np.linalg.matrix_power(factor, 7) @ y
    np.testing.assert_allclose(y - X @ theta, left, rtol=0, atol=1e-12 * float(np.linalg.norm(y)))

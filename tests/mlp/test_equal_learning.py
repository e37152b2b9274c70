"""What is kept at equal learning: by hand, by a literal loop, and what never got there."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from paper_reproduction.mlp.equal_learning import at_best_rate, kept
from paper_reproduction.mlp.protocol import PLACES


def along(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, dtype=float), dims="mark")


@pytest.mark.parametrize(
    ("old", "new", "level", "answer"),
    [
        ([1.0, 0.8, 0.4], [0.0, 0.5, 1.0], 0.75, 0.6),  # halfway between the second and the third
        ([1.0, 0.8, 0.4], [0.0, 0.5, 1.0], 0.5, 0.8),  # on an epoch
        ([0.9, 0.1], [0.7, 0.9], 0.6, 0.9),  # before the first
        ([1.0, 0.8, 0.4, 0.9], [0.0, 0.6, 0.2, 0.9], 0.5, 1.0 - 0.2 * 5 / 6),  # the first time, not the last
        ([1.0, 0.5], [0.0, 0.4], 0.5, np.nan),
        ([1.0, np.nan, 0.5], [0.0, 0.2, 0.9], 0.5, np.nan),
    ],
)
def test_by_hand(old, new, level, answer):
    np.testing.assert_allclose(float(kept(along(old), along(new), level)), answer, rtol=1e-15)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8), st.floats(0, 1))
def test_it_lies_on_the_drawn_curve(points, level):
    """A fine walk along the polygon meets the level first where this says."""
    old, new = np.array(points).T
    found = float(kept(along(old), along(new), level))
    walk = np.linspace(0, len(points) - 1, 20_001)
    fine_old, fine_new = (np.interp(walk, np.arange(len(points)), values) for values in (old, new))
    reached = np.flatnonzero(fine_new >= level)
    if not reached.size:
        # A corner may be higher than every point of the walk beside it, by a step's worth at most.
        assert np.isnan(found) or new.max() - fine_new.max() <= 1e-3
        return
    place = reached[0]
    lower, upper = sorted(fine_old[[max(place - 2, 0), min(place + 1, len(walk) - 1)]])
    assert lower - 1e-9 <= found <= upper + 1e-9 or np.any(abs(new - level) < 1e-9)


def curves() -> xr.DataArray:
    """Two runs, three rates, two seeds; at the last rate run a keeps most, but one seed never learns."""
    shape = (2, 3, 2, 2, len(PLACES))
    table = xr.DataArray(
        np.zeros(shape),
        dims=("run", "rate", "seed", "mark", "place"),
        coords={"run": ["a", "b"], "rate": [0.1, 1.0, 10.0], "place": list(PLACES)},
    )
    table.loc[{"place": ["target", "target validation"]}] = xr.DataArray([0.0, 1.0], dims="mark")
    ends = np.array([[0.2, 0.6, 0.9], [0.5, 0.3, 0.1]])
    for place in ("pretrain", "pretrain validation"):
        table.loc[{"place": place}] = xr.DataArray(ends, dims=("run", "rate")) * xr.ones_like(
            table.sel(place=place)
        )
    table[0, 2, 1, :, PLACES.index("target")] = 0.0
    return table


def test_each_run_at_its_own_best_rate():
    found = at_best_rate(curves(), 0.6)
    np.testing.assert_allclose(found.transpose("run", "seed"), [[0.6, 0.6], [0.5, 0.5]])


def test_where_is_told_by_the_mean_over_seeds_and_what_by_each():
    old = xr.DataArray([[1.0, 0.8, 0.0], [0.6, 0.4, 0.0]], dims=("seed", "mark"))
    new = xr.DataArray([[0.0, 0.2, 0.9], [0.0, 0.6, 1.0]], dims=("seed", "mark"))
    np.testing.assert_allclose(kept(old, new, 0.2), [0.9, 0.5], rtol=1e-15)  # halfway to the mean of 0.4


def test_the_rate_is_chosen_on_validation_rows():
    d = curves()
    d.loc[{"run": "b", "place": "pretrain", "rate": 1.0}] = 0.99  # better on test rows alone
    np.testing.assert_allclose(at_best_rate(d, 0.6).sel(run="b"), [0.5, 0.5])


def test_where_no_rate_reaches_the_level():
    assert np.isnan(at_best_rate(curves(), 1.5)).all()


def test_of_bits_the_fewest_are_best():
    """Which are negative accuracies, of any size; a rate that does not reach the level is still no choice."""
    found = at_best_rate(curves() - 5, 0.5 - 5)
    np.testing.assert_allclose(found, at_best_rate(curves(), 0.5) - 5, rtol=1e-14)

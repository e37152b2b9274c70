"""At which rate a method is judged, and the statistics over seeds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from paper_reproduction.claim import Settings
from paper_reproduction.mlp import choice, comparison, statistics
from paper_reproduction.mlp.comparison import EQUAL, PLACES
from tests.tolerances import bound, near


def cell(validation) -> xr.Dataset:
    """A dataset of two runs and two seeds from accuracies (run, rate); the other places say the opposite."""
    values = np.asarray(validation, dtype=float)
    table = np.full((*values.shape, 2, len(PLACES)), 0.5)
    table[..., PLACES.index("target validation")] = values[..., None] + [0.0, 0.002]
    for place in ("pretrain", "target", "pretrain validation"):
        table[..., PLACES.index(place)] = 1 - np.nan_to_num(values)[..., None]
    grid = comparison.RATES[: values.shape[1]]
    coordinates = {"run": ["a", "b"], "rate": grid, "place": list(PLACES)}
    return xr.Dataset({"accuracy": (("run", "rate", "seed", "place"), table)}, coordinates)


def test_own_best_is_the_best_on_validation_rows_of_the_new_task():
    d = cell([[0.2, 0.9, 0.8, 0.1], [0.1, 0.2, 0.3, 0.4]])
    best = choice.own_best(d)
    assert best.values.tolist() == [1, 3]
    assert choice.from_edge(d) == 0
    assert choice.from_edge(d.sel(run=["a"])) == 1
    assert choice.from_edge(cell([[0, 0, 1, 0, 0]] * 2)) == 2
    assert (
        choice.from_edge(d.assign_coords(run=["a", "probe"])) == 1
    )  # no step at all is a choice for the probe


def test_of_rates_as_good_as_the_best_the_smallest_is_taken():
    d = cell([[0.2, 0.899, 0.9, 0.1], [0.1, 0.2, 0.3, 0.4]])
    assert choice.own_best(d).values.tolist() == [2, 3]  # the seeds agree that it is worse
    d.accuracy[0, 1, 0, PLACES.index("target validation")] += 0.001  # now one of two says that it is as good
    assert choice.own_best(d).values.tolist() == [1, 3]
    d.accuracy[0, 1, :, PLACES.index("target validation")] -= 0.1  # and here both that it is much worse
    assert choice.own_best(d).values.tolist() == [2, 3]


def test_own_best_never_takes_a_rate_at_which_a_seed_diverged():
    d = cell([[0.2, 0.9, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4]])
    d.accuracy[0, 1, 1, PLACES.index("target validation")] = np.nan
    assert choice.own_best(d).values.tolist() == [2, 3]
    d.accuracy[1, :, 0] = np.nan  # nothing left to choose: the edge, which the verdicts refuse
    assert choice.from_edge(d) == 0


def test_at_one_rate_or_at_the_best():
    d = cell(np.arange(2 * 14).reshape(2, 14) / 100)
    best = choice.own_best(d)
    nearest = int(np.abs(d.rate.values - EQUAL).argmin())
    assert float(d.rate[nearest]) == pytest.approx(EQUAL, rel=bound())
    xr.testing.assert_identical(choice.at(d.accuracy, "b"), d.accuracy[1, nearest])
    xr.testing.assert_identical(choice.at(d.accuracy, "b", best), d.accuracy[1, 13])
    both = choice.both(d, "a", best)
    assert near(both, d.accuracy[0, 13].sel(place=["pretrain", "target"]).values.mean(axis=-1))
    assert EQUAL in np.round(comparison.rates(Settings(quick=True)), 12)


def test_paired_differences_have_the_error_of_scipy():
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 9))
    other += 2 * one
    mean, spread = statistics.paired(*(xr.DataArray(v, dims="seed") for v in (one, other)))
    test = stats.ttest_rel(one, other)
    assert near(mean, (one - other).mean(), condition=9)
    assert near(spread, mean / test.statistic, condition=9)
    assert near(float(statistics.error(xr.DataArray(one, dims="seed"))), stats.sem(one), condition=9)


def test_statistics_for_people():
    values = xr.DataArray([0.5, 0.7], dims="seed")
    assert statistics.told(values, 2) == "0.60 ± 0.10"
    assert statistics.percent(values) == "60.0 ± 10.0"
    assert statistics.difference(values, values + 0.1) == "−10.0 ± 0.0 points"
    assert statistics.difference(values + 0.1, values) == "+10.0 ± 0.0 points"


def test_a_seed_that_diverged_is_not_averaged_away():
    whole = xr.DataArray([0.5, 0.7, 0.6], dims="seed")
    holed = whole.where(whole < 0.7)
    assert statistics.told(holed) == statistics.percent(holed) == "nan ± nan"
    assert np.isnan(statistics.paired(holed, whole)).all()
    assert np.isnan(statistics.error(holed))

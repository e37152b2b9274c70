"""At which rate a method is judged, and the statistics over seeds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from linear_theory.significance import holm
from linear_theory.testing.tolerances import bound, near
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import choice, comparison, statistics
from paper_reproduction.mlp.comparison import RECIPE
from paper_reproduction.mlp.protocol import PLACES


def cell(validation) -> xr.Dataset:
    """A dataset of two runs and two seeds from accuracies (run, rate); the other places say the opposite."""
    values = np.asarray(validation, dtype=float)
    table = np.full((*values.shape, 2, len(PLACES)), 0.5)
    table[..., PLACES.index("target validation")] = values[..., None] + [0.0, 0.002]
    for place in ("pretrain", "target", "pretrain validation"):
        table[..., PLACES.index(place)] = 1 - np.nan_to_num(values)[..., None]
    grid = RECIPE.rates[: values.shape[1]]
    coordinates = {"run": ["a", "b"], "rate": grid, "place": list(PLACES), "equal_rate": RECIPE.equal}
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
    nearest = int(np.abs(d.rate.values - RECIPE.equal).argmin())
    assert float(d.rate[nearest]) == pytest.approx(RECIPE.equal, rel=bound())
    xr.testing.assert_identical(choice.at(d.accuracy, "b"), d.accuracy[1, nearest])
    xr.testing.assert_identical(choice.at(d.accuracy, "b", best), d.accuracy[1, 13])
    both = choice.both(d, "a", best)
    assert near(both, d.accuracy[0, 13].sel(place=["pretrain", "target"]).values.mean(axis=-1))
    assert RECIPE.equal in np.round(comparison.rates(Settings(quick=True)), 12)


def test_a_rate_chosen_on_both_tasks_sees_the_rows_of_the_old_one():
    d = cell([[0.2, 0.9, 0.8, 0.1], [0.1, 0.2, 0.3, 0.4]])
    d.accuracy[0, :, :, PLACES.index("pretrain validation")] = np.array([[1.0, 0.1, 0.9, 0.0]]).T
    assert choice.own_best(d).values.tolist() == [1, 3]
    assert choice.own_best(d, choice.BOTH).values[0] == 2


def test_the_peak_is_chosen_on_validation_rows_for_all_seeds_at_once():
    table = np.zeros((3, 2, len(PLACES)))  # mark, seed, place
    table[:, :, PLACES.index("target validation")] = [[0.1, 0.1], [0.9, 0.5], [0.5, 0.8]]
    table[:, :, PLACES.index("target")] = [[0.3, 0.3], [0.4, 0.4], [0.9, 0.9]]
    curve = xr.DataArray(table, dims=("mark", "seed", "place"), coords={"place": list(PLACES)})
    assert choice.peak(curve, ["mark"], choice.NEW).sel(place="target").values.tolist() == [0.4, 0.4]
    broken = curve.copy()
    broken[1, 0] = np.nan  # where one seed diverged is no peak
    assert choice.peak(broken, ["mark"], choice.NEW).sel(place="target").values.tolist() == [0.9, 0.9]


def test_the_width_of_a_plateau_does_not_hang_on_where_it_lies():
    rates = 10.0 ** np.arange(-4, 5)
    hat = lambda middle: np.maximum(0.0, 0.9 - 0.04 * np.abs(np.log10(rates) - middle))
    width = lambda values: choice.plateau(accuracies(values, rates))
    # 0.04 a power of ten, 0.02 to spare: half a power on either side.
    for middle in (-1, 0, 2):
        np.testing.assert_allclose(width(hat(middle)), [1.0, 1.0], atol=2 / choice._FINE)
    np.testing.assert_allclose(width(np.full(9, 0.5)), [8.0, 8.0])
    dip = hat(0).copy()
    dip[6] = 0.9  # another hill beyond a valley is not part of it
    np.testing.assert_allclose(width(dip), [1.0, 1.0], atol=2 / choice._FINE)


def accuracies(values, rates) -> xr.DataArray:
    table = np.broadcast_to(np.asarray(values)[:, None, None], (len(rates), 2, 2))
    return xr.DataArray(
        table, dims=("rate", "seed", "place"), coords={"rate": rates, "place": ["pretrain", "target"]}
    )


def test_the_error_of_seeds_that_share_rows():
    """Nadeau and Bengio's correction, (1/J + n_test/n_train) s²: without it the error of a re-split set is small."""
    rng = np.random.default_rng(0)
    values = xr.DataArray(rng.standard_normal(9), dims="seed")
    again = values.assign_coords(overlap=0.4)
    factor = ((1 / 9 + 0.4) / (1 / 9)) ** 0.5
    assert near(float(statistics.error(again)), factor * float(statistics.error(values)), condition=9)
    assert near(float(statistics.error(again - 2 * again)), float(statistics.error(again)), condition=9)


def test_the_correction_is_the_error_of_overlapping_samples():
    """Means of random halves of one set of N: their variance around the truth is what the corrected error says."""
    rng = np.random.default_rng(1)
    N, n, J, worlds = 40, 20, 8, 4000
    share = n / N
    truth, said, plain = [], [], []
    for _ in range(worlds):
        rows = rng.standard_normal(N)
        means = xr.DataArray([rng.permutation(rows)[:n].mean() for _ in range(J)], dims="seed")
        truth.append(float(means.mean()) ** 2)
        said.append(float(statistics.error(means.assign_coords(overlap=share / (1 - share)))) ** 2)
        plain.append(float(statistics.error(means)) ** 2)
    error = np.std(truth) / worlds**0.5
    assert abs(np.mean(said) - np.mean(truth)) <= 4 * error
    assert np.mean(plain) < np.mean(truth) - 40 * error


def test_holm_against_a_literal_walk_and_wrong_rules():
    rng = np.random.default_rng(2)
    for _ in range(200):
        p = rng.uniform(size=rng.integers(1, 9)) ** 4
        refused, level = np.zeros(len(p), bool), 0.05
        for k, place in enumerate(np.argsort(p)):
            if p[place] > level / (len(p) - k):
                break
            refused[place] = True
        np.testing.assert_array_equal(holm(p), refused)
    np.testing.assert_array_equal(
        holm(np.array([0.02, 0.04])), [True, True]
    )  # Bonferroni refuses the first alone
    np.testing.assert_array_equal(
        holm(np.array([0.03, 0.04])), [False, False]
    )  # one by one both would be refused
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.01])), [False, True])


def test_survivors_of_a_family():
    rng = np.random.default_rng(3)
    gap = lambda shift: xr.DataArray(shift + rng.standard_normal(10), dims="seed")
    family = {"large": gap(5.0), "none": gap(0.0), "diverged": gap(5.0).where([False] + 9 * [True])}
    assert statistics.survivors(family) == {"large": True, "none": False, "diverged": False}
    assert near(statistics.apart(gap(0.0)), stats.t.ppf(0.975, 9), condition=10)


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

"""Old rows, prior weights, and the standard errors of what is ahead of what."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.diagnosis.findings import headline
from linear_theory.diagnosis.measured import median
from linear_theory.testing.tolerances import SIGMAS, near
from tests.strategies import SEEDS


def rows(seed, n=40, d=3, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.4 * rng.standard_normal((d, d)))
    return X, X @ (1 + rng.standard_normal(d)) + noise * rng.standard_normal(n), rng.standard_normal(d)


# --------------------------------------------------------------------------------------------- prior weights

NUMBERS = (
    "temperature", "mean_weight", "effective_samples", "covariances", "spectrum", "shift", "weighted_shift",
    "overlap", "half_life", "target_errors", "forgetting",
)  # fmt: skip


def condition(d):
    """Of the normal equations, with weights and without, squared where the optima's errors are squares."""
    return 1e3 * float((d.spectrum[:, -1] / d.spectrum[:, 0]).max()) ** 2


def alike(one, other):
    kappa = condition(other)
    for name in NUMBERS:
        a, b = map(np.nan_to_num, (getattr(one, name), getattr(other, name)))  # a rule has no temperature
        assert near(a, b, kappa, np.max(np.abs(b)) + 1e-300), name
    assert near(one.paths.learning_rates, other.paths.learning_rates, kappa)
    assert near(one.paths.forgetting[:, 1:6], other.paths.forgetting[:, 1:6], kappa, other.forgetting.max())
    for mine, theirs in zip(one.checks, other.checks, strict=True):
        assert mine.verdict == theirs.verdict
        a, b = map(np.nan_to_num, (mine.figure, theirs.figure))
        assert near(a, b, kappa, max(1.0, abs(b))), mine.name
        if np.isfinite(mine.sigmas):
            assert near(mine.sigmas, theirs.sigmas, 1e3 * kappa, 10.0), mine.name


@given(SEEDS, st.integers(5, 40), st.sampled_from([None, 7.0, lt.weights.HardThreshold(30.0)]))
def test_a_row_of_weight_k_is_k_rows(seed, n, rule):
    """Every number, every check, every standard error; weight 0 is a row removed."""
    X, y, start = rows(seed, n)
    counts = np.random.default_rng(seed).integers(0, 4, n)
    counts[:4] = 1
    sigma = np.diag([1.0, 2.0, 3.0])
    weighted = lt.diagnose(X, y, start, rule, sigma, sample_weight=counts.astype(float))
    repeated = lt.diagnose(np.repeat(X, counts, 0), np.repeat(y, counts), start, rule, sigma)
    alike(weighted, repeated)
    one, other = weighted._comparison, repeated._comparison
    for a, b in ((one.flow, one.early), (one.average, one.start)):
        mine, theirs = one.gain(a, b), other.gain(*(getattr(other, name) for name in _names(one, a, b)))
        assert near(mine.share, theirs.share, condition(repeated), 1.0)
        if mine.error < np.inf:
            assert near(mine.error, theirs.error, 100 * condition(repeated), 1.0)


def _names(contested, *ones):
    return [
        next(name for name in ("flow", "early", "average", "start") if getattr(contested, name) is one)
        for one in ones
    ]


@pytest.mark.parametrize("count", [2, 3, 20])
def test_old_rows_given_twice_are_no_new_ones_but_for_the_mean_that_they_share(count):
    """The same Σ; what m of them add to a variance is S/(m(m − 1)), what the 2m add S/(m(2m − 1))."""
    X, y, start = rows(5)
    old = np.random.default_rng(count).standard_normal((count, 3))

    def variance(**known):
        comparison = lt.diagnose(X, y, start, **known)._comparison
        return comparison.gain(comparison.average, comparison.early).error ** 2

    new = variance(pretrain_covariance=old.T @ old / count)
    once, twice = (variance(pretrain_rows=np.repeat(old, times, 0)) - new for times in (1, 2))
    assert once > 1e-6 * new
    assert near(twice / once, (count - 1) / (2 * count - 1), 1e8)


@given(SEEDS, st.sampled_from([0.1, 3.0, 1e-200, 1e200]))
def test_only_what_counts_rows_sees_the_size_of_the_weights(seed, factor):
    X, y, start = rows(seed)
    v = np.random.default_rng(seed).uniform(0.1, 2, 40)
    one, other = (lt.diagnose(X, y, start, sample_weight=w) for w in (v, factor * v))
    for name in NUMBERS:
        if name != "effective_samples":
            assert near(getattr(one, name), getattr(other, name), 1e5, np.max(np.abs(getattr(one, name)))), (
                name
            )
    assert not near(one.spectrum, lt.diagnose(X, y, start).spectrum, 1e5)


@given(SEEDS, st.integers(1, 30))
def test_the_median_of_counted_values_is_that_of_copies(seed, n):
    rng = np.random.default_rng(seed)
    values, counts = rng.integers(0, 9, n).astype(float), rng.integers(0, 4, n)
    counts[0] += counts.sum() == 0
    space = namespace()
    for unit in (1.0, 0.1, 1 / 3):
        assert median(space, values, unit * counts) == np.median(np.repeat(values, counts))
    assert median(space, values, np.ones(n)) == np.median(values)


@pytest.mark.parametrize("kind", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("n", [9, 3_001, 20_001, 1_000_001])
@pytest.mark.parametrize("unit", [1.0, 0.1])
def test_the_median_of_many_counted_values_is_in_their_middle(kind, n, unit):
    """Exactly while a row is more than rounding of the sums, and by no more rows than these have digits for then."""
    values = jnp.asarray(np.random.default_rng(n).standard_normal(n) ** 2, kind)
    found = median(namespace(values), values, jnp.full(n, unit, kind))
    rank = np.searchsorted(np.sort(np.asarray(values)), found)
    assert abs(rank - n // 2) <= math.floor(2 * math.log2(n) * n * float(jnp.finfo(kind).eps))


BAD = {
    "negative": (-np.ones(40), "must be finite and ≥ 0"),
    "NaN": (np.full(40, np.nan), "must be finite"),
    "none": (np.zeros(40), "sum that is above 0"),
    "huge": (np.full(40, 1e308), "and finite"),
    "short": (np.ones(39), "one a row of X"),
    "square": (np.ones((40, 1)), "must be a vector"),
}


@pytest.mark.parametrize(("weights", "said"), BAD.values(), ids=BAD.keys())
def test_bad_weights_are_named(weights, said):
    with pytest.raises(lt.InvalidValueError, match=said) as caught:
        lt.diagnose(*rows(1), sample_weight=weights)
    assert caught.value.argument == "sample_weight"


def test_weights_and_old_rows_in_jax():
    X, y, start = rows(3)
    v, old = np.arange(40.0), rows(4)[0]
    inside = jax.jit(lambda X, v, old: lt.diagnose(X, y, start, pretrain_rows=old, sample_weight=v))
    traced, eager = (
        inside(jnp.asarray(X), jnp.asarray(v), jnp.asarray(old)),
        lt.diagnose(X, y, start, pretrain_rows=old, sample_weight=v),
    )
    for name in NUMBERS:
        assert near(getattr(traced, name), getattr(eager, name), 1e5, np.max(np.abs(getattr(eager, name)))), (
            name
        )
    assert traced.report() == eager.report()


def test_a_column_named_like_weights_is_a_feature_and_that_is_said():
    class Frame:
        columns = ("age", "sample_weight")

        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype=dtype)

    X, y, start = rows(1, d=2)
    with pytest.warns(UserWarning, match="'sample_weight' of X is taken for a feature"):
        lt.diagnose(Frame(X), y, start)
    with pytest.warns(UserWarning, match="of pretrain_rows"):
        lt.diagnose(X, y, start, pretrain_rows=Frame(X))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "xarray", "dask.dataframe"])
def test_whatever_names_the_columns(library):
    frames = pytest.importorskip(library)
    X, y, start = rows(1, d=2)
    columns = {"age": X[:, 0], "sample_weight": X[:, 1]}
    if library == "dask.dataframe":
        frame = frames.from_dict(columns, npartitions=1)
    elif library == "pyarrow":
        frame = frames.table(columns)
    elif library == "xarray":
        frame = frames.DataArray(X, dims=["row", "column"], coords={"column": list(columns)})
    else:
        frame = frames.DataFrame(columns)
    for shown in ({"X": frame}, {"X": X, "pretrain_rows": frame}):
        with pytest.warns(UserWarning, match=f"'sample_weight' of {list(shown)[-1]} is taken for a feature"):
            lt.diagnose(y=y, start=start, **shown)


@pytest.mark.parametrize("first", ["X", "start", "column_scale"])
@pytest.mark.parametrize("other", ["pretrain_covariance", "pretrain_rows"])
def test_old_rows_under_other_labels_are_refused_whatever_names_the_parameters(first, other):
    pd = pytest.importorskip("pandas")
    X, y, start = rows(1, d=2)
    given = {"X": X, "start": start, "column_scale": np.ones(2)}
    kinds = {
        "X": lambda labels: pd.DataFrame(X, columns=labels),
        "start": lambda labels: pd.Series(start, index=labels),
        "column_scale": lambda labels: pd.Series(np.ones(2), index=labels),
        "pretrain_covariance": lambda labels: pd.DataFrame(np.diag([1.0, 2.0]), labels, labels),
        "pretrain_rows": lambda labels: pd.DataFrame(X[::-1].copy(), columns=labels),
    }
    given[first] = kinds[first](["a", "b"])
    lt.diagnose(y=y, **given, **{other: kinds[other](["a", "b"])})
    with pytest.raises(lt.InvalidValueError, match=f"other labels than {first}") as caught:
        lt.diagnose(y=y, **given, **{other: kinds[other](["b", "a"])})
    assert caught.value.argument == other


# -------------------------------------------------------------------------------------------------- old rows


def diabetes():
    """scikit-learn's rows, centred in each sex: pre-trained on one, fine-tuned on the other."""
    datasets = pytest.importorskip("sklearn.datasets")
    given = datasets.load_diabetes()
    one = given.data[:, 1] > 0
    X, y = np.delete(given.data, 1, 1), given.target
    for old, new in ((one, ~one), (~one, one)):
        (X_old, y_old), (X_new, y_new) = ((X[k] - X[k].mean(0), y[k] - y[k].mean()) for k in (old, new))
        yield X_old, X_new, y_new, np.linalg.lstsq(X_old, y_old, rcond=None)[0]


def test_without_old_rows_there_is_no_advice_that_old_rows_could_turn_round():
    for old, X, y, start in diabetes():
        without, with_rows = lt.diagnose(X, y, start), lt.diagnose(X, y, start, pretrain_rows=old)
        with_sigma = lt.diagnose(X, y, start, None, old.T @ old / len(old))
        assert headline(without._comparison).startswith("No verdict")
        flat = " ".join(without.report().split())
        assert "do not fine-tune" not in flat
        assert "total" not in flat.split("The weights, on these rows")[0]
        assert near(
            without.forgetting,
            without.target_errors[0] * np.array([0, 0, 1]) + [0, without.forgetting[1], 0],
            1e6,
        )
        assert headline(with_rows._comparison).startswith(("FLOW does not pay", "A tie", "FLOW"))
        assert "No verdict" not in headline(with_sigma._comparison)
        assert near(with_rows.forgetting, with_sigma.forgetting, 1e3)
        assert near(with_rows.forgetting[2], np.mean((old @ with_rows.shift) ** 2), 1e8)


def test_the_units_of_the_parameters_change_no_advice():
    """Forgetting by ‖θ − θ*‖² did: with columns in other units it is another number."""
    X, y, start = rows(5, 200)
    units = np.array([1e-3, 1.0, 1e3])
    old = rows(6, 100)[0]
    for options, scaled in (({}, {}), ({"pretrain_rows": old}, {"pretrain_rows": old * units})):
        one, other = lt.diagnose(X, y, start, **options), lt.diagnose(X * units, y, start / units, **scaled)
        assert near(one.forgetting, other.forgetting, 1e6)
        average = one._comparison.average.total, other._comparison.average.total
        assert near(*average, 1e6)


def test_old_rows_are_checked():
    X, y, start = rows(1)
    for old, said in (
        (np.ones((3, 2)), "must have \\(m, 3\\), m ≥ 1"),
        (np.ones((0, 3)), "must have \\(m, 3\\), m ≥ 1"),
        (np.full((2, 3), np.nan), "must be finite"),
        (np.full((2, 3), 1e200), "squares beyond the largest float"),
        (np.ones(3), "must be a matrix"),
    ):
        with pytest.raises(lt.InvalidValueError, match=said) as caught:
            lt.diagnose(X, y, start, pretrain_rows=old)
        assert caught.value.argument == "pretrain_rows"
    with pytest.raises(lt.InvalidValueError, match="give one of the two"):
        lt.diagnose(X, y, start, None, np.eye(3), pretrain_rows=X)


# ------------------------------------------------------------------------------------------- standard errors


def kinds(d):
    """One candidate of each kind."""
    found = d._comparison
    for weighted in (True, False):
        yield from found.recorded(weighted)
        yield found.small_steps(weighted)
    yield from (*found.tuned, found.average, *found.ends)


@pytest.mark.parametrize("options", ["covariance", "rows", "weights"])
def test_influences_are_derivatives_in_the_weights_of_the_rows(options):
    """By central differences: a little more of one row, the temperature and the share of the way held."""
    X, y, start = rows(7, 14)
    v, old = np.ones(14), rows(8, 6)[0]
    if options == "weights":
        v = np.random.default_rng(0).uniform(0.5, 2, 14)
    extra = {"pretrain_rows": old} if options == "rows" else {"pretrain_covariance": np.diag([1.0, 2.0, 0.5])}
    d = lt.diagnose(X, y, start, 1.3, **extra, sample_weight=v)
    for one in kinds(d):
        influence, _ = one.influence
        assert near(v @ influence, 0.0, 1e4, abs(v * influence).sum())
        slopes = []
        for k in range(14):
            totals = []
            for h in (1e-4, -1e-4):
                other = lt.diagnose(X, y, start, 1.3, **extra, sample_weight=v + h * (np.arange(14) == k))
                totals.append(dataclasses.replace(one, measured=other).total)
            slopes.append((totals[0] - totals[1]) / 2e-4 * v.sum())
        assert abs(np.array(slopes) - influence).max() <= 1e-5 * abs(influence).max(), one.name
        assert abs(np.array(slopes) - 1.02 * influence).max() > 1e-3 * abs(influence).max()


@pytest.fixture(scope="module")
def comparisons():
    """Of 300 samples of 250 rows, and of 150 old rows."""
    rng, found = np.random.default_rng(2), []
    for _ in range(300):
        X, old = rng.standard_normal((250, 2)) * [1.0, 0.6], rng.standard_normal((150, 2)) * [0.7, 1.2]
        y = X @ [1.0, 1.0] + 0.5 * rng.standard_normal(250)
        found.append(lt.diagnose(X, y, np.zeros(2), 1.0, pretrain_rows=old)._comparison)
    return found


@pytest.mark.parametrize("which", ["early", "average", "start"])
def test_standard_errors_are_the_spread_over_samples(comparisons, which):
    """In small steps; twice or half the error would not do."""
    found = []
    for one in comparisons:
        other = one.small_steps(False) if which == "early" else getattr(one, which)
        gain = one.gain(one.small_steps(True), other)
        found.append((gain.share, gain.error))
    shares, errors = np.array(found).T
    ratio = np.sqrt(np.mean(errors**2)) / shares.std(ddof=1)
    allowed = SIGMAS / np.sqrt(2 * 300) + 0.05  # the spread's own error, and what is of higher order in 1/√n
    assert abs(ratio - 1) <= allowed, ratio
    assert min(abs(2 * ratio - 1), abs(ratio / 2 - 1)) > allowed


def test_a_difference_within_noise_is_a_tie():
    """The same population, few rows and many: what is a tie of few is told apart by many."""
    told = {}
    for n in (60, 20_000):
        rng = np.random.default_rng(1)
        X = rng.standard_normal((n, 2)) @ np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]]).T
        y = -X[:, 0] + 0.1 * rng.standard_normal(n)
        told[n] = headline(
            lt.diagnose(X, y, np.zeros(2), None, np.array([[2.0, 0.9], [0.9, 2.0]]))._comparison
        )
    assert "A tie between" in told[60]
    assert "within the noise" in told[60]
    assert "FLOW gains 1." in told[20_000]
    assert "averaging with the start gains as much" in told[20_000]


def test_a_covariance_whose_columns_are_in_another_order_is_refused():
    """Its entries would be those of other columns, also where it is symmetric as it stands."""
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(15).normal(size=(50, 2)), columns=["a", "b"])
    y, ones = X.to_numpy() @ [1.0, 1.0] + np.random.default_rng(16).normal(size=50), [[1.0, 1.0], [1.0, 1.0]]
    for rows, columns in ((["a", "b"], ["b", "a"]), (["b", "a"], ["a", "b"]), (["b", "a"], ["b", "a"])):
        old = pandas.DataFrame(ones, index=rows, columns=columns)
        with pytest.raises(lt.InvalidValueError) as caught:
            lt.diagnose(X, y, np.zeros(2), pretrain_covariance=old)
        assert caught.value.argument == "pretrain_covariance"

"""Every sentence that ``diagnose`` says of rows, few, odd or repeated, is true by a literal route."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given

import linear_theory as lt
from linear_theory.diagnosis import findings as package
from linear_theory.diagnosis import new_rows
from linear_theory.diagnosis.findings import by_how_much, findings
from linear_theory.diagnosis.paths import METHODS, Paths, Point, safe_step
from tests.reference_sentences import Facts, judged
from tests.strategies import SEEDS

CREDIT = (
    "the weights stall",
    "the weights lower",
    "the weights change",
    "so stall",
    "FLOW helps",
    "FLOW gains",
    "has one",
)


def drawn(seed):
    """Few rows: Gaussian, small integers, a column of ones, ones alone; with noise or without, repeated or dropped."""
    rng = np.random.default_rng(seed)
    n, d, kind = int(rng.integers(1, 13)), int(rng.integers(1, 4)), rng.integers(0, 7)
    X = rng.standard_normal((n, d)) if kind < 4 else rng.integers(-2, 3, (n, d)).astype(float)
    if kind == 5:
        X[:, 0] = 1
    if kind == 6:
        X = np.ones((n, d))
    X = 0.3 * X if kind == 3 else X
    y = X @ (3 * rng.standard_normal(d)) + rng.choice([0, 0.1, 1]) * rng.standard_normal(n)
    if rng.random() < 0.2:
        y = np.where(rng.random(n) < 0.5, 1.0, -1.0)  # losses all 1 from a start of 0
    start = np.zeros(d) if rng.random() < 0.5 else rng.standard_normal(d)
    counts = rng.integers(0, 3, n) if rng.random() < 0.3 else np.ones(n, int)
    counts[0] = max(counts[0], 1)
    losses = np.repeat((y - X @ start) ** 2, counts)
    tau = (np.median(losses), np.inf, float(0.3 * losses.mean()))[rng.integers(0, 3)]
    tau = tau if tau > 0 else 1.0
    given = (
        {},
        {"pretrain_covariance": np.diag(rng.uniform(0.1, 2, d))},
        {"pretrain_rows": rng.standard_normal((5, d))},
    )
    options = dict(given[rng.integers(0, 3)])
    return X, y, start, float(tau), options, counts


def facts(X, y, start, tau, options, counts):
    repeated = np.repeat(X, counts, 0), np.repeat(y, counts)
    return Facts(*repeated, start, tau, options.get("pretrain_covariance"), options.get("pretrain_rows"))


def said(X, y, start, tau, options, counts):
    weights = None if (counts == 1).all() else counts.astype(float)
    return findings(
        lt.diagnose(X, y, start, tau, **options, sample_weight=weights)._comparison,
        [f"c{k}" for k in range(len(start))],
    )


def title(X, y, start, tau, options, counts):
    """The first sentence above the picture, if any, and the recorded steps."""
    weights = None if (counts == 1).all() else counts.astype(float)
    d = lt.diagnose(X, y, start, tau, **options, sample_weight=weights)
    return by_how_much(d._comparison), d.paths.steps


def false_title(seed, tell=title):
    """What is wrong with the title above the picture of these rows."""
    sentence, steps = tell(*drawn(seed))
    f = facts(*drawn(seed))
    f.steps = steps
    if sentence:
        return judged(sentence, f)
    # Silent: nothing to learn, or one of the two is best not begun.
    moved = [min(errors) for stops in f.stops for errors in stops]
    silent = f.shift_test[3] > 0.0499 or min(moved) <= 1e-9 * f.best["start"]
    return [] if silent else ["silent"]


@given(SEEDS)
def test_the_title_says_by_how_much(seed):
    assert false_title(seed) == []


best = Paths.best


def in_the_rates_of_standard(paths, method):
    """A wrong variant: beside standard fine-tuning at FLOW's rate, not at the same mean step."""
    return best(paths, METHODS[0] if method == METHODS[2] else method)


def at_the_same_step(paths, method):
    """A wrong variant: the other where FLOW stops."""
    k = int(np.searchsorted(paths.steps, best(paths, METHODS[1]).steps))
    row = METHODS.index(method)
    return Point(float(paths.steps[k]), float(paths.forgetting[row, k]), float(paths.target_errors[row, k]))


@pytest.mark.parametrize("wrong", [in_the_rates_of_standard, at_the_same_step])
def test_the_law_rejects_a_title_of_another_comparison(monkeypatch, wrong):
    monkeypatch.setattr(Paths, "best", wrong)
    assert sum(bool(false_title(seed)) for seed in range(60)) >= 3


def test_titles_of_every_kind_are_met():
    told = " ".join(title(*drawn(seed))[0] for seed in range(200))
    for kind in (
        "Each stopped",
        "With half",
        " less than",
        " more than",
        "times as much as",
        "all rows are equal",
    ):
        assert kind in told, kind


@example(1307)  # a row of weight 1e-19 decides where FLOW ends, and no number of steps gets there
@given(SEEDS)
def test_every_sentence_is_true(seed):
    rows = drawn(seed)
    known = facts(*rows)
    assert [wrong for finding in said(*rows) for wrong in judged(finding, known)] == []


SOME = range(40)


@cache
def known(seed):
    return facts(*drawn(seed))


def lies(tell):
    """How many findings of wrong diagnoses are found false."""
    return sum(bool(judged(finding, known(seed))) for seed in SOME for finding in tell(*drawn(seed)))


def smallest(d, row=1):
    """The direction of the smallest eigenvalue, whatever the step."""
    idle = int((d.spectrum[row] <= 0).sum())
    k = min(idle, len(d.shift) - 1)
    return (
        idle,
        np.linalg.eigh(d.covariances[row])[1][:, k],
        2 * float(safe_step(d.spectrum)) * d.spectrum[row, k],
    )


WRONG = {
    "colder": lambda X, y, start, tau, options, counts: said(X, y, start, tau / 4, options, counts),
    "weights of rows ignored": lambda X, y, start, tau, options, counts: said(
        X, y, start, tau, options, 0 * counts + 1
    ),
    "another Σ": lambda X, y, start, tau, options, counts: said(
        X, y, start, tau, {"pretrain_covariance": np.eye(len(start))} if options else {}, counts
    ),
}


@pytest.mark.parametrize("tell", WRONG.values(), ids=WRONG.keys())
def test_the_law_rejects_what_is_said_of_other_rows(tell):
    assert lies(tell) >= 3


def test_the_law_rejects_the_smallest_eigenvalue(monkeypatch):
    monkeypatch.setattr(package, "slowest", smallest)
    assert lies(said) >= 1


def test_the_law_rejects_credit_to_equal_weights(monkeypatch):
    monkeypatch.setattr(package, "equal_weights", lambda d: False)
    monkeypatch.setattr(package, "SLOWED", 1.1)
    assert lies(said) >= 3


def test_the_law_rejects_rows_predicted_by_what_was_trained_on_them(monkeypatch):
    class Fitted(new_rows.LeftOut):
        def losses(self, runs):
            counts = self.measured.sample_weight
            return (self.measured.rows.residual - self.predictions(runs)) ** 2 @ counts / counts.sum()

        def predictions(self, runs):
            return (runs.f(self.values) * self.moment) @ (self.measured.rows.X @ self.vectors).T

    monkeypatch.setattr(new_rows, "LeftOut", Fitted)
    assert lies(said) >= 3


def test_the_law_rejects_a_noise_variance_of_all_rows(monkeypatch):
    """What the fit has taken of the noise is not given back."""
    fitted = property(
        lambda new: (new.measured.rows.residual + new.measured.rows.X @ new.measured.shift) ** 2
    )
    monkeypatch.setattr(new_rows.NewRows, "_noise", fitted)
    assert lies(said) >= 3


def test_the_law_rejects_the_step_of_all_rows_without_one(monkeypatch):
    monkeypatch.setattr(new_rows.NewRows, "_longer", 1.0)
    assert lies(said) >= 3


@pytest.mark.parametrize("n", [1, 2, 3, 20])
@pytest.mark.parametrize("d", [1, 2])
def test_a_column_of_ones_or_constant_losses_stall_nothing(n, d):
    ones, signs = np.ones((n, d)), np.where(np.arange(n) % 3, 1.0, -1.0)
    for X in (ones, np.random.default_rng(n).standard_normal((n, d))):
        report = " ".join(lt.diagnose(X, signs, np.zeros(d), 1.0, np.eye(d)).report().split())
        assert "The weights of all rows are equal" in report
        assert not any(credit in report for credit in CREDIT), report
    skewed = lt.diagnose(ones, np.arange(n) + 1.0, np.zeros(d), 1.0, np.eye(d)).report()
    assert "stall" not in " ".join(skewed.split("What you gain")[0].split())


def test_the_slowest_direction_is_the_one_that_keeps_most():
    """The rows of a ±1 factorial: the curvature 1.98 keeps 0.98 a step and changes sign, 1 keeps nothing."""
    Z = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)] * 100) * [1, np.sqrt(1.98)]
    d = lt.diagnose(Z, np.where(np.arange(400) % 2, 1.0, -1.0), np.zeros(2))
    want = np.log(2) / -np.log(0.98)
    assert abs(d.half_life - want) < 1e-10 * want
    assert abs(d.stalled_direction[1]) == 1
    report = " ".join(d.report().split())
    assert "halves its error in 34.3 steps under FLOW" in report
    assert "half-life 34.3 steps" in report
    assert "half-life of the slowest, steps 34.3" in report
    assert "the step overshoots it" in report


# ------------------------------------------------------------------------------------------ the columns


def test_data_far_from_centred_are_said_first():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    shifted = X + np.array([0, 10, 0])
    for rows, first in ((X, False), (shifted, True)):
        short = (
            lt.diagnose(rows, rows @ np.ones(3), np.zeros(3))
            .report(100, ["a", "b", "c"])
            .split("In short")[1]
        )
        assert short.split("\n")[2].startswith("- Far from centred: b has mean") == first
    assert "Far from centred" not in lt.diagnose(X[:1], [1.0], np.zeros(3), 1.0).report()
    old = lt.diagnose(X, X @ np.ones(3), np.zeros(3), pretrain_rows=shifted).report(100)
    assert "of its standard deviations in the old rows" in " ".join(old.split())


def test_a_column_that_is_only_rounding_is_named():
    """What centring leaves of a constant 0.1; a column in honest units beside it is asked about, not blamed."""
    rng = np.random.default_rng(0)
    constant = np.full(50, 0.1)
    X = np.column_stack([rng.standard_normal(50), constant - constant.mean()])
    assert np.ptp(X[:, 1]) == 0
    assert X[0, 1] != 0
    told = " ".join(
        lt.diagnose(X, X[:, 0] + rng.standard_normal(50), np.zeros(2)).report(100, ["a", "b"]).split()
    )
    assert (
        "b: no entry is beyond 1e−12 of the largest of the other columns. If that is what centring left"
        in told
    )
    assert "no entry is beyond" not in lt.diagnose(X[:, :1], X[:, 0] + 1, np.zeros(1)).report()


SHAPES = {"no rows": (0, 2), "no columns": (3, 0), "nothing": (0, 0)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_no_rows_or_columns_are_one_error(shape):
    with pytest.raises(lt.InvalidValueError, match="needs at least one row and one column"):
        lt.diagnose(np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[1]))


@pytest.mark.parametrize("n", [1, 2, 30])
def test_features_that_are_all_zero(n):
    report = " ".join(
        lt.diagnose(np.zeros((n, 2)), np.arange(n) + 1.0, np.zeros(2), 1.0, np.eye(2)).report().split()
    )
    assert "Every feature is 0 in every row" in report
    assert "for 0 directions" not in report
    lt.diagnose(np.zeros((n, 2)), np.arange(n) + 1.0, np.zeros(2), 1.0).picture()


@pytest.mark.parametrize(
    ("forgot", "said"),
    [
        (0.5, "50 % less than"),
        (1.5, "1.5 times as much as"),
        (4.0, "4 times as much as"),
        (1.0, "as much as"),
    ],
)
def test_more_is_never_told_as_less(forgot, said, monkeypatch):
    """What FLOW forgets at the end beside what standard fine-tuning does, where it leaves half to learn."""
    monkeypatch.setattr(package, "_nothing_to_learn", lambda m: "")
    ends = SimpleNamespace(
        target_errors=[1.0, 0.5, 0.0], forgetting=[0.0, forgot, 1.0], pretrain_covariance=1
    )
    (sentence,) = package._trained_to_the_end(ends, None)
    assert f"FLOW forgets {package.number(forgot)}, {said} standard fine-tuning (1)" in sentence

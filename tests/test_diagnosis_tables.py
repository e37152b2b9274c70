"""Every table and number of the report is what a reader finds who does by hand what stands beside it."""

from __future__ import annotations

import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

import linear_theory as lt
from linear_theory.diagnosis import comparison as package
from linear_theory.diagnosis import few_rows, findings
from linear_theory.diagnosis.comparison import Comparison, Gain
from linear_theory.diagnosis.new_rows import Lead, NewRows, Predicted
from linear_theory.diagnosis.paths import METHODS
from linear_theory.diagnosis.report import plus_minus
from linear_theory.testing.tolerances import near

COLUMNS = ("dose", "age", "sex")
TEMPERATURE = 0.5


def drawn():
    """Rows, a start, old rows: the weights stall the shift, a direction is flat, a step of ½ diverges."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((60, 3)) * [1.4, 1.0, 0.3]
    y = X @ [-1.0, -0.3, 2.0] + 0.7 * rng.standard_t(4, 60)
    return X, y, np.array([0.3, 0.1, -0.2]), rng.standard_normal((25, 3)) * [0.7, 1.5, 1.0]


X, Y, START, OLD = drawn()
RESIDUAL = Y - X @ START
WEIGHTS = {"standard": np.ones(60), "FLOW": np.exp(-(RESIDUAL**2) / TEMPERATURE), "same": np.ones(60)}
SIGMA = OLD.T @ OLD / 25


@pytest.fixture(scope="module")
def found():
    return lt.diagnose(X, Y, START, TEMPERATURE, pretrain_rows=OLD)


@pytest.fixture(scope="module")
def report(found):
    return found.report(100, COLUMNS)


def value(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def shown(text, want):
    """Whether these are the three digits of a number."""
    return abs(value(text) - want) <= 0.0051 * abs(want) + 1e-12


def section(report, title):
    return re.split(r"\n\n[^\n]+\n─+\n", report.split(f"{title}\n{'─' * len(title)}\n")[1])[0]


def table(report, title):
    """The cells of each line of the first tables of a section, by the line's name."""
    lines = section(report, title).splitlines()
    cells = [re.split(r" {2,}", line) for line in lines]
    return {name: rest for name, *rest in cells if rest}


def flat(report):
    return " ".join(report.split())


def end(weights):
    root = np.sqrt(weights)
    return np.linalg.lstsq(root[:, None] * X, root * RESIDUAL)[0]


def stepped(weights, rate, steps):
    """Steps on the mean of the weighted losses, literally."""
    moved = np.zeros(3)
    for _ in range(round(steps)):
        moved = moved + rate * 2 / 60 * X.T @ (weights * (RESIDUAL - X @ moved))
    return moved


def flowed(weights, rate, steps):
    """Steps too small to be one, so many of a rate times the mean weight."""
    curvature = (X.T * weights) @ X / weights.sum()
    return end(weights) - expm(-2 * rate * steps * curvature) @ end(weights)


def costs(moved):
    forgotten, left = moved @ SIGMA @ moved, np.mean((X @ (moved - end(WEIGHTS["same"]))) ** 2)
    return forgotten, left, forgotten + left


# ---------------------------------------------------------------------------------------- gains and losses


def rates_told(report):
    text = flat(report)
    first = re.search(
        r"Learning rates: standard (\S+) \(.*?; FLOW (\S+) \(.*?; same mean step (\S+) \(", text
    )
    best = re.search(r"where they diverge: standard (\S+), FLOW (\S+)\. Forgetting", text)
    return [value(rate) for rate in first.groups()], [value(rate) for rate in best.groups()]


def test_who_takes_the_told_steps_at_the_told_rates_has_the_told_errors(report):
    told = table(report, "What you gain, what you lose, when to stop")
    (standard, flow, same), best = rates_told(report)
    keep = next(re.search(r"average, (\S+) of start", name)[1] for name in told if name.startswith("average"))
    steps = lambda name: value(told[name][0])
    moved = {
        "start": np.zeros(3),
        "standard, to the end": end(WEIGHTS["standard"]),
        "FLOW, to the end": end(WEIGHTS["FLOW"]),
        "standard, small steps": flowed(WEIGHTS["standard"], same, steps("standard, small steps")),
        "FLOW, small steps": flowed(WEIGHTS["FLOW"], same, steps("FLOW, small steps")),
        f"average, {keep} of start": (1 - value(keep)) * end(WEIGHTS["standard"]),
        "best for both": np.linalg.solve(SIGMA + X.T @ X / 60, X.T @ X / 60 @ end(WEIGHTS["standard"])),
    }
    rates = zip(("standard", "FLOW", "same mean step"), (standard, flow, same), strict=True)
    taken = [(f"{method}, stopped", method, rate) for method, rate in rates]
    taken += [
        (f"{method}, best rate", method, rate)
        for method, rate in zip(("standard", "FLOW"), best, strict=True)
    ]
    for name, method, rate in taken:
        moved[name] = stepped(WEIGHTS[method.split()[0]], rate, steps(name))
    assert set(told) - {""} == set(moved)
    for name, displacement in moved.items():
        for text, want in zip(told[name][-3:], costs(displacement), strict=True):
            assert abs(value(text) - want) <= 0.02 * want + 1e-9, name
    assert (
        len({tuple(cells[-3:]) for cells in told.values()}) >= 10
    )  # or one method's would pass for another's


def test_the_share_of_the_start_in_the_average_is_that_of_the_lowest_total(report):
    shares = np.linspace(0, 1, 1001)
    best = shares[np.argmin([costs((1 - share) * end(WEIGHTS["same"]))[2] for share in shares])]
    assert shown(re.search(r"average, (\S+) of start", report)[1], best)
    assert (
        abs(value(re.search(r"averaging \(keep (\S+) % of the start\)", flat(report))[1]) / 100 - best)
        <= 0.006
    )


def test_the_headline_has_the_standard_errors_of_the_comparison(found, report):
    """Which are those of samples (test_diagnosis_rows), in percents of the start's total."""
    contested = found._comparison
    told = re.findall(r"\(−(\S+) ± (\S+) %\)", flat(section(report, "In short")))
    for (share, error), one in zip(told, (contested.flow, contested.early, contested.average), strict=True):
        gain = contested.gain(one, contested.start)
        assert abs(value(share) - 100 * gain.share) <= 0.051
        assert abs(value(error) - 100 * gain.error) <= 0.051


SAFE = "a safe one: at FLOW's it would diverge"


@pytest.mark.parametrize(
    ("scale", "standard", "flow"),
    [(0.1, "as FLOW", "1/(2 mean w)"), (2.0, SAFE, "1/(2 mean w)"),
     (20.0, SAFE, "a safe one: 1/(2 mean w) diverges, with these weights or without")],
)  # fmt: skip
def test_a_rate_is_called_safe_where_another_would_diverge(scale, standard, flow):
    rng = np.random.default_rng(5)
    rows = scale * 0.6 * rng.standard_normal((50, 2))
    d = lt.diagnose(rows, rows @ [1.0, 1.0] / scale + rng.standard_normal(50), np.zeros(2))
    largest, weighted = d.spectrum[:, -1]
    assert (flow == "1/(2 mean w)") == (max(largest, weighted) < 2)
    assert (standard == "as FLOW") == (largest * 0.5 / d.mean_weight < 1)
    text = flat(d.report())
    assert re.search(
        rf"Learning rates: standard \S+ \({re.escape(standard)}\); FLOW \S+ \({re.escape(flow)}\)", text
    )


def test_the_old_rows_are_counted(report):
    assert "Forgetting is (θ − θ*)ᵀΣ(θ − θ*) on the 25 old rows" in flat(report)


def test_a_share_has_two_digits_of_its_error():
    rng = np.random.default_rng(6)
    for share, error in zip(rng.uniform(-2, 2, 300), 10.0 ** rng.uniform(-4, 0.5, 300), strict=True):
        for sign in (False, True):
            text, told = plus_minus(share, error, sign).removesuffix(" %").split(" ± ")
            assert abs(value(text) / 100 - share) <= 0.051 * error + 1e-12
            assert abs(value(told) / 100 - error) <= 0.051 * error
            assert len(told.replace(".", "").lstrip("0")) <= 3  # three where it is rounded up, or above 100 %
            assert text.startswith("+") == (sign and value(text) > 0)
    for error in (math.inf, 0.0):
        for share, want in ((0.25, "25 %"), (-0.25, "−25 %"), (1e-6, "0 %"), (-1e-6, "0 %")):
            assert plus_minus(share, error) == want
            assert plus_minus(share, error, sign=True) == "+" * (share > 0.1) + want


# ------------------------------------------------------------------------------------------- weights, slowness


def test_weights_on_the_rows_and_in_the_theory(found, report):
    w, title = WEIGHTS["FLOW"], "The weights, on these rows and in the theory"
    G, C, e = X.T @ X / 60, (X.T * w) @ X / w.sum(), -end(WEIGHTS["same"])
    along = e @ G @ e
    problem = lt.FineTuningProblem(e, 0 * e, G, noise_variance=float(np.mean((RESIDUAL + X @ e) ** 2)))
    mass = float(lt.weight_mass(problem, TEMPERATURE))
    theory = lt.weighted_covariance(problem, TEMPERATURE) / mass
    step = 2 * float(found.paths.learning_rates[2])
    life = lambda A: max(math.log(0.5) / math.log(abs(1 - step * x)) for x in np.linalg.eigvalsh(A))
    worth = w.sum() ** 2 / (w**2).sum()
    want = {
        "mean weight": (w.mean(), mass),
        "effective samples": (worth, 60 * float(lt.population_effective_sample_size(problem, TEMPERATURE))),
        "curvature left along the shift": (e @ C @ e / along, e @ theory @ e / along),
        "way to the new optimum, κ": (end(w) @ G @ -e / along, float(lt.displacement(problem, TEMPERATURE))),
        "half-life of the slowest, steps": (life(C), life(theory)),
    }
    told = table(report, title)
    for what, numbers in want.items():
        for text, number in zip(told[what], numbers, strict=True):
            assert shown(text, number), what
    said = flat(section(report, title))
    assert shown(re.search(r"The 60 rows are worth (\S+) equally weighted ones", said)[1], worth)


def components(sentence):
    """A direction by the columns that are told."""
    told = [part.rsplit(" ", 1) for part in sentence.split(", ")]
    return {name: value(number) for number, name in told}


def test_the_slowest_direction_and_the_shift(found, report):
    told, w = table(report, "The slowest direction"), WEIGHTS["FLOW"]
    moments = {"unweighted": X.T @ X / 60, "weighted": (X.T * w) @ X / w.sum()}
    for kind, A in moments.items():
        for text, number in zip(told[f"curvature, {kind}"], np.linalg.eigvalsh(A), strict=True):
            assert shown(text, number)
    said = flat(section(report, "The slowest direction"))
    slow, shift = np.linalg.eigh(moments["weighted"])[1][:, 0], -end(WEIGHTS["same"])
    length, told_shift = re.search(r"Shift, of length (\S+): (.*?)\. Their", said).groups()
    assert shown(length, np.linalg.norm(shift))
    for vector, text in ((slow, re.search(r"Slowest direction: (.*?);", said)[1]), (shift, told_shift)):
        unit = vector / np.linalg.norm(vector)
        unit = unit * np.sign(unit[np.argmax(abs(unit))])  # the largest component positive, and first
        parts = components(text)
        assert list(parts) == [COLUMNS[k] for k in np.argsort(-abs(unit)) if abs(unit[k]) > 0.1]
        for name, number in parts.items():
            assert abs(number - unit[COLUMNS.index(name)]) <= 0.0051
    assert shown(
        re.search(r"overlap \(\|cosine\|\) is (\S+)\.", said)[1], abs(slow @ shift) / np.linalg.norm(shift)
    )
    assert shift[np.argmax(abs(shift))] < 0  # which is then told the other way round


@pytest.mark.parametrize("d", [3, 4, 30])
def test_of_many_eigenvalues_the_lowest_and_the_highest_are_told(d):
    rows = np.random.default_rng(d).standard_normal((80, d)) * np.geomspace(0.1, 1, d)
    report = lt.diagnose(rows, rows[:, 0] + rows[:, -1], np.zeros(d)).report(60)
    told = table(report, "The slowest direction")["curvature, unweighted"]
    values = np.linalg.eigvalsh(rows.T @ rows / 80)
    assert shown(told[0], values[0])
    assert shown(told[-1], values[-1])
    assert all(min(abs(value(text) / values - 1)) <= 0.0051 for text in told)
    assert len(told) == 3
    assert (f"Some eigenvalues of {d}, the lowest and the highest among them." in flat(report)) == (d > 3)


def test_curvatures_in_the_sentence_on_the_slowest(report):
    w = WEIGHTS["FLOW"]
    C = (X.T * w) @ X / w.sum()
    slow = np.linalg.eigh(C)[1][:, 0]
    said = re.search(r"lower its curvature from (\S+) to (\S+) and so stall", flat(report))
    for text, number in zip(said.groups(), (np.mean((X @ slow) ** 2), slow @ C @ slow), strict=True):
        assert shown(text, number)
    hot = flat(lt.diagnose(X, Y, START, 20.0).report())
    with_them, without = re.search(r"slow \(curvature (\S+) with them, (\S+) without\)", hot).groups()
    w = np.exp(-(RESIDUAL**2) / 20.0)
    values, vectors = np.linalg.eigh((X.T * w) @ X / w.sum())
    assert shown(with_them, values[0])
    assert shown(without, np.mean((X @ vectors[:, 0]) ** 2))
    assert with_them != without


def test_checks_are_told_with_what_is_expected_and_on_which_side_they_are_off(found, report):
    told, below = table(report, "What the theory assumes"), 0
    for check in found.checks:
        figure, expected, sigma, verdict = told[check.name]
        assert shown(figure, check.figure)
        assert verdict == check.verdict
        assert shown(expected.split(" ± ")[0], check.expected)
        assert (" ± " in expected) == math.isfinite(check.error)
        if " ± " in expected:
            assert abs(value(expected.split(" ± ")[1]) / check.error - 1) <= 0.051
        if math.isfinite(check.sigmas):
            assert abs(value(sigma) - check.sigmas) <= 0.051
            below += check.sigmas < -0.1
        else:
            assert sigma == "certain"
    assert below > 0


# ----------------------------------------------------------------------------------------------- parameters


def test_what_flow_has_moved_is_told_with_its_error_and_chance():
    """Of five parameters, one moved for certain; two are within noise only if all five are judged together."""
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((300, 5))
    y = rows @ [4.0, 0.13, -0.13, 0.0, 0.0] + rng.standard_normal(300)
    told = table(lt.diagnose(rows, y, np.zeros(5), 5.0).report(), "What FLOW has moved, trained to the end")
    known = lt.standard_errors(rows, y, np.zeros(5), 5.0)
    chances = 2 * stats.norm.sf(abs(known.theta / known.standard_errors))
    for k in range(5):
        moved, error, chance = told[f"column {k}"]
        assert shown(moved, known.theta[k])
        assert shown(error, known.standard_errors[k])
        assert chance == "<1e−16" if chances[k] < 1e-16 else abs(value(chance) / chances[k] - 1) <= 0.06
    assert chances[0] < 1e-16


def test_parameters_are_counted_by_all_of_them_together():
    """Holm: the smallest chance of five is held against a fifth of 5 %, the next against a quarter, …"""
    counted = []
    for seed in (0, 3, 8):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((80, 5))
        d = lt.diagnose(rows, 0.25 * rows.sum(axis=1) + rng.standard_normal(80), np.zeros(5), 5.0)
        known = lt.standard_errors(rows, d.rows.residual, np.zeros(5), 5.0)
        chances = np.sort(2 * stats.norm.sf(abs(known.theta / known.standard_errors)))
        holm = next((k for k in range(5) if chances[k] > 0.05 / (5 - k)), 5)
        assert f"FLOW has moved {holm} of 5 parameters" in flat(d.report())
        counted.append((holm, int((chances <= 0.05).sum())))
    assert counted == [(1, 2), (0, 2), (4, 4)]


# ------------------------------------------------------------------------------------------------ new rows


def many_directions():
    """Rows on which small steps are best, and of which every direction has five."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 20))
    return lt.diagnose(rows, rows[:, 0] + rng.standard_normal(100), np.zeros(20), None, np.eye(20))


def test_what_is_told_of_new_rows(found, report):
    new, told = found.new_rows, table(report, "On new rows")
    keep = re.search(r"average, (\S+) of start", section(report, "On new rows"))[1]
    assert shown(keep, new.kept)
    methods = {"start": new.start, f"average, {keep} of start": new.average}
    methods |= {"standard, best rate": new.early, "FLOW, best rate": new.flow}
    for name, one in methods.items():
        for text, number in zip(told[name][-3:], (one.forgetting, one.target_error, one.total), strict=True):
            assert shown(text, number), name
    errors = [one.error for one in methods.values()]
    least, most = re.search(r"One standard error of it is (\S+) to (\S+),", flat(report)).groups()
    assert abs(value(least) / min(errors) - 1) <= 0.051
    assert abs(value(most) / max(errors) - 1) <= 0.051


@pytest.mark.parametrize("method", ["early", "flow"])
@pytest.mark.parametrize("rows", ["best rate", "small steps"])
def test_who_takes_the_steps_that_are_best_on_new_rows_is_where_it_is_said(found, method, rows):
    d = found if rows == "best rate" else many_directions()
    one = getattr(d.new_rows, method)
    assert math.isnan(one.rate) == (rows == "small steps")
    w = np.exp(-(d.rows.residual**2) / float(d.temperature)) if method == "flow" else np.ones(len(d.rows.y))
    moved, features, residual = np.zeros(len(d.shift)), d.rows.X, d.rows.residual
    rate, count = one.rate, one.steps
    assert rows == "small steps" or count == round(count)
    if rows == "small steps":  # a ten thousandth each of the same mean step
        rate, count = float(d.paths.learning_rates[2]) / w.mean() * one.steps / 1e4, 1e4
    for _ in range(round(count)):
        moved = moved + rate * 2 / len(w) * features.T @ (w * (residual - features @ moved))
    assert np.allclose(moved, one.displacement, rtol=0, atol=2e-3 * np.linalg.norm(moved))
    assert np.linalg.norm(moved) > 0
    sigma = SIGMA if rows == "best rate" else np.eye(20)
    assert math.isclose(one.forgetting, one.displacement @ sigma @ one.displacement, rel_tol=1e-9)


def test_without_old_rows_the_average_has_the_lowest_target_error():
    new = lt.diagnose(X, Y, START, TEMPERATURE).new_rows
    shares = np.linspace(0, 1, 1001)
    losses = [np.mean((RESIDUAL - share * new._end_left_out) ** 2) for share in shares]
    assert abs(1 - new.kept - shares[np.argmin(losses)]) <= 1e-3
    assert new.kept < 0.2


class Stub:
    """Of rows only what a comparison on new rows asks."""

    def __init__(self, n):
        self.sample_weight, self.pretrain_covariance, self.pretrain_rows = np.ones(n), None, None
        self._rank, self._start_fits = 1, False


def test_of_methods_as_good_as_each_other_one_in_twenty_is_beyond_noise():
    """Of 1500 pairs with losses that are squares of Gaussian numbers, which the two have partly in common."""
    rng, draws, n = np.random.default_rng(8), 1500, 200
    new, beyond = NewRows(Stub(n)), 0
    for _ in range(draws):
        shared, own = rng.standard_normal(n), rng.standard_normal((2, n))
        pair = [Predicted("", *[math.nan] * 5, (8 * shared + one) ** 2, np.zeros(1)) for one in own]
        lead, back = new.lead(*pair), new.lead(*pair[::-1])
        assert lead.difference == -back.difference
        assert (lead.error, lead.noise) == (back.error, back.noise)
        beyond += not lead.noise
    assert abs(beyond / draws - 0.05) <= 4 * math.sqrt(0.05 * 0.95 / draws) + 0.01


def test_losses_that_are_all_three_times_as_large_are_so_beyond_noise():
    """However few and uneven they are, as their ratio is the same in every row."""
    losses = np.random.default_rng(9).standard_normal(10) ** 2
    one, other = (Predicted("", *[math.nan] * 5, factor * losses, np.zeros(1)) for factor in (1.0, 3.0))
    told = NewRows(Stub(10)).lead(one, other)
    assert not told.noise
    assert told.difference < 3 * told.error  # by which alone it might be


def lead(difference, noise):
    return Lead(difference, abs(difference) / 2, noise)


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize(("still", "below"), [(0.2, True), (0.2, False), (-0.2, True), (-0.2, False)])
def test_the_advice_says_what_is_within_noise(monkeypatch, noise, still, below):
    """FLOW is ahead of early stopping, and the average is another 0.2 below or above FLOW, beyond noise or not."""
    monkeypatch.setattr(few_rows, "equal_weights", lambda m: False)
    flow, early, average, start = (
        SimpleNamespace(name=name, rate=math.nan) for name in ("FLOW", "B", "C", "D")
    )
    leads = {"FLOW B": lead(0.5, noise), "C FLOW": lead(still, not below), "FLOW D": lead(2.0, False)}
    new = SimpleNamespace(
        flow=flow, early=early, average=average, start=start, better=flow, best=flow, measured=None,
        lead=lambda one, other: leads[f"{one.name} {other.name}"],
    )  # fmt: skip
    told = few_rows._advice(new)
    assert told.startswith("Take FLOW: 0.5 ± 0.25 below B")
    assert ("within the noise" in told) == noise
    assert ("C is lower still, by 0.2 ± 0.1" in told) == (still > 0 and below)


# ----------------------------------------------------------------------------------------- who is ahead of whom


def contest(totals, error):
    """A comparison of methods with these total errors, all differences of which have one standard error."""
    ones = {name: SimpleNamespace(name=name, rate=math.nan, total=total) for name, total in totals.items()}

    def gain(one, other):
        share = 1 - one.total / other.total
        return Gain(share, error, abs(share) <= 2 * error)

    names = {"the start": "start", "FLOW": "flow", "early stopping": "early", "averaging": "average"}
    known = {names[name]: one for name, one in ones.items()}
    return SimpleNamespace(**known, gain=gain, measured=None, ends=(ones["FLOW"], ones["FLOW"]))


@pytest.mark.parametrize("third", [0.51, 0.8])
@pytest.mark.parametrize(("flow", "error"), [(0.5, 0.02), (0.65, 0.02), (0.5, 0.0001)])
@pytest.mark.parametrize("other", ["early stopping", "averaging"])
def test_who_ties_with_whom_is_said(monkeypatch, flow, error, third, other):
    """One of early stopping and averaging has 0.5, the other is a tie with it at 0.51 unless errors are small."""
    monkeypatch.setattr(findings, "shift_ratio", lambda m: (9.0, 1, 100))
    monkeypatch.setattr(findings, "equal_weights", lambda m: True)
    last = "averaging" if other == "early stopping" else "early stopping"
    told = findings._ranking(contest({"the start": 1.0, "FLOW": flow, other: 0.5, last: third}, error))
    tied = third == 0.51 and error > 0.01
    if flow == 0.5 and other == "averaging" and not tied:
        assert re.fullmatch(
            r"FLOW gains \S+ ± \S+ % on early stopping, and averaging with the start gains as much", told
        )
    elif flow == 0.65:
        assert told.startswith(f"FLOW does not pay here: {other} has a total error 23.1 ± 2.0 % lower")
        assert told.endswith(f", and {last} ties with it") == tied
    else:
        names = f"FLOW, {other} and {last}" if tied else f"FLOW and {other}"
        assert told.startswith(f"A tie between {names}: ")


@pytest.mark.parametrize("rest", [5, 100])
@pytest.mark.parametrize("noise", [True, False])
def test_why_a_tie_is_one(monkeypatch, rest, noise):
    monkeypatch.setattr(findings, "shift_ratio", lambda m: (9.0, 1, rest))
    told = findings._why_a_tie(SimpleNamespace(measured=None), Gain(0.005, 0.002, noise))
    assert told == ("within the noise" + " of so few rows" * (rest == 5) if noise else "too little to matter")


def test_a_difference_is_noise_by_its_standard_error_whichever_of_the_two_is_asked_about():
    rng, n = np.random.default_rng(9), 30
    contested, noises = Comparison(Stub(n), None, None), []
    contested.start = SimpleNamespace(total=1.0)
    for ratio in np.geomspace(0.2, 5, 60):
        pair = [
            SimpleNamespace(total=total, influence=(total * rng.standard_normal(n), np.zeros(0)))
            for total in (ratio, 1.0)
        ]
        gain, back = contested.gain(*pair), contested.gain(*pair[::-1])
        of_logarithm = gain.error / (1 - gain.share)
        assert gain.noise == back.noise == (abs(math.log(ratio)) <= stats.t.ppf(0.975, n - 1) * of_logarithm)
        assert math.isclose(1 - gain.share, 1 / (1 - back.share), rel_tol=1e-12)
        assert math.isclose(gain.error / (1 - gain.share), back.error / (1 - back.share), rel_tol=1e-12)
        noises.append(gain.noise)
    assert 10 < sum(noises) < 50


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_is_none_or_a_tie_on_either_side(sign):
    assert not Gain(0.5 * sign, 0.0, False).none
    assert Gain(1e-7 * sign, 0.0, False).none
    assert not Gain(1e-7 * sign, 0.1, True).none
    assert not Gain(0.02 * sign, 0.0, False).tie
    assert Gain(0.009 * sign, 0.0, False).tie


def test_recorded_runs_are_the_recorded_paths_at_their_best_steps(found):
    for weighted, methods in ((True, METHODS[1:2]), (False, (METHODS[2], METHODS[0]))):
        for one, method in zip(found._comparison.recorded(weighted), methods, strict=True):
            best = found.paths.best(method)
            assert one.steps == best.steps > 0
            assert near(one.point.forgetting, best.forgetting, 1e4)
            assert near(one.point.target_error, best.target_error, 1e4)


@pytest.mark.parametrize("known", [True, False])
def test_influences_of_strips_of_rows_are_those_of_the_rows(monkeypatch, known):
    d = lt.diagnose(X, Y, START, TEMPERATURE, pretrain_covariance=SIGMA if known else None)
    contested = d._comparison
    for one in (*contested.ends, contested.small_steps(True), contested.average):
        whole = one.influence[0]
        monkeypatch.setattr(package, "ROWS_AT_ONCE", 7)
        assert near(dataclasses.replace(one).influence[0], whole, 100, abs(whole).max())
        monkeypatch.undo()


# ------------------------------------------------------------------------------------------------- the warning


def test_degrees_of_freedom_of_the_warning():
    """Of the shift first, then of the noise."""
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((30, 2))
    text = flat(lt.diagnose(rows, 0.3 * rows[:, 0] + rng.standard_normal(30), np.zeros(2)).report())
    above, below, ratio = re.search(r"Beware: .*? \(F\((\S+), (\S+)\) = (\S+)\)", text).groups()
    assert (above, below) == ("2", "28")
    chance = value(re.search(r"with probability (\S+) ", text)[1])
    assert abs(stats.f.sf(value(ratio), 2, 28) / chance - 1) <= 0.06


def test_rows_that_count_for_nothing_are_not_counted():
    rng = np.random.default_rng(1)
    rows, weights = rng.standard_normal((7, 4)), np.array([2.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0])
    text = flat(
        lt.diagnose(rows, rng.standard_normal(7), np.zeros(4), 1.0, np.eye(4), sample_weight=weights).report()
    )
    assert "3 rows (of total weight 3.5) for 3 directions, so that none is left over" not in text
    weights = np.array([1.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0])
    text = flat(
        lt.diagnose(rows, rng.standard_normal(7), np.zeros(4), 1.0, np.eye(4), sample_weight=weights).report()
    )
    assert "3 rows (of total weight 2.5) for 3 directions, so that none is left over" in text


def test_the_residual_is_named_where_its_mean_is_furthest_off():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((200, 2))
    d = lt.diagnose(rows, rows @ [1.0, 1.0] + 6.0, np.zeros(2))
    assert "most in the residual" in flat(d.report(names=["dose", "age"]))


# ------------------------------------------------------------------------------------------------ the picture

COLOURS = {"#D55E00": "standard", "#0072B2": "FLOW", "#009E73": "average", "#000000": "best for both"}


def drawn_in(ax):
    """Of each method the lines and the marks, (x, y) each, by colour."""
    lines = {name: [] for name in COLOURS.values()}
    for line in ax.lines:
        if line.get_color() in COLOURS and len(line.get_xdata()):
            lines[COLOURS[line.get_color()]].append(
                (line, np.array(line.get_xdata()), np.array(line.get_ydata()))
            )
    return lines


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_picture_draws_the_errors_against_the_steps(scale):
    """Lines of the methods, and a dot on each where to stop; the start stands at half a step.

    In the larger units standard fine-tuning is shown at the same mean step, and the two are one line.
    """
    found = lt.diagnose(scale * X, Y, START / scale, TEMPERATURE, pretrain_rows=scale * OLD)
    top, below, *_ = found.picture().axes
    styles = {"-": 0} if scale == 1 else {"-": 0, "--": 2}
    for ax, errors in ((top, found.paths.target_errors), (below, found.paths.forgetting)):
        seen = drawn_in(ax)
        for colour, rows in (("FLOW", {"-": 1}), ("standard", styles)):
            marks = [(x, y) for line, x, y in seen[colour] if line.get_marker() == "o"]
            stops = [found.paths.best(METHODS[row]) for row in rows.values()]
            ys = [stop.target_error if ax is top else stop.forgetting for stop in stops]
            assert sorted((x[0], y[0]) for x, y in marks) == sorted(
                zip([stop.steps for stop in stops], ys, strict=True)
            )
            lines = {line.get_linestyle(): (x, y) for line, x, y in seen[colour] if line.get_marker() != "o"}
            assert set(lines) == set(rows)
            for style, (x, y) in lines.items():
                assert np.array_equal(y, errors[rows[style], : len(y)])
                assert np.array_equal(x[1:], found.paths.steps[1 : len(x)])
                assert x[0] == 0.5


def test_the_picture_draws_what_is_gained_against_what_is_lost(found):
    plane = found.picture().axes[2]
    seen, end_of = drawn_in(plane), {"standard": end(WEIGHTS["standard"]), "FLOW": end(WEIGHTS["FLOW"])}
    ((_, *averages),) = seen["average"]
    shares = np.linspace(0, 1, 101)
    assert np.allclose(
        np.transpose(averages),
        [costs(share * end_of["standard"])[:2] for share in shares],
        rtol=1e-9,
        atol=1e-12,
    )
    for name, row in (("standard", 2), ("FLOW", 1)):
        line, steps, stop = sorted(
            seen[name], key=lambda one: one[0].get_markersize() * (one[0].get_marker() == "o")
        )
        assert np.allclose((line[1][-1], line[2][-1]), costs(end_of[name])[:2], rtol=0.02)
        assert (line[1][0], line[2][0]) == pytest.approx(costs(np.zeros(3))[:2])
        assert np.array_equal(steps[1], found.paths.forgetting[row])
        assert np.array_equal(steps[2], found.paths.target_errors[row])
        totals = line[1] + line[2]
        assert stop[1][0] + stop[2][0] <= 1.001 * totals.min()
        assert (stop[1][0], stop[2][0]) in set(zip(line[1], line[2], strict=True))
    ((_, x, y),) = seen["best for both"]
    lowest = costs(np.linalg.solve(SIGMA + X.T @ X / 60, X.T @ X / 60 @ end_of["standard"]))
    assert (x[0], y[0]) == pytest.approx(lowest[:2], rel=1e-9)
    (start,) = [text for text in plane.texts if text.get_text() == "start"]
    assert start.xy == pytest.approx(costs(np.zeros(3))[:2])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_picture_puts_each_check_on_its_side(sign):
    """Far off on the left or the right: features skewed either way, of which the figures are told."""
    rng = np.random.default_rng(4)
    rows = sign * (rng.exponential(size=(400, 2)) - 1)
    d = lt.diagnose(rows, rows @ [1.0, 1.0] + rng.standard_normal(400), np.zeros(2))
    judged, marks = d.picture().axes[-1], {}
    for line in judged.lines:
        if line.get_marker() in "<>Xo":
            marks[round(float(line.get_ydata()[0]))] = (float(line.get_xdata()[0]), line.get_marker())
    for k, check in enumerate(d.checks):
        place, mark = marks[k]
        assert (place > 0) == (check.sigmas > 0)
        assert mark in ("<>"[check.sigmas > 0], "X" if check.verdict == "broken" else "o")
        if abs(check.sigmas) < 2 * check.limit:
            assert place == check.sigmas
        if check.verdict == "broken":
            assert any(
                re.fullmatch(r"(\S+), not (\S+)", text.get_text())
                and text.xy[1] == k
                and shown(text.get_text().split(",")[0], check.figure)
                and shown(text.get_text().split()[-1], check.expected)
                for text in judged.texts
            )
    (skewed,) = [check for check in d.checks if check.name == "symmetric rows"]
    assert sign * skewed.sigmas > 2.5 * skewed.limit

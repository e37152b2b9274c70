"""What the report and the picture claim, each against another computation; what they must not say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import expm, subspace_angles

import linear_theory as lt
from linear_theory.diagnosis import checks
from linear_theory.diagnosis.comparison import MIN_GAIN
from linear_theory.diagnosis.findings import headline
from linear_theory.diagnosis.paths import NEAR_BEST, slowest
from linear_theory.diagnosis.report import number, percent
from linear_theory.propagator.powers import steps_to_halve
from linear_theory.testing.tolerances import EPS, near
from tests.strategies import random_data

RHO = np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]])


def plane(seed, noise, n=400):
    """The paper's rows in the plane from a start of 0; the shift along the first axis."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2)) @ RHO.T
    return X, -X[:, 0] + noise * rng.standard_normal(n), np.zeros(2)


def heavy(seed, n=400):
    rng = np.random.default_rng(seed)
    X, y, start = plane(seed, 0.0, n)
    return X / np.sqrt(rng.chisquare(3, (n, 1)) / 3), y + rng.standard_t(3, n), start


def wide():
    rows = random_data(30, 80, 30, seed=3)
    return rows.X, rows.y, rows.start


def line():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 1))
    return x, 2 * x[:, 0] + 0.3 * rng.standard_normal(300), np.ones(1)


ROWS = {
    "clean": plane(1, 0.0),
    "noisy": plane(2, 1.0),
    "heavy": heavy(3),
    "one column": line(),
    "wide": wide(),
}


def said(d):
    return " ".join(d.report(100).split())


# --------------------------------------------------------------------------------------- claims, checked


@pytest.mark.parametrize("name", ["clean", "noisy", "heavy", "one column"])
def test_the_half_life_is_that_of_steps_taken_on_the_rows(name):
    """Gradient steps on the user's own weighted mean loss, from the optimum moved along the stalled direction."""
    X, y, start = ROWS[name]
    d, n = lt.diagnose(X, y, start), len(y)
    w = np.exp(-((y - X @ start) ** 2) / d.temperature)
    end = np.linalg.lstsq(np.sqrt(w)[:, None] * X, np.sqrt(w) * y, rcond=None)[0]
    theta, left = end + d.stalled_direction, [1.0]
    for _ in range(math.ceil(d.half_life)):
        theta = theta - d.paths.learning_rates[1] * 2 / n * X.T @ (w * (X @ theta - y))
        left.append(abs(float((theta - end) @ d.stalled_direction)))
    assert left[-1] <= 0.5 < left[-2]
    keep = left[1]
    assert near(keep**d.half_life, 0.5, 1e3)
    assert not near(keep ** (d.half_life * 1.01), 0.5, 1e3)


@pytest.mark.parametrize("name", ROWS)
def test_where_to_stop_is_where_the_total_is_lowest(name):
    X, y, start = ROWS[name]
    d, n = lt.diagnose(X, y, start, None, np.eye(X.shape[1])), len(y)
    best = np.linalg.lstsq(X, y - X @ start, rcond=None)[0]
    total = lambda moved: float(moved @ moved + np.mean((X @ (moved - best)) ** 2))
    w = np.exp(-((y - X @ start) ** 2) / d.temperature)
    flow, rates = None, d.paths.learning_rates
    for row, (weights, method) in enumerate(((1.0, "standard"), (w, "FLOW"), (1.0, "same mean step"))):
        moved, totals = np.zeros(len(start)), []
        for _ in range(31):  # every step is recorded up to here
            totals.append(total(moved))
            moved = moved - rates[row] * 2 / n * X.T @ (weights * (X @ (start + moved) - y))
        assert near(d.paths.total[row, :31], totals, 1e4)
        assert d.paths.best(method).total <= min(totals) * (1 + NEAR_BEST) * (1 + 1e4 * EPS)
        flow = totals if method == "FLOW" else flow
    assert not near(d.paths.total[0, :31], flow, 1e4)
    G = d.covariances[0]
    times = np.geomspace(1e-3, 20, 200) / d.spectrum.max()
    small = min(total(best - expm(-2 * t * G) @ best) for t in times)
    assert d._comparison.early.total <= small * (1 + NEAR_BEST) * (1 + 1e4 * EPS)


def test_small_steps_are_named_where_it_takes_them():
    clean = lt.diagnose(*ROWS["clean"], None, np.eye(2))
    assert "early stopping in small steps" in headline(clean._comparison)
    large = min(clean.paths.best(name).total for name in ("standard", "same mean step"))
    assert large * (1 - MIN_GAIN) > clean._comparison.early.total
    X, y, start = ROWS["clean"]
    gentle = lt.diagnose(0.1 * X, y, start, None, 0.01 * np.eye(2))
    assert "small steps" not in headline(gentle._comparison)


# ----------------------------------------------------------------------------------- what must not be said


def test_the_papers_own_rows_break_nothing():
    """Without noise, and the shift along an axis, one column without its part along r is all rounding."""
    for seed in range(10):
        d = lt.diagnose(*plane(seed, 0.0))
        assert [check.name for check in d.checks if check.verdict == "broken"] == []
        across = next(check for check in d.checks if check.name == "weights across the residual")
        assert across.verdict == "holds"
    x = ROWS["one column"][0]
    d = lt.diagnose(x, x[:, 0], [0.5])
    across = next(check for check in d.checks if check.name == "weights across the residual")
    assert across.verdict == "not judged"


@pytest.mark.parametrize("name", ["clean", "wide"])
def test_rounding_is_no_finding(name):
    text = said(lt.diagnose(*ROWS[name]))
    assert "FLOW and standard fine-tuning reach the same optimum" in text
    assert "e−2" not in text
    assert "e−3" not in text
    assert "reach the same optimum" not in said(lt.diagnose(*ROWS["noisy"]))


def test_what_no_row_reaches_is_no_stall():
    """Of 80 directions 30 rows reach 30; the slowest of these, by numpy's own rank."""
    X, y, start = ROWS["wide"]
    d = lt.diagnose(X, y, start)
    assert (d.spectrum[:, :50] == 0).all()
    assert (d.spectrum[:, 50:] > 0).all()
    assert d.half_life == math.inf
    idle, direction, x = slowest(d)
    steps = float(steps_to_halve(np.float64(x)))
    w = np.exp(-((y - X @ start) ** 2) / d.temperature)
    _, values, right = np.linalg.svd(np.sqrt(w / w.sum())[:, None] * X)
    assert idle == 80 - np.linalg.matrix_rank(X)
    assert near(abs(direction @ right[29]), 1.0, 1e6)
    keep = 1 - 2 * d.paths.learning_rates[2] * values[29] ** 2
    assert near(keep**steps, 0.5, 1e6)
    text = said(d)
    assert "Along 50 of 80 directions nothing moves at all: no row reaches them" in text
    assert "30 rows for 30 directions, so that none is left over" in text


@pytest.mark.parametrize("n", [50, 5000])
def test_a_copied_column_never_moves(n):
    """Its eigenvalue is rounding of either sign: 0, and the half-life infinite, not 1e16 steps."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, 3))
        X = np.column_stack([X, X @ rng.standard_normal(3)])
        d = lt.diagnose(X, X @ np.ones(4) + rng.standard_normal(n), np.zeros(4))
        assert d.spectrum[1, 0] == 0
        assert d.half_life == math.inf
        assert steps_to_halve(np.float64(slowest(d)[2])) < 1e4
    scaled = lt.diagnose(X[:, :3] * [1e-7, 1, 1e3], rng.standard_normal(n), np.zeros(3))
    assert 0 < scaled.spectrum[1, 0] < 1e-12 * scaled.spectrum[1, 2]  # small, but it does move


def test_shares_of_nearly_all_are_not_all():
    said = {0.998: "99.8 %", 0.5: "50 %", 0.012: "1.2 %", 1e-4: "0.01 %", 1.0: "100 %", 3.12: "312 %"}
    assert {share: percent(share) for share in said} == said


# ------------------------------------------------------------------------------------------------ bases


@pytest.mark.parametrize("condition", [1.0, 30.0, 900.0, 1e5, 1e9, 1e12])
def test_a_basis_by_the_gram_matrix_is_the_one_by_singular_values(condition, monkeypatch):
    rng = np.random.default_rng(1)
    A = np.linalg.qr(rng.standard_normal((200, 4)))[0] * np.geomspace(1, 1 / condition, 4)
    A = A @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    span = checks.basis(A)
    sizes = np.linalg.norm(A, axis=0)
    left, values, _ = np.linalg.svd(A / sizes, full_matrices=False)
    rank = int((values > checks.RANK_RTOL * values[0]).sum())
    assert span.shape == (200, rank) == (200, 4 if condition < 1e10 else 3)
    assert near(span.T @ span, np.eye(rank), 100 / checks.GRAM_MIN_RATIO)
    assert (
        math.sin(subspace_angles(span, left[:, :rank]).max()) <= 100 * EPS * min(condition, 1e10) * values[0]
    )
    monkeypatch.setattr(np.linalg, "svd", None)  # the slow way, which well-conditioned rows do not go
    if condition < 100:
        checks.basis(A)
    elif condition > 1e4:
        with pytest.raises(TypeError):
            checks.basis(A)


# --------------------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("name", ROWS)
def test_nothing_is_cut_off_and_no_words_overlap(name, monkeypatch):
    d = lt.diagnose(*ROWS[name])
    same = "A tie between FLOW, early stopping at the learning rate 1.234e−12 and averaging with the start"
    who = "early stopping at the learning rate 1.234e−12 has a total error 0.123 ± 0.456 % below that of FLOW"
    end = "trained to the end, FLOW has one 12.34 ± 0.12 % below that of standard fine-tuning"
    longest = f"{same}: {who} at the learning rate 1.234e−12, within the noise of so few rows; {end}"
    monkeypatch.setattr("linear_theory.diagnosis.picture.headline", lambda *_: longest)
    beside = "1.234e−12 times as much as standard fine-tuning at the same mean step and learns 99.9999 % less"
    moves = f"With half of it learned, FLOW moves its predictions (mean square) {beside}"
    monkeypatch.setattr("linear_theory.diagnosis.picture.by_how_much", lambda *_: moves)
    figure = d.picture()
    figure.draw_without_rendering()
    frame, judged = figure.bbox, figure.axes[-1]
    renderer = figure.canvas.get_renderer()
    texts = [
        figure._suptitle,
        *judged.texts,
        judged.title,
        judged._right_title,
        *figure.legends[0].get_texts(),
    ]
    texts += [axis.label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in texts if text.get_text()}
    for words, box in boxes.items():
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1, words
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1, words
    placed = [text.get_window_extent(renderer).padded(-1) for text in judged.texts]
    for k, box in enumerate(placed):
        assert not any(box.overlaps(other) for other in placed[:k])
    plane_box = figure.axes[2].get_window_extent(renderer)
    assert not any(box.overlaps(plane_box) for box in placed)
    doubts = "these errors say nothing of new rows" in (figure.legends[0].get_title().get_text() or "")
    assert doubts == (name == "wide")
    assert (
        figure.axes[-1]
        .get_title(loc="right")
        .startswith(f"{sum(c.verdict == 'broken' for c in d.checks)} of ")
    )


@pytest.mark.parametrize("rows", [4, 400, 4004, 40_000])
@pytest.mark.parametrize("turn", [0.0, 0.3, 1.0])
def test_a_curvature_of_two_is_two_however_its_sum_was_rounded(rows, turn):
    """A ±1 factorial in units (1, √2): at ½ the second direction would swing for ever, so a safe step is taken."""
    signs = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (rows // 4, 1)).astype(float)
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    X = signs * [1, math.sqrt(2)] @ spin
    d = lt.diagnose(X, X @ np.ones(2), np.zeros(2), np.inf)
    # 2ηλ is then ½ and 1: the first direction halves its error in one step, the second is there at once.
    assert near(d.half_life, 1.0, 1e4)
    assert d.paths.curtailed[1]
    slow = np.array([1.0, 0.0]) @ spin
    assert near(abs(d.stalled_direction @ slow), 1.0, 1e4)


# --------------------------------------------------------------------------------------- numbers in sentences


def test_what_the_report_counts_is_as_many():
    rng = np.random.default_rng(8)
    X, tiny = rng.normal(size=(60, 6)) + 3, 1e-14 * rng.normal(size=(60, 5))
    y = X @ np.ones(6) + rng.normal(size=60)
    d = lt.diagnose(X, y, np.zeros(6), 0.3)
    assert "and so have 5 more columns" in said(d)  # of the residual and six columns two are named
    assert f"Temperature 0.3, {number(0.3 / float(np.median(y**2)))} times the median loss" in said(d)
    few = said(lt.diagnose(X, y, np.zeros(6), pretrain_covariance=np.eye(6)))
    assert "estimated from 54 rows to spare" in few  # 60 rows, six columns
    assert "column 8 and 2 more: no entry" in said(lt.diagnose(np.hstack([X, tiny]), y, np.zeros(11)))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_column_furthest_from_centred_is_named_on_either_side(sign):
    X = np.random.default_rng(7).normal((0.2, 1.5 * sign, 0.0), size=(200, 3))
    d = lt.diagnose(X, X @ np.ones(3) + 1.0, np.zeros(3))
    (check,) = [check for check in d.checks if check.name == "centred rows"]
    assert check.culprit == 1

"""Whether a sentence of ``diagnose`` is true: every number in it by a literal route, from rows written out."""

# ruff: noqa: E501  (the pattern of a sentence is read in one piece)

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats
from scipy.linalg import expm

NUMBER = r"(?:at least )?([−+-]?(?:\d[\d.]*(?:e[−+-]?\d+)?|∞))"
SHARE = rf"{NUMBER}(?: ± {NUMBER})? %"
NAME = (
    r"(FLOW(?: in small steps| at (?:the learning rate \S+|its best learning rate))?|averaging with the start|early stopping"
    r"(?: in small steps| at the learning rate \S+| \(before the first step\))?)"
)


def value(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def shown(text, want, slack=0.006, near=0.0):
    """Whether a number is the one wanted, to the three digits in which it is shown, or as ``near``."""
    got = value(text)
    return got == want or abs(got - want) <= slack * max(abs(got), abs(want)) + near


@dataclass
class Facts:
    """Rows, each as often as its weight says, and what follows from them by definition."""

    X: np.ndarray
    y: np.ndarray
    start: np.ndarray
    temperature: float
    sigma: np.ndarray | None
    old: np.ndarray | None
    steps: np.ndarray | None = None  # that are recorded of the paths

    @cached_property
    def residual(self):
        return self.y - self.X @ self.start

    @cached_property
    def w(self):
        losses = self.residual**2
        return np.array([math.exp(-(loss - losses.min()) / self.temperature) for loss in losses])

    @cached_property
    def equal(self):
        return np.ptp(self.w) <= 1e-9

    @cached_property
    def moments(self):
        unweighted = sum(np.outer(x, x) for x in self.X) / len(self.X)
        weighted = sum(w * np.outer(x, x) for w, x in zip(self.w, self.X, strict=True)) / self.w.sum()
        return unweighted, weighted

    @cached_property
    def ends(self):
        """Displacements of the unweighted and of the weighted optimum closest to the start."""
        root = np.sqrt(self.w)
        return (
            np.linalg.lstsq(self.X, self.residual, rcond=1e-10)[0],
            np.linalg.lstsq(root[:, None] * self.X, root * self.residual, rcond=1e-10)[0],
        )

    @cached_property
    def ranks(self):
        return [
            np.linalg.matrix_rank(A, tol=1e-9 * max(1.0, abs(A).max()))
            for A in (self.X, np.sqrt(self.w)[:, None] * self.X)
        ]

    @property
    def known(self):
        return self.Sigma if self.sigma is not None or self.old is not None else None

    @cached_property
    def Sigma(self):
        if self.old is not None:
            return self.old.T @ self.old / len(self.old)
        return self.moments[0] if self.sigma is None else self.sigma

    def errors(self, moved):
        """(forgetting, target error) of a displacement."""
        best = self.ends[0]
        return float(moved @ self.Sigma @ moved), float(np.mean((self.X @ (moved - best)) ** 2))

    def total(self, moved):
        return sum(self.errors(moved))

    @cached_property
    def shift_test(self):
        """(F, k, n − k, p) of the shift against the noise."""
        n, k = len(self.X), int(self.ranks[0])
        best = self.ends[0]
        noise = float(((self.residual - self.X @ best) ** 2).sum())
        explained = float(((self.X @ best) ** 2).sum())
        if k == 0 or n <= k:
            return math.nan, k, n - k, 0.0
        F = explained / k / (noise / (n - k)) if noise > 1e-20 * explained else math.inf
        return F, k, n - k, float(stats.f.sf(F, k, n - k)) if math.inf > F else 0.0

    @cached_property
    def step(self):
        """2η: 1, or 1 over the largest eigenvalue where that is 2 or more."""
        top = max(np.linalg.eigvalsh(A)[-1] for A in self.moments)
        return 1.0 if top < 2 - 1e-13 else 1 / top

    @cached_property
    def slowest(self):
        """Directions without motion, and (λ, direction) of the slowest of the others, of G and of C."""
        found = []
        for A, rank in zip(self.moments, self.ranks, strict=True):
            values, vectors = np.linalg.eigh(A)
            idle = len(values) - int(rank)
            k = max(range(idle, len(values)), key=lambda k: abs(1 - self.step * values[k]), default=None)
            found.append((idle, None if k is None else (values[k], vectors[:, k])))
        return found

    def half_life(self, curvature):
        kept = abs(1 - self.step * curvature)
        return math.inf if kept >= 1 else 0.0 if kept == 0 else math.log(2) / -math.log(kept)

    @cached_property
    def stops(self):
        """Of FLOW and of the same mean step: (forgetting, learned) where each may stop; none where it never may."""
        gain, found = self.errors(0 * self.start)[1], []
        for A, end in zip(self.moments[::-1], self.ends[::-1], strict=True):
            once = np.eye(len(end)) - self.step * A
            left = [np.linalg.matrix_power(once, int(k)) @ end for k in self.steps]
            errors = [self.errors(end - one) for one in left]
            totals = np.array([sum(one) for one in errors])
            first = []
            for slack in (1 - 1e-6, 1 + 1e-6):  # where rounding decides, either
                if self.known is None:
                    enough = np.array([target for _, target in errors]) <= gain / 2 * slack
                else:
                    enough = totals <= totals.min() * (1 + 1e-3 * slack)
                first += [int(np.argmax(enough))] if enough.any() else []
            found.append([(errors[k][0], gain - errors[k][1]) for k in first])
        return found

    @cached_property
    def best(self):
        """The lowest total error of the start, FLOW, early stopping and averaging, by trying."""
        found = {"start": self.total(np.zeros_like(self.start))}
        for name, A, end in zip(("early", "FLOW"), self.moments, self.ends, strict=True):
            top = np.linalg.eigvalsh(A)[-1]
            reached = np.linalg.eigvalsh(A)[len(A) - int(self.ranks[name == "FLOW"]) :]
            tried = [0 * end, end]
            rates = [self.step, *(np.linspace(0, 1.9, 191)[1:] / top if top > 0 else [])]
            if name == "early":
                mass = float(np.exp(-(self.residual**2) / self.temperature).mean())
                if mass > 0 and self.step / mass * top < 2:
                    rates.append(self.step / mass)
            for which, rate in enumerate(rates):
                left = -end
                for _ in range(400 if which == 0 or which >= 191 else 40):
                    left = left - rate * A @ left
                    tried.append(end + left)
            if len(reached):
                times = np.geomspace(1e-3 / top, 10 / max(reached[0], 1e-12 * top), 150)
                tried += [end - expm(-2 * time * A) @ end for time in times]
            found[name] = min(map(self.total, tried))
        e = self.ends[0]
        found["average"] = min(self.total(share * e) for share in np.linspace(0, 1, 2001))
        return found

    def without(self, i, w):
        """Where training with these weights ends without row i, and the mean moments of the others over the mean weight."""
        others = np.arange(len(self.X)) != i
        root, X = np.sqrt(w[others]), self.X[others]
        end = np.linalg.lstsq(root[:, None] * X, root * self.residual[others], rcond=1e-10)[0]
        return end, (w[others, None] * X).T @ X / (len(others) - 1) / w.mean()

    @cached_property
    def noise(self):
        """The noise variance, by the rows to spare."""
        spare = len(self.X) - int(self.ranks[0])
        return float(((self.residual - self.X @ self.ends[0]) ** 2).sum()) / spare

    def left_out_of(self, w, A, end, moves):
        """Of runs, each the share (k, λ) of its way that every direction has gone: the totals with forgetting where
        that is known (k,), each row's losses (k, n) by training without it, and the displacements (k, d).
        """

        def run(end, moments):
            values, vectors = np.linalg.eigh(moments)
            return (moves(values) * (vectors.T @ end)) @ vectors.T

        moved = run(end, A)
        losses = [
            (r - run(*self.without(i, w)) @ x) ** 2
            for i, (x, r) in enumerate(zip(self.X, self.residual, strict=True))
        ]
        forgotten = ((moved @ self.Sigma) * moved).sum(axis=1) if self.known is not None else 0.0
        return np.mean(losses, axis=0) + forgotten, np.array(losses).T, moved

    @cached_property
    def left_out(self):
        """Of early stopping, FLOW and averaging where it is best: the loss on new rows and what is forgotten, each
        row's loss, and the displacement; by training without each of the rows in turn.
        """
        start = float(np.mean(self.residual**2))
        found = {"start": (start, self.residual**2, 0 * self.start)}
        sizes, steps = (
            grid.ravel()[:, None] for grid in np.meshgrid(np.linspace(0.02, 1.9, 95), range(1, 41))
        )
        order = np.lexsort((steps[:, 0], sizes[:, 0]))
        sizes, steps = sizes[order], steps[order]
        for k, name in enumerate(("early", "FLOW")):
            rows = np.ones(len(self.X)) if name == "early" else self.w, self.moments[k], self.ends[k]
            reached = np.linalg.eigvalsh(rows[1])[len(self.start) - int(self.ranks[k]) :]
            first, last, top = 1e-3 / reached[-1], 10 / reached[0], reached[-1]
            times = np.append(0, np.geomspace(first, last, int(np.ceil(100 * np.log10(last / first)))))
            stable = sizes[:, 0] <= 1.9 * (1 - 1 / len(self.X)) * (1 + 1e-9)
            tried, counts = sizes[stable] / top, steps[stable]
            runs = [
                self.left_out_of(*rows, lambda values, t=times: 1 - np.exp(-2 * t[:, None] * values)),
                self.left_out_of(*rows, lambda values, t=tried, k=counts: 1 - (1 - t * values) ** k),
            ]
            near = 1e-3 * (start - min(totals.min() for totals, *_ in runs))
            ends = [int(np.argmax(totals <= totals.min() + near)) for totals, *_ in runs]
            which = int(runs[0][0][ends[0]] > runs[1][0].min() + near)
            found[name] = tuple(part[ends[which]] for part in runs[which])
        shares = np.linspace(0, 1, 2001)[:, None]
        rows = np.ones(len(self.X)), self.moments[0], self.ends[0]
        totals, *parts = self.left_out_of(*rows, lambda values: shares + 0 * values)
        found["average"] = totals.min(), *(part[totals.argmin()] for part in parts)
        return found

    def of(self, name):
        """The lowest total of the method that a name in a sentence means."""
        for key in ("FLOW", "early", "average"):
            if name.startswith(key[:5]):
                return self.best[key]
        return self.best["start"]

    def below(self, share, one, other, slack=0.006):
        """Whether one total is below the other by a share, in percents; each is known to a few thousandths."""
        floor = 1e-12 * self.best["start"]
        want = 1 - max(one, floor) / max(other, floor)
        return abs(value(share) / 100 - want) <= slack


def tied(share, error, facts):
    """Whether a difference of so many percents may be called a tie."""
    if error is None:
        return value(share) <= 1.01 or (facts.old is not None and len(facts.old) == 1)
    n, k = len(facts.X), int(facts.ranks[0])
    left, noise = 1 - value(share) / 100, value(error) / 100
    within = left > 0 and -math.log(left) <= 1.1 * noise / left * stats.t.ppf(0.975, n - k) + 1e-4
    return within or value(share) <= 1.01


def contest(f, m):
    _, flow, a, _, _, early, c, _, _, _, average, g, _ = m.groups()
    start = f.best["start"]
    shares = ((flow, a, "FLOW"), (early, c, "early"), (average, g, "average"))
    near = all(abs(value(T) - f.best[key]) <= 0.01 * f.best[key] + 1e-9 * start for T, _, key in shares)
    return near and all(
        f.below(share.replace("−", ""), f.best[key], start, 0.011) for _, share, key in shares
    )


def to_the_end(f, m):
    moved, price, other, left, _ = m.groups()
    forgot, kept = f.errors(f.ends[1])
    cost, _ = f.errors(f.ends[0])
    gain = f.errors(0 * f.start)[1]
    good = shown(moved, forgot) and shown(other, cost)
    if less := re.fullmatch(rf"{SHARE} less than", price):
        good &= abs(value(less[1]) / 100 - (1 - forgot / cost)) < 0.011
    elif times := re.fullmatch(rf"{NUMBER} times as much as", price):
        good &= shown(times[1], forgot / cost)
    else:
        good &= abs(forgot / cost - 1) < 0.0101
    if left == "leaves as much to learn as the start, where standard fine-tuning leaves nothing":
        return good and abs(kept / gain - 1) < 0.0101
    if share := re.fullmatch(rf"leaves {SHARE} of the start's target error unlearned, where .*", left):
        return good and kept < gain and abs(value(share[1]) / 100 - kept / gain) < 0.011
    return good and kept > gain and shown(re.match(rf"ends with {NUMBER}", left)[1], kept / gain)


def slow(f, m):
    steps, without, why = m.groups()
    idle, (curvature, v) = f.slowest[1]
    good = (idle > 0) == ("that moves" in m[0])
    bare = f.half_life(f.slowest[0][1][0])
    good &= shown(without, bare, 0.02) if without else bare < 1.01
    atleast = "at least" in m[0].split("steps")[0]
    good &= (
        value(steps) <= 1.02 * f.half_life(curvature)
        if atleast
        else shown(steps, f.half_life(curvature), 0.02)
    )
    unweighted = float(v @ f.moments[0] @ v)
    if why.startswith("the step overshoots"):
        return (
            good and f.step * curvature > 1 and curvature >= 0.999999 * np.linalg.eigvalsh(f.moments[1])[-1]
        )
    if why.startswith("it is not the weights"):
        return good and (f.equal or curvature > 0.799 * unweighted)
    lapped = abs(v @ f.ends[0]) / np.linalg.norm(f.ends[0]) if f.ends[0].any() else 0.0
    side = lapped < 0.701 if "but it is not" in why else lapped > 0.699
    return (
        good
        and side
        and not f.equal
        and curvature < 0.801 * unweighted
        and shown(why.split("overlap ")[1][:-1], lapped, 0.06)
    )


def far(f, m):
    rows = np.column_stack([f.X, f.residual])
    good = True
    for part in m[1].split(", "):
        if constant := re.fullmatch(
            rf"(?:c(\d)|the residual y − X·start) is {NUMBER} in every (old )?row", part
        ):
            column = (f.old if constant[3] else rows)[:, int(constant[1] or -1)]
            good &= bool(np.allclose(column, column[0], rtol=1e-14)) and shown(constant[2], column[0])
        elif mean := re.fullmatch(rf"(?:c(\d)|the residual y − X·start) has mean {NUMBER}", part):
            pending = mean
        elif spread := re.fullmatch(rf"{NUMBER} of its standard deviations( in the old rows)?", part):
            column = (f.old if spread[2] else rows)[:, int(pending[1] or -1)]
            good &= shown(pending[2], column.mean()) and shown(spread[1], abs(column.mean()) / column.std())
            good &= abs(column.mean()) > 0.499 * column.std()
        else:
            good &= part.startswith("and so have")
    return good


def tie_with_start(f, m):
    name, share, error = m[1], m[2], m[3]
    best = min(f.best["FLOW"], f.best["early"], f.best["average"])
    return (
        f.below(share, f.of(name), f.best["start"]) and f.of(name) <= 1.006 * best and tied(share, error, f)
    )


def key_of(name):
    return next(key for key in ("FLOW", "early", "average") if name.startswith(key[:5]))


def ahead(f, difference, error, one, other):
    """Whether one is so far below another on new rows, with that standard error."""
    (low, losses, moved), (high, others, stayed) = (f.left_out[name] for name in (one, other))
    variance, old = np.var(losses - others) / (len(f.X) - 1), f.old
    if old is not None:
        squares = (old @ moved) ** 2 - (old @ stayed) ** 2
        variance += np.var(squares) / (len(old) - 1) if len(old) > 1 else math.inf
    near = 1e-6 * f.left_out["start"][0]
    return shown(difference, high - low, near=near) and shown(error, math.sqrt(variance), 0.06, near)


def told_of_new_rows(f, m):
    """Few rows: what each method has on new ones, and the advice."""
    found, advice = f.left_out, m["advice"]
    n, k, start = len(f.X), int(f.ranks[0]), found["start"][0]
    good = (int(m["n"]), int(m["k"])) == (n, k) and n < 50 * k and shown(m["each"], n / k, 0.06)
    good &= (m["kind"] == "total") == (f.known is not None) and (m["flow"] is None) == bool(f.equal)
    for name, text in (
        ("early", m["early"]),
        ("FLOW", m["flow"]),
        ("average", m["average"]),
        ("start", m["begin"]),
    ):
        good &= text is None or shown(text, found[name][0] - f.noise, near=1e-6 * start)
    share = np.linalg.norm(found["average"][2]) / np.linalg.norm(f.ends[0])
    good &= abs(1 - share - value(m["kept"]) / 100) <= 0.006
    lowest = min(("early", "FLOW", "average"), key=lambda name: found[name][0])
    none = (
        rf"None of them is below the start by more than noise \({NUMBER} ± {NUMBER}\): no reason to fine-tune"
    )
    if none := re.fullmatch(none, advice):
        return good and ahead(f, none[1], none[2], lowest, "start")
    if advice == "Which to take depends on the old rows":
        return good and f.known is None
    take = re.fullmatch(
        rf"Take {NAME}: {NUMBER} ± {NUMBER} below (?:{NAME}|the start)(?:, within the noise)?(?:; averaging with the start "
        rf"is lower still, by {NUMBER} ± {NUMBER})?",
        advice,
    )
    one, other = key_of(take[1]), key_of(take[4]) if take[4] else "start"
    good &= ahead(f, take[2], take[3], one, other) and value(take[2]) >= 0
    good &= f.equal if other == "start" else {one, other} == {"early", "FLOW"}
    return good and (take[5] is None or ahead(f, take[5], take[6], "average", one))


def pays_on_new_rows(f, m):
    found = f.left_out
    lowest = min(found[name][0] for name in ("early", "FLOW", "average"))
    lower = lowest < found["start"][0] and abs(found[key_of(m[5])][0] - lowest) <= 1e-6 * found["start"][0]
    return lower and (m[6] == "total") == (f.known is not None) and chance(f, m, lambda p: p > 0.05)


def helps(f, m):
    other = min(f.best["early"], f.best["average"])
    return f.below(m[1], f.best["FLOW"], other) and value(m[1]) >= 0.99 and f.of(m[3]) <= 1.006 * other


def does_not_pay(f, m):
    best = min(f.best["early"], f.best["average"])
    return f.of(m[1]) <= 1.006 * best and f.below(m[2], best, f.best["FLOW"]) and value(m[2]) >= 0.99


def gains_as_much(f, m):
    return f.below(m[1], f.best["FLOW"], f.best["early"]) and value(m[1]) >= 0.99 and not f.equal


def tie(f, m):
    if m[1] is None:
        return abs(f.best["FLOW"] - min(f.best["early"], f.best["average"])) <= 0.006 * f.best["start"]
    return value(m[2]) >= 0 and f.below(m[2], f.of(m[1]), f.of(m[4])) and tied(m[2], m[3], f)


def at_the_ends(f, m):
    totals = {"FLOW": f.total(f.ends[1]), "standard fine-tuning": f.total(f.ends[0])}
    return f.below(m[2], totals[m[1]], totals[m[4]], 0.011) and not f.equal


def amount(text, one, other):
    """Whether that much is the one beside the other, neither of them nothing."""
    if min(one, other) <= 0:
        return False
    if less := re.fullmatch(rf"{NUMBER} % (less|more)", text):
        want = (1 - one / other) * (1 if less[2] == "less" else -1)
        return abs(value(less[1]) / 100 - want) <= min(0.006, 0.06 * abs(want))
    if times := re.fullmatch(rf"{NUMBER} times as much", text):
        return shown(times[1], one / other)
    return text == "as much" and abs(one / other - 1) < 0.0101


def how_much(f, m):
    (flow, same), pairs = f.stops, (m[1], m[2])
    return any(
        all(amount(text, *both) for text, both in zip(pairs, zip(one, other, strict=True), strict=True))
        for one in flow
        for other in same
    )


def chance(f, m, share):
    F, k, rest, p = f.shift_test
    return (value(m[1]), value(m[2])) == (k, rest) and shown(m[3], F, 0.02) and share(p)


END = rf"(?:; trained to the end, (?:FLOW|standard fine-tuning) has one {SHARE} below that of (?:FLOW|standard fine-tuning))?"
SENTENCES = {
    r"The weights of all rows are equal: FLOW is standard fine-tuning here": lambda f, m: f.equal,
    r"Far from centred: (.*?)\. The theory is of rows around 0.*": far,
    r"Few rows, none of them to spare: errors on these, which were fitted, say nothing of new ones, and those on new ones cannot be "
    "told": lambda f, m: 0 < f.ranks[0] >= len(f.X),
    r"Few rows: (?P<n>\d+) for (?P<k>\d+) directions?, (?P<each>\S+) each\. All else here is of errors on these, which were "
    r"fitted; on new ones they are others\. At its best there each method has a (?P<kind>total|target) error of "
    r"(?P<early>\S+) \(early stopping[^)]*\)?\), (?:(?P<flow>\S+) \(FLOW[^)]*\)?\), )?(?P<average>\S+) \(averaging with the "
    r"start, (?P<kept>\S+) % of it kept\), beside the start's (?P<begin>[^ ]+)\. (?P<advice>.*)": told_of_new_rows,
    rf"A shift as large as this one may be sampling noise \(F\({NUMBER}, {NUMBER}\) = {NUMBER}, p = {NUMBER}\); {NAME} lowers the "
    r"(total|target) error on new rows all the same": pays_on_new_rows,
    r"Every feature is 0 in every row: there is nothing to learn from them": lambda f, m: not f.X.any(),
    r"The start already fits these rows as well as any line: there is nothing to learn": lambda f, m: (
        f.errors(0 * f.start)[1] <= 1e-23 * (1 + (f.y**2).mean())
    ),
    rf"A shift as large as this one may be sampling noise \(F\({NUMBER}, {NUMBER}\) = {NUMBER}, p = {NUMBER}\): these rows give "
    "no reason to fine-tune": lambda f, m: chance(f, m, lambda p: p > 0.05 and shown(m[4], p, 0.06)),
    r"Too few rows for a verdict: (\d+) rows?(?: \(of total weight \d+\))? for (\d+) directions?, so that none is left over to tell "
    "shift from noise": lambda f, m: len(f.X) <= f.ranks[0] == int(m[2]),
    r"No verdict: which method is best depends on the old rows, and nothing is known of these; give pretrain_rows, or "
    "pretrain_covariance": lambda f, m: f.known is None,
    rf"A tie with the start: the best, {NAME}, lowers its total error by {SHARE}, (?:within the noise|too little|with no telling).*": tie_with_start,
    rf"FLOW helps here: a total error {SHARE} below the best alternative's, {NAME}": helps,
    rf"FLOW does not pay here: {NAME} has a total error {SHARE} lower(?:, and {NAME} ties with it)?": does_not_pay,
    rf"FLOW gains {SHARE} on {NAME}, and averaging with the start gains as much": gains_as_much,
    rf"A tie between .*: (?:{NAME} has a total error {SHARE} below that of {NAME}, (?:within the noise|too little|with no telling).*|their total "
    rf"errors are the same{END})": tie,
    rf"Total error \(forgetting \+ target\), each method at its best, beside the start's [^:]*: {NAME} {NUMBER} \({SHARE}\); {NAME} "
    rf"{NUMBER} \({SHARE}\); averaging \(keep {SHARE} of the start\) {NUMBER} \({SHARE}\)": contest,
    rf"Trained to the end, FLOW and standard fine-tuning reach the same optimum and (?:forget|move their .* of) {NUMBER}"
    "(: the weights change the way, not the end)?": lambda f, m: (
        shown(m[1], f.errors(f.ends[0])[0], 0.01)
        and np.allclose(f.ends[0], f.ends[1], atol=1e-4 * np.linalg.norm(f.ends[0]))
        and not (m[2] and f.equal)
    ),
    rf"Trained to the end, FLOW (?:forgets|moves its predictions on these rows by a mean square of) {NUMBER}, (.*) standard "
    rf"fine-tuning \({NUMBER}\), and ((leaves|ends) .*)": to_the_end,
    r"Each stopped at its best, FLOW forgets (.*) (?:than|as) standard fine-tuning at the same mean step and learns (.*)": (
        lambda f, m: f.known is not None and how_much(f, m)
    ),
    r"With half of it learned, FLOW moves its predictions \(mean square\) (.*) (?:than|as) standard fine-tuning at the same mean "
    r"step and learns (.*)": lambda f, m: f.known is None and how_much(f, m),
    r"Half of what there is to learn is never learned by (?:FLOW)?(?: nor by )?(?:standard fine-tuning at the same mean step)?": (
        lambda f, m: (
            f.known is None and [not stops for stops in f.stops] == ["FLOW" in m[0], "standard" in m[0]]
        )
    ),
    r"Along (\d+) of (\d+) directions? nothing moves at all: no row( with any weight)? reaches (?:it|them)": lambda f, m: (
        int(m[1]) == f.slowest[1][0] and (m[3] is None) == (f.slowest[0][0] == f.slowest[1][0])
    ),
    rf"Under FLOW every direction(?: that moves)? halves its error within a step(?:, as under standard fine-tuning at the same mean step|; .* takes {NUMBER})": (
        lambda f, m: (
            f.half_life(f.slowest[1][1][0]) < 1.01
            and (
                shown(m[1], f.half_life(f.slowest[0][1][0]), 0.02)
                if m[1]
                else f.half_life(f.slowest[0][1][0]) < 1.01
            )
        )
    ),
    rf"The slowest direction(?: that moves)? halves its error in {NUMBER} steps? under FLOW; under standard fine-tuning at the "
    rf"same mean step (?:the slowest takes {NUMBER}|all do so within one): (.*)": slow,
    r"Beware: sampling noise alone makes a shift as large as this one with probability (?P<p>\S+) \(F\((\S+), (\S+)\) = (\S+)\)": (
        lambda f, m: 6e-5 < f.shift_test[3] <= 0.0501 and shown(m["p"], f.shift_test[3], 0.06)
    ),
}


def judged(finding, facts):
    """What is wrong with a finding: the sentences that are false, or of no kind known here."""
    wrong = []
    for sentence in re.split(r"(?<=[^A-Z])\. (?=Total error)", finding.removesuffix(".")):
        kinds = [(re.fullmatch(pattern, sentence), true) for pattern, true in SENTENCES.items()]
        fitting = [(found, true) for found, true in kinds if found]
        if len(fitting) != 1 or not fitting[0][1](facts, fitting[0][0]):
            wrong.append((len(fitting), sentence))
        elif ends := re.search(
            rf"trained to the end, (FLOW|standard fine-tuning) has one {SHARE} below that of (FLOW|standard fine-tuning)",
            sentence,
        ):
            wrong += [] if at_the_ends(facts, ends) else [("ends", sentence)]
    return wrong

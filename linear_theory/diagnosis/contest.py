"""Each method at its best: by how much one is ahead of another, and how sure that is.

Every method's end, δ from the start, is δ = p(A) b of second moments (A, b) of the rows: (G, XᵀVr/Σv) without
weights, (C, XᵀVWr/Σvw) with them, where λp(λ) is the share of its way that the direction of eigenvalue λ has gone. Its
total error T = δᵀΣδ + (1/Σv) Σ v [(r − Xδ)² − (r + Xe)²] is then smooth in the law of the rows, and its standard
error that of a mean, of the influences that single rows have on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from ..arrays import Array
from .paths import METHODS, NEAR, Paths, Point, averaged, gentle, price, safe_step
from .theory import rank_of
from .words import number

if TYPE_CHECKING:
    from .result import Diagnosis

__all__ = ["UNSEEN", "WORTH", "Contender", "Contest", "Gain", "contested"]

WORTH = 0.01
"""A total error lower by less than this share is not worth a change of method."""

SURE = 0.95
"""The probability with which noise alone stays within what is called noise."""

TRIED = range(1, 41), np.linspace(0.02, 1.9, 95)
"""Numbers of steps, and steps 2ηλ_max (from 2 on they diverge), among which the best learning rate is looked for."""

SAME = 1e-6
"""A share of a total error below this is no difference."""

UNSEEN = 1e-12
"""Total errors below this share of the start's are rounding."""

STRIP = 50_000
"""Rows at once."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A method where it is best: its ``name``, what that costs, the displacement δ (d,) from the start, whether it is
    ``weighted``, and the ``share`` λp(λ) of the way gone along eigenvalues λ, with its ``slope`` in λ.
    """

    name: str
    point: Point
    moved: Array
    weighted: bool
    share: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    d: Diagnosis
    rate: float = math.nan

    @property
    def total(self) -> float:
        return self.point.total

    @cached_property
    def influence(self) -> tuple[Array, Array]:
        """What each row (n,), and each old row (m,), adds to the total error: Σ v·influence is 0."""
        return _influence(self.d, self)


class Gain(NamedTuple):
    """How far one total error is below another, as a ``share`` of that, with its standard ``error`` (∞ where the rows
    are too few to have one); and whether the lower one is below the other by no more than 95 % of differences that
    are none (``noise``).
    """

    share: float
    error: float
    noise: bool

    @property
    def tie(self) -> bool:
        """Within noise, or too little to matter."""
        return self.noise or abs(self.share) <= WORTH

    @property
    def none(self) -> bool:
        """No difference at all, as far as anybody could see."""
        return abs(self.share) < SAME and self.error < SAME


class Contest(NamedTuple):
    """The start and the three methods at their best; the runners in fixed and in tuned steps; both ends."""

    start: Contender
    flow: Contender
    early: Contender
    average: Contender
    tuned: tuple[Contender, Contender]
    ends: tuple[Contender, Contender]
    d: Diagnosis

    def gain(self, one: Contender, other: Contender) -> Gain:
        """By how much the total error of ``one`` is below that of ``other``.

        The standard error is that of the plug-in estimate, for rows drawn independently (and the old rows, where
        they are given, independently of them), from each row's influence (infinitesimal jackknife), times
        √(n/(n − rank)). It holds the temperature, the learning rate and Σ where that is given; it does not cover
        that errors are taken on the rows that were fitted.
        """
        d, floor = self.d, UNSEEN * self.start.total
        ratio = max(one.total, floor) / max(other.total, floor)
        n, rank = float(d.sample_weight.sum()), rank_of(d)
        if n <= rank:
            return Gain(1 - ratio, math.inf, True)
        influences = zip(one.influence, other.influence, strict=True)
        rows, old = (a / max(one.total, floor) - b / max(other.total, floor) for a, b in influences)
        variance = float(d.sample_weight @ rows**2) / n / (n - rank)
        if d.pretrain_rows is not None:
            m = len(old)
            variance = variance + float(old @ old) / m / (m - 1) if m > 1 else math.inf
        error = math.sqrt(variance)  # of ln ratio, so that either may be compared with the other
        lower = min(ratio, 1 / ratio)  # the same answer, whichever of the two is asked about
        noise = 1 - lower <= lower * error * float(special.stdtrit(n - rank, (1 + SURE) / 2))
        return Gain(1 - ratio, ratio * error, noise)


def contested(d: Diagnosis, paths: Paths) -> Contest:
    """Every method at its best; of runs as good, the simplest: as recorded, in small steps, at a rate of its own."""
    omega, _ = averaged(d)
    nowhere = lambda values: np.zeros_like(values)
    kept = lambda share: lambda values: np.full_like(values, share)
    start = _contender(d, "the start", False, kept(0.0), nowhere, 0.0)
    average = _contender(d, "averaging with the start", False, kept(1 - omega), nowhere)
    ends = tuple(
        _contender(d, name, weighted, kept(1.0), nowhere)
        for name, weighted in (("FLOW", True), ("standard fine-tuning", False))
    )
    tuned = tuple(_tuned(d, paths, weighted) for weighted in (True, False))
    flow = _simplest([*_recorded(d, paths, True), _small(d, True), tuned[0]])
    early = _simplest(
        [
            replace(start, name="early stopping (before the first step)"),
            *_recorded(d, paths, False),
            _small(d, False),
            tuned[1],
        ]
    )
    return Contest(start, flow, early, average, tuned, ends, d)  # pyright: ignore[reportArgumentType]


def _simplest(runs: list[Contender]) -> Contender:
    lowest = min(run.total for run in runs)
    return next(run for run in runs if run.total <= lowest * (1 + NEAR))


def _contender(
    d: Diagnosis,
    name: str,
    weighted: bool,
    share: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    steps: float = math.nan,
    rate: float = math.nan,
) -> Contender:
    values, vectors, aim = moving(d, weighted)
    moved = vectors @ (share(values) * aim)
    left = moved + d.shift
    point = Point(steps, float(price(d._sigma, moved)), float(left @ d.covariances[0] @ left))
    return Contender(name, point, moved, weighted, share, slope, d, rate)


def moving(d: Diagnosis, weighted: bool) -> tuple[Array, Array, Array]:
    """Eigenvalues and eigenvectors of C (or G) that rows reach, and the way to its optimum along each."""
    values, vectors = np.linalg.eigh(d.covariances[int(weighted)])
    seen = values > len(values) * np.finfo(float).eps * values[-1]
    aim = -(d.weighted_shift if weighted else d.shift) @ vectors
    return values[seen], vectors[:, seen], aim[seen]


def _stepped(two_eta: float, steps: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """1 − (1 − 2ηλ)^K, and its slope 2ηK(1 − 2ηλ)^(K − 1)."""

    def left(values: Array, k: float) -> Array:
        keep = 1 - two_eta * values
        with np.errstate(divide="ignore"):
            logs = np.where(keep > 0.5, np.log1p(-np.minimum(two_eta * values, 0.5)), np.log(abs(keep)))
        return np.where(keep < 0, (-1.0) ** (k % 2), 1.0) * np.exp(k * logs) if k else np.ones_like(values)

    return lambda values: 1 - left(values, steps), lambda values: two_eta * steps * left(values, steps - 1)


def _recorded(d: Diagnosis, paths: Paths, weighted: bool) -> Iterator[Contender]:
    """The recorded paths at their best steps."""
    for row in (1,) if weighted else (2, 0):
        best = paths.best(METHODS[row])
        rate = float(paths.learning_rates[row])
        step = float(safe_step(d.spectrum)) if weighted else rate
        name = "FLOW" if weighted else "early stopping"
        if best.steps:
            yield _contender(d, name, weighted, *_stepped(2 * step, best.steps), best.steps, rate)


def _small(d: Diagnosis, weighted: bool) -> Contender:
    """Gradient flow at its best time."""
    times, forgetting, target = gentle(d, weighted)
    total = forgetting + target
    k = int(np.argmax(total <= total.min() * (1 + NEAR)))
    time = float(times[k]) * float(safe_step(d.spectrum))
    name = "FLOW in small steps" if weighted else "early stopping in small steps"
    share, slope = lambda v: -np.expm1(-2 * time * v), lambda v: 2 * time * np.exp(-2 * time * v)
    return _contender(d, name, weighted, share, slope, float(times[k]))


def _tuned(d: Diagnosis, paths: Paths, weighted: bool) -> Contender:
    """Gradient descent with the best of many learning rates."""
    values, vectors, aim = moving(d, weighted)
    counts, sizes = TRIED
    name = "FLOW" if weighted else "early stopping"
    if not len(values):
        return _contender(d, name, weighted, *_stepped(0.0, 1), 0.0, math.nan)
    keep = 1 - np.multiply.outer(sizes, values / values[-1])
    shares = 1 - keep[:, None, :] ** np.array(counts)[:, None]
    moved = (shares * aim).reshape(-1, len(values)) @ vectors.T
    left = moved + d.shift
    totals = price(d._sigma, moved) + (left * (left @ d.covariances[0])).sum(axis=-1)
    size, count = divmod(int(np.argmax(totals <= totals.min() * (1 + NEAR))), len(counts))
    two_eta, steps = float(sizes[size] / values[-1]), counts[count]
    with np.errstate(divide="ignore", over="ignore"):  # weights as they are may all underflow
        rate = float(np.float64(two_eta) / 2 / (d.mean_weight if weighted else 1.0))
    named = (
        f"{name} at {f'the learning rate {number(rate)}' if rate < math.inf else 'its best learning rate'}"
    )
    return _contender(d, named, weighted, *_stepped(two_eta, steps), float(steps), rate)


# -------------------------------------------------------------------------------------------- standard errors


def _influence(d: Diagnosis, one: Contender) -> tuple[Array, Array]:
    """What each row (n,), and each old row (m,), adds to the total error of a method: Σ v·influence is 0.

    A stop at its best place moves the total to second order only. What is left is the row's own losses, and by
    the chain rule what it makes of A and b: ∂T/∂δ·[p(A) db + dp(A)[dA] b], dp by divided differences of p.
    """
    G, sigma, X, r = d.covariances[0], d._sigma, d.rows.X, d.rows.residual
    pull = 2 * (sigma.apply(one.moved) + G @ (one.moved + d.shift))
    values, vectors, aim = moving(d, one.weighted)
    p = one.share(values) / values
    bend = (one.slope(values) - p) / values
    apart = values[:, None] - values
    near = abs(apart) <= 1e-6 * np.maximum(values[:, None], values)
    divided = np.where(near, (bend[:, None] + bend) / 2, (p[:, None] - p) / np.where(near, 1.0, apart))
    along = vectors.T @ pull
    form = vectors @ (divided * np.outer(along, values * aim)) @ vectors.T
    pulled = vectors @ (p * along)
    larger = float(along @ (one.slope(values) * values * aim))  # of A and b together: as of another step
    weights = (
        d.rows.weights / float(d.sample_weight @ d.rows.weights / d.sample_weight.sum())
        if one.weighted
        else None
    )
    rows = np.empty(len(r))
    for begin in range(0, len(r), STRIP):
        strip = slice(begin, begin + STRIP)
        x, residual = X[strip], r[strip]
        moved = x @ one.moved
        by_end = ((x @ form) * x).sum(axis=1) + (x @ pulled) * residual - larger
        rows[strip] = (residual - moved) ** 2 - (residual + x @ d.shift) ** 2
        rows[strip] += by_end if weights is None else weights[strip] * by_end
        rows[strip] += moved**2 if d.pretrain_covariance is None else 0.0
    old = np.zeros(0) if d.pretrain_rows is None else (d.pretrain_rows @ one.moved) ** 2
    centre = lambda influences, counts: influences - counts @ influences / counts.sum()
    return centre(rows, d.sample_weight), centre(old, np.ones(len(old))) if len(old) else old

"""A few weighted Gram matrices in place of many: temperatures of one window, and the nodes they share.

The weights exp(−ℓ/τ) are functions of (ℓ, 1/τ) whose numerical rank is small: over two decades of τ some
twenty of them span all the others to 1e-9. The normal equations are summed at that many, in coordinates in
which the rows are about orthonormal, so that Cholesky loses nothing.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from ..arrays import Array
from . import dense
from .blocks import blocks, over_strips, weighted_products

__all__ = ["Span", "Wanted"]

QUANTILES = 2000
"""Of the losses, beside"""

EXTREMES = 400
"""of the smallest and of the largest ones: the sample on which weights are written in terms of one another."""

GRID = 200
"""Temperatures to a window, evenly in logarithm, that may become nodes."""

MOST_NODES = 40

EPS = float(np.finfo(float).eps)

EVEN = 100.0
"""Condition number of rows that are orthonormal in the middle of the window beyond which a direction hangs on
small weights: too small beside the others to be sure of in the sums, or in the measure of the error."""

TOGETHER = 32
"""Gram matrices that are combined at once."""

CHECKS = 12
"""Temperatures at which the error is measured on all rows: those where the sample's rows say it is largest."""

ESTIMATES = 96
"""Temperatures at which the weights are looked at to count the nodes that are needed."""


class Nodes(NamedTuple):
    """Rates 1/τ in order of importance, and every wanted weight in terms of the first k of them.

    On a sample of the losses, every weight in units of its mean there. ``rows`` are those that have these
    losses, and each stands for so many of all rows.
    """

    rates: Array
    left: Array
    triangle: Array
    sample: Array
    rows: Array
    stands_for: Array

    def combine(self, k: int, rates: Array) -> tuple[Array, Array]:
        """Coefficients (k, T) and the root mean square errors (T,) of the weights they give, on the sample."""
        wanted, size = _even(self.sample, rates)
        given, unit = _even(self.sample, self.rates[:k])
        coefficients = scipy.linalg.solve_triangular(self.triangle[:k, :k], self.left[:, :k].T @ wanted)
        errors = np.sqrt(((given @ coefficients - wanted) ** 2).sum(axis=0))
        return coefficients / unit[:, None] * size, errors

    def needed(self, rates: Array, accuracy: float) -> int:
        """The fewest nodes that give the weights at these rates to this accuracy; one too many if none do."""
        some, most = _spread(rates, ESTIMATES), len(self.rates)
        good = lambda k: self.combine(k, some)[1].max() <= accuracy
        return bisect.bisect_left(range(most + 1), True, lo=1, key=good)


def _even(losses: Array, rates: Array) -> tuple[Array, Array]:
    """exp(−ℓᵢ sⱼ)/√n in units of its mean over i, and these means."""
    weights = np.exp(-np.outer(losses, rates))
    means = weights.mean(axis=0)
    return weights / (means * math.sqrt(len(losses))), means


def _spread(values: Array, count: int) -> Array:
    """So many of the sorted values at most, first and last among them."""
    return np.sort(values)[np.linspace(0, len(values) - 1, min(len(values), count)).astype(int)]


def _few(values: Array, count: int) -> Iterator[Array]:
    """So many at a time."""
    return (values[low : low + count] for low in range(0, len(values), count))


def choose_nodes(excess: Array, rates: Array) -> Nodes:
    """Which weights span the others: column-pivoted QR of exp(−ℓᵢ sⱼ) over a sample of the losses."""
    n = len(excess)
    ends = np.geomspace(1, n, EXTREMES).astype(int) - 1
    evenly = np.linspace(0, n - 1, min(n, QUANTILES)).astype(int)
    places = np.unique(np.concatenate([evenly, ends, n - 1 - ends]))
    rows = np.argsort(excess)[places]
    sample, between = excess[rows], (places[1:] + places[:-1] + 1) / 2
    stands_for = np.diff(np.concatenate([[0.0], between, [n]]))
    positive = rates[rates > 0]
    grid = np.geomspace(positive.min(), positive.max(), GRID) if positive.size else np.zeros(0)
    grid = np.unique(np.concatenate([grid, rates[[rates.argmin(), rates.argmax()]]]))
    factors: Any = scipy.linalg.qr(_even(sample, grid)[0], mode="economic", pivoting=True)
    left, triangle, order = factors
    sizes = np.abs(triangle.diagonal())
    most = min(MOST_NODES, int((sizes > EPS * sizes[0]).sum()))  # fewer where there are few different losses
    return Nodes(grid[order[:most]], left[:, :most], triangle[:most, :most], sample, rows, stands_for)


class Wanted(NamedTuple):
    """The temperatures asked for: rates s = 1/τ and n·ridge, both in units in which the largest weight is 1."""

    rates: Array
    pulls: Array

    def only(self, chosen: Array) -> Wanted:
        """Some of them."""
        return Wanted(self.rates[chosen], self.pulls[chosen])


@dataclass(frozen=True)
class Turned:
    """X·P, block by block: rows in coordinates u, δ = Pu, in which they are about orthonormal."""

    X: Array
    turn: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.X.shape

    def __getitem__(self, rows: slice) -> Array:
        return self.X[rows] @ self.turn


class Sums(NamedTuple):
    """What the rows say at some nodes: Gram (k, d, d), moment (k, d) and Σw (k,)."""

    gram: Array
    moment: Array
    mass: Array

    @classmethod
    def over(cls, X: Array | Turned, residual: Array, excess: Array, rates: Array) -> Sums:
        """One pass over the rows for all these rates."""
        (n, d), k = X.shape, len(rates)
        sums = cls(np.zeros((k, d, d)), np.zeros((k, d)), np.zeros(k))
        half = -rates[:, None] / 2
        for low in range(0, n, 10**5):
            sums.mass[...] += np.exp(2 * half * excess[low : low + 10**5]).sum(axis=1)
        roots = lambda rows: tuple(np.exp(half * excess[rows]))
        for strip in weighted_products(X, residual, np.zeros(d), roots, count=k):
            for j, (gram, moment, _) in enumerate(strip):
                sums.gram[j] += gram
                sums.moment[j] += moment
        return sums

    def beside(self, other: Sums) -> Sums:
        """The nodes of both."""
        return Sums(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def factors(
        self, coefficients: Array, pulls: Array, metric: Array
    ) -> Iterator[tuple[dense.Factor | None, Array]]:
        """For every column of coefficients (k, T): of its Gram matrix + pull·metric, and its moment (d,)."""
        k, d = len(coefficients), self.moment.shape[1]
        for low in range(0, coefficients.shape[1], TOGETHER):
            part = coefficients[:, low : low + TOGETHER].T
            grams = (part @ self.gram[:k].reshape(k, d * d)).reshape(-1, d, d)
            for gram, moment, pull in zip(
                grams, part @ self.moment[:k], pulls[low : low + TOGETHER], strict=True
            ):
                if pull > 0:
                    gram += pull * metric
                solvable = np.isfinite(gram).all() and gram.diagonal().min() > 0
                yield dense.factorise(gram, 0.0) if solvable else None, moment


class Span:
    """Temperatures of one window, and the nodes they share."""

    def __init__(self, X: Array, residual: Array, excess: Array, wanted: Wanted, accuracy: float) -> None:
        self.X, self.residual, self.excess, self.wanted = X, residual, excess, wanted
        self.accuracy, self.weightings, self.error = accuracy, 0, 0.0

    def fill(self) -> tuple[Array, Array]:
        """δ (T, d) and the mean weights (T,) in units of the largest; NaN what must be solved by itself."""
        count, d = len(self.wanted.rates), self.X.shape[1]
        nothing = np.full((count, d), np.nan), np.full(count, np.nan)
        nodes = choose_nodes(self.excess, np.unique(self.wanted.rates))
        k = nodes.needed(self.wanted.rates, self.accuracy / 2)
        if k + 1 >= len(np.unique(self.wanted.rates)) or not self._turn():
            return nothing
        turned, sums, tries = Turned(self.X, self.turn), None, [math.inf] * 2
        while k <= len(nodes.rates):
            known = 0 if sums is None else len(sums.mass)
            more = Sums.over(turned, self.residual, self.excess, nodes.rates[known:k])
            sums = more if sums is None else sums.beside(more)
            self.weightings += k - known
            coefficients, _ = nodes.combine(k, self.wanted.rates)
            found = self._solved(sums, coefficients)
            tries.append(self._measured(nodes, sums, found))
            if 2 * tries[-1] <= self.accuracy:
                self.error = 2 * tries[-1]
                return found, sums.mass @ coefficients / len(self.excess)
            if tries[-1] > tries[-3] / 2:  # rounding, or losses that the sample does not show
                break
            k = max(nodes.needed(self.wanted.rates, self.accuracy**2 / (4 * tries[-1])), k + 2)
        return nothing

    def _turn(self) -> bool:
        """P from the weights in the middle of the window; False where Cholesky cannot give it."""
        positive = self.wanted.rates[self.wanted.rates > 0]
        middle = np.sqrt(positive.min()) * np.sqrt(positive.max()) if positive.size else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            gram = Sums.over(self.X, self.residual, self.excess, np.array([middle])).gram[0]
        self.weightings += 1
        if not np.isfinite(gram).all() or gram.diagonal().min() <= 0:
            return False
        factor = dense.factorise(gram, float(np.median(self.wanted.pulls)))
        if factor is None or not dense.unrefined_error(factor.condition, len(gram)) < 0.1:
            return False
        inverse = scipy.linalg.solve_triangular(factor.lower, np.eye(len(gram)), lower=True)
        self.turn = factor.scale[:, None] * inverse.T
        self.metric = self.turn.T @ self.turn
        return True

    def _solved(self, sums: Sums, coefficients: Array) -> Array:
        found = np.full((coefficients.shape[1], self.X.shape[1]), np.nan)
        for t, (factor, moment) in enumerate(sums.factors(coefficients, self.wanted.pulls, self.metric)):
            # What Cholesky leaves of the error without refinement must be within the accuracy too.
            if factor is not None and (
                factor.condition * factor.scale.max() < EVEN * factor.scale.min()
                and dense.unrefined_error(factor.condition, len(moment)) < self.accuracy / 4
            ):
                found[t] = self.turn @ factor.solve(moment)
        return found

    def _measured(self, nodes: Nodes, sums: Sums, found: Array) -> float:
        """The largest ‖H⁻¹∇‖/‖δ‖ at a few of the temperatures: where the sample's rows say that it is largest."""
        rates, pulls = self.wanted
        moved = np.flatnonzero(np.nan_to_num(np.abs(found).max(axis=1)) > 0)
        if not moved.size:  # nothing to move, or none that can be solved here
            return 0.0 if np.isfinite(found).any() else math.inf
        moved = moved[np.argsort(rates[moved])]
        slopes = np.concatenate(
            [self._slopes(nodes, len(sums.mass), part, found) for part in _few(moved, TOGETHER)]
        )
        expected = self._errors(nodes, sums, moved, slopes, found)
        parts = np.array_split(np.arange(len(moved)), min(CHECKS, len(moved)))
        chosen = moved[[part[expected[part].argmax()] for part in parts]]
        slopes = self._moments(found[chosen], rates[chosen]) - pulls[chosen, None] * found[chosen]
        return float(self._errors(nodes, sums, chosen, slopes, found).max())

    def _errors(self, nodes: Nodes, sums: Sums, chosen: Array, slopes: Array, found: Array) -> Array:
        """‖H⁻¹∇‖/‖δ‖ at the chosen temperatures."""
        coefficients, _ = nodes.combine(len(sums.mass), self.wanted.rates[chosen])
        errors = np.empty(len(chosen))
        parts = sums.factors(coefficients, self.wanted.pulls[chosen], self.metric)
        for j, (t, slope, (factor, _)) in enumerate(zip(chosen, slopes, parts, strict=True)):
            assert factor is not None  # it gave this displacement
            errors[j] = _ratio(self.turn @ factor.solve(self.turn.T @ slope), found[t])
        return errors

    def _slopes(self, nodes: Nodes, k: int, chosen: Array, found: Array) -> Array:
        """XᵀE(r − Xδ) (C, d) over the sample's rows, E what their weights are off by at each temperature."""
        rates, X = self.wanted.rates[chosen], self.X[nodes.rows]
        given = np.exp(-np.outer(nodes.sample, nodes.rates[:k])) @ nodes.combine(k, rates)[0]
        excess = (given - np.exp(-np.outer(nodes.sample, rates))) * nodes.stands_for[:, None]
        return (excess * (self.residual[nodes.rows, None] - X @ found[chosen].T)).T @ X

    def _moments(self, found: Array, rates: Array) -> Array:
        """XᵀW(r − Xδ) (C, d) for every δ (C, d) at its own temperature: one pass over the rows."""
        (n, d), count = self.X.shape, len(rates)

        def strip_sums(strip: slice, block: int) -> Array:
            moments = np.zeros((d, count))
            for rows in blocks(strip, block):
                left = self.residual[rows, None] - self.X[rows] @ found.T
                moments += self.X[rows].T @ (left * np.exp(-np.outer(self.excess[rows], rates)))
            return moments

        return sum(over_strips(strip_sums, n, d, 4.0 * n * d * count), np.zeros((d, count))).T


def _ratio(change: Array, whole: Array) -> float:
    """‖change‖/‖whole‖, for a whole that is not 0."""
    unit = np.abs(whole).max()
    return float(np.linalg.norm(change / unit) / np.linalg.norm(whole / unit))

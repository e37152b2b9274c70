"""Householder QR with rows sorted and columns pivoted: stable row by row, however far the weights range.

Columns that depend on others are written in terms of them, X = X_B [I T]; the basic ones give z, the fitted
combination; and among all δ with [I T] δ = z the shortest is taken, in the coordinates given. A ridge pulls on
the length of that one: as rows in z, so that what the data do not determine never meets rounding. T, z and δ are
corrected by what they leave of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack
from scipy.linalg import solve_triangular, svdvals

from ..arrays import Array
from .rows import Sample
from .solution import EPS, Method, Solution

lapack: Any = scipy.linalg.lapack

GROUPING_RATIO, GROUP_RATIO = 1e-3, 0.1
"""From the first ratio of the rows' sizes on they are taken in groups within the second of each other."""

MAX_ZERO_ROUNDING = 1e-3
"""An entry of T no larger than its rounding is taken for 0 where that is below this: else it may happen to be small."""

MAX_COMBINATION_PASSES = 8
"""Over [I T] δ = z as a combination of equations: where that is well-conditioned they are enough."""

PIVOT_SLACK = 1e-10
"""How much of the best pivots others may give up for their size: what that costs is regained from the rows."""

MAX_CANCELLATION = 10.0
"""How many times as large as δ the terms are of which it is added up, at most."""


MAX_PASSES = 60
"""Every one regains some 2^50, of the floats' 2^2100."""


def rank_tolerance(n: int, d: int) -> float:
    """σ/σ_max below which a singular value of equilibrated (n, d) rows is what rounding leaves of zero."""
    return 8 * EPS * np.sqrt(min(n, d))


def _exponents(values: Array, axis: int) -> Array:
    """The powers of two that bring the largest entry along ``axis`` to [½, 1); 0 where all are zero."""
    return np.frexp(np.abs(values).max(axis=axis, initial=0.0))[1]


def _equilibrated(matrix: Array) -> tuple[Array, Array]:
    """Rows, then columns, brought to about 1 by powers of two; and the columns' exponents."""
    matrix = np.ldexp(matrix, -_exponents(matrix, 1)[:, None])
    shift = _exponents(matrix, 0)
    return np.ldexp(matrix, -shift), shift


def remainder(matrix: Array, right: Array, solution: Array, sizes: Array | None = None) -> Array:
    """right − matrix·solution, 0 where it is no more than rounding of an equation's terms; ``sizes`` is |matrix|."""
    missing = right - matrix @ solution
    sizes = np.abs(matrix) if sizes is None else sizes
    rounding = EPS * matrix.shape[1] * (np.abs(right) + sizes @ np.abs(solution))
    return np.where(np.abs(missing) > rounding, missing, 0.0)


def refined(
    matrix: Array, right: Array, inverse: Callable[[Array], Array], passes: int = MAX_PASSES
) -> tuple[Array, int]:
    """z (k, m) of matrix·z = right (r, m), r equations that can all be met, and how many corrections it took.

    ``inverse`` solves them to a rounding beside the largest entry of z. After a first correction, what is left of an
    equation counts only if it is more than the rounding of its own terms: so an entry that none but small terms tell
    gets its digits too.
    """
    solution, sizes = inverse(right), np.abs(matrix)
    missing, before = right - matrix @ solution, np.full(right.shape, np.inf)
    for count in range(passes):
        shrinks = (missing != 0) & (np.abs(missing) < before / 2)
        if not shrinks.any():  # nothing is missing, or what rounding does not let go
            return solution, count
        solution, before = solution + inverse(missing), np.abs(missing)
        missing = remainder(matrix, right, solution, sizes)
    return solution, passes


class Pivoted(NamedTuple):
    """M P = Q R for rows in the order ``rows``, Q as LAPACK keeps it."""

    packed: Array
    reflectors: Array
    rows: Array
    columns: Array

    @property
    def triangle(self) -> Array:
        """R (k, d), k = min(n, d)."""
        return np.triu(self.packed[: min(self.packed.shape)])

    def turn(self, right: Array, transpose: bool) -> Array:
        """Qᵀ (rows sorted) or Q (and back), applied to (n, m)."""
        right = right[self.rows] if transpose else right
        operation = "T" if transpose else "N"
        packed = self.packed[:, : len(self.reflectors)]
        size = int(lapack.dormqr("L", operation, packed, self.reflectors, right, -1)[1][0])
        turned = lapack.dormqr("L", operation, packed, self.reflectors, right, size)[0]
        if transpose:
            return turned
        back = np.empty_like(turned)
        back[self.rows] = turned
        return back


def qr(matrix: Array) -> Pivoted:
    """Rows by descending largest entry, columns pivoted (Powell and Reid; Cox and Higham)."""
    rows = np.argsort(-np.abs(matrix).max(axis=1), kind="stable")
    packed, columns, reflectors, _, _ = lapack.dgeqp3(np.asfortranarray(matrix[rows]))
    return Pivoted(packed, reflectors, rows, columns - 1)


class Dependence(NamedTuple):
    """Which columns are basic, and T: every other one is a combination of them."""

    basic: Array
    others: Array
    combination: Array


def dependence(matrix: Array, shift: Array, noise: float = 0.0) -> Dependence:
    """Of equilibrated rows: the rank, which columns are basic, and T (r, d − r); every entry known to ``noise``.

    Of columns that are surely independent, those that are large before they were scaled, by 2^shift, are basic:
    what moves little along them is short.
    """
    n, d = matrix.shape
    if n == 0:
        return Dependence(np.arange(0), np.arange(d), np.zeros((0, d)))
    factor = qr(matrix)
    sizes = svdvals(factor.triangle)
    tolerance = rank_tolerance(n, d)
    rank = int((sizes > max(tolerance * sizes[0], noise * np.sqrt(n))).sum())
    independent = np.empty((rank, d))
    independent[:, factor.columns] = factor.triangle[:rank]
    if rank in (0, d):
        return Dependence(np.arange(rank), np.arange(rank, d), np.zeros((rank, d - rank)))
    basic = _basic_columns(independent, shift)
    others = np.setdiff1d(np.arange(d), basic)
    # Independent rows, as many as there are, give T: all others are combinations of them.
    rows = matrix[qr(matrix[:, basic].T).columns[:rank]]
    pivots, dependent = rows[:, basic], rows[:, others]
    right = np.concatenate([np.eye(rank), dependent], axis=1)
    exactly = refined(pivots, right, np.linalg.inv(pivots).__matmul__)[0]
    inverse, combination = np.split(exactly, [rank], axis=1)
    # What a relative change of every entry by the tolerance does to T.
    uncertainty = np.maximum(tolerance * np.abs(rows), noise)
    rounding = np.abs(inverse) @ (uncertainty[:, others] + uncertainty[:, basic] @ np.abs(combination))
    zero = (np.abs(combination) <= rounding) & (rounding < MAX_ZERO_ROUNDING)
    return Dependence(basic, others, np.where(zero, 0.0, combination))


def _lengths(columns: Array) -> Array:
    return np.sqrt((columns**2).sum(axis=0))


def _basic_columns(matrix: Array, shift: Array) -> Array:
    """As many columns as rows, one by one: of those near the farthest from the span so far, all of them together within
    ``PIVOT_SLACK``, the one that is farthest times 2^shift.
    """
    remaining, chosen, slack = matrix.copy(), [], PIVOT_SLACK
    for _ in range(len(matrix)):
        distance = _lengths(remaining)
        distance[chosen] = 0.0
        near = distance >= min(slack, 1.0) * distance.max()
        best = int(np.argmax(np.where(near, np.log2(np.where(near, distance, 1.0)) + shift, -np.inf)))
        chosen.append(best)
        slack *= distance.max() / distance[best]
        direction = remaining[:, best] / distance[best]
        remaining -= np.outer(direction, direction @ remaining)
    return np.array(chosen)


def minimise(sample: Sample, unit: float, pull: float) -> Solution:
    """The solution with δ (d,) or (d, m) for θ, of checked, finite rows, ridge and all in units of weight unit²."""
    n, d = sample.X.shape
    roots = np.ones(n) if sample.weights is None else np.sqrt(sample.weights)
    roots, root_pull = roots / unit, pull**0.5 / unit  # their squares may be no floats
    residual = sample.residual.reshape(n, -1)
    kept = roots > 0
    shift = _exponents(sample.X[kept], 0)
    if sample.noise is not None:  # a column of which little is left stands in units of what it was made from
        shift = np.maximum(shift, np.where(sample.noise > 0, np.frexp(sample.noise)[1], shift))
    X, root = np.ldexp(sample.X[kept], -shift), roots[kept]  # δ in units of 2^−shift
    rows, right = X * root[:, None], residual[kept] * root[:, None]
    nonzero = np.abs(rows).max(axis=1) > 0  # the others say nothing about δ
    if sample.noise is None:
        equilibrated, more = _equilibrated(X[nonzero])
        columns = dependence(equilibrated, shift + more)
    else:  # rows as they are: the noise is that of the columns
        more, columns = 0 * shift, dependence(X[nonzero], shift, n * EPS)
    shortest = Shortest.among(columns, shift, shift + more)
    rank, rows, right = len(columns.basic), rows[nonzero], right[nonzero]
    independent = rows[:, columns.basic]
    if pull > 0:
        independent = np.concatenate([independent, root_pull * shortest.along(np.eye(rank))])
    inverse, condition = _full_rank(independent)

    def closest_step(missing: Array, moved: Array | float = 0.0) -> Array:
        """δ for what is missing in the rows, and by which the ridge pulls back what has moved so far."""
        if pull > 0:
            back = -root_pull * shortest.within(moved + np.zeros((d, missing.shape[1])))
            missing = np.concatenate([missing, back])
        return np.ldexp(shortest.of(inverse(missing)), shift[:, None])

    if pull == 0 and len(rows) == rank:
        scaled, count = refined(rows, right, closest_step)
    else:  # not all can be met, and one correction is all that helps
        scaled, count = closest_step(right), 1
        scaled = scaled + closest_step(right - rows @ scaled, np.ldexp(scaled, -shift[:, None]))
    displacement = np.ldexp(scaled, -shift[:, None])
    misfit = (residual - sample.X @ displacement) * roots[:, None]
    energy, still = (misfit**2).sum(axis=0).reshape(sample.y.shape[1:])[()], np.zeros(sample.start.shape)
    method = Method.CLOSEST_BY_QR if columns.others.size else Method.QR
    sizes = np.ldexp(_lengths(X * root[:, None]), shift)
    return Solution(displacement.reshape(still.shape), rank, condition, energy, method, count, sizes, still)


def _full_rank(rows: Array) -> tuple[Callable[[Array], Array], float]:
    """The least-squares solution, of (n, m), for independent columns, and their condition number once equilibrated."""
    rank = rows.shape[1]
    if rank == 0:  # rows of zeros: any θ does as well as the start
        return lambda right: np.zeros((0, right.shape[1])), 1.0
    sizes = np.abs(rows).max(axis=1)
    factor = GroupedRows.of(rows) if sizes.min() < GROUPING_RATIO * sizes.max() else None
    factor = factor or qr(rows)
    triangle = factor.triangle[:rank]

    def inverse(right: Array) -> Array:
        z = np.empty((rank, right.shape[1]))
        turned = factor.turn(right, transpose=True)[:rank]
        z[factor.columns] = solve_triangular(triangle, turned, check_finite=False)
        return z

    lengths = _lengths(triangle)
    sizes = svdvals(triangle / np.where(lengths > 0, lengths, 1.0))
    return inverse, float(sizes[0] / sizes[-1]) if sizes[-1] > 0 else np.inf


class Group(NamedTuple):
    """Rows of about one size: ``first`` turns them with the triangle so far, ``second`` what is left of ``some``."""

    rows: Array
    first: Pivoted | None
    some: Array
    second: Pivoted | None
    rank: int


class GroupedRows(NamedTuple):
    """R, the order of the columns and Qᵀ for rows of very different sizes, from the heaviest down.

    Rows of one size are turned together, and what earlier ones leave of a row is dropped where it is rounding
    of that row's own size: it would outweigh rows lighter still.
    """

    triangle: Array
    columns: Array
    groups: list[Group]

    @classmethod
    def of(cls, rows: Array) -> GroupedRows | None:
        """None if too few rows are left."""
        (n, rank), sizes = rows.shape, np.abs(rows).max(axis=1)
        columns, tolerance = np.arange(rank), rank_tolerance(n, rank)
        order, groups = np.argsort(-sizes, kind="stable"), []
        triangle = np.zeros((0, rank))
        while order.size:
            together = order[sizes[order] >= GROUP_RATIO * sizes[order[0]]]
            order, k, first, second = order[len(together) :], len(triangle), None, None
            both, new = np.concatenate([triangle, rows[together][:, columns]]), triangle[:0]
            if k > 0:
                packed, reflectors, _, _ = lapack.dgeqrf(both[:, :k])
                first = Pivoted(packed, reflectors, np.arange(len(both)), columns[:k])
                both[:, :k], both[:, k:] = np.triu(packed), first.turn(both[:, k:], True)
            triangle, remaining = both[:k], both[k:, k:]
            some = np.abs(remaining).max(axis=1, initial=0.0) > tolerance * sizes[together]
            if some.any():
                second = qr(remaining[some])
                new = second.triangle
                new = new[np.abs(np.diagonal(new)) > tolerance * sizes[together[0]]]
                columns[k:], triangle[:, k:] = columns[k:][second.columns], triangle[:, k:][:, second.columns]
                triangle = np.concatenate([triangle, np.pad(new, ((0, 0), (k, 0)))])
            groups.append(Group(together, first, some, second, len(new)))
        return cls(triangle, columns, groups) if len(triangle) == rank else None

    def turn(self, right: Array, transpose: bool) -> Array:
        """Qᵀ (rank, n), applied to (n, m)."""
        turned = right[:0]
        for rows, first, some, second, rank in self.groups:
            both, k = np.concatenate([turned, right[rows]]), len(turned)
            both = both if first is None else first.turn(both, True)
            new = both[:0] if second is None else second.turn(both[k:][some], True)[:rank]
            turned = np.concatenate([both[:k], new])
        return turned


class Shortest(NamedTuple):
    """For every z (r, m) the shortest δ with δ_B + T δ_others = z: δ = S(SᵀS)⁻¹z, S = [I T]ᵀ = Q R.

    δ_B = z without T. Every equation stands in the unit of its largest coefficient, z in 2^−units.
    """

    basic: Array
    units: Array
    system: Array
    factor: Pivoted | None

    @classmethod
    def among(cls, columns: Dependence, basic_shift: Array, shift: Array) -> Shortest:
        """With z in units of 2^−basic_shift, T in units of 2^−shift, and δ in the user's."""
        basic, others, combination = columns
        rank, d = len(basic), len(basic) + len(others)
        system = np.zeros((d, rank))
        if rank == 0 or rank == d:
            return cls(basic, -basic_shift[basic], system, None)
        powers = shift[others][None, :] - shift[basic][:, None]
        mantissa, exponent = np.frexp(combination)
        height = np.where(combination != 0, exponent + powers, -(2**30))
        row_exponent = np.maximum(height.max(axis=1), 0)
        system[basic, np.arange(rank)] = np.ldexp(1.0, -row_exponent)
        system[others] = np.ldexp(mantissa, np.maximum(exponent + powers - row_exponent[:, None], -2000)).T
        return cls(basic, -(basic_shift[basic] + row_exponent), system, qr(system))

    def _reflected(self, right: Array) -> Array:
        """R⁻ᵀright."""
        assert self.factor is not None
        return solve_triangular(
            self.factor.triangle.T, right[self.factor.columns], lower=True, check_finite=False
        )

    def along(self, z: Array) -> Array:
        """Qᵀδ (r, m), as long as δ."""
        right = np.ldexp(z, self.units[:, None])
        return right if self.factor is None else self._reflected(right)

    def within(self, displacement: Array) -> Array:
        """Qᵀδ (r, m) of any δ."""
        if self.factor is None:
            return displacement[self.basic]
        return self.factor.turn(displacement, transpose=True)[: len(self.basic)]

    def of(self, z: Array) -> Array:
        """δ (d, m)."""
        right = np.ldexp(z, self.units[:, None])
        if self.factor is None:
            displacement = np.zeros((len(self.system), z.shape[1]))
            displacement[self.basic] = right
            return displacement
        displacement, every_digit = self._by_combination(right)
        return displacement if every_digit else self._by_orthogonal_factor(right)

    def _by_combination(self, right: Array) -> tuple[Array, bool]:
        """δ = Sλ, λ = R⁻¹R⁻ᵀz refined: each coordinate to its own digits, if no λ is much too large for δ."""
        assert self.factor is not None
        multiplier, missing = np.zeros_like(right), right
        for _ in range(MAX_COMBINATION_PASSES):
            step = solve_triangular(self.factor.triangle, self._reflected(missing), check_finite=False)
            multiplier[self.factor.columns] += step
            missing = remainder(self.system.T, right, self.system @ multiplier)
            if not missing.any():
                break
        displacement = self.system @ multiplier
        terms = np.abs(self.system) @ np.abs(multiplier)
        every_digit = (terms.max(axis=0) <= MAX_CANCELLATION * np.abs(displacement).max(axis=0)).all()
        return displacement, bool(every_digit and not missing.any())

    def _by_orthogonal_factor(self, right: Array) -> Array:
        """δ = Q R⁻ᵀz: to the digits of its largest coordinate. Those of columns that need but little of δ are
        regained some 15 at a time: their part of the fit is as large as any other's.
        """
        assert self.factor is not None
        displacement, missing = np.zeros((len(self.system), right.shape[1])), right
        for _ in range(MAX_PASSES):
            step = np.zeros_like(displacement)
            step[: len(right)] = self._reflected(missing)
            displacement += self.factor.turn(step, transpose=False)
            missing = remainder(self.system.T, right, displacement)
            if not missing.any():
                break
        return displacement

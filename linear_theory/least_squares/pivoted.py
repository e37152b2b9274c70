"""Householder QR with rows sorted and columns pivoted: stable row by row, however far the weights range.

Columns that depend on others are written in terms of them, X = X_B [I T]; the basic ones give z, the fitted
combination; and among all δ with [I T] δ = z the shortest is taken, in the coordinates given. A ridge pulls on
the length of that one: as rows in z, so that what the data do not determine never meets rounding. T, z and δ are
corrected by what they leave of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular, svdvals

from ..arrays import Array
from .fit import QR, QR_CLOSEST, Fit
from .householder import Pivoted, lapack, qr
from .refinement import EPS, left_over, refined
from .rows import Sample

FAR, ALIKE = 1e-3, 0.1
"""From the first ratio of the rows' sizes on they are taken in groups within the second of each other."""

SURE = 1e-3
"""How well an entry of T is told at least if it is taken for 0 where it is no larger than its rounding."""

FEW_PASSES, MANY_PASSES = 8, 60
"""Over [I T] δ = z: where it is well-conditioned, and where every one regains some 2^50 of the floats' 2^2100."""

NEARLY = 1e-10
"""How much of the best pivots others may give up for their size: what that costs is regained from the rows."""

CANCELLED = 10.0
"""How many times as large as δ the terms are of which it is added up, at most."""


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
    seen = np.empty((rank, d))
    seen[:, factor.columns] = factor.triangle[:rank]
    if rank in (0, d):
        return Dependence(np.arange(rank), np.arange(rank, d), np.zeros((rank, d - rank)))
    basic = _basic_columns(seen, shift)
    others = np.setdiff1d(np.arange(d), basic)
    # Independent rows, as many as there are, tell T: all others are combinations of them.
    told = matrix[qr(matrix[:, basic].T).columns[:rank]]
    first, rest = told[:, basic], told[:, others]
    rough = np.linalg.inv(first)
    both = np.concatenate([np.eye(rank), rest], axis=1)
    inverse, combination = np.split(refined(first, both, rough.__matmul__)[0], [rank], axis=1)
    # What a relative change of every entry by the tolerance does to T. An entry as small as that is rounding of 0,
    # where it is told to many digits: else it may happen to be small.
    unsure = np.maximum(tolerance * np.abs(told), noise)
    moved = np.abs(inverse) @ (unsure[:, others] + unsure[:, basic] @ np.abs(combination))
    nothing = (np.abs(combination) <= moved) & (moved < SURE)
    return Dependence(basic, others, np.where(nothing, 0.0, combination))


def _lengths(columns: Array) -> Array:
    return np.sqrt((columns**2).sum(axis=0))


def _basic_columns(matrix: Array, shift: Array) -> Array:
    """As many columns as rows, one by one: of those near the farthest from the span so far, all of them together within
    ``NEARLY``, the one that is farthest times 2^shift.
    """
    left, chosen, spare = matrix.copy(), [], NEARLY
    for _ in range(len(matrix)):
        distance = _lengths(left)
        distance[chosen] = 0.0
        good = distance >= min(spare, 1.0) * distance.max()
        best = int(np.argmax(np.where(good, np.log2(np.where(good, distance, 1.0)) + shift, -np.inf)))
        chosen.append(best)
        spare *= distance.max() / distance[best]
        direction = left[:, best] / distance[best]
        left -= np.outer(direction, direction @ left)
    return np.array(chosen)


def fit(sample: Sample, roots: Array, pull: float) -> Fit:
    """The displacement (d,) or (d, m) of checked, finite rows, weights roots² and ridge pull²; the larger about 1."""
    n, d = sample.X.shape
    many = sample.y.ndim == 2
    residual = sample.residual.reshape(n, -1)
    kept = roots > 0
    shift = _exponents(sample.X[kept], 0)
    if sample.noise is not None:  # a column of which little is left stands in units of what it was made from
        shift = np.maximum(shift, np.where(sample.noise > 0, np.frexp(sample.noise)[1], shift))
    X, root = np.ldexp(sample.X[kept], -shift), roots[kept]  # δ in units of 2^−shift
    rows, aim = X * root[:, None], residual[kept] * root[:, None]
    weighed = np.abs(rows).max(axis=1) > 0  # the others say nothing about δ
    if sample.noise is None:
        even, more = _equilibrated(X[weighed])
        found = dependence(even, shift + more)
    else:  # rows as they are: the noise is that of the columns
        more, found = 0 * shift, dependence(X[weighed], shift, n * EPS)
    shortest = Shortest.among(found, shift, shift + more)
    rank, rows, aim = len(found.basic), rows[weighed], aim[weighed]
    independent = rows[:, found.basic]
    if pull > 0:
        independent = np.concatenate([independent, pull * shortest.along(np.eye(rank))])
    inverse, condition = _full_rank(independent)

    def closest(left: Array, moved: Array | float = 0.0) -> Array:
        """δ that meets what is left of the rows, and by which the ridge pulls back what has moved so far."""
        if pull > 0:
            back = -pull * shortest.within(moved + np.zeros((d, left.shape[1])))
            left = np.concatenate([left, back])
        return np.ldexp(shortest.of(inverse(left)), shift[:, None])

    if pull == 0 and len(rows) == rank:
        scaled, count = refined(rows, aim, closest)
    else:  # not all can be met, and one correction is all that helps
        scaled, count = closest(aim), 1
        scaled = scaled + closest(aim - rows @ scaled, np.ldexp(scaled, -shift[:, None]))
    displacement = np.ldexp(scaled, -shift[:, None])
    left = (residual - sample.X @ displacement) * roots[:, None]
    energy = (left**2).sum(axis=0)
    shape = (d, sample.y.shape[1]) if many else (d,)
    way = QR_CLOSEST if found.others.size else QR
    columns = np.ldexp(_lengths(X * root[:, None]), shift)
    energy = energy if many else energy[0]
    return Fit(displacement.reshape(shape), rank, condition, energy, way, count, columns, 0.0)


def _full_rank(rows: Array) -> tuple[Callable[[Array], Array], float]:
    """The least-squares solution, of (n, m), for independent columns, and their condition number once equilibrated."""
    rank = rows.shape[1]
    if rank == 0:  # rows of zeros: any θ does as well as the start
        return lambda left: np.zeros((0, left.shape[1])), 1.0
    sizes = np.abs(rows).max(axis=1)
    factor = Graded.of(rows) if sizes.min() < FAR * sizes.max() else None
    factor = factor or qr(rows)
    triangle = factor.triangle[:rank]

    def inverse(left: Array) -> Array:
        z = np.empty((rank, left.shape[1]))
        turned = factor.turn(left, transpose=True)[:rank]
        z[factor.columns] = solve_triangular(triangle, turned, check_finite=False)
        return z

    lengths = _lengths(triangle)
    sizes = svdvals(triangle / np.where(lengths > 0, lengths, 1.0))
    return inverse, float(sizes[0] / sizes[-1]) if sizes[-1] > 0 else np.inf


class Group(NamedTuple):
    """Rows of about one size: turned with the triangle so far by ``first``, what is left of some by ``rest``."""

    rows: Array
    first: Pivoted | None
    told: Array
    rest: Pivoted | None
    rank: int


class Graded(NamedTuple):
    """R, the order of the columns and Qᵀ for rows of very different sizes, from the heaviest down.

    Rows of one size are turned together, and what earlier ones leave of a row is dropped where it is rounding
    of that row's own size: it would outweigh rows lighter still.
    """

    triangle: Array
    columns: Array
    groups: list[Group]

    @classmethod
    def of(cls, rows: Array) -> Graded | None:
        """None if too few rows are left."""
        (n, rank), sizes = rows.shape, np.abs(rows).max(axis=1)
        columns, tolerance = np.arange(rank), rank_tolerance(n, rank)
        order, groups = np.argsort(-sizes, kind="stable"), []
        triangle = np.zeros((0, rank))
        while order.size:
            together = order[sizes[order] >= ALIKE * sizes[order[0]]]
            order, k, first, rest = order[len(together) :], len(triangle), None, None
            both, new = np.concatenate([triangle, rows[together][:, columns]]), triangle[:0]
            if k > 0:
                packed, reflectors, _, _ = lapack.dgeqrf(both[:, :k])
                first = Pivoted(packed, reflectors, np.arange(len(both)), columns[:k])
                both[:, :k], both[:, k:] = np.triu(packed), first.turn(both[:, k:], True)
            triangle, left = both[:k], both[k:, k:]
            told = np.abs(left).max(axis=1, initial=0.0) > tolerance * sizes[together]
            if told.any():
                rest = qr(left[told])
                new = rest.triangle
                new = new[np.abs(np.diagonal(new)) > tolerance * sizes[together[0]]]
                columns[k:], triangle[:, k:] = columns[k:][rest.columns], triangle[:, k:][:, rest.columns]
                triangle = np.concatenate([triangle, np.pad(new, ((0, 0), (k, 0)))])
            groups.append(Group(together, first, told, rest, len(new)))
        return cls(triangle, columns, groups) if len(triangle) == rank else None

    def turn(self, right: Array, transpose: bool) -> Array:
        """Qᵀ (rank, n), applied to (n, m)."""
        turned = right[:0]
        for rows, first, told, rest, rank in self.groups:
            both, k = np.concatenate([turned, right[rows]]), len(turned)
            both = both if first is None else first.turn(both, True)
            new = both[:0] if rest is None else rest.turn(both[k:][told], True)[:rank]
            turned = np.concatenate([both[:k], new])
        return turned


class Shortest(NamedTuple):
    """For every z (r, m) the shortest δ with δ_B + T δ_rest = z: δ = S(SᵀS)⁻¹z, S = [I T]ᵀ = Q R.

    δ_B = z without T. Every equation stands in the unit of its largest coefficient, z in 2^−units.
    """

    basic: Array
    units: Array
    system: Array
    factor: Pivoted | None

    @classmethod
    def among(cls, found: Dependence, basic_shift: Array, shift: Array) -> Shortest:
        """With z in units of 2^−basic_shift, T in units of 2^−shift, and δ in the user's."""
        basic, others, combination = found
        rank, d = len(basic), len(basic) + len(others)
        system = np.zeros((d, rank))
        if rank == 0 or rank == d:
            return cls(basic, -basic_shift[basic], system, None)
        powers = shift[others][None, :] - shift[basic][:, None]
        mantissa, exponent = np.frexp(combination)
        reach = np.where(combination != 0, exponent + powers, -(2**30))
        lift = np.maximum(reach.max(axis=1), 0)
        system[basic, np.arange(rank)] = np.ldexp(1.0, -lift)
        system[others] = np.ldexp(mantissa, np.maximum(exponent + powers - lift[:, None], -2000)).T
        return cls(basic, -(basic_shift[basic] + lift), system, qr(system))

    def _reflected(self, aim: Array) -> Array:
        """R⁻ᵀaim."""
        assert self.factor is not None
        return solve_triangular(
            self.factor.triangle.T, aim[self.factor.columns], lower=True, check_finite=False
        )

    def along(self, z: Array) -> Array:
        """Qᵀδ (r, m), as long as δ."""
        aim = np.ldexp(z, self.units[:, None])
        return aim if self.factor is None else self._reflected(aim)

    def within(self, displacement: Array) -> Array:
        """Qᵀδ (r, m) of any δ."""
        if self.factor is None:
            return displacement[self.basic]
        return self.factor.turn(displacement, transpose=True)[: len(self.basic)]

    def of(self, z: Array) -> Array:
        """δ (d, m)."""
        aim = np.ldexp(z, self.units[:, None])
        if self.factor is None:
            displacement = np.zeros((len(self.system), z.shape[1]))
            displacement[self.basic] = aim
            return displacement
        displacement, digits = self._combined(aim)
        return displacement if digits else self._turned(aim)

    def _combined(self, aim: Array) -> tuple[Array, bool]:
        """δ = Sλ, λ = R⁻¹R⁻ᵀz refined: each coordinate to its own digits, if no λ is much too large for δ."""
        assert self.factor is not None
        multiplier, missing = np.zeros_like(aim), aim
        for _ in range(FEW_PASSES):
            step = solve_triangular(self.factor.triangle, self._reflected(missing), check_finite=False)
            multiplier[self.factor.columns] += step
            missing = left_over(self.system.T, aim, self.system @ multiplier)
            if not missing.any():
                break
        displacement = self.system @ multiplier
        terms = np.abs(self.system) @ np.abs(multiplier)
        digits = (terms.max(axis=0) <= CANCELLED * np.abs(displacement).max(axis=0)).all()
        return displacement, bool(digits and not missing.any())

    def _turned(self, aim: Array) -> Array:
        """δ = Q R⁻ᵀz: to the digits of its largest coordinate. Those of columns that need but little of δ are
        regained some 15 at a time: their part of the fit is as large as any other's.
        """
        assert self.factor is not None
        displacement, missing = np.zeros((len(self.system), aim.shape[1])), aim
        for _ in range(MANY_PASSES):
            step = np.zeros_like(displacement)
            step[: len(aim)] = self._reflected(missing)
            displacement += self.factor.turn(step, transpose=False)
            missing = left_over(self.system.T, aim, displacement)
            if not missing.any():
                break
        return displacement

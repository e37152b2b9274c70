"""Weighted least squares from a start in exact rational arithmetic, for any rank and any range of scales.

A float is a rational number, and everything `solve` promises can be computed from rationals without a single
rounding. Nothing here knows singular values, QR or Cholesky: Gauss-Jordan elimination gives X = B R with R
the reduced row echelon form (k, d), so that a displacement δ enters only through z = R δ. The fit is
z = (BᵀWB)⁻¹BᵀWr; among all δ with R δ = z the shortest is Rᵀ(RRᵀ)⁻¹z. The rank is exact: of what the
floats say, not of what they were meant to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


def rational(values: Any) -> Any:
    """A vector or matrix of floats, exactly; fractions stay what they are."""
    nested = lambda row: isinstance(row, list | tuple) or getattr(row, "ndim", 0)
    return [rational(row) if nested(row) else _fraction(row) for row in values]


def _fraction(value):
    return value if isinstance(value, Fraction) else Fraction(float(value))


def dot(left, right):
    return sum((a * b for a, b in zip(left, right, strict=True)), Fraction(0))


def transposed(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def product(rows, right):
    """Rows times a vector."""
    return [dot(row, right) for row in rows]


def echelon(rows: Any) -> Any:
    """The nonzero rows of the reduced row echelon form, and the columns of their leading ones."""
    rows, leading = [row[:] for row in rows], []
    for column in range(len(rows[0]) if rows else 0):
        at = len(leading)
        found = next((i for i in range(at, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[at], rows[found] = rows[found], rows[at]
        lead = rows[at][column]
        rows[at] = [entry / lead for entry in rows[at]]
        for i, row in enumerate(rows):
            if i != at and (factor := row[column]):
                rows[i] = [a - factor * b for a, b in zip(row, rows[at], strict=True)]
        leading.append(column)
    return rows[: len(leading)], leading


def solved(matrix, right):
    """The solution of a regular system."""
    reduced, leading = echelon([[*row, entry] for row, entry in zip(matrix, right, strict=True)])
    assert leading == list(range(len(matrix)))
    return [row[-1] for row in reduced]


@dataclass(frozen=True)
class Exact:
    """δ (d,), the rank of the weighted rows (and the ridge), and Σw(r − Xδ)² over the rows."""

    displacement: list[Fraction]
    rank: int
    residual: Fraction


def closest(X, y, start, weights=None, ridge=0.0):
    """The minimiser of (1/n) Σ w(y − Xθ)² + ridge‖θ − start‖² closest to start, for y (n,) and start (d,)."""
    rows, n, d = rational(X), len(X), len(X[0])
    mass = [Fraction(1)] * n if weights is None else rational(weights)
    offset = product(rows, rational(start))
    aim = [a - b for a, b in zip(rational(y), offset, strict=True)]
    all_rows, all_aims, all_mass = rows[:], aim[:], mass[:]
    if ridge:
        rows += [[Fraction(int(i == j)) for j in range(d)] for i in range(d)]
        aim += [Fraction(0)] * d
        mass = mass + [n * _fraction(ridge)] * d
    kept = [i for i, w in enumerate(mass) if w]
    rows, aim, mass = [rows[i] for i in kept], [aim[i] for i in kept], [mass[i] for i in kept]
    reduced, leading = echelon(rows)
    displacement = [Fraction(0)] * d
    if leading:
        basic = [[row[j] for j in leading] for row in rows]
        weighted = [[w * v for v in row] for w, row in zip(mass, basic, strict=True)]
        across = transposed(weighted)
        gram = [product(transposed(basic), row) for row in across]
        fitted = solved(gram, product(across, aim))
        multiplier = solved([product(reduced, row) for row in reduced], fitted)
        displacement = product(transposed(reduced), multiplier)
    left = [r - v for r, v in zip(all_aims, product(all_rows, displacement), strict=True)]
    residual = sum((w * v * v for w, v in zip(all_mass, left, strict=True)), Fraction(0))
    return Exact(displacement, len(leading), residual)


# ------------------------------------------------------------- how far rounding of the rows may move the answer


def _absolute(matrix):
    return [[abs(v) for v in row] for row in matrix]


def _times(left, right):
    across = transposed(right)
    return [product(across, row) for row in left]


def _plus(*vectors):
    return [sum(values, Fraction(0)) for values in zip(*vectors, strict=True)]


def _inverse(matrix):
    size = range(len(matrix))
    return transposed([solved(matrix, [Fraction(int(i == k)) for i in size]) for k in size])


def _sizes(rows):
    """ρ (n,) and s (d,): what rows and columns are divided by to be brought to about 1."""
    columns = [max(map(abs, column)) or Fraction(1) for column in transposed(rows)]
    across = [max(abs(v) / c for v, c in zip(row, columns, strict=True)) for row in rows]
    return across, [
        max(abs(v) / a for v, a in zip(column, across, strict=True)) for column in transposed(rows)
    ]


@dataclass(frozen=True)
class Sensitivity:
    """How far one rounding of everything moves δ (d,), and Xδ (n,) in the rows that count; first order, over ε."""

    displacement: list[Fraction]
    fit: list[Fraction]
    rows: list[list[Fraction]]


def sensitivity(X, y, start, weights=None, ridge=0.0, *, entries=False):
    """Every xᵢⱼ is moved by ρᵢsⱼ, its row's and its column's size, and every residual by the terms it is the
    difference of: what a row-wise stable method may do, whatever the scales of rows and columns. With ``entries``
    every xᵢⱼ by its own size, so that zeros stay: the least that any method may do.

    X = BC is moved within its rank: B, and C, where it is not 0, by what a moved B and X make of B⁺X. The
    answer is δ = C⁺z with z the fit of B, so that dδ = C⁺(dz − dC δ) + (I − C⁺C) dCᵀ(CCᵀ)⁻¹z. With a ridge
    the rows n·ridge·I are there too, C = I, and nothing keeps the rank of X.
    """
    n, d = len(X), len(X[0])
    mass = [Fraction(1)] * n if weights is None else rational(weights)
    kept = [i for i in range(n) if mass[i] and any(X[i])]
    rows, w = rational([X[i] for i in kept]), [mass[i] for i in kept]
    if not rows:
        return Sensitivity([Fraction(0)] * d, [], [])
    first = rational(start)
    labels = rational([y[i] for i in kept])
    aim = [a - b for a, b in zip(labels, product(rows, first), strict=True)]
    terms = _plus(map(abs, labels), product(_absolute(rows), list(map(abs, first))))
    across, along = _sizes(rows)
    E = _absolute(rows) if entries else [[a * s for s in along] for a in across]
    if ridge:
        one = [[Fraction(int(i == j)) for j in range(d)] for i in range(d)]
        rows, E, across = rows + one, E + one, across + [Fraction(1)] * d
        w = w + [n * _fraction(ridge)] * d
        aim, terms = aim + [Fraction(0)] * d, terms + [Fraction(0)] * d
    C, leading = echelon(rows)
    B, E_B = ([[row[j] for j in leading] for row in matrix] for matrix in (rows, E))

    weighted = transposed([[m * v for v in row] for m, row in zip(w, B, strict=True)])
    H = _inverse(_times(weighted, B))
    z = product(H, product(weighted, aim))
    felt = [m * abs(a - v) for m, a, v in zip(w, aim, product(B, z), strict=True)]
    asked = _plus(product(E_B, list(map(abs, z))), terms)
    moved_z = _plus(
        product(_absolute(_times(H, weighted)), asked),
        product(_absolute(H), product(transposed(E_B), felt)),
    )
    # C = B⁺X with all rows of one size.
    even = transposed([[v / (a * a) for v in row] for a, row in zip(across, B, strict=True)])
    reading = _absolute(_times(_inverse(_times(even, B)), even))
    off = [
        [o if v and j not in leading else Fraction(0) for j, (o, v) in enumerate(zip(*both, strict=True))]
        for both in zip(
            _times(reading, [_plus(*both) for both in zip(E, _times(E_B, _absolute(C)), strict=True)]),
            C,
            strict=True,
        )
    ]
    M = _inverse(_times(C, transposed(C)))
    pseudo, multiplier = _times(transposed(C), M), product(M, z)
    delta = product(transposed(C), multiplier)
    moved_z = _plus(moved_z, product(off, list(map(abs, delta))))
    seen = _times(pseudo, C)
    unseen = [[abs(int(i == j) - v) for j, v in enumerate(row)] for i, row in enumerate(seen)]
    turned = product(unseen, product(transposed(off), list(map(abs, multiplier))))
    moved = _plus(product(_absolute(pseudo), moved_z), turned)
    n = len(kept)
    return Sensitivity(moved, product(_absolute(B[:n]), moved_z), rows[:n])


ROUNDING = Fraction(2) ** -52

UNDERFLOW = Fraction(2) ** -1060
"""Below it a float has few digits left: 2^14 of the smallest."""


def excess(theta, start, exact, allowed):
    """How many units of error θ is off, in its coordinates and in the fit of each row: the larger of the two.

    Coordinates: |θ − start − δ|ⱼ in units ε(max ``allowed.displacement`` + |startⱼ| + |δⱼ|). Fit of row i: |X(θ
    − start − δ)|ᵢ in units ε(``allowed.fit``ᵢ + Σⱼ|xᵢⱼ|(|startⱼ| + |δⱼ|)). The first says which minimiser, the
    second that it is one; a coordinate in a unit so large that the first does not see it is seen by the second.
    """
    first = rational(start)
    off = [t - s - e for t, s, e in zip(rational(theta), first, exact.displacement, strict=True)]
    terms = _plus(map(abs, first), map(abs, exact.displacement))
    top = max(allowed.displacement)
    units = [(abs(o), ROUNDING * (top + v) + UNDERFLOW) for o, v in zip(off, terms, strict=True)]
    fits = zip(product(allowed.rows, off), allowed.fit, product(_absolute(allowed.rows), terms), strict=True)
    largest = [max(map(abs, row)) for row in allowed.rows]
    units += [
        (abs(o), ROUNDING * (f + v) + UNDERFLOW * (1 + m)) for (o, f, v), m in zip(fits, largest, strict=True)
    ]
    return float(min(max(o / u for o, u in units), Fraction(10) ** 300))


def each_excess(theta, start, exact, allowed):
    """The same with every coordinate in its own unit, ε(``allowed.displacement``ⱼ + |startⱼ| + |δⱼ|)."""
    first = rational(start)
    off = [abs(t - s - e) for t, s, e in zip(rational(theta), first, exact.displacement, strict=True)]
    terms = _plus(allowed.displacement, map(abs, first), map(abs, exact.displacement))
    return float(min(max(o / (ROUNDING * v + UNDERFLOW) for o, v in zip(off, terms, strict=True)), 10**300))

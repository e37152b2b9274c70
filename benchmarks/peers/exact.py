"""The minimiser closest to the start in exact rational arithmetic: a float is a rational number.

X = B R, with R the reduced row echelon form. A displacement δ enters through z = R δ alone, which the rows fix:
z = (BᵀWB)⁻¹BᵀWr; of all δ with R δ = z the shortest is Rᵀ(RRᵀ)⁻¹z.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

Rationals = list[Fraction]
Rows = list[Rationals]


def rational(values: Any) -> Any:
    """A vector or matrix of floats, exactly."""
    return [rational(row) if getattr(row, "ndim", 0) else Fraction(float(row)) for row in values]


def closest(X: Rows, y: Rationals, start: Rationals, weights: Rationals) -> Rationals:
    """θ, of Σ w (y − ⟨x, θ⟩)² least and then of ‖θ − start‖ least."""
    used = [i for i, weight in enumerate(weights) if weight]
    rows, mass = [X[i] for i in used], [weights[i] for i in used]
    residual = [y[i] - dot(X[i], start) for i in used]
    form, leading = echelon(rows)
    basis = [[row[j] for j in leading] for row in rows]
    weighted = [[w * entry for entry in row] for w, row in zip(mass, basis, strict=True)]
    reached = solved(product(transposed(weighted), basis), [dot(c, residual) for c in transposed(weighted)])
    across = solved(product(form, transposed(form)), reached)
    return [a + dot(column, across) for a, column in zip(start, transposed(form), strict=True)]


def dot(left: Rationals, right: Rationals) -> Fraction:
    return sum((a * b for a, b in zip(left, right, strict=True)), Fraction(0))


def transposed(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def product(left: Rows, right: Rows) -> Rows:
    columns = transposed(right)
    return [[dot(row, column) for column in columns] for row in left]


def echelon(rows: Rows) -> tuple[Rows, list[int]]:
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


def solved(matrix: Rows, right: Rationals) -> Rationals:
    """The solution of a regular system."""
    reduced, leading = echelon([[*row, entry] for row, entry in zip(matrix, right, strict=True)])
    assert leading == list(range(len(matrix)))
    return [row[-1] for row in reduced]

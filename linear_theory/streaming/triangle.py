"""Rows reduced to a triangle, R of the QR factorisation of √w (X, r), block by block: one pass, flat memory.

R has d + 1 rows and the minimiser of all; stable where normal equations are not, for it never squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..arrays import Array
from ..least_squares import pivoted
from ..least_squares.blocks import blocks, over_strips
from ..least_squares.rows import Sample


class Triangles:
    """R of what was added, as pairs of pairs: each row meets log₂ as many roundings as there are parts."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Array]] = []

    def add(self, rows: Array) -> None:
        """More rows (b, d + 1); two triangles of one height are joined, as a binary counter carries."""
        height, triangle = 0, _joined(rows)
        while self._held and self._held[-1][0] == height:
            triangle, height = _joined(self._held.pop()[1], triangle), height + 1
        self._held.append((height, triangle))

    def whole(self) -> Array:
        """R (k, d + 1), k ≤ d + 1, of everything."""
        triangle = self._held[-1][1]
        for _, larger in reversed(self._held[:-1]):
            triangle = _joined(larger, triangle)
        return triangle


def _joined(*stacked: Array) -> Array:
    """R of the rows; the rows themselves where that would be no fewer, for they have their digits."""
    rows = np.concatenate(stacked)
    return np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows


def of_strips(sample: Sample) -> Iterator[Array]:
    """R of √w (X, r) for each strip of rows."""
    X, y, start, weights = sample.X, sample.y, sample.start, sample.weights

    def reduced(strip: slice, block: int) -> Array:
        tree = Triangles()
        for rows in blocks(strip, block):
            seen = np.column_stack([X[rows], y[rows] - X[rows] @ start])
            if weights is not None:
                seen *= np.sqrt(weights[rows])[:, None]
            tree.add(seen)
        return tree.whole()

    return over_strips(reduced, *X.shape, work=4.0 * X.size * X.shape[1])


def independent_rows(triangle: Array, rows: int, noise: Array | None = None) -> tuple[Sample, Array]:
    """As many rows as the rank of X, with the same minimisers, and the energy that none of them explains.

    What rounding has left of zero is dropped: columns equilibrated and pivoted, the rows of R whose diagonal
    is below the tolerance of :func:`solve` in memory, times √ of the roundings on the way, log₂(rows). Columns of
    ``noise`` (d,), the length of what each was made from, are known to rows·ε of it: in its units, what is below
    that is dropped as well.
    """
    k, d = triangle.shape[0], triangle.shape[1] - 1
    X, residual = triangle[:, :d], triangle[:, d:]
    if k == rows and noise is None:  # so few that they are still themselves
        return Sample(X, residual[:, 0], np.zeros(d), None), np.zeros(())
    units = np.abs(X).max(axis=0)
    shift = np.frexp(units if noise is None else np.maximum(units, noise))[1]
    factor = pivoted.qr(np.ldexp(X, -shift))
    sizes = np.abs(factor.triangle.diagonal())
    tolerance = sizes.max() * pivoted.rank_tolerance(k, d) * math.sqrt(1 + math.log2(rows))
    rank = int((sizes > max(tolerance, 0.0 if noise is None else rows * pivoted.EPS)).sum())
    seen = np.empty((rank, d))
    seen[:, factor.columns] = factor.triangle[:rank]
    turned = factor.turn(residual, transpose=True)[:, 0]
    sample = Sample(np.ldexp(seen, shift), turned[:rank], np.zeros(d), None)
    return sample, np.asarray((turned[rank:] ** 2).sum())

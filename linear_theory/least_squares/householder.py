"""Householder QR with rows sorted and columns pivoted, as LAPACK keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack

from ..arrays import Array

lapack: Any = scipy.linalg.lapack


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

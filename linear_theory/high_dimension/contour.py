"""The contour around a spectrum on [0, edge] on which 1-D integrals of resolvents converge fastest."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from ..arrays import Array

__all__ = ["Contour"]

GROWTH = 3.0
"""exp(2·GROWTH) is as large as f becomes on the left of 0."""


class Contour(NamedTuple):
    """A contour between [0, edge] and the circle on [−left, right], on which the trapezium rule converges fastest.

    w = (z + left)/(right − z) makes of the circle the imaginary axis and of [0, edge] an interval [low, high]. Of w²,
    what lies between the interval and the negative numbers is a ring, by Jacobi's sn (Hale, Higham and Trefethen 2008,
    method 1), and the contour its middle: the points needed for a digit grow like log(high/low).
    """

    left: float
    right: float
    middle: float  # √(low·high)
    modulus: float  # k
    complement: float  # 1 − k²

    @classmethod
    def around(cls, edge: float, longest: float, reach: float) -> Contour:
        """``longest`` time, and the z at which a step of descent begins to grow, ``reach``."""
        left = min(0.1 * edge, GROWTH / longest)
        right = edge + max(min(edge, reach - edge), left)
        low, high = left / right, (edge + left) / (right - edge)
        ratio = high / low  # √ of that of w²
        return cls(
            left, right, math.sqrt(low * high), (ratio - 1) / (ratio + 1), 4 * ratio / (ratio + 1) ** 2
        )

    def _sn(self, places: Array) -> tuple[Array, Array]:
        """sn, and its derivative by the place, on the line at half height of the period's rectangle."""
        m, rest = 1 - self.complement, self.complement
        long, high = special.ellipkm1(rest), special.ellipk(rest)
        s, c, d, _ = special.ellipj(places * long, m)
        s1, c1, d1, _ = special.ellipj(high / 2, rest)
        below = c1**2 + m * s**2 * s1**2
        sn = (s * d1 + 1j * c * d * s1 * c1) / below
        cn = (c * c1 - 1j * s * d * s1 * d1) / below
        dn = (d * c1 * d1 - 1j * m * s * c * s1) / below
        return sn, cn * dn * long

    def points(self, accuracy: float) -> int:
        """How many points on the upper half leave of the integral's error this share of f's largest value.

        The ring, of the period 4K and the width K', makes of N of them the trapezium rule's exp(−πNK'/2K).
        """
        long, high = special.ellipkm1(self.complement), special.ellipk(self.complement)
        return math.ceil((2 * GROWTH - math.log(accuracy)) * 2 * long / (math.pi * high))

    def at(self, places: Array) -> Array:
        u = self._sn(places)[0]
        u[abs(places) == 1] = u[abs(places) == 1].real
        w = self.middle * np.sqrt((1 + self.modulus * u) / (1 - self.modulus * u))
        return (self.right * w - self.left) / (1 + w)

    def derivative(self, places: Array) -> Array:
        """dz times the step and the weights of the trapezium rule, against the clock."""
        u, speed = self._sn(places)
        k = self.modulus
        w = self.middle * np.sqrt((1 + k * u) / (1 - k * u))
        dw = w * k / (1 - (k * u) ** 2) * speed
        dz = (self.right + self.left) / (1 + w) ** 2 * dw
        dz[[0, -1]] /= 2
        return -dz * 2 / (len(places) - 1)

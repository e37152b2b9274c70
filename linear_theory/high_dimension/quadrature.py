"""Expectations over a standard normal number, of functions that may jump, by bisection where they do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..arrays import Array

__all__ = ["normal_quadrature"]

HALF_LINE = np.array(
    [0.0, *2.0 ** np.arange(-28, -1, 4), 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 18.0, 26.0, 38.0]
)
"""Narrow panels beside 0, for no node of a wide one is in the spike of a cold temperature, of the width √τ.

Beyond 38 standard deviations the density is no float.
"""

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(16)
LEVELS, MOST_PANELS = 56, 20_000
"""Halvings after which a panel is as narrow as a float is exact; panels after which noise is taken for what it is."""


def normal_quadrature(function: Callable[[Array], Array], noise: float) -> tuple[Array, Array]:
    """Nodes z > 0 and weights with which Σ weight·f(z) is E f(Z), Z ~ N(0, 1), for every even f like ``function``.

    ``function`` of nodes (n,) gives several functions (k, n), each value exact up to a factor 1 ± ``noise``. A panel is
    halved until none of their integrals over it changes any more beside the whole, or by more than the noise: where one
    of them jumps, until the panel is as narrow as its ends are exact.
    """
    low, high = HALF_LINE[:-1], HALF_LINE[1:]
    whole = _integrals(function, low, high)
    nodes, weights, settled = [], [], 0.0
    for level in range(LEVELS):
        middle = (low + high) / 2
        left, right = _integrals(function, low, middle), _integrals(function, middle, high)
        total = settled + (left + right).sum(axis=1, keepdims=True)
        change, rounding = abs(left + right - whole), 4 * np.finfo(float).eps * abs(total)
        done = (change <= np.maximum(rounding, noise * abs(left + right))).all(axis=0)
        done |= (level == LEVELS - 1) | (len(low) > MOST_PANELS)
        for start, end in ((low[done], middle[done]), (middle[done], high[done])):
            at, mass = _panels(start, end)
            nodes.append(at.ravel())
            weights.append(mass.ravel())
        if done.all():
            break
        settled = settled + (left + right)[:, done].sum(axis=1, keepdims=True)
        low, high = np.append(low[~done], middle[~done]), np.append(middle[~done], high[~done])
        whole = np.append(left[:, ~done], right[:, ~done], axis=1)
    return np.concatenate(nodes), np.concatenate(weights)


def _panels(low: Array, high: Array) -> tuple[Array, Array]:
    """Nodes and weights (panels, 16) of E over |Z| between these ends."""
    half = (high - low)[:, None] / 2
    z = low[:, None] + half * (1 + POINTS)
    return z, half * WEIGHTS * np.exp(-(z**2) / 2) * math.sqrt(2 / math.pi)


def _integrals(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Of each function over each panel (k, panels)."""
    z, mass = _panels(low, high)
    values = function(z.ravel())
    return (values.reshape(len(values), *z.shape) * mass).sum(axis=-1)

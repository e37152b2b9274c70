"""Laws of inputs and noise, to draw from and to integrate over."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Nodes = tuple[np.ndarray, np.ndarray]  # values and probabilities


class Law(NamedTuple):
    """Of one number with unit variance, or nearly so."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    nodes: Callable[[], Nodes]


def _smooth(density: Callable[[np.ndarray], np.ndarray], reach: float) -> Nodes:
    """A trapezoidal rule, which converges beyond every power where the law is smooth."""
    z = np.arange(-reach, reach + 0.1, 0.3)
    p = density(z)
    return z, p / p.sum()


def _pieces(density: Callable[[np.ndarray], np.ndarray], edges: list[float]) -> Nodes:
    """Gauss's rule between the places where the law is not smooth."""
    nodes, widths = np.polynomial.legendre.leggauss(14)
    low, high = np.array(edges[:-1])[:, None], np.array(edges[1:])[:, None]
    z = ((high - low) / 2 * nodes + (low + high) / 2).ravel()
    p = ((high - low) / 2 * widths).ravel() * density(z)
    return z, p / p.sum()


_UP = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 36.0]
_BOTH_WAYS = [-x for x in reversed(_UP[1:])] + _UP
_normal = lambda z: np.exp(-(z**2) / 2)

GAUSSIAN = Law(lambda rng, shape: rng.standard_normal(shape), lambda: _smooth(_normal, 9.0))
HEAVY = Law(  # one in ten from a Gaussian of thrice the width
    lambda rng, shape: rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, 3.0, 1.0),
    lambda: _smooth(lambda z: 0.9 * _normal(z) + 0.1 * _normal(z / 3) / 3, 27.0),
)
COUNTS = Law(  # not centred
    lambda rng, shape: rng.choice([0.0, 1.0, 3.0], shape, p=[0.5, 0.3, 0.2]),
    lambda: (np.array([0.0, 1.0, 3.0]), np.array([0.5, 0.3, 0.2])),
)
EXPONENTIAL = Law(  # mean 0
    lambda rng, shape: rng.exponential(size=shape) - 1,
    lambda: _pieces(lambda z: np.exp(-z - 1), [x - 1 for x in _UP]),
)
LAPLACE = Law(
    lambda rng, shape: rng.laplace(scale=math.sqrt(0.5), size=shape),
    lambda: _pieces(lambda z: np.exp(-math.sqrt(2) * np.abs(z)), _BOTH_WAYS),
)
SIGNS = Law(
    lambda rng, shape: rng.choice([-1.0, 1.0], shape), lambda: (np.array([-1.0, 1.0]), np.array([0.5, 0.5]))
)

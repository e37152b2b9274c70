"""K steps of a solver with constant step size and momentum, exactly and without a loop over K.

In the units x = ηλ of one eigenvalue λ of ∇²L, the error e = δ − δ_∞ and the last move v obey

    v ← b v − x e,   e ← e + v,      b = momentum − lookahead·x,

with lookahead 0 for heavy ball, lookahead = momentum for Nesterov, and neither for gradient descent.
Y = 1 − (the matrix of that step) has Y² = tY − x, t = 1 + x − b. The sum G_K of the step's first K powers is
put together from the binary digits of K by G_{j+k} = G_j + G_k − Y G_j G_k. Where the two eigenvalues of Y
are well apart, that is done for each of them; where they are not, or are complex, for G = g + hY, to which
a double root is no special case. Either way a direction that has hardly moved keeps every digit, and
rounding commutes with the step and decays where it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, namespace
from ..trees import pytree
from .matrix_functions import Kernel, fixed

__all__ = ["Response", "apply_response"]


@pytree
class Divided:
    """A function at two points and its divided difference between them: an upper triangular 2 × 2 matrix."""

    low: Array
    high: Array
    slope: Array

    def __add__(self, other: Divided) -> Divided:
        return Divided(self.low + other.low, self.high + other.high, self.slope + other.slope)

    def __sub__(self, other: Divided) -> Divided:
        return Divided(self.low - other.low, self.high - other.high, self.slope - other.slope)

    def __mul__(self, other: Divided) -> Divided:
        slope = self.low * other.slope + self.slope * other.high
        return Divided(self.low * other.low, self.high * other.high, slope)

    def __truediv__(self, other: Divided) -> Divided:
        low = self.low / other.low
        return Divided(low, self.high / other.high, (self.slope - low * other.slope) / other.high)

    def sqrt(self) -> Divided:
        """√, whose divided difference is 1/(√a + √b)."""
        xp = namespace(self.low).xp
        low, high = xp.sqrt(self.low), xp.sqrt(self.high)
        return Divided(low, high, self.slope / (low + high))


class LinearPolynomial(NamedTuple):
    """G_k = g + hY."""

    g: Any
    h: Any


def _sums_of_powers(join: Callable[[Any, Any], Any], once: Any, steps: tuple[int, ...]) -> Any:
    """G_k for each k of ``steps`` along a new first axis, G_1 = ``once``: each distinct half doubled once."""
    xp = namespace(once).xp
    small = max(steps, default=0) < 2**62
    levels, places = [np.array(steps, dtype=np.int64 if small else object)], []
    while levels[-1].any():
        halves, place = np.unique(levels[-1] // 2, return_inverse=True)
        levels.append(halves)
        places.append(place)
    total = jax.tree.map(lambda leaf: xp.zeros((len(levels[-1]), *leaf.shape), dtype=leaf.dtype), once)
    for counts, place in zip(levels[-2::-1], places[::-1], strict=True):
        even = jax.tree.map(lambda leaf, place=place: leaf[place], join(total, total))
        odd = (counts % 2).astype(bool)
        total = jax.tree.map(
            lambda more, same, odd=odd: xp.where(odd.reshape(-1, *[1] * (same.ndim - 1)), more, same),
            join(once, even),
            even,
        )
    return total


def _by_eigenvalues(x: Any, t: Any, root: Any, one: Any, steps: tuple[int, ...]) -> Any:
    """ψ where Y has the real eigenvalues t/2 ± root, well apart: G at each of them."""
    far = t / (one + one) + root
    near = x / far  # not t/2 − root, which cancels
    slow, fast = (_sums_of_powers(lambda p, q, y=y: p + q - y * (p * q), one, steps) for y in (near, far))
    return slow + (one - far) * (slow - fast) / (root + root)


def _by_matrix(x: Any, t: Any, one: Any, steps: tuple[int, ...]) -> Any:
    """ψ = g − (1 − t)h from G = g + hY."""

    def join(p: LinearPolynomial, q: LinearPolynomial) -> LinearPolynomial:
        flat, tilted = p.g * q.g - x * (p.h * q.h), p.g * q.h + p.h * q.g + t * (p.h * q.h)  # of G_j G_k
        return LinearPolynomial(p.g + q.g + x * tilted, p.h + q.h - flat - t * tilted)

    total = _sums_of_powers(join, LinearPolynomial(one, one - one), steps)
    return total.g + (t - one) * total.h


@dataclass(frozen=True)
class Response(Kernel):
    """ψ_K(x) with δ_K = ψ_K(ηH) ηh for H = ∇²L and h = −∇L(start).

    ψ_K(x) = (1 − φ_K(x))/x, φ_K what is left of the error; without momentum it is the geometric sum, with
    ψ_K(0) = K. ``momenta`` is (momentum, lookahead), ``steps`` Python integers of any size.
    """

    momenta: tuple[Array, Array]
    steps: tuple[int, ...]

    def _split(self, x: Array) -> tuple[Array, Array, Array]:
        """t, t²/4 − x, and where the eigenvalues of Y are real and at least a factor 3 apart."""
        momentum, lookahead = self.momenta
        t = 1 - momentum + (1 + lookahead) * x
        gap = t * t / 4 - x
        return t, gap, gap > t * t / 16

    def value(self, x: Array) -> Array:
        """ψ_K(x), (steps, …): relative error about ε log₂ K where nothing oscillates."""
        xp = namespace(self.momenta, x).xp
        t, gap, apart = self._split(x)
        one = xp.ones_like(x)
        # Each way only where it is meant; elsewhere it has a harmless point.
        root = xp.sqrt(xp.where(apart, gap, 1.0))
        real = _by_eigenvalues(xp.where(apart, x, 0.0), xp.where(apart, t, 2.0), root, one, self.steps)
        other = _by_matrix(xp.where(apart, 1.0, x), xp.where(apart, 2.0, t), one, self.steps)
        return xp.where(apart, real, other)

    def divided_difference(self, x: Array, y: Array) -> Array:
        """ψ_K[x, y], ψ_K'(x) where they coincide: nowhere a difference of neighbours, nor 0/0."""
        xp = namespace(self.momenta, x, y).xp
        x, y = xp.broadcast_arrays(x, y)
        (low, gap_low, apart_low), (high, gap_high, apart_high) = self._split(x), self._split(y)
        one = Divided(xp.ones_like(x), xp.ones_like(x), xp.zeros_like(x))
        both = Divided(x, y, one.low)
        t = Divided(low, high, (1 + self.momenta[1]) * one.low)
        gap = Divided(gap_low, gap_high, t.slope * (low + high) / 4 - 1)
        all_apart, distant = apart_low & apart_high, 4 * abs(x - y) > xp.maximum(x, y)
        differ = (apart_low != apart_high) & distant
        close = ~all_apart & ~differ

        def only_where(mask: Array, value: Divided, otherwise: float, slope: float) -> Divided:
            leaves = (value.low, otherwise), (value.high, otherwise), (value.slope, slope)
            return Divided(*(xp.where(mask, leaf, other) for leaf, other in leaves))

        # Each way only where it is meant; elsewhere it has a harmless point.
        points, roots = only_where(all_apart, both, 0.0, 1.0), only_where(all_apart, gap, 1.0, 0.0).sqrt()
        real = _by_eigenvalues(points, only_where(all_apart, t, 2.0, 1.0), roots, one, self.steps).slope
        points = only_where(close, both, 1.0, 1.0)
        other = _by_matrix(points, only_where(close, t, 2.0, 1.0), one, self.steps).slope
        plain = (self.value(x) - self.value(y)) / xp.where(differ, x - y, 1.0)
        return xp.where(all_apart, real, xp.where(differ, plain, other))


jax.tree_util.register_dataclass(Response, data_fields=["momenta"], meta_fields=["steps"])


@jax.custom_jvp
def apply_response(response: Response, matrix: Array, vector: Array) -> Array:
    """ψ_K(X) v for each K, (steps, m), in JAX; with first derivatives, in momentum and lookahead too, and no second."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (response.value(values) * (vector @ vectors)) @ vectors.T


@apply_response.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (response, matrix, vector), (d_response, d_matrix, d_vector) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    coordinates = vector @ vectors
    factors, d_factors = jax.jvp(lambda response: response.value(values), (response,), (d_response,))
    table = response.divided_difference(values[:, None], values[None, :])
    d_function = (table * (vectors.T @ d_matrix @ vectors)) @ coordinates
    change = (d_function + d_factors * coordinates + factors * (d_vector @ vectors)) @ vectors.T
    moving = sum(leaf.sum() for leaf in jax.tree.leaves((response, matrix, vector)))
    return (factors * coordinates) @ vectors.T, change * fixed(moving, "a solver with momentum")

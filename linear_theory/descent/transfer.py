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
from ..matrix_functions import fixed
from ..trees import pytree

__all__ = ["Response", "respond"]


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


class Pair(NamedTuple):
    """G_k = g + hY."""

    g: Any
    h: Any


def _sums(join: Callable[[Any, Any], Any], once: Any, steps: tuple[int, ...]) -> Any:
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


def _apart(x: Any, t: Any, root: Any, one: Any, steps: tuple[int, ...]) -> Any:
    """ψ where Y has the real eigenvalues t/2 ± root, well apart: G at each of them."""
    far = t / (one + one) + root
    near = x / far  # not t/2 − root, which cancels
    slow, fast = (_sums(lambda p, q, y=y: p + q - y * (p * q), one, steps) for y in (near, far))
    return slow + (one - far) * (slow - fast) / (root + root)


def _together(x: Any, t: Any, one: Any, steps: tuple[int, ...]) -> Any:
    """ψ = g − (1 − t)h from G = g + hY."""

    def join(p: Pair, q: Pair) -> Pair:
        flat, tilted = p.g * q.g - x * (p.h * q.h), p.g * q.h + p.h * q.g + t * (p.h * q.h)  # of G_j G_k
        return Pair(p.g + q.g + x * tilted, p.h + q.h - flat - t * tilted)

    total = _sums(join, Pair(one, one - one), steps)
    return total.g + (t - one) * total.h


@dataclass(frozen=True)
class Response:
    """ψ_K(x) with δ_K = ψ_K(ηH) ηh for H = ∇²L and h = −∇L(start).

    ψ_K(x) = (1 − φ_K(x))/x, φ_K what is left of the error; ψ_K(0) = K for gradient descent. ``rate`` is
    (momentum, lookahead), ``steps`` Python integers of any size.
    """

    rate: tuple[Array, Array]
    steps: tuple[int, ...]

    def _split(self, rate: tuple[Array, Array], x: Array) -> tuple[Array, Array, Array]:
        """t, t²/4 − x, and where the eigenvalues of Y are real and at least a factor 3 apart."""
        momentum, lookahead = rate
        t = 1 - momentum + (1 + lookahead) * x
        gap = t * t / 4 - x
        return t, gap, gap > t * t / 16

    def value(self, rate: tuple[Array, Array], a: Array) -> Array:
        """ψ_K(a), (steps, …): relative error about ε log₂ K where nothing oscillates."""
        xp = namespace(rate, a).xp
        t, gap, apart = self._split(rate, a)
        one = xp.ones_like(a)
        # Each way only where it is meant; elsewhere it is given a harmless point.
        root = xp.sqrt(xp.where(apart, gap, 1.0))
        real = _apart(xp.where(apart, a, 0.0), xp.where(apart, t, 2.0), root, one, self.steps)
        other = _together(xp.where(apart, 1.0, a), xp.where(apart, 2.0, t), one, self.steps)
        return xp.where(apart, real, other)

    def divided_difference(self, a: Array, b: Array) -> Array:
        """ψ_K[a, b], ψ_K'(a) where they coincide: nowhere a difference of neighbours, nor 0/0."""
        xp = namespace(self.rate, a, b).xp
        a, b = xp.broadcast_arrays(a, b)
        (low, gap_low, apart_low), (high, gap_high, apart_high) = (self._split(self.rate, x) for x in (a, b))
        one = Divided(xp.ones_like(a), xp.ones_like(a), xp.zeros_like(a))
        x = Divided(a, b, one.low)
        t = Divided(low, high, (1 + self.rate[1]) * one.low)
        gap = Divided(gap_low, gap_high, t.slope * (low + high) / 4 - 1)
        both, distant = apart_low & apart_high, 4 * abs(a - b) > xp.maximum(a, b)
        differ = (apart_low != apart_high) & distant

        def given(mask: Array, value: Divided, low: float, slope: float) -> Divided:
            return Divided(
                *(
                    xp.where(mask, leaf, other)
                    for leaf, other in zip(
                        (value.low, value.high, value.slope), (low, low, slope), strict=True
                    )
                )
            )

        root = given(both, gap, 1.0, 0.0).sqrt()
        real = _apart(given(both, x, 0.0, 1.0), given(both, t, 2.0, 1.0), root, one, self.steps).slope
        near = ~both & ~differ
        other = _together(given(near, x, 1.0, 1.0), given(near, t, 2.0, 1.0), one, self.steps).slope
        value = lambda x: self.value(self.rate, x)
        plain = (value(a) - value(b)) / xp.where(differ, a - b, 1.0)
        return xp.where(both, real, xp.where(differ, plain, other))


jax.tree_util.register_dataclass(Response, data_fields=["rate"], meta_fields=["steps"])


@jax.custom_jvp
def respond(response: Response, matrix: Array, vector: Array) -> Array:
    """ψ_K(X) v for each K, (steps, m), in JAX; with first derivatives, in momentum and lookahead too, and no second."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (response.value(response.rate, values) * (vector @ vectors)) @ vectors.T


@respond.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (response, matrix, vector), (d_response, d_matrix, d_vector) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    coordinates = vector @ vectors
    at = lambda rate: response.value(rate, values)
    factors, d_factors = jax.jvp(at, (response.rate,), (d_response.rate,))
    table = response.divided_difference(values[:, None], values[None, :])
    turned = (table * (vectors.T @ d_matrix @ vectors)) @ coordinates
    change = (turned + d_factors * coordinates + factors * (d_vector @ vectors)) @ vectors.T
    moving = sum(leaf.sum() for leaf in jax.tree.leaves((response, matrix, vector)))
    return (factors * coordinates) @ vectors.T, change * fixed(moving, "a solver with momentum")

"""The pseudo-inverse of a symmetric H ⪰ 0 in the coordinates given, from a scaled factor, and its derivatives.

Where the spectrum of H = H(held) has a gap, H is split: on one side P = H⁺, on the other the projector N, and there H
is M = N H N, which is 0 in value and not in derivative:

    dP = −P dH P + PS + (PS)ᵀ,      dN = −S − Sᵀ,      dM = N dH N − SM − (SM)ᵀ,
    S = P dH N + P² dH M + P³ dH M² + …

(Golub and Pereyra, and what they leave out because it vanishes where the rank is kept). These are the derivatives
of the matrix with its smaller side set to 0, a smooth function of H for as long as the gap is there. The rule
returns the matrices of the primals alone, which tangents meet by plain products: so it can be taken again.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace

__all__ = [
    "Inverse",
    "Quadratic",
    "Split",
    "column_sizes",
    "differentiable_split",
    "minimiser",
    "spectral_inverse",
    "split",
]

NULL_ROUNDINGS = 8.0
"""An entry of a null vector counts as 0 up to so many units of rounding error (ε)."""

MAX_NULL_ROUNDING = 1e-3
"""However many roundings there may be, a larger entry of a null vector counts."""

SMALL_COLUMN_RATIO = 16.0
"""A column is so many times smaller than the largest where what rounding makes of a 0 would be magnified."""

MAX_DERIVATIVE_ROUNDING = 1e-2
"""The relative rounding of a derivative from which it is no number."""

CROSSING_TERMS = 3
"""Terms of S: derivatives up to this order are exact; where M stays 0 (the rank is kept), those of every order."""


class Inverse(NamedTuple):
    """Of a symmetric H ⪰ 0: a root of H⁺ (d, k), the projector on its null space (d, d), rank and condition.

    The rank and condition are those of a matrix whose square H is.
    """

    root: Array
    projector: Array
    rank: Array
    condition: Array


def column_sizes(space: Namespace, squares: Array) -> Array:
    """√ of the columns' sums of squares; a column of zeros takes the unit of the largest, or 1."""
    xp = space.xp
    size = xp.sqrt(squares)
    largest = xp.max(size)
    # A smaller unit would magnify rounding along a column of zeros.
    return xp.where(size > 0, size, xp.where(largest > 0, largest, 1.0))


def spectral_inverse(
    space: Namespace, sizes: Array, right: Array, kept: Array, scale: Array, idle: Array, power: int
) -> Inverse:
    """From the singular values and right vectors (columns) of A/scale: (AᵀA)⁺, and its null space.

    The pseudo-inverse of A/scale is not that of A: null vectors go back to the coordinates given, and the
    solution drops its part along them. What rounding, d·ε·κ to the ``power``, makes of a 0 in them would there be
    magnified where a column is small, so it is dropped. ``idle`` are columns of zeros: null vectors of their own,
    and 0 in ``right``.
    """
    xp, d = space.xp, scale.shape[0]
    inverse = xp.where(kept, 1 / xp.where(kept, sizes, 1.0), 0.0)
    largest, smallest = xp.max(xp.where(kept, sizes, 0.0)), xp.min(xp.where(kept, sizes, xp.inf))
    condition = xp.where(kept.any(), largest / smallest, 1.0)
    rounding = xp.minimum(NULL_ROUNDINGS * d * space.eps * condition**power, MAX_NULL_ROUNDING)
    null = _null_vectors(space, xp.where(kept, 0.0, right), scale, rounding)
    gram, absent = null.T @ null, ~null.any(axis=0)
    # An SVD would mix large entries with small ones.
    dual = xp.linalg.solve(gram + xp.diag(absent.astype(space.dtype)), null.T)
    projector = null @ xp.where(idle, 0.0, dual) + xp.diag(idle.astype(space.dtype))
    root = right * inverse / scale[:, None]
    return Inverse(root - projector @ root, projector, kept.sum(), condition)


def _null_vectors(space: Namespace, null: Array, scale: Array, rounding: Array) -> Array:
    """A basis (d, d) of what orthonormal columns, some of them 0, span once they are divided by ``scale`` row by row.

    Each of its columns has a largest entry of 1, in a row in which the later ones have 0. They are taken one by one,
    from the longest vectors of the result down, so that the short ones are not lost beside them.
    """
    xp, d = space.xp, scale.shape[0]
    magnified = (SMALL_COLUMN_RATIO * scale < xp.max(scale))[:, None]

    def lengths_given(rows: Array) -> Array:
        """How long each row is in the coordinates given, 0 where it is rounding."""
        lengths = xp.sqrt((rows**2).sum(axis=1))
        return xp.where(lengths > rounding, lengths / scale, 0.0)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, vectors, count = state
        top = rows[xp.argmax(lengths_given(rows))]
        unit = top / xp.sqrt((top**2).sum())
        vector = rows @ unit
        vectors = xp.where(xp.arange(d) == count, vector[:, None], vectors)
        return rows - xp.outer(vector, unit), vectors, count + 1

    unfinished = lambda state: lengths_given(state[0]).any() & (state[2] < d)
    state = null, xp.zeros_like(null), xp.asarray(0)
    if xp is np:
        while unfinished(state):
            state = step(state)
    else:
        state = jax.lax.while_loop(unfinished, step, state)
    vectors = state[1]
    vectors = xp.where((abs(vectors) <= rounding) & magnified, 0.0, vectors) / scale[:, None]
    longest = abs(vectors).max(axis=0)
    return vectors / xp.where(longest > 0, longest, 1.0)


# -------------------------------------------------------------------------------------- derivatives


class Split(NamedTuple):
    """P = H⁺, the projector N on H's null space, and M = N H N, each (d, d)."""

    inverse: Array
    projector: Array
    remainder: Array

    @classmethod
    def of(cls, inverse: Array, projector: Array) -> Split:
        """The split of an H whose rank is known: in value M is 0."""
        return cls(inverse, projector, jnp.zeros_like(projector))


def differentiable_split(space: Namespace, inverse: Inverse, sizes: Array) -> Split:
    """P and N for derivatives, which are NaN where their own rounding would be all there is of them.

    N dH P is 0 where the rank is kept, and in floats a difference of terms (largest column/smallest)² times as large.
    """
    largest, smallest = jnp.max(sizes), jnp.min(jnp.where(sizes > 0, sizes, jnp.inf))
    rounding = len(sizes) * space.eps * largest * largest
    lost = rounding > MAX_DERIVATIVE_ROUNDING * smallest * smallest
    lost = lost & jnp.where(sizes > 0, inverse.projector, 0.0).any()
    return Split.of(inverse.root @ inverse.root.T, jnp.where(lost, jnp.nan, inverse.projector))


class Quadratic(Protocol):
    """δᵀHδ/2 − ⟨g, δ⟩, as a pytree of what it is differentiated in."""

    def matrix(self) -> Array:
        """H (d, d)."""
        ...

    def apply(self, vectors: Array) -> Array:
        """H v, for (d, k)."""
        ...

    def slope(self, displacement: Array) -> Array:
        """g − Hδ, (d,) or (d, m)."""
        ...


@jax.custom_jvp
def split(known: Split, held: Any) -> Split:
    """The split of ``held.matrix()``, whose value is ``known``."""
    return known


@split.defjvp
def _(primals: Any, tangents: Any) -> tuple[Split, Split]:
    (known, held), (_, moved) = primals, tangents
    P, N, M = split(known, held)
    change = jax.jvp(lambda h: h.matrix(), (held,), (moved,))[1]
    crossing, power, images = jnp.zeros_like(N), N, []
    for _ in range(CROSSING_TERMS):
        images.append(change @ power)
        power = power @ M
    for image in reversed(images):
        crossing = P @ (image + crossing)
    plus_transpose = lambda matrix: matrix + matrix.T
    d_split = Split(
        plus_transpose(P @ crossing) - P @ change @ P,
        -plus_transpose(crossing),
        N @ change @ N - plus_transpose(crossing @ M),
    )
    return Split(P, N, M), d_split


@jax.custom_jvp
def minimiser(known: Split, found: Array, held: Any) -> Array:
    """δ = P g, (d,) or (d, m), whose value is ``found``: a quadratic's stationary point closest to 0.

    In derivatives of first order no matrix H is formed: dδ = P(dg − dH δ + dH S g) + Sᵀδ.
    """
    return found


@minimiser.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (known, found, held), (*_, moved) = primals, tangents
    P, N, M = split(known, held)
    delta = minimiser(known, found, held)
    slope, d_slope = jax.jvp(lambda h: h.slope(delta), (held,), (moved,))
    # dH meets Mᵏ N(g − Hδ) in the terms of S g, and P^(k+1) δ in those of Sᵀδ.
    in_null_space, in_range = [N @ slope], [P @ delta]
    for _ in range(CROSSING_TERMS - 1):
        in_null_space.append(M @ in_null_space[-1])
        in_range.append(P @ in_range[-1])
    vectors = jnp.stack([*in_null_space, *in_range])
    columns = jnp.moveaxis(vectors, 0, -1).reshape(len(delta), -1)
    images = jax.jvp(lambda h: h.apply(columns), (held,), (moved,))[1]
    images = jnp.moveaxis(images.reshape(*delta.shape, 2 * CROSSING_TERMS), -1, 0)
    of_null_space, of_range = images[:CROSSING_TERMS], images[CROSSING_TERMS:]
    crossing, crossing_back = jnp.zeros_like(delta), jnp.zeros_like(delta)
    for null_image, range_image in zip(of_null_space[::-1], of_range[::-1], strict=True):
        crossing, crossing_back = P @ (null_image + crossing), range_image + M @ crossing_back
    return delta, P @ (d_slope + crossing) + N @ crossing_back

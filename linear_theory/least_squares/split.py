"""A symmetric H = H(held), split where its spectrum has a gap, with derivatives of any order.

On one side P = H⁺, on the other the projector N; there H is M = N H N, which is 0 in value and not in derivative:

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

from ..arrays import Array

__all__ = ["Quadratic", "Split", "minimiser", "split"]

TERMS = 3
"""Of S: derivatives up to this order are exact; where M stays 0 (the rank is kept), those of every order."""


class Split(NamedTuple):
    """P, N and M, each (d, d)."""

    inverse: Array
    unseen: Array
    rest: Array

    @classmethod
    def of(cls, inverse: Array, unseen: Array) -> Split:
        """In value M is 0."""
        return cls(inverse, unseen, jnp.zeros_like(unseen))


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
    for _ in range(TERMS):
        images.append(change @ power)
        power = power @ M
    for image in reversed(images):
        crossing = P @ (image + crossing)
    both = lambda matrix: matrix + matrix.T
    moved_split = Split(
        both(P @ crossing) - P @ change @ P, -both(crossing), N @ change @ N - both(crossing @ M)
    )
    return Split(P, N, M), moved_split


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
    left, change = jax.jvp(lambda h: h.slope(delta), (held,), (moved,))
    unmet, inner = [N @ left], [P @ delta]
    for _ in range(TERMS - 1):
        unmet.append(M @ unmet[-1])
        inner.append(P @ inner[-1])
    vectors = jnp.stack([*unmet, *inner])
    columns = jnp.moveaxis(vectors, 0, -1).reshape(len(delta), -1)
    images = jax.jvp(lambda h: h.apply(columns), (held,), (moved,))[1]
    images = jnp.moveaxis(images.reshape(*delta.shape, 2 * TERMS), -1, 0)
    crossing, back = jnp.zeros_like(delta), jnp.zeros_like(delta)
    for ahead, behind in zip(images[TERMS - 1 :: -1], images[: TERMS - 1 : -1], strict=True):
        crossing, back = P @ (ahead + crossing), behind + M @ back
    return delta, P @ (change + crossing) + N @ back

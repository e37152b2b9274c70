"""A model with its parameters in one vector, and the products with its Jacobian; all of it JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..arrays import Array
from ..errors import InvalidTypeError

__all__ = ["Model", "gram", "jacobian", "jvp", "outputs", "product", "vjp"]

BATCH, ENTRIES = 64, 2**22
"""Vectors of which products are taken at a time, fewer where there are many rows or parameters."""


def batch(*sizes: int) -> int:
    """How many at a time, where each takes memory like the largest of ``sizes``."""
    return max(1, min(BATCH, ENTRIES // max(sizes)))


@dataclass(frozen=True)
class Model:
    """``predict(params, X)`` and how its parameters lie in one vector. Hashable: compiled once for each predict."""

    predict: Callable[[Any, Array], Array]
    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def unflatten(self, theta: Array) -> Any:
        """(…, P) → the parameters as the model knows them, leaves ``(…, *shape)``."""
        leaves, place = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            leaves.append(theta[..., place : place + size].reshape((*theta.shape[:-1], *shape)))
            place += size
        return jax.tree.unflatten(self.structure, leaves)

    @property
    def dim(self) -> int:
        """P."""
        return sum(map(math.prod, self.shapes))

    def at(self, X: Array) -> Callable[[Array], Array]:
        """θ (P,) → outputs, in θ's precision."""

        def function(theta: Array) -> Array:
            values = self.predict(self.unflatten(theta), X)
            kind = getattr(values, "dtype", None)
            if kind is None or not jnp.issubdtype(kind, jnp.floating):
                what = type(values).__name__ if kind is None else f"an array of {kind}"
                raise InvalidTypeError("predict", self.predict, f"must give an array of floats, not {what}")
            return values.astype(theta.dtype)

        return function


static = partial(jax.jit, static_argnums=0)


@static
def outputs(model: Model, theta: Array, X: Array) -> Array:
    """f(X; θ)."""
    return model.at(X)(theta)


@static
def jvp(model: Model, theta: Array, X: Array, directions: Array) -> Array:
    """J v for each of the rows v of (m, P): ``(m, *outputs)``."""
    one = jax.linearize(model.at(X), theta)[1]
    return jax.lax.map(one, directions, batch_size=batch(*X.shape[:1], model.dim))


@static
def vjp(model: Model, theta: Array, X: Array, cotangents: Array) -> Array:
    """Jᵀu for each of the m entries u of ``(m, *outputs)``: (m, P)."""
    one = jax.vjp(model.at(X), theta)[1]
    return jax.lax.map(lambda u: one(u)[0], cotangents, batch_size=batch(*X.shape[:1], model.dim))


@static
def jacobian(model: Model, theta: Array, X: Array) -> Array:
    """J, ``(*outputs, P)``, row by row."""

    def row(x: Array) -> Array:
        return jax.jacrev(lambda t: model.at(x[None])(t)[0])(theta)

    return jax.lax.map(row, X, batch_size=batch(model.dim))


def product(model: Model, dual: bool, theta: Array, X: Array, roots: Array, vector: Array) -> Array:
    """JᵀWJ v/n, or in data space (``dual``) √W JJᵀ√W u/n, from the √w of each sample."""
    function = model.at(X)
    value, forward = jax.linearize(function, theta)
    backward = jax.linear_transpose(forward, theta)
    scale = roots.reshape(-1, *[1] * (value.ndim - 1))
    if dual:
        (moved,) = backward(scale * vector.reshape(value.shape))
        return (scale * forward(moved)).reshape(-1) / X.shape[0]
    (moved,) = backward(scale * scale * forward(vector))
    return moved / X.shape[0]


compiled_product = jax.jit(product, static_argnums=(0, 1))


@partial(jax.jit, static_argnums=(0, 1, 2))
def gram(model: Model, dual: bool, dim: int, theta: Array, X: Array, roots: Array) -> Array:
    """The same as a matrix, (dim, dim)."""
    one = lambda vector: product(model, dual, theta, X, roots, vector)
    rows = jax.lax.map(one, jnp.eye(dim, dtype=theta.dtype), batch_size=batch(*X.shape[:1], model.dim))
    return (rows + rows.T) / 2

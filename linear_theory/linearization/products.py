"""A model with its parameters in one vector, products with its Jacobian J, and the spectrum of what they make.

All of the model is JAX: for NumPy arguments it is run in JAX in float64, and the results go back.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from ..arrays import Array, Namespace, namespace
from ..errors import InvalidTypeError, reject

__all__ = [
    "Model",
    "common_engine",
    "compiled_product",
    "gram",
    "jacobian",
    "jvp",
    "lanczos",
    "outputs",
    "run_in_jax",
    "vjp",
]

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")

MAX_BATCH = 64
"""Vectors of which products are taken at a time."""

MAX_ENTRIES = 2**22
"""Numbers that these may hold together: fewer vectors where there are many rows or parameters."""


def _batch(*sizes: int) -> int:
    """How many at a time, where each takes memory like the largest of ``sizes``."""
    return max(1, min(MAX_BATCH, MAX_ENTRIES // max(sizes)))


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
        """P, the number of parameters."""
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


_compiled_for_model = partial(jax.jit, static_argnums=0)


@_compiled_for_model
def outputs(model: Model, theta: Array, X: Array) -> Array:
    """f(X; θ)."""
    return model.at(X)(theta)


@_compiled_for_model
def jvp(model: Model, theta: Array, X: Array, directions: Array) -> Array:
    """J v for each of the rows v of (m, P): ``(m, *outputs)``."""
    push = jax.linearize(model.at(X), theta)[1]
    return jax.lax.map(push, directions, batch_size=_batch(*X.shape[:1], model.dim))


@_compiled_for_model
def vjp(model: Model, theta: Array, X: Array, cotangents: Array) -> Array:
    """Jᵀu for each of the m entries u of ``(m, *outputs)``: (m, P)."""
    pull = jax.vjp(model.at(X), theta)[1]
    return jax.lax.map(lambda u: pull(u)[0], cotangents, batch_size=_batch(*X.shape[:1], model.dim))


@_compiled_for_model
def jacobian(model: Model, theta: Array, X: Array) -> Array:
    """J, ``(*outputs, P)``, row by row."""

    def row(x: Array) -> Array:
        return jax.jacrev(lambda t: model.at(x[None])(t)[0])(theta)

    return jax.lax.map(row, X, batch_size=_batch(model.dim))


def _product(model: Model, dual: bool, theta: Array, X: Array, scale: Array, vector: Array) -> Array:
    """JᵀWJ v/n from the weights ``scale``, or in data space (``dual``) √W JJᵀ√W u/n from their roots."""
    function = model.at(X)
    value, forward = jax.linearize(function, theta)
    backward = jax.linear_transpose(forward, theta)
    scale = scale.reshape(-1, *[1] * (value.ndim - 1))
    if dual:
        (back,) = backward(scale * vector.reshape(value.shape))
        return (scale * forward(back)).reshape(-1) / X.shape[0]
    (back,) = backward(scale * forward(vector))
    return back / X.shape[0]


compiled_product = jax.jit(_product, static_argnums=(0, 1))


@partial(jax.jit, static_argnums=(0, 1, 2))
def gram(model: Model, dual: bool, dim: int, theta: Array, X: Array, scale: Array) -> Array:
    """The matrix of :func:`_product`, (dim, dim)."""
    times = lambda vector: _product(model, dual, theta, X, scale, vector)
    rows = jax.lax.map(times, jnp.eye(dim, dtype=theta.dtype), batch_size=_batch(*X.shape[:1], model.dim))
    return (rows + rows.T) / 2


def lanczos(space: Namespace, times: Callable[[Array], Array], size: int, count: int) -> tuple[Array, Array]:
    """The ``count`` largest eigenvalues, descending, zero where they are rounding, and vectors in columns."""
    first = np.random.default_rng(0).standard_normal(size).astype(space.dtype)
    matvec = lambda v: np.asarray(times(v.reshape(-1)))
    if not matvec(first).any():  # Of a zero matrix ARPACK finds no vector to go on with.
        return space.xp.zeros(count, dtype=space.dtype), space.xp.eye(size, count, dtype=space.dtype)
    operator: Any = LinearOperator((size, size), matvec=matvec, dtype=space.dtype)  # pyright: ignore
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=first)
    except ArpackError as error:
        failure = f"must be another number: Lanczos has not found them all ({error}); {size} takes no Lanczos"
    else:
        values = np.where(values <= size * space.eps * values[-1], 0.0, values)
        return space.array(values[::-1].copy()), space.array(vectors[:, ::-1].copy())
    return reject("count", count, failure)


def run_in_jax(space: Namespace, function: Callable[..., Any], *arrays: Array) -> Any:
    """``function(*arrays)``, which is JAX: as it is, or from NumPy in float64 and back."""
    if space.xp is not np:
        return function(*arrays)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():  # Also inside a jit of the caller's.
        return jax.tree.map(np.asarray, function(*map(jnp.asarray, arrays)))


def common_engine(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method of which the object is one argument among others: a JAX array among them decides for all."""

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        space = namespace(self, args, kwargs)
        for name, value in inspect.signature(method).bind(self, *args, **kwargs).arguments.items():
            space.refuse_half(name, value)
        return method(self.within(space), *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    return call

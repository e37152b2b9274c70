"""A model's linear map at θ*: its parameters as one vector, its rows, and products with its Jacobian J."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import (
    Array,
    InvalidTypeError,
    Namespace,
    bounded,
    finite,
    namespace,
    require,
    shaped,
)
from . import products
from .engine import engine, joined
from .products import Model

__all__ = ["Features"]


@dataclass(frozen=True, eq=False)
class Features:
    """What a :class:`Linearization` stands on: J of shape (*outputs, P), known by its products alone."""

    model: Model
    start: Array  # θ*, (P,)
    X: Array
    outputs: Array  # f(X; θ*), (n,) or (n, k)
    residuals: Array  # y − f(X; θ*)

    @property
    def losses(self) -> Array:
        """(n,): ‖rᵢ‖², what the weights are made of."""
        return (self.residuals**2).reshape(self.count, -1).sum(axis=1)

    @property
    def count(self) -> int:
        """n."""
        return self.X.shape[0]

    @property
    def dim(self) -> int:
        """P."""
        return self.start.shape[0]

    def flatten(self, params: Any) -> Array:
        """The model's parameters, a pytree like θ*, as one vector (P,)."""
        leaves, structure = jax.tree.flatten(params)
        if structure != self.model.structure or tuple(map(np.shape, leaves)) != self.model.shapes:
            raise InvalidTypeError("params", structure, f"must be built like θ*: {self.model.structure}")
        space = namespace(self.start, leaves)
        every = tuple(range(9))
        return space.xp.concatenate([finite(space, "params", leaf, every).reshape(-1) for leaf in leaves])

    @joined
    def unflatten(self, theta: Array) -> Any:
        """(P,) → the model's parameters; (m, P) → each leaf with a first axis m."""
        return self.model.unflatten(self._several("theta", theta, (self.dim,)))

    # ------------------------------------------------------------------------------------------- products

    @joined
    def jvp(self, direction: Array) -> Array:
        """J v in the shape of the outputs, for v (P,), or for each row of (m, P): (m, *outputs)."""
        return self._forward(self._several("direction", direction, (self.dim,)))

    @joined
    def vjp(self, cotangent: Array) -> Array:
        """Jᵀu (P,) for u in the shape of the outputs, or for each of (m, *outputs): (m, P)."""
        return self._back(self._several("cotangent", cotangent, self.outputs.shape))

    def jacobian(self) -> Array:
        """J as an array (*outputs, P): n·k·P numbers."""
        return self._run(lambda t, X: products.jacobian(self.model, t, X), self.start, self.X)

    @joined
    def outputs_at(self, theta: Array) -> Array:
        """f(X; θ*) + J(θ − θ*) in the shape of the outputs for θ (P,), or (m, *outputs) for (m, P)."""
        return self.outputs + self._forward(self._several("theta", theta, (self.dim,)) - self.start)

    def within(self, space: Namespace) -> Self:
        """The same in another engine or precision: itself, where it is there already."""
        if space == self._space:
            return self
        X = space.array(self.X) if jnp.issubdtype(self.X.dtype, np.floating) else space.xp.asarray(self.X)
        rest = {name: space.array(getattr(self, name)) for name in ("start", "outputs", "residuals")}
        return replace(self, X=X, **rest)

    # --------------------------------------------------------------------------------------------- inside

    @property
    def _space(self) -> Namespace:
        return namespace(self.start)

    @property
    def _dual(self) -> bool:
        return self.outputs.size < self.dim

    @property
    def _size(self) -> int:
        return min(self.outputs.size, self.dim)

    def _run(self, function: Callable[..., Array], *arrays: Array) -> Array:
        return engine(self._space, function, *arrays)

    def _several(self, name: str, value: Array, shape: tuple[int, ...], both: bool = True) -> Array:
        """A checked argument of this shape or, with a first axis, several."""
        ndim = len(shape)
        array = finite(self._space, name, value, ndim=(ndim, ndim + 1) if both else ndim)
        if array.shape[array.ndim - ndim :] != shape:
            shaped(name, array, (*array.shape[: array.ndim - ndim], *shape), "as long as the model says")
        return array

    def _moving(self, direction: Array, axes: tuple[int, ...]) -> Array:
        """Ju of directions that move an output."""
        space = self._space
        moved = self._forward(self._several("direction", direction, (self.dim,), 2 in axes))
        seen = self._squares(moved).sum(axis=-1) > 0
        return require(
            space, "direction", moved, seen.reshape(*seen.shape, *[1] * self.outputs.ndim),
            "must move an output, but J times it is 0",
        )  # fmt: skip

    def _forward(self, directions: Array) -> Array:
        return self._each(products.jvp, directions, 1)

    def _back(self, cotangents: Array) -> Array:
        return self._each(products.vjp, cotangents, self.outputs.ndim)

    def _each(self, function: Any, values: Array, ndim: int) -> Array:
        rows = values if values.ndim > ndim else values[None]
        found = self._run(lambda t, X, v: function(self.model, t, X, v), self.start, self.X, rows)
        return found if values.ndim > ndim else found[0]

    def _weights(self, weights: Array | None) -> Array:
        space = self._space
        if weights is None:
            return space.xp.ones(self.count, dtype=space.dtype)
        array = bounded(
            space, "weights", weights, lambda v: (v >= 0) & (v < math.inf), "must be finite and ≥ 0", ndim=1
        )
        return shaped("weights", array, (self.count,), "one weight for each sample")

    def _sample(self, weights: Array) -> Array:
        """(n,) to multiply outputs with."""
        return weights.reshape(-1, *[1] * (self.outputs.ndim - 1))

    def _squares(self, values: Array) -> Array:
        """(…, *outputs) → (…, n)."""
        lead = values.shape[: values.ndim - self.outputs.ndim]
        return (values**2).reshape(*lead, self.count, -1).sum(axis=-1)

"""A model's linear map at θ*: its parameters as one vector, its rows, and products with its Jacobian J."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, bounded, finite, namespace, require, shaped
from ..errors import InvalidTypeError
from . import products
from .engine import engine, joined
from .products import Model

__all__ = ["Features"]


@dataclass(frozen=True, eq=False)
class Features:
    """What a :class:`Linearization` stands on: J of shape ``(*outputs, P)``, known by its products alone."""

    model: Model
    start: Array  # θ*, (P,)
    X: Array
    outputs: Array  # f(X; θ*), (n,) or (n, k)
    residuals: Array  # y − f(X; θ*)

    @property
    def losses(self) -> Array:
        """‖rᵢ‖² (n,), what the weights are made of.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(lt.flow_weights(lin.losses).round(4))  # ready for the weights: losses 1 and 9, median 5
        [0.8187 0.1653]
        """
        return (self.residuals**2).reshape(self.count, -1).sum(axis=1)

    @property
    def count(self) -> int:
        """n, the number of samples.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.linearize(lambda w, X: X @ w, np.zeros(2), np.ones((5, 2)), np.ones(5)).count
        5
        """
        return self.X.shape[0]

    @property
    def dim(self) -> int:
        """P, the number of parameters.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.linearize(lambda w, X: X @ w, np.zeros(2), np.ones((5, 2)), np.ones(5)).dim
        2
        """
        return self.start.shape[0]

    def flatten(self, params: Any) -> Array:
        """The model's parameters, a pytree like θ*, as one vector (P,).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> model = lambda params, X: X @ params["slope"] + params["bias"]
        >>> params = {"bias": np.array(1.0), "slope": np.array([2.0, 3.0])}
        >>> lin = lt.linearize(model, params, np.ones((4, 2)), np.ones(4))
        >>> print(lin.flatten(params))  # in the order of jax.tree.leaves
        [1. 2. 3.]
        """
        leaves, structure = jax.tree.flatten(params)
        if structure != self.model.structure or tuple(map(np.shape, leaves)) != self.model.shapes:
            raise InvalidTypeError("params", structure, f"must be built like θ*: {self.model.structure}")
        space = namespace(self.start, leaves)
        every = tuple(range(9))
        return space.xp.concatenate([finite(space, "params", leaf, every).reshape(-1) for leaf in leaves])

    @joined
    def unflatten(self, theta: Array) -> Any:
        """(P,) → the model's parameters; (m, P) → each leaf with a first axis m.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> model = lambda params, X: X @ params["slope"] + params["bias"]
        >>> params = {"bias": np.array(1.0), "slope": np.array([2.0, 3.0])}
        >>> lin = lt.linearize(model, params, np.ones((4, 2)), np.ones(4))
        >>> print(lin.unflatten(lin.start + 1)["slope"])
        [3. 4.]
        """
        return self.model.unflatten(self._several("theta", theta, (self.dim,)))

    # ------------------------------------------------------------------------------------------- products

    @joined
    def jvp(self, direction: Array) -> Array:
        """J v in the shape of the outputs, for v (P,), or for each row of (m, P): ``(m, *outputs)``.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w**2, np.array([1.0, 2.0]), np.eye(2), np.ones(2))
        >>> print(lin.jvp(np.array([1.0, 1.0])))  # J = diag(2w)
        [2. 4.]
        """
        return self._forward(self._several("direction", direction, (self.dim,)))

    @joined
    def vjp(self, cotangent: Array) -> Array:
        """Jᵀu (P,) for u in the shape of the outputs, or for each of ``(m, *outputs)``: (m, P).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w**2, np.array([1.0, 2.0]), np.eye(2), np.ones(2))
        >>> print(lin.vjp(np.array([1.0, 10.0])))
        [ 2. 40.]
        """
        return self._back(self._several("cotangent", cotangent, self.outputs.shape))

    def jacobian(self) -> Array:
        """J as an array ``(*outputs, P)``: n·k·P numbers.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w**2, np.array([1.0, 2.0]), np.eye(2), np.ones(2))
        >>> print(lin.jacobian().tolist())
        [[2.0, 0.0], [0.0, 4.0]]
        """
        return self._run(lambda t, X: products.jacobian(self.model, t, X), self.start, self.X)

    @joined
    def outputs_at(self, theta: Array) -> Array:
        """f(X; θ*) + J(θ − θ*) in the shape of the outputs for θ (P,), or ``(m, *outputs)`` for (m, P).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w**2, np.array([1.0, 2.0]), np.eye(2), np.ones(2))
        >>> print(lin.outputs_at(np.array([1.5, 2.0])))  # the model itself gives 2.25 and 4
        [2. 4.]
        """
        return self.outputs + self._forward(self._several("theta", theta, (self.dim,)) - self.start)

    def within(self, space: Namespace) -> Self:
        """The same in another engine or precision: itself, where it is there already.

        Examples
        --------
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> from linear_theory.arrays import namespace
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.ones(2))
        >>> moved = lin.within(namespace(jnp.float32(0.0)))
        >>> print(lin.start.dtype, moved.start.dtype)
        float64 float32
        """
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
        """``(…, *outputs)`` → (…, n)."""
        lead = values.shape[: values.ndim - self.outputs.ndim]
        return (values**2).reshape(*lead, self.count, -1).sum(axis=-1)

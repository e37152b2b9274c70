"""From a model, its parameters and rows to their linearization: what is checked on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import (
    Array,
    InvalidTypeError,
    Namespace,
    finite,
    is_concrete,
    namespace,
    reject,
    require,
    shaped,
)
from .linear import Linearization, engine
from .products import Model, outputs

__all__ = ["linearize"]


def linearize(predict: Callable[[Any, Array], Array], params: Any, X: Array, y: Array) -> Linearization:
    """A model at its pre-trained parameters θ*, as a linear model: f(x; θ) ≈ f(x; θ*) + J(x)(θ − θ*).

    With the features J (n·k, P) the theory of the package applies at θ*: the residual is r = y − f(X; θ*), the
    loss of a sample its sum of squares over the k outputs, and of weighted rows
    L(θ) = (1/n) Σ wᵢ‖yᵢ − f(xᵢ; θ)‖², a mean over n and no ½ (as in eq. (8), with J in place of x).

    Parameters
    ----------
    predict : callable
        (params, X) → outputs (n,) or (n, k), written in JAX. Output i depends on row i alone. Pass the same
        function object again and nothing is compiled twice.
    params : pytree of arrays
        θ*. An equinox model is split first: ``params, static = eqx.partition(model, eqx.is_inexact_array)``.
    X : (n, …) array
        Inputs, first axis the samples.
    y : (n,) or (n, k) array
        Labels, in the shape of the outputs.

    Returns
    -------
    Linearization
        NumPy (float64, whatever JAX's settings) where no argument is a JAX array, else JAX in their precision.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For parameters that are not real arrays or not finite, no rows, labels of another shape, outputs that
        are not finite or not row by row. Under JAX tracing a bad value gives NaN instead.
    """
    if not callable(predict):
        raise InvalidTypeError("predict", predict, "must be a function (params, X) → outputs")
    space = namespace(params, X, y)
    model, start = _flatten(space, predict, params)
    X = _rows(space, X)
    y = finite(space, "y", y, ndim=(1, 2))
    try:
        values = engine(space, lambda t, rows: outputs(model, t, rows), start, X)
    except TypeError as error:  # the model's own complaint, under our name
        reject("predict", predict, f"cannot be evaluated at these params and X: {error}")
    shaped("outputs of predict", values, y.shape, "one for each label")
    values = require(space, "outputs of predict", values, space.xp.isfinite(values), "must be finite")
    if is_concrete(values):
        alone = engine(space, lambda t, rows: outputs(model, t, rows), start, X[:1])
        scale = abs(values).max() + 1e-300
        if not abs(alone - values[:1]).max() <= 1e3 * space.eps * scale:
            reject("predict", predict, "must act row by row: the first output changes with the other rows")
    return Linearization(model, start, X, values, y - values)


def _flatten(space: Namespace, predict: Callable[..., Array], params: Any) -> tuple[Model, Array]:
    leaves, structure = jax.tree.flatten(params)
    arrays = []
    for leaf in leaves:
        if not (isinstance(leaf, float | int | np.ndarray | jax.Array) and not isinstance(leaf, bool)):
            raise InvalidTypeError(
                "params", leaf, "must be a pytree of real arrays; split a model that holds anything else "
                "first, for instance by eqx.partition(model, eqx.is_inexact_array)"
            )  # fmt: skip
        arrays.append(finite(space, "params", leaf, ndim=tuple(range(9))))
    if sum(array.size for array in arrays) == 0:
        reject("params", params, "holds no parameter")
    flat = space.xp.concatenate([array.reshape(-1) for array in arrays])
    return Model(predict, structure, tuple(array.shape for array in arrays)), flat


def _rows(space: Namespace, X: Array) -> Array:
    """Real inputs in this precision; integers (tokens) as they are."""
    if not isinstance(X, np.ndarray | jax.Array):
        try:
            X = np.asarray(X)
        except ValueError:
            reject("X", X, "must be a rectangular array")
    if jnp.issubdtype(X.dtype, np.floating):
        X = finite(space, "X", X, ndim=tuple(range(1, 9)))
    elif not jnp.issubdtype(X.dtype, np.integer):
        raise InvalidTypeError("X", X, f"must hold real numbers or integers, not {X.dtype}")
    if X.ndim == 0 or X.shape[0] == 0:
        reject("X", X, "must have its samples on the first axis, at least one")
    return space.xp.asarray(X)

"""From a model, its parameters and rows to their linearization: what is checked on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, finite, namespace, shaped
from ..errors import InvalidTypeError, LinearTheoryError, reject
from ..reading import read, same_rows
from ..trees import is_concrete
from .linear import Linearization
from .products import Model, outputs, run_in_jax

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
        For parameters that are not real arrays or not finite, no rows, labels of another shape than the
        outputs, outputs that are not floats, not finite or not row by row. Under JAX tracing a bad value gives
        NaN instead. An error of ``predict``'s own comes as it is, or where it is a TypeError (shapes that do
        not fit) under our name.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> def predict(params, X):  # one hidden layer, in JAX
    ...     return jnp.tanh(X @ params["hidden"]) @ params["head"]
    ...
    >>> X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0, 3.0])
    >>> lin = lt.linearize(predict, {"hidden": np.eye(2), "head": np.ones(2)}, X, y)
    >>> weights = lt.flow_weights(lin.losses)
    >>> theta = lin.iterate(100, learning_rate=0.1, weights=weights)
    >>> print(lin.unflatten(theta)["head"].round(3))  # both layers have moved
    [1.18  0.768]
    """
    if not callable(predict):
        raise InvalidTypeError("predict", predict, "must be a function (params, X) → outputs")
    space = namespace(params, X, y)
    model, start = _flatten(space, predict, params)
    same_rows(X=X, y=y)
    X = _rows(space, X)
    y = finite(space, "y", y, ndim=(1, 2))
    evaluate = lambda rows: run_in_jax(space, lambda t, x: outputs(model, t, x), start, rows)
    try:
        values = evaluate(X)
    except TypeError as error:  # the model's own complaint, under our name; its traceback stays in sight
        if isinstance(error, LinearTheoryError):
            raise
        reject("predict", predict, f"must take these params and X: {str(error).splitlines()[0]}")
    if values.ndim not in (1, 2) or values.shape[0] != X.shape[0] or values.size == 0:
        reject("predict", predict, f"must give n or (n, k) outputs, not an array of shape {values.shape}")
    shaped("y", y, values.shape, "one label for each output of predict")
    finite_outputs = space.xp.isfinite(values)
    if is_concrete(values) and not bool(finite_outputs.all()):
        reject("predict", predict, "must give finite outputs at these params and X, not NaN or infinity")
    values = space.xp.where(finite_outputs, values, space.xp.nan)
    if is_concrete(values):
        _check_rows(space, predict, evaluate, X, values)
    return Linearization(model, start, X, values, y - values)


def _check_rows(
    space: Namespace, predict: Any, evaluate: Callable[[Array], Array], X: Array, values: Array
) -> None:
    """The first and the last row alone, against themselves among the others."""
    slack = 1e3 * space.eps * abs(values).max()
    for where, row in (("first", slice(0, 1)), ("last", slice(-1, None))):
        try:
            alone = evaluate(X[row])
        except TypeError:
            alone = None
        if alone is None or alone.shape != values[row].shape:
            reject("predict", predict, f"must act row by row: it does not take the {where} row alone")
        if not bool(abs(alone - values[row]).max() <= slack):
            reject("predict", predict, f"must act row by row: the {where} output changes with the other rows")


def _flatten(space: Namespace, predict: Callable[..., Array], params: Any) -> tuple[Model, Array]:
    leaves, structure = jax.tree.flatten(params)
    arrays = []
    for leaf in leaves:
        if not (
            isinstance(leaf, float | int | np.number | np.ndarray | jax.Array) and not isinstance(leaf, bool)
        ):
            raise InvalidTypeError(
                "params", leaf, "must be a pytree of real arrays; split a model that holds anything else "
                "first, for instance by eqx.partition(model, eqx.is_inexact_array)"
            )  # fmt: skip
        arrays.append(finite(space, "params", leaf, ndim=tuple(range(9))))
    if sum(array.size for array in arrays) == 0:
        reject("params", params, "must hold at least one parameter")
    flat = space.xp.concatenate([array.reshape(-1) for array in arrays])
    model = Model(predict, structure, tuple(array.shape for array in arrays))
    for name, value, part in (("predict", predict, predict), ("params", params, structure)):
        if not _hashable(part):
            raise InvalidTypeError(name, value, "must be hashable, for JAX to compile it once")
    return model, flat


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _rows(space: Namespace, X: Array) -> Array:
    """Real inputs in this precision; integers (tokens) as they are."""
    X = read("X", X)
    if jnp.issubdtype(X.dtype, np.floating):
        X = finite(space, "X", X, ndim=tuple(range(1, 9)))
    elif not jnp.issubdtype(X.dtype, np.integer):
        raise InvalidTypeError("X", X, f"must hold real numbers or integers, not {X.dtype}")
    if X.ndim == 0 or X.shape[0] == 0:
        reject("X", X, "must have its samples on the first axis, at least one")
    return space.xp.asarray(X)

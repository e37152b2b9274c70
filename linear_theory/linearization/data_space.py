"""Where n·k < P: the spectrum and the path from K = JJᵀ/n and the weights, with derivatives also where a weight is 0.

√W K √W is symmetric, but √w has no derivative at w = 0, where what is made of it has one: the eigenvalues are those of
JᵀWJ/n, and the path is a power series in WK. Their derivatives by W are written here without √W.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from ..arrays import Array, namespace
from ..covariance import Dense
from ..propagator.matrix_functions import Kernel

__all__ = ["eigenpairs", "path_by_zero_weights", "root", "to_coefficients", "weighted"]


def root(weights: Array) -> Array:
    """√w, the derivative at 0 left out, for those who give what it is there."""
    xp, zero = namespace(weights).xp, weights == 0
    return xp.where(zero, 0.0, xp.where(zero, 1.0, weights) ** 0.5)


def weighted(kernel_matrix: Array, weights: Array) -> Dense:
    """√W K √W."""
    roots = root(weights)
    return Dense(roots[:, None] * kernel_matrix * roots)


def to_coefficients(values: Array, vectors: Array, weights: Array) -> Array:
    """C = √W V/√λ, zero at λ = 0: Jᵀc/√n are unit eigenvectors of JᵀWJ/n, and CᵀKC is the identity."""
    xp, nonzero = namespace(values, vectors).xp, ~(values <= 0)  # NaN, where something is not known, is no 0
    scaled = root(weights)[:, None] * vectors / xp.where(nonzero, values, 1.0) ** 0.5
    return xp.where(nonzero, scaled, 0.0)


def _eigenpairs(kernel_matrix: Array, weights: Array) -> tuple[Array, Array]:
    values, vectors = weighted(kernel_matrix, weights).eigh()
    return values, to_coefficients(values, vectors, weights)


_eigenpairs_jax = jax.custom_jvp(_eigenpairs)


@_eigenpairs_jax.defjvp
def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Of WKc = λc, cᵀKc = 1, by what is given and found alone, so that it has derivatives itself."""
    (K, w), (dK, dw) = primals, tangents
    values, C = _eigenpairs_jax(K, w)
    H = K @ C
    by_weights, by_kernel = H.T @ (dw[:, None] * H), C.T @ dK @ C
    itself, positive = jnp.eye(len(values), dtype=bool), values > 0
    own = jnp.where(positive, values, 1.0)
    gaps = jnp.where(itself | ~positive, 1.0, values - values[:, None])
    ratios = jnp.where(itself, 0.0, values[:, None] / gaps)
    turned = ratios * (by_weights / own + by_kernel) - jnp.where(
        itself, by_weights / own + by_kernel / 2, 0.0
    )
    outside = w[:, None] * (dK @ C) - C @ (values[:, None] * by_kernel)
    change = C @ turned + (dw[:, None] * H + outside) / own
    return (values, C), ((by_weights + values * by_kernel).diagonal(), change)


def eigenpairs(kernel_matrix: Array, weights: Array) -> tuple[Array, Array]:
    """Ascending eigenvalues (m,) of √W K √W, and the coefficients (m, m) of :func:`to_coefficients` in columns."""
    return (_eigenpairs_jax if namespace(kernel_matrix, weights).xp is jnp else _eigenpairs)(
        kernel_matrix, weights
    )


@jax.custom_jvp
def path_by_zero_weights(kernel: Kernel, rate: Array, K: Array, weights: Array, residuals: Array) -> Array:
    """0, whose derivative is that of W φ(rate·KW) r by the weights that are 0: (len, m), for each of the kernels."""
    return jnp.zeros((*jax.tree.leaves(kernel)[0].shape, len(weights)), dtype=K.dtype)


@partial(path_by_zero_weights.defjvp, symbolic_zeros=True)
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """With x = rate·λ and H = KC the sum of the (WK)^a dW (KW)^b r: over b how far each row was from its label,
    and over a how far it moves the outputs.
    """
    kernel, rate, K, weights, residuals = jax.lax.stop_gradient(primals)
    zero = weights == 0

    def change(moved: Array) -> Array:
        values, C = _eigenpairs(K, weights)
        x, H = rate * values, K @ C
        start, pulled, forced = C.T @ residuals, H.T @ (moved * residuals), H.T @ (moved[:, None] * H)

        def of(kernel: Kernel) -> Array:
            at_zero, left, right = 0.0 * x, x[:, None], x[None, :]
            first = jnp.nan_to_num(x * kernel.differences(x, at_zero), nan=jnp.nan)
            table = kernel.differences(left, 0.0 * left, right)
            second = jnp.nan_to_num(left * table * right, nan=jnp.nan)
            summed = kernel.value(at_zero[:1]) * residuals + H @ (first * start)
            return moved * summed + C @ (first * pulled + (second * forced) @ start)

        return jax.vmap(of)(kernel)

    value, total = path_by_zero_weights(*primals), lambda arrays: sum(array.sum() for array in arrays)
    d_weights, others = tangents[3], [tangents[at] for at in (1, 2, 4)]
    moving = [tangent for tangent in others if not isinstance(tangent, SymbolicZero)]
    tangent = jnp.zeros_like(value) + total(moving) * _unknown_change(primals[3].sum(), zero.any())
    if not isinstance(d_weights, SymbolicZero):
        tangent = tangent + d_weights.sum() * _unknown_change(total(primals[1:]), zero.any())
        moved = jnp.where(zero, d_weights, 0.0)
        tangent = tangent + jax.lax.cond(zero.any(), change, lambda d: jnp.zeros_like(value) * d[0], moved)
    return value, tangent


@jax.custom_jvp
def _unknown_change(number: Array, where: Array) -> Array:
    """0, whose derivative there is NaN if ``number`` moves: a second derivative that is not known is no number."""
    return jnp.zeros_like(number)


@_unknown_change.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _unknown_change(*primals), jnp.where(primals[1], jnp.nan, 0.0).astype(primals[0].dtype) * tangents[
        0
    ]

"""What an equation says of its root, and what a minimum says of its value: derivatives of every order.

The root u(p) of F(u, p) = 0 moves by u' = −(∂F/∂u)⁻¹ ∂F/∂p (implicit function theorem), and the least value
E(u(p), p) by ∂E/∂p alone, for there ∂E/∂u = 0 (envelope theorem). In both rules u is again the root with its own
derivatives, so that each rule, differentiated, gives the next order; with u held in them, the second would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..arrays import Array
from ..covariance import IdentityPlusLowRank
from ..covariance.subspace import accept_any
from ..problem import FineTuningProblem
from ..trees import construct_unchecked

__all__ = ["defined", "differentiable_root", "least", "within_span"]


def differentiable_root(
    condition: Callable[..., Array], root: Array, *arguments: Any, inside: Array | bool = True
) -> Array:
    """``root`` (k,) of ``condition(root, *arguments)`` (k,), which is 0 there, as a function of the arguments.

    Its entries are positive, and the equations are solved for their relative changes. An entry at 0 or ∞, where no
    equation holds, or not ``inside`` for another reason, is a constant. ``condition`` is compiled once if it hashes.
    """
    inside = inside & jnp.isfinite(root) & (root > 0)

    @jax.custom_jvp
    def of(root: Array, inside: Array, arguments: Any) -> Array:
        return root

    @of.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (_, inside, arguments), at = primals, of(*primals)
        return at, _root_change(condition, at, inside, arguments, tangents[2])

    return of(jax.lax.stop_gradient(root), inside, arguments)


@partial(jax.jit, static_argnums=0)
def _root_change(
    condition: Callable[..., Array], at: Array, inside: Array, arguments: Any, moved: Any
) -> Array:
    """−(∂F/∂u)⁻¹ ∂F/∂p p'."""
    _, change = jax.linearize(lambda at, arguments: condition(at, *arguments), at, arguments)
    identity = jnp.eye(len(at), dtype=at.dtype)
    still = jax.tree.map(jnp.zeros_like, moved)
    slopes = jax.vmap(lambda direction: change(direction, still), out_axes=1)(identity)
    off = change(jnp.zeros_like(at), moved)
    unit = jnp.where(inside, at, 1.0)
    matrix = jnp.where(inside[:, None] & inside, unit[:, None] * slopes * unit, identity)
    return jnp.where(inside, -unit * jnp.linalg.solve(matrix, jnp.where(inside, unit * off, 0.0)), 0.0)


def least(value: Callable[..., Array], place: Callable[..., Array], held: Any, *arguments: Any) -> Array:
    """``value(place, *arguments)`` at its minimum, ``place(held, *arguments)``, of which ``held`` is a constant."""

    @jax.custom_jvp
    def of(held: Any, arguments: Any) -> Array:
        return value(place(held, *arguments), *arguments)

    @of.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        held, arguments = primals
        return of(*primals), _partial_change(value, place(held, *arguments), arguments, tangents[1])

    return of(jax.lax.stop_gradient(held), arguments)


@partial(jax.jit, static_argnums=0)
def _partial_change(value: Callable[..., Array], at: Array, arguments: Any, moved: Any) -> Array:
    """∂E/∂p p'."""
    return jax.jvp(lambda arguments: value(at, *arguments), (arguments,), (moved,))[1]


def within_span(problem: FineTuningProblem) -> FineTuningProblem:
    """The problem as far as paths have second derivatives: what leaves the span of a low rank is held."""
    covariance, held = _low_rank(problem), jax.lax.stop_gradient
    if covariance is None:
        return problem
    kept = construct_unchecked(
        IdentityPlusLowRank, factor=held(covariance.factor), core=covariance.core, scale=covariance.scale
    )
    return construct_unchecked(
        FineTuningProblem,
        pretrained=held(problem.pretrained),
        target=held(problem.target),
        target_covariance=kept,
        pretrain_covariance=problem.pretrain_covariance,
        noise_variance=problem.noise_variance,
    )


def defined(problem: FineTuningProblem) -> Array | float:
    """1, of which the derivative is NaN where something moves that :func:`within_span` holds.

    An error would also refuse the least value its first derivative, which it has there.
    """
    covariance = _low_rank(problem)
    if covariance is None:
        return 1.0
    return _undefined(problem.pretrained.sum() + problem.target.sum() + covariance.factor.sum())


def _low_rank(problem: FineTuningProblem) -> IdentityPlusLowRank | None:
    """Σ̃, where it is a low rank that JAX does not take for a matrix."""
    covariance = problem.target_operator
    if not isinstance(covariance, IdentityPlusLowRank):
        return None
    return None if covariance.reach(problem.shift, accept_any).rest is None else covariance


@jax.custom_jvp
def _undefined(number: Array) -> Array:
    """1, of which every derivative is NaN where ``number`` moves."""
    return jnp.ones_like(number)


@_undefined.defjvp
def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _undefined(*primals), jnp.nan * tangents[0]

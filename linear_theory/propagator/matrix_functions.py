"""Derivatives of a function of a symmetric matrix, of any order, at any spectrum.

The n-th derivative of φ(X) in the directions E₁ … Eₙ is a sum over eigenvalues xᵢ and their projectors Pᵢ,

    Dₙ(X; E₁, …, Eₙ) = Σ φ[x_i₀, …, x_iₙ] P_i₀ E₁ P_i₁ E₂ ⋯ Eₙ P_iₙ,        over the i and the n! orders of the Eₖ

(Daleckii and Krein), φ[…] the divided differences. Written so that no divided difference cancels or divides by zero, it
knows no special spectrum. The family is closed under all that JAX does: a tangent dX is one more direction, and because
a trace is cyclic, ⟨C, Dₙ(…, Eⱼ, …)⟩ = ⟨Eⱼ, Dₙ(…, Cᵀ, …)ᵀ⟩. So Dₙ is a primitive of JAX with these two rules, and
derivatives nest in any order, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..arrays import Array, namespace
from ..errors import InvalidValueError

__all__ = ["Kernel", "derivative", "differentiable_once", "fixed", "refuse"]

TERMS = 16
"""Of a Taylor series within half its radius: what is left out is below (1/2)^16/16! of the first."""


class Kernel:
    """A scalar function φ, with what its divided differences are made of.

    ``divided_difference`` (φ(x) − φ(y))/(x − y) must not cancel. ``taylor`` and ``radius`` serve the higher ones: how
    far φ is like the first terms of its series about x, and the coefficients of the powers ``order``, ``order`` + 1, …
    With every power beyond ``order`` in units of the radius they are floats where φ's difference is one. Without them φ
    has first derivatives only.
    """

    def value(self, x: Array) -> Array:
        raise NotImplementedError

    def divided_difference(self, x: Array, y: Array) -> Array:
        raise NotImplementedError

    def taylor(self, x: Array, order: int) -> Array:
        return refuse(type(self).__name__)

    def radius(self, x: Array) -> Array:
        raise NotImplementedError

    def differences(self, *points: Array) -> Array:
        """φ[x₀, …, xₙ] of points that broadcast.

        Over its two outermost points, (φ[x₁ …] − φ[… xₙ₋₁])/(xₙ − x₀), where they are further apart than φ takes to
        change; nearer by Taylor's series about their middle.
        """
        if len(points) <= 2:
            return self.value(*points) if len(points) == 1 else self.divided_difference(*points)
        xp = namespace(points).xp
        return self._of_sorted(list(xp.sort(xp.stack(xp.broadcast_arrays(*points)), axis=0)))

    def _of_sorted(self, points: list[Array]) -> Array:
        if len(points) == 2:
            return self.divided_difference(*points)
        xp = namespace(points).xp
        order, width = len(points) - 1, points[-1] - points[0]
        middle = points[0] + width / 2
        radius = self.radius(middle)
        near = width <= radius
        unit, series = xp.where(radius > 0, radius, 1.0), self.taylor(middle, order)
        inside = _polynomial_difference(series, [xp.where(near, x - middle, 0.0) / unit for x in points])
        apart = (self._of_sorted(points[1:]) - self._of_sorted(points[:-1])) / xp.where(near, 1.0, width)
        return xp.where(near, inside, apart)


def _polynomial_difference(coefficients: Array, points: list[Array]) -> Array:
    """p[x₀, …, xₙ] of p(x) = Σ cₖ xⁿ⁺ᵏ: Horner's scheme at x₀, at each further point on the quotient of the last."""
    xp = namespace(coefficients, points).xp
    lower = xp.zeros((len(points) - 1, *coefficients.shape[1:]), dtype=coefficients.dtype)
    coefficients = xp.concatenate([lower, coefficients])  # No power below n has an n-th difference.
    x = xp.stack([x + 0.0 * coefficients[0] for x in points])
    carry = 0.0 * x

    def horner(sums: Array, coefficient: Array) -> tuple[Array, None]:
        return x * sums + xp.concatenate([(coefficient + 0.0 * sums[0])[None], sums[:-1]]), None

    if xp is np:
        for coefficient in coefficients[::-1]:
            carry, _ = horner(carry, coefficient)
    else:
        carry, _ = jax.lax.scan(horner, carry, coefficients, reverse=True)
    return carry[-1]


class _Signature(NamedTuple):
    """What Dₙ is taken of, besides numbers: static, so that JAX can compare it."""

    structure: Any  # of ((kernel, basis), scale, covariance)
    order: int  # the number of directions that are operands
    own: int  # of directions that are the covariance itself
    axes: tuple[tuple[int | None, ...], ...]  # of vmap, outermost first: for each operand 0 or None


def derivative(
    kernel: Kernel,
    scale: Array,
    covariance: Any,
    directions: Sequence[Array] = (),
    own: int = 0,
    basis: tuple[Array, Array] | None = None,
) -> Array:
    """The derivative of φ(X), X = scale · covariance, in these directions, (m, m) as they are; φ(X) for none.

    ``own`` times also in the direction of the covariance itself: what φ does when ``scale`` changes. That direction is
    diagonal where X is, with zeros where eigenvalues are, which its rounded matrix would not be. ``basis`` is the
    covariance's eigenvalues and vectors, where they are known already; no derivative passes through them.
    """
    basis = jax.lax.stop_gradient(covariance.eigh() if basis is None else basis)
    leaves, structure = jax.tree.flatten(((kernel, basis), scale, covariance))
    return _bind(_Signature(structure, len(directions), own, ()), (*leaves, *directions))


_derivative = Primitive("matrix_function_derivative")


def _compute(shape: _Signature, *operands: Array) -> Array:
    """The formula, in the eigenbasis."""
    (kernel, (values, vectors)), scale, directions = _parts(shape, operands)
    x, n = scale * values, shape.order + shape.own
    along = lambda axis: x.reshape((-1,) + (1,) * (n - axis))
    # Where φ overflows, so may its differences; they may still meet a direction that is 0.
    table = jnp.nan_to_num(kernel.differences(*(along(axis) for axis in range(n + 1))), nan=jnp.nan)
    inside = [vectors.T @ direction @ vectors for direction in directions] + [jnp.diag(values)] * shape.own
    total = sum(_contracted(table, order) for order in permutations(inside)) if n else jnp.diag(table)
    return vectors @ total @ vectors.T


def _contracted(table: Array, directions: Sequence[Array]) -> Array:
    """Σ φ[x_i₀, …, x_iₙ] (E₁)_i₀i₁ ⋯ (Eₙ)_iₙ₋₁iₙ over all indices but the first and the last."""
    n = len(directions)
    for axis, direction in enumerate(directions):
        table = table * direction.reshape((1,) * axis + direction.shape + (1,) * (n - 1 - axis))
    return table.sum(axis=tuple(range(1, n)))


def _parts(shape: _Signature, operands: Sequence[Array]) -> tuple[Any, Array, list[Array]]:
    """What no derivative passes through, the scale, and the directions."""
    known = len(operands) - shape.order
    held, scale, _ = jax.tree.unflatten(shape.structure, operands[:known])
    return held, scale, list(operands[known:])


def _batched(shape: _Signature, *operands: Array) -> Array:
    function = partial(_compute, shape)
    for axes in reversed(shape.axes):
        function = jax.vmap(function, in_axes=axes)
    return function(*operands)


def _abstract(*operands: Any, shape: _Signature) -> ShapedArray:
    shapes = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands)
    result = jax.eval_shape(partial(_batched, shape), *shapes)
    return ShapedArray(result.shape, result.dtype)


def _bind(shape: _Signature, operands: Sequence[Array]) -> Array:
    return _derivative.bind(*operands, shape=shape)


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, shape: _Signature) -> tuple[Array, Any]:
    """Dₙ and its tangent: a moving scale or covariance is one more direction, a moving direction takes its place."""
    known, own = len(primals) - shape.order, len(jax.tree.leaves(_parts(shape, primals)[0]))
    if any(_is_nonzero_tangent(t) for t in tangents[:own]):
        refuse("the parameters of a function of a matrix")
    terms = []
    d_scale, tangent_of_covariance = tangents[own], tangents[own + 1 : known]
    if _is_nonzero_tangent(d_scale):
        flags = [level[own] is not None for level in shape.axes]
        sizes = iter(d_scale.shape)
        spread = d_scale.reshape([next(sizes) if flag else 1 for flag in flags] + [1, 1])
        terms.append(spread * _bind(shape._replace(own=shape.own + 1), primals))
    if any(_is_nonzero_tangent(t) for t in tangent_of_covariance):
        change, mapped = _matrix_change(shape, own + 1, primals[:known], tangent_of_covariance)
        axes = tuple((*level, axis) for level, axis in zip(shape.axes, mapped, strict=True))
        more = shape._replace(order=shape.order + 1, axes=axes)
        scaled, reach = _scaled(shape, own, primals[own], change, mapped)
        scaled_axes = tuple((*level, axis) for level, axis in zip(shape.axes, reach, strict=True))
        terms.append(_bind(more._replace(axes=scaled_axes), (*primals, scaled)))
        if shape.own:
            terms.append(shape.own * _bind(more._replace(own=shape.own - 1), (*primals, change)))
    moving = [at for at in range(known, len(primals)) if _is_nonzero_tangent(tangents[at])]
    terms += [_bind(shape, (*primals[:at], tangents[at], *primals[at + 1 :])) for at in moving]
    value = _bind(shape, primals)
    return value, sum(terms, jnp.zeros_like(value))


def _scaled(
    shape: _Signature, own: int, scale: Array, change: Array, mapped: tuple[int | None, ...]
) -> tuple[Array, tuple[int | None, ...]]:
    """scale · change, each with the axes of the levels of vmap that it has."""
    function, levels = jnp.multiply, []
    for level, axis in zip(reversed(shape.axes), reversed(mapped), strict=True):
        axes = (level[own], axis)
        several = axes != (None, None)
        levels.insert(0, 0 if several else None)
        function = jax.vmap(function, in_axes=axes) if several else function
    return function(scale, change), tuple(levels)


def _is_nonzero_tangent(tangent: Any) -> bool:
    return type(tangent) is not ad.Zero and tangent.dtype != jax.dtypes.float0


def _matrix_change(
    shape: _Signature, own: int, operands: Sequence[Array], tangents: Sequence[Any]
) -> tuple[Array, tuple[int | None, ...]]:
    """d(covariance), and along which levels of vmap it has an axis."""
    before = list(operands[:own])

    def matrix(*leaves: Array) -> Array:
        return jax.tree.unflatten(shape.structure, [*before, *leaves])[2].dense()

    function, mapped = matrix, []
    for axes in reversed(shape.axes):
        inner = axes[own : len(operands)]
        several = any(axis is not None for axis in inner)
        mapped.insert(0, 0 if several else None)
        function = jax.vmap(function, in_axes=inner) if several else function
    moved = [ad.instantiate_zeros(t) for t in tangents]
    return jax.jvp(function, tuple(operands[own:]), tuple(moved))[1], tuple(mapped)


def _transpose(cotangent: Any, *operands: Any, shape: _Signature) -> list[Any]:
    """⟨C, Dₙ(…, Eⱼ, …)⟩ = ⟨Eⱼ, Dₙ(…, Cᵀ, …)ᵀ⟩."""
    answers: list[Any] = [None] * len(operands)
    (at,) = (k for k, operand in enumerate(operands) if ad.is_undefined_primal(operand))
    if type(cotangent) is ad.Zero:
        answers[at] = ad.Zero(operands[at].aval)
        return answers
    replaced = lambda row, item: (*row[:at], item, *row[at + 1 :])
    axes = tuple(replaced(level, 0) for level in shape.axes)
    directions = replaced(tuple(operands), jnp.swapaxes(cotangent, -1, -2))
    gradient = jnp.swapaxes(_bind(shape._replace(axes=axes), directions), -1, -2)
    shared = tuple(level for level, flags in enumerate(shape.axes) if flags[at] is None)
    answers[at] = gradient.sum(axis=shared)
    return answers


def _batch(operands: Sequence[Array], dims: Sequence[Any], *, shape: _Signature) -> tuple[Array, int]:
    mapped = [dim is not None for dim in dims]
    batch_first = [jnp.moveaxis(a, d, 0) if m else a for a, d, m in zip(operands, dims, mapped, strict=True)]
    axes = (tuple(0 if m else None for m in mapped), *shape.axes)
    return _bind(shape._replace(axes=axes), batch_first), 0


_compiled = jax.jit(_batched, static_argnums=0)
_derivative.def_impl(lambda *operands, shape: _compiled(shape, *operands))
_derivative.def_abstract_eval(_abstract)
ad.primitive_jvps[_derivative] = _jvp
ad.primitive_transposes[_derivative] = _transpose
batching.primitive_batchers[_derivative] = _batch
mlir.register_lowering(
    _derivative, mlir.lower_fun(lambda *operands, shape: _compiled(shape, *operands), multiple_results=False)
)


def refuse(what: str) -> NoReturn:
    raise InvalidValueError(
        "derivative", "the second", f"cannot be taken of {what}, which has first derivatives only"
    )


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def fixed(number: Array, what: str) -> Array:
    """1, of which no derivative can be taken: a first derivative times it has no second where ``number`` moves."""
    return jnp.ones_like(number)


@fixed.defjvp
def _(what: str, primals: Any, tangents: Any) -> NoReturn:
    refuse(what)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def differentiable_once(number: Array, what: str) -> Array:
    """1, of which one derivative can be taken, which is 0, and no second where ``number`` moves."""
    return jnp.ones_like(number)


@differentiable_once.defjvp
def _(what: str, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return differentiable_once(*primals, what), 0.0 * fixed(*primals, what) * tangents[0]

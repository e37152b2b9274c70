"""The linear model that a network is at θ*: products, spectra, what the weights stall, and its path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from ..arrays import (
    Array,
    InvalidTypeError,
    Namespace,
    bounded,
    finite,
    is_concrete,
    namespace,
    positive,
    quotient,
    reject,
    shaped,
)
from ..covariance import Dense, Operator
from ..descent.transfer import Response
from ..powers import listed_steps
from ..propagator import propagate
from . import products
from .products import Model

__all__ = ["Linearization", "Modes", "Spectrum"]


class Spectrum(NamedTuple):
    """The largest eigenvalues of JᵀWJ/n, descending (m,), and their unit eigenvectors (m, P); zero rows at λ = 0."""

    values: Array
    vectors: Array


class Modes(NamedTuple):
    """Generalised eigenpairs JᵀWJ u = ratio · JᵀJ u, ratios ascending (m,): the first is what the weights stall most.

    ``directions`` (m, P) are orthonormal in the metric JᵀJ/n: each moves the outputs by 1 (sum over the
    outputs, root mean square over the samples).
    """

    ratios: Array
    directions: Array


def engine(space: Namespace, function: Callable[..., Any], *arrays: Array) -> Any:
    """``function(*arrays)``, which is JAX: as it is, or from NumPy in float64 and back."""
    if space.xp is not np:
        return function(*arrays)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(*map(jnp.asarray, arrays)))


@dataclass(frozen=True, eq=False)
class Linearization:
    """f(X; θ) ≈ f(X; θ*) + J(θ − θ*) on n samples; made by :func:`linearize`. J itself is never formed unless asked.

    θ is always one vector (P,), or several (m, P); ``flatten`` and ``unflatten`` lead from and to the model's own
    parameters. Weights are (n,), ≥ 0, ``None`` for ones: L(θ) = (1/n) Σ wᵢ‖rᵢ‖², no ½.
    """

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
        """The model's parameters as one vector (P,)."""
        leaves, structure = jax.tree.flatten(params)
        if structure != self.model.structure or tuple(map(np.shape, leaves)) != self.model.shapes:
            raise InvalidTypeError("params", structure, f"must be built like θ*: {self.model.structure}")
        return self._space.xp.concatenate([self._space.array(leaf).reshape(-1) for leaf in leaves])

    def unflatten(self, theta: Array) -> Any:
        """(P,) → the model's parameters; (m, P) → each leaf with a first axis m."""
        return self.model.unflatten(theta)

    # ------------------------------------------------------------------------------------------- products

    def jvp(self, direction: Array) -> Array:
        """J v in the shape of the outputs, for v (P,), or for each row of (m, P)."""
        return self._product(products.jvp, "direction", direction, (self.dim,))

    def vjp(self, cotangent: Array) -> Array:
        """Jᵀu (P,) for u in the shape of the outputs, or for each of (m, *outputs)."""
        return self._product(products.vjp, "cotangent", cotangent, self.outputs.shape)

    def jacobian(self) -> Array:
        """J as an array (*outputs, P): n·k·P numbers."""
        return self._run(lambda t, X: products.jacobian(self.model, t, X), self.start, self.X)

    def gradient(self, weights: Array | None = None) -> Array:
        """∇L(θ*) = −(2/n) JᵀWr, shape (P,)."""
        return -2 / self.count * self.vjp(self._sample(self._weights(weights)) * self.residuals)

    def outputs_at(self, theta: Array) -> Array:
        """f(X; θ*) + J(θ − θ*) for θ (P,), or for each row of (m, P)."""
        return self.outputs + self.jvp(theta - self.start)

    # -------------------------------------------------------------------------------------------- spectra

    def spectrum(self, count: int, weights: Array | None = None) -> Spectrum:
        """The ``count`` largest eigenvalues of the Gauss-Newton matrix JᵀWJ/n, half of ∇²L where r = 0.

        By Lanczos (ARPACK) in parameter space or in data space (√W JJᵀ√W/n, the tangent kernel), whichever is
        smaller; there as a matrix where nearly all eigenvalues are asked for, and under JAX tracing.
        """
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise InvalidTypeError("count", count, "must be an integer ≥ 1")
        if not 1 <= count <= self._size:
            reject("count", count, f"must be from 1 to min(n·k, P) = {self._size}")
        roots = self._weights(weights) ** 0.5
        if is_concrete(self, roots) and count < self._size - 1:
            values, vectors = self._lanczos(int(count), roots)
        else:
            values, vectors = Dense(self._gram(roots)).eigh()
            values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        if self._dual:
            lengths = (self.count * values)[:, None] ** 0.5
            backs = self.vjp(self._sample(roots) * vectors.T.reshape(-1, *self.outputs.shape))
            return Spectrum(values, quotient(self._space, backs, lengths, 0.0))
        return Spectrum(values, vectors.T)

    def modes(self, weights: Array, count: int) -> Modes:
        """What the weights slow, and by how much: JᵀWJ u = ratio · JᵀJ u, on the ``count`` top directions of JᵀJ.

        The ratio is the mean of the weights under (Ju)², so it lies between the smallest and the largest
        weight. For Gaussian features and FLOW it is μ³ along the shift and μ across it (Lemma F.1). The whole
        space would leave the smallest undefined where P > n·k: 0/0 outside the rows' span. ``count`` must
        not exceed the rank of J.
        """
        weights = self._weights(weights)
        values, vectors = self.spectrum(count)
        if is_concrete(values) and not bool(values[-1] > 0):
            rank = int((values > 0).sum())
            reject("count", count, f"is more than the rank of the Jacobian, {rank}")
        whitened = vectors / values[:, None] ** 0.5
        moved = self.jvp(whitened)
        weighted = (self._sample(weights) * moved).reshape(count, -1)
        matrix = weighted @ moved.reshape(count, -1).T / self.count
        ratios, turns = self._space.xp.linalg.eigh((matrix + matrix.T) / 2)
        return Modes(ratios, turns.T @ whitened)

    def curvature_ratio(self, direction: Array, weights: Array) -> Array:
        """uᵀJᵀWJu / uᵀJᵀJu: the mean of the weights under (Ju)²; for u (P,), or for each row of (m, P)."""
        squares = self._squares(self.jvp(direction))
        return (squares * self._weights(weights)).sum(axis=-1) / squares.sum(axis=-1)

    def progress(self, theta: Array, direction: Array) -> Array:
        """⟨J(θ − θ*), Ju⟩/‖Ju‖² for θ (P,) or (m, P) and u (P,): the share of the way u that has been gone, as

        the outputs see it. 0 at θ*, 1 at θ* + u; the JᵀJ metric.
        """
        way = self.jvp(direction).reshape(-1)
        moved = self.jvp(theta - self.start)
        return moved.reshape(*theta.shape[:-1], -1) @ way / (way @ way)

    # ----------------------------------------------------------------------------------------------- path

    def iterate(self, steps: Any, learning_rate: float | Array, weights: Array | None = None) -> Array:
        """θ_K of gradient descent on the linearised model, exactly: (P,), or (m, P) for several K.

        θ_K = θ* + 2η ψ_K(2ηA) JᵀWr/n with A = JᵀWJ/n and ψ_K(x) = (1 − (1 − x)^K)/x, eq. (8) with features J;
        no loop over K. NumPy: in the Krylov space of A. JAX: by the smaller of the two Gram matrices.
        """
        space = self._space
        chosen, single = listed_steps(steps, "must be an integer ≥ 0, or an array of them")
        rate = 2 * positive(space, "learning_rate", learning_rate)
        weighing = self._weights(weights)
        roots = weighing**0.5
        if self._dual:
            vector = (self._sample(roots) * self.residuals).reshape(-1) / self.count
        else:
            vector = self.vjp(self._sample(weighing) * self.residuals) / self.count
        kernel = Response((space.array(0.0), space.array(0.0)), chosen)
        way = propagate(kernel, self._covariance(rate, roots), rate * vector)
        if self._dual:
            way = self.vjp(self._sample(roots) * way.reshape(-1, *self.outputs.shape))
        theta = self.start + way
        return theta[0] if single else theta

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

    def _product(self, function: Any, name: str, value: Array, shape: tuple[int, ...]) -> Array:
        array = finite(self._space, name, value, ndim=(len(shape), len(shape) + 1))
        many = array.ndim > len(shape)
        shaped(name, array[0] if many and len(array) else array, shape, "as long as the model says")
        rows = array if many else array[None]
        found = self._run(lambda t, X, v: function(self.model, t, X, v), self.start, self.X, rows)
        return found if many else found[0]

    def _weights(self, weights: Array | None) -> Array:
        space = self._space
        if weights is None:
            return space.xp.ones(self.count, dtype=space.dtype)
        array = bounded(space, "weights", weights, lambda v: (v >= 0) & (v < math.inf), "must be ≥ 0", ndim=1)
        return shaped("weights", array, (self.count,), "one weight for each sample")

    def _sample(self, weights: Array) -> Array:
        """(n,) to multiply outputs with."""
        return weights.reshape(-1, *[1] * (self.outputs.ndim - 1))

    def _squares(self, values: Array) -> Array:
        """(…, *outputs) → (…, n)."""
        lead = values.shape[: values.ndim - self.outputs.ndim]
        return (values**2).reshape(*lead, self.count, -1).sum(axis=-1)

    def _gram(self, roots: Array) -> Array:
        make = lambda t, X, r: products.gram(self.model, self._dual, self._size, t, X, r)
        return self._run(make, self.start, self.X, roots)

    def _times(self, roots: Array) -> Callable[[Array], Array]:
        """v → A v in the smaller space; the rows go to JAX once."""
        space, model, dual = self._space, self.model, self._dual
        fixed = self._run(lambda *arrays: arrays, self.start, self.X, roots)
        return lambda v: engine(
            space, lambda *a: products.compiled_product(model, dual, *a), *fixed, space.array(v)
        )

    def _covariance(self, rate: Array, roots: Array) -> Dense | Operator:
        """rate · A: known by its products, or under JAX as a matrix."""
        if self._space.xp is np:
            times = self._times(roots)
            return Operator(lambda v: rate * times(v), self._size)
        return Dense(rate * self._gram(roots))

    def _lanczos(self, count: int, roots: Array) -> tuple[Array, Array]:
        space, times = self._space, self._times(roots)
        matvec = lambda v: np.asarray(times(v.reshape(-1)))
        operator: Any = LinearOperator((self._size,) * 2, matvec=matvec, dtype=space.dtype)  # pyright: ignore
        begin = np.random.default_rng(0).standard_normal(self._size).astype(space.dtype)  # the same each time
        values, vectors = eigsh(operator, k=count, which="LA", v0=begin)
        cutoff = self._size * space.eps * values[-1]
        values = np.where(values <= cutoff, 0.0, values)
        return space.array(values[::-1].copy()), space.array(vectors[:, ::-1].copy())


jax.tree_util.register_dataclass(
    Linearization, data_fields=["start", "X", "outputs", "residuals"], meta_fields=["model"]
)

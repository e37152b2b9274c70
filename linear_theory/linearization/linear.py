"""The linear model that a network is at θ*: from model and rows to it, its spectra, what weights stall, its path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import (
    Array,
    Namespace,
    binary_unit,
    bounded,
    finite,
    integer,
    namespace,
    positive,
    require,
    shaped,
)
from ..covariance import Dense, Operator
from ..errors import DivergenceError, InvalidTypeError, InvalidValueError, LinearTheoryError, reject
from ..propagator.apply import Decay, propagate
from ..propagator.powers import GeometricSum, listed_steps, split_steps
from ..reading import read, same_rows, whole
from ..sharding import with_automatic_axes
from ..trees import is_concrete
from . import data_space, products
from .products import Model, common_engine, lanczos, run_in_jax

__all__ = ["Linearization", "Modes", "Spectrum", "linearize"]

NULL_SPACE_STEPS = 1000
"""Steps beyond which the rounding of a null space, K times as large, is taken out."""


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


@dataclass(frozen=True, eq=False)
class Linearization:
    """f(X; θ) ≈ f(X; θ*) + J(θ − θ*) on n samples; made by :func:`linearize`. J itself is never formed unless asked.

    θ is always one vector (P,), or several (m, P); ``flatten`` and ``unflatten`` lead from and to the model's own
    parameters. Weights are (n,), finite and ≥ 0, ``None`` for ones: L(θ) = (1/n) Σ wᵢ‖rᵢ‖², no ½.

    In every method a JAX array among the arguments, or in here, means JAX out. Each raises InvalidValueError or
    InvalidTypeError, naming the argument, for a wrong shape or type, NaN or infinity, or a weight < 0 (under JAX
    tracing a bad value gives NaN instead).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> lin = lt.linearize(lambda w, X: X @ w**2, np.array([1.0, 2.0]), np.eye(2), np.array([1.0, 3.0]))
    >>> print(lin.start, lin.outputs, lin.residuals, lin.losses)
    [1. 2.] [1. 4.] [ 0. -1.] [0. 1.]
    """

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
        any_ndim = tuple(range(9))
        return space.xp.concatenate([finite(space, "params", leaf, any_ndim).reshape(-1) for leaf in leaves])

    @common_engine
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

    @common_engine
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

    @common_engine
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

    @common_engine
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
        floats = {name: space.array(getattr(self, name)) for name in ("start", "outputs", "residuals")}
        return replace(self, X=X, **floats)

    @common_engine
    def gradient(self, weights: Array | None = None) -> Array:
        """∇L(θ*) = −(2/n) JᵀWr, shape (P,).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(lin.gradient(weights=[1.0, 0.5]))
        [-1.  -1.5]
        """
        return -2 / self.count * self._back(self._sample(self._weights(weights)) * self.residuals)

    # -------------------------------------------------------------------------------------------- spectra

    @common_engine
    def spectrum(self, count: int, weights: Array | None = None) -> Spectrum:
        """The ``count`` largest eigenvalues of the Gauss-Newton matrix JᵀWJ/n, half of ∇²L where r = 0.

        ``values`` (count,) descend, ``vectors`` (count, P); ``weights`` are (n,).
        By Lanczos (ARPACK) in parameter space or in data space (√W JJᵀ√W/n, the tangent kernel), whichever is
        smaller; there as a matrix where nearly all eigenvalues are asked for, and under JAX tracing.
        Eigenvalues are known to rounding of the largest, and 0 where they are no more than that. Derivatives
        exist where those above 0 are distinct, at a weight of 0, too; an eigenvalue of 0 counts as a constant.

        ``count`` is from 1 to min(n·k, P); InvalidValueError beyond it, or where Lanczos does not converge.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.diag([1.0, 2.0]), np.ones(2))
        >>> print(lin.spectrum(2).values.round(4))
        [2.  0.5]
        """
        count = integer("count", count, "must be an integer ≥ 1")
        if not 1 <= count <= self._size:
            reject("count", count, f"must be from 1 to min(n·k, P) = {self._size}")
        weights, in_data = self._weights(weights), self._dual
        of_rows = self._of_outputs(weights) if in_data else self._space.xp.ones_like(self.start)
        if is_concrete(self, weights) and count < self._size - 1:
            values, vectors = lanczos(self._space, self._times(weights), self._size, count)
            coefficients = data_space.to_coefficients(values, vectors, of_rows)
        else:
            matrix = self._kernel_matrix() if in_data else self._gram(weights)
            values, coefficients = data_space.eigenpairs(matrix, of_rows)
            values, coefficients = values[::-1][:count], coefficients[:, ::-1][:, :count]
        if in_data:
            directions = self._back(coefficients.T.reshape(-1, *self.outputs.shape)) / self.count**0.5
        else:
            directions = coefficients.T * self._space.xp.where(values > 0, values, 1.0)[:, None] ** 0.5
        return Spectrum(values, directions)

    @common_engine
    def modes(self, weights: Array, count: int) -> Modes:
        """What the weights slow, and by how much: JᵀWJ u = ratio · JᵀJ u, on the ``count`` top directions of JᵀJ.

        ``weights`` are (n,), ``ratios`` (count,), ``directions`` (count, P).
        The ratio is the mean of the weights under (Ju)², so it lies between the smallest and the largest
        weight. For Gaussian features and FLOW it is μ³ along the shift and μ across it (Lemma F.1). The whole
        space would leave the smallest undefined where P > n·k: 0/0 outside the rows' span. ``count`` must
        not exceed the rank of J (InvalidValueError). Derivatives as of :meth:`spectrum`.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(lin.modes(lt.flow_weights(lin.losses), count=2).ratios.round(4))  # here each row is a mode
        [0.1653 0.8187]
        """
        weights = self._weights(weights)
        values, vectors = self.spectrum(count)
        if is_concrete(values) and not bool(values[-1] > 0):
            rank = int((values > 0).sum())
            reject("count", count, f"is more than the rank of the Jacobian, {rank}")
        nearly = vectors / values[:, None] ** 0.5  # orthonormal in JᵀJ/n but for the rounding of small values
        image = self._forward(nearly).reshape(count, -1) / self.count**0.5
        outputs, triangle = self._space.xp.linalg.qr(image.T)
        whitened = self._space.xp.linalg.solve(triangle.T, nearly)
        of_output = self._of_outputs(weights)[:, None]
        matrix = outputs.T @ (of_output * outputs)
        ratios, rotation = self._space.xp.linalg.eigh((matrix + matrix.T) / 2)
        return Modes(ratios, rotation.T @ whitened)

    @common_engine
    def curvature_ratio(self, direction: Array, weights: Array) -> Array:
        """uᵀJᵀWJu / uᵀJᵀJu: the mean of the weights under (Ju)²; for u (P,), or (m,) for each row of (m, P).

        InvalidValueError for a direction that moves no output, Ju = 0.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(f"{lin.curvature_ratio(np.ones(2), weights=[1.0, 0.5]):.4f}")
        0.7500
        """
        weights = self._weights(weights)
        image, _ = self._image(direction)
        squares = (
            (image**2).reshape(*image.shape[: image.ndim - self.outputs.ndim], self.count, -1).sum(axis=-1)
        )
        return (squares * weights).sum(axis=-1) / squares.sum(axis=-1)

    @common_engine
    def progress(self, theta: Array, direction: Array) -> Array:
        """The share of the way u that has been gone, as the outputs see it: ⟨J(θ − θ*), Ju⟩/‖Ju‖².

        0 at θ*, 1 at θ* + u; the metric is JᵀJ. A number for θ (P,), (m,) for θ (m, P); u is (P,).
        InvalidValueError for a direction that moves no output, Ju = 0.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(lin.progress(lin.iterate([0, 1, 10], 0.5), direction=np.array([1.0, 3.0])).round(4))
        [0.    0.5   0.999]
        """
        gone = self._several("theta", theta, (self.dim,)) - self.start
        target, unit = self._image(direction, several=False)
        image, units = self._in_own_units(gone)
        target, image = target.reshape(-1), image.reshape(*gone.shape[:-1], -1)
        return self._scaled(image @ target / (target @ target), units - unit)

    # ----------------------------------------------------------------------------------------------- path

    @common_engine
    def iterate(self, steps: Any, learning_rate: float | Array, weights: Array | None = None) -> Array:
        """θ_K of gradient descent on the linearised model, exactly: (P,), or (m, P) for several K.

        θ_K = θ* + 2η ψ_K(2ηA) JᵀWr/n with A = JᵀWJ/n and ψ_K(x) = (1 − (1 − x)^K)/x, eq. (8) with features J;
        no loop over K. NumPy: in the Krylov space of A. JAX: by the smaller of the two Gram matrices; where that
        is the one in data space, second derivatives are NaN if a weight is 0.

        ``steps`` are integers ≥ 0 of any size, known when traced; η is finite and > 0. It converges for
        η < 1/λ_max(A), the largest of ``spectrum(1, weights)``; any other is evaluated as it is, and
        DivergenceError where it has carried θ_K beyond the largest float (infinity or NaN under tracing).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lin = lt.linearize(lambda w, X: X @ w, np.zeros(2), np.eye(2), np.array([1.0, 3.0]))
        >>> print(lin.iterate(10, 0.5, weights=[1.0, 0.01]).round(4))  # the hard sample's direction stalls
        [0.999  0.1467]
        """
        space = self._space
        chosen, single = listed_steps(steps)
        rate = 2 * positive(space, "learning_rate", learning_rate)
        checked, kernel = self._weights(weights), GeometricSum(split_steps(space, chosen))
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # divergence has an error of its own
                if self._dual:
                    coefficients = self._coefficients(kernel, rate, checked, max(chosen))
                    displacement = self._back(coefficients.reshape(-1, *self.outputs.shape))
                else:
                    vector = self._back(self._sample(checked) * self.residuals) / self.count
                    in_numpy = space.xp is np
                    curvature = self._operator(checked) if in_numpy else Dense(self._gram(checked))
                    displacement = propagate(kernel, rate, curvature, vector)
                theta = self.start + rate * displacement
        except InvalidValueError as error:
            raise InvalidValueError("steps", steps, f"is out of reach: {error.remedy}") from None
        if is_concrete(theta) and not bool(space.xp.isfinite(theta).all()):
            limit = 1 / float(self.spectrum(1, weights).values[0])
            remedy = f"the iterate is beyond the largest float; it converges below {limit:.6g}"
            raise DivergenceError("learning_rate", learning_rate, remedy)
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
        return run_in_jax(self._space, function, *arrays)

    def _several(self, name: str, value: Array, shape: tuple[int, ...], both: bool = True) -> Array:
        """A checked argument of this shape or, with a first axis, several."""
        ndim = len(shape)
        array = finite(self._space, name, value, ndim=(ndim, ndim + 1) if both else ndim)
        if array.shape[array.ndim - ndim :] != shape:
            shaped(name, array, (*array.shape[: array.ndim - ndim], *shape), "as long as the model says")
        return array

    def _image(self, direction: Array, several: bool = True) -> tuple[Array, Array]:
        """Ju in units of its own, checked not to be 0: a direction must move an output."""
        checked = self._several("direction", direction, (self.dim,), several)
        image, exponents = self._in_own_units(checked)
        nonzero = (image != 0).any(axis=tuple(range(checked.ndim - 1, image.ndim)), keepdims=True)
        remedy = "must move an output, but J times it is 0"
        return require(self._space, "direction", image, nonzero, remedy, direction), exponents

    def _in_own_units(self, directions: Array) -> tuple[Array, Array]:
        """Ju = 2^exponent · image for each of the directions, image of size 1: squares of others may be no floats."""

        def own(values: Array, ndim: int) -> tuple[Array, Array]:
            axes = tuple(range(values.ndim - ndim, values.ndim))
            largest = self._space.constant(abs(values).max(axis=axes, keepdims=True))
            exponent = self._space.xp.frexp(largest)[1]
            return self._scaled(values, -exponent), exponent.reshape(values.shape[: values.ndim - ndim])

        directions, before = own(directions, 1)
        image, after = own(self._forward(directions), self.outputs.ndim)
        return image, before + after

    def _scaled(self, values: Array, exponents: Array) -> Array:
        """2^exponents · values, by two factors that are floats."""
        xp, half, one = self._space.xp, exponents // 2, self._space.array(1.0)
        return values * xp.ldexp(one, half) * xp.ldexp(one, exponents - half)

    def _forward(self, directions: Array) -> Array:
        return self._each(products.jvp, directions, 1)

    def _back(self, cotangents: Array) -> Array:
        return self._each(products.vjp, cotangents, self.outputs.ndim)

    def _each(self, function: Any, values: Array, ndim: int) -> Array:
        rows = values if values.ndim > ndim else values[None]
        results = self._run(lambda t, X, v: function(self.model, t, X, v), self.start, self.X, rows)
        return results if values.ndim > ndim else results[0]

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

    def _of_outputs(self, weights: Array) -> Array:
        """(n,) → (n·k,): each output of a sample has the weight of the sample."""
        return self._space.xp.repeat(weights, self.outputs.size // self.count)

    def _coefficients(self, kernel: GeometricSum, rate: Array, weights: Array, steps: int) -> Array:
        """W ψ_K(2ηJJᵀW/n) r/n: what Jᵀ takes to the displacement, over 2η."""
        residuals, of_outputs = self.residuals.reshape(-1) / self.count, self._of_outputs(weights)
        roots = data_space.root(of_outputs)
        if self._space.xp is np:
            curvature, by_zero_weights = self._operator(weights), 0.0
        else:
            matrix = self._kernel_matrix()
            curvature = data_space.weighted(matrix, of_outputs)
            by_zero_weights = data_space.path_by_zero_weights(kernel, rate, matrix, of_outputs, residuals)
        vector = roots * residuals
        if steps > NULL_SPACE_STEPS:
            vector = self._without_null(curvature, roots, vector)
        return roots * propagate(kernel, rate, curvature, vector) + by_zero_weights

    def _without_null(self, curvature: Dense | Operator, roots: Array, vector: Array) -> Array:
        """Without what lies in the null space of √W JJᵀ√W, if Jᵀ√W of that is no more than rounding.

        It moves no parameter, yet K steps would make its rounding K times as large. An eigenvalue too small to
        be told from 0 is another matter: its singular value, the root, is seen, and it stays.
        """
        space = self._space
        null = propagate(Decay(space.xp.asarray(True)), space.array(1.0), curvature, vector)
        probe = space.array(np.random.default_rng(0).standard_normal(self._size))
        own = null / binary_unit(space, null)  # of others the squares may be no floats
        moved = self._back((roots * space.xp.stack([own, probe])).reshape(2, *self.outputs.shape))
        squares = ((moved / binary_unit(space, moved)) ** 2).sum(axis=1)
        rounding = (16 * self._size * space.eps) ** 2 * squares[1]
        is_rounding = squares[0] * (probe @ probe) <= rounding * (own @ own)
        return space.xp.where(is_rounding, vector - null, vector)

    def _gram(self, scale: Array) -> Array:
        make = lambda t, X, s: products.gram(self.model, self._dual, self._size, t, X, s)
        return self._run(make, self.start, self.X, scale)

    def _kernel_matrix(self) -> Array:
        """K = JJᵀ/n in data space, the same for all weights."""
        return self._gram(self._space.xp.ones(self.count, dtype=self._space.dtype))

    def _operator(self, weights: Array) -> Operator:
        return Operator(self._times(weights), self._size)

    def _times(self, weights: Array) -> Callable[[Array], Array]:
        """v → A v in the smaller space; the rows go to JAX once."""
        space, model, dual = self._space, self.model, self._dual
        scale = data_space.root(weights) if dual else weights
        operands = self._run(lambda *arrays: arrays, self.start, self.X, scale)
        return lambda v: run_in_jax(
            space, lambda *a: products.compiled_product(model, dual, *a), *operands, space.array(v)
        )


jax.tree_util.register_dataclass(
    Linearization, data_fields=["start", "X", "outputs", "residuals"], meta_fields=["model"]
)


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
    evaluate = lambda rows: run_in_jax(space, lambda t, x: products.outputs(model, t, x), start, rows)
    try:
        outputs = evaluate(X)
    except TypeError as error:  # The model's own complaint, under our name; its traceback stays in sight.
        if isinstance(error, LinearTheoryError):
            raise
        reject("predict", predict, f"must take these params and X: {str(error).splitlines()[0]}")
    if outputs.ndim not in (1, 2) or outputs.shape[0] != X.shape[0] or outputs.size == 0:
        reject("predict", predict, f"must give n or (n, k) outputs, not an array of shape {outputs.shape}")
    shaped("y", y, outputs.shape, "one label for each output of predict")
    finite_outputs = space.xp.isfinite(outputs)
    if is_concrete(outputs) and not bool(finite_outputs.all()):
        reject("predict", predict, "must give finite outputs at these params and X, not NaN or infinity")
    outputs = space.xp.where(finite_outputs, outputs, space.xp.nan)
    if is_concrete(outputs):
        _check_rows(space, predict, evaluate, X, outputs)
    return Linearization(model, start, X, outputs, y - outputs)


def _check_rows(
    space: Namespace, predict: Any, evaluate: Callable[[Array], Array], X: Array, outputs: Array
) -> None:
    """Refuse a model whose first or last output is another when its row stands alone."""
    slack = 1e3 * space.eps * abs(outputs).max()
    for place, row in (("first", slice(0, 1)), ("last", slice(-1, None))):
        try:
            alone = evaluate(X[row])
        except TypeError:
            alone = None
        if alone is None or alone.shape != outputs[row].shape:
            reject("predict", predict, f"must act row by row: it does not take the {place} row alone")
        if not bool(abs(alone - outputs[row]).max() <= slack):
            reject("predict", predict, f"must act row by row: the {place} output changes with the other rows")


def _flatten(space: Namespace, predict: Callable[..., Array], params: Any) -> tuple[Model, Array]:
    """The model, and its parameters checked and in one vector."""
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
    rows = read("X", X)
    if rows.ndim == 0 or rows.shape[0] == 0:
        reject("X", X, "must have its samples on the first axis, at least one")
    if jnp.issubdtype(rows.dtype, np.integer):
        if space.xp is jnp:
            whole("X", X, rows, jax.dtypes.canonicalize_dtype(rows.dtype))
        return space.xp.asarray(rows)
    if not jnp.issubdtype(rows.dtype, np.floating):
        raise InvalidTypeError("X", X, f"must hold real numbers or integers, not {rows.dtype}")
    space.refuse_half("X", X)
    rows = space.array(with_automatic_axes(rows))
    return require(space, "X", rows, space.xp.isfinite(rows), "must be finite (no NaN, no infinity)")

"""Exact population paths of weighted generalised linear models on Gaussian rows, by quadrature in three dimensions.

The loss sees x through ⟨θ*, x⟩, ⟨θ̃*, x⟩ and ⟨θ, x⟩ alone. Let u_1, u_2, u_3 be orthonormal under Σ̃ and span the three
parameters: then the ξ_j = ⟨u_j, x⟩ are independent standard normal numbers, E[x|ξ] = Σ ξ_j Σ̃u_j, and for every Σ̃ in
every dimension

    ∇E[w ℓ] = Σ_j E[W(ξ)(A'(⟨θ, x⟩) − m(ξ)) ξ_j] Σ̃u_j,        W = E[w|x],  m = E[w y|x]/W,

an integral over three numbers, over two where θ is in the span of θ* and θ̃*: for Σ̃ = I, always. On a grid the
trapezoidal rule has all digits, since the integrands are analytic and fall like a Gaussian: each label's part of W is
log-concave, times e^(−ξ²/2), so beyond √(2 ln 1/ε) from its mode nothing is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..arrays import Array, Namespace, finite, namespace, positive, shaped
from ..errors import InvalidTypeError, InvalidValueError
from ..problem import FineTuningProblem, checked_problem
from ..propagator.powers import listed_steps
from ..reading import same_labels
from ..trees import is_concrete
from .families import DIGITS, Family
from .product import checked_temperature

__all__ = ["curvature", "iterate", "mean_weight"]

RADIUS = math.sqrt(2 * DIGITS)
"""From a mode of what is log-concave beside e^(−ξ²/2): beyond, less than ε is left."""

MOST_NODES = 6 * 10**6
"""Of the grid for θ* and θ̃*: what steeper parameters would need does not fit."""

MOST_NEWTON = 1000
"""Newton steps to a mode, which at 1/τ = e^700, the largest float, is some 700 steps of length 1 away."""

TINY = np.finfo(float).tiny

MOST_STEPS = 10**6
"""Steps that are taken one by one."""


def iterate(
    problem: FineTuningProblem,
    family: Family,
    steps: int | Array,
    learning_rate: float | Array,
    temperature: float | Array = math.inf,
) -> Array:
    """θ_K of gradient descent on E[w ℓ] from θ*, labels drawn from the model at θ̃* and x from N(0, Σ̃) (T24).

    Exact to rounding, by quadrature; a loop over K. Where training ends is :func:`fixed_point` for the logistic family.

    Parameters
    ----------
    problem : FineTuningProblem
        θ*, θ̃* and Σ̃ of any kind; its noise variance must be 0, for the family says how labels scatter.
    family : Family
        ``Logistic()`` or ``Poisson()``.
    steps : int or (m,) integer array
        K ≥ 0, up to a million.
    learning_rate : float
        η > 0 of θ ← θ − η ∇E[w ℓ]. Divide by :func:`mean_weight` for steps as long as without weights.
    temperature : float
        τ > 0 in nats, the units of ℓ; ``inf`` is standard fine-tuning.

    Returns
    -------
    (d,) array, or (m, d) for an array of steps

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For arguments outside these ranges; for parameters so steep, or rates so high, that the grid would have more
        than six million nodes; for an iterate beyond the largest float; under JAX tracing, since the grid depends on
        the values.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem, logistic = lt.FineTuningProblem([1.5, 0.0], [0.3, 1.0], np.eye(2)), lt.experts.Logistic()
    >>> rate = 2 / lt.experts.mean_weight(problem, logistic, 0.693)
    >>> print(lt.experts.iterate(problem, logistic, [1, 5, 30], rate, 0.693).round(5))
    [[1.62627 0.23692]
     [1.91467 0.6599 ]
     [2.39503 0.97682]]
    """
    numbers, single = listed_steps(steps)
    if max(numbers) > MOST_STEPS:
        raise InvalidValueError("steps", steps, f"must be at most {MOST_STEPS}: they are taken one by one")
    engine_of = steps if isinstance(steps, jax.Array) else None
    space = _known(problem=problem, temperature=temperature, learning_rate=learning_rate, steps=engine_of)
    rate = float(positive(space, "learning_rate", learning_rate))
    rows = _WeightedRows(space, problem, family, temperature)
    theta, found = rows.pretrained, {0: rows.pretrained}
    for k in range(1, max(numbers) + 1):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                theta = theta - rate * rows.gradient(theta)
        except InvalidValueError:
            if k == 1:
                raise
            theta = math.nan * theta
        if not np.isfinite(theta).all():
            remedy = (
                f"is so long that step {k} has left what quadrature or floats can hold; pass a smaller one"
            )
            raise InvalidValueError("learning_rate", learning_rate, remedy)
        if k in numbers:
            found[k] = theta
    path = np.stack([found[k] for k in numbers])
    return space.array(path[0] if single else path)


def mean_weight(problem: FineTuningProblem, family: Family, temperature: float | Array) -> Array:
    """E[w], w = p*(y|x)^(1/τ), labels drawn from the model at θ̃* and x from N(0, Σ̃) (T24): a number.

    Arguments and errors as in :func:`iterate`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem = lt.FineTuningProblem([0.5, 0.0], [0.1, 0.4], np.eye(2))
    >>> print(f"{lt.experts.mean_weight(problem, lt.experts.Poisson(), 1.3):.5f}")
    0.37841
    """
    space = _known(problem=problem, temperature=temperature)
    return space.array(_WeightedRows(space, problem, family, temperature).mean_weight)[()]


def curvature(
    problem: FineTuningProblem,
    family: Family,
    theta: Array,
    direction: Array,
    temperature: float | Array = math.inf,
) -> Array:
    """uᵀ∇²E[w ℓ](θ)u = E[w A''(⟨θ, x⟩)⟨u, x⟩²], how fast descent near θ learns along u (T24): a number.

    Divided by :func:`mean_weight` and held against the same without weights it says whether the weights stall u.

    Parameters
    ----------
    problem, family, temperature
        As in :func:`iterate`.
    theta, direction : (d,) arrays
        Where, and along what; the curvature is that along ``direction`` as it is, not of unit length.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`iterate`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> problem, logistic = lt.FineTuningProblem([3.0, 0.0], [1.5, 2.0], np.eye(2)), lt.experts.Logistic()
    >>> of = lambda tau: lt.experts.curvature(problem, logistic, problem.target, problem.shift, tau)
    >>> print(f"{of(0.25) / lt.experts.mean_weight(problem, logistic, 0.25) / of(np.inf):.2f}")
    0.91
    """
    space = _known(problem=problem, temperature=temperature, theta=theta, direction=direction)
    rows = _WeightedRows(space, problem, family, temperature)
    shape = rows.pretrained.shape
    same_labels("parameters", theta=(theta, 0), direction=(direction, 0))
    theta, along = (
        np.asarray(shaped(name, finite(space, name, value, 1), shape, "as long as pretrained"), dtype=float)
        for name, value in (("theta", theta), ("direction", direction))
    )
    return space.array(rows.curvature(theta, along))[()]


_NUMPY = namespace()


def _known(**arguments: Any) -> Namespace:
    """The engine in which to answer; refused where a value is not known."""
    for name, value in arguments.items():
        if not is_concrete(value):
            remedy = "must be known: the grid of the quadrature depends on its value; call this outside jit, vmap, grad"
            raise InvalidTypeError(name, value, remedy)
    return namespace(*arguments.values())


def _mode(family: Family, label: float, old: np.ndarray, new: np.ndarray, temperature: float) -> np.ndarray:
    """Where φ(ξ) p̃(y|ξ) p*(y|ξ)^(1/τ) is largest: a strictly convex height, so Newton with halved steps."""
    parameters, costs = np.stack([new, old]), np.array([1.0, 1 / temperature])
    height = lambda x: x @ x / 2 + costs @ family.loss(parameters @ x, label)
    x = np.zeros(len(old))
    for _ in range(MOST_NEWTON):
        slope = x + (costs * (family.mean(parameters @ x) - label)) @ parameters
        bend = np.eye(len(old)) + (parameters.T * costs * family.variance(parameters @ x)) @ parameters
        step = np.linalg.solve(bend, slope)
        with np.errstate(over="ignore"):
            while height(x - step) > height(x):
                step = step / 2
        x = x - step
        if abs(step).max(initial=0.0) < 1e-3:
            break
    return x


class _Frame:
    """Directions u_j (m, d) that are orthonormal under Σ̃, and their images Σ̃u_j, grown vector by vector."""

    def __init__(self, problem: FineTuningProblem) -> None:
        self.covariance = problem.target_operator
        self.directions = self.images = np.zeros((0, problem.dim))

    def coordinates(self, *vectors: np.ndarray) -> np.ndarray:
        """⟨v, Σ̃u_j⟩ of each vector, (vectors, m): ⟨v, x⟩ = Σ_j c_j ξ_j for those inside."""
        return np.stack(vectors) @ self.images.T

    def with_vector(self, vector: np.ndarray) -> _Frame:
        """The frame and, if it is not inside, the vector's part outside."""
        rest = vector
        for _ in range(2):  # Gram and Schmidt, twice is enough
            rest = rest - (self.images @ rest) @ self.directions
        image = self.covariance.apply(rest)
        length = math.sqrt(max(float(rest @ image), 0.0))
        whole = math.sqrt(max(float(self.covariance.quadratic(vector)), 0.0))
        grown = _Frame.__new__(_Frame)
        grown.covariance, inside = self.covariance, length <= 64 * np.finfo(float).eps * whole
        grown.directions = self.directions if inside else np.vstack([self.directions, rest / length])
        grown.images = self.images if inside else np.vstack([self.images, image / length])
        return grown


class _WeightedRows:
    """The population of rows with their weights: W and m on a grid of ξ_1, ξ_2."""

    def __init__(
        self, space: Namespace, problem: FineTuningProblem, family: Family, temperature: Any
    ) -> None:
        problem = _NUMPY.tree(checked_problem(_NUMPY, problem))
        if isinstance(family, type) or not isinstance(family, Family):
            raise InvalidTypeError("family", family, "must be a family of labels: Logistic() or Poisson()")
        if problem.noise_variance != 0:
            remedy = (
                f"must have no noise_variance of its own: {type(family).__name__} says how labels scatter"
            )
            raise InvalidValueError("problem", problem, remedy)
        self.problem, self.family = problem, family
        self.temperature = float(checked_temperature(space, temperature))
        self.pretrained, self.target = problem.pretrained, problem.target
        self.frame = _Frame(problem).with_vector(self.pretrained).with_vector(self.target)
        self._look(abs(self.frame.coordinates(self.pretrained, self.target)).max(axis=0))

    def _look(self, slopes: np.ndarray) -> None:
        """Fill the grid, fine enough for predictors that rise by ``slopes`` along the axes."""
        old, new = self.frame.coordinates(self.pretrained, self.target)
        self.slopes, steepest = slopes, float(np.linalg.norm(slopes))
        low, high = self._modes(old, new, slopes)
        with np.errstate(over="ignore"):
            spacing = [self.family.spacing(float(slope), steepest, self.temperature) for slope in slopes]
            counts = [(b - a + 2 * RADIUS) / max(h, TINY) for h, a, b in zip(spacing, low, high, strict=True)]
        if math.prod(counts) > MOST_NODES:
            remedy = "is too steep for the quadrature: at this temperature ⟨θ, x⟩, or rates, scatter too far"
            raise InvalidValueError("problem", self.problem, remedy)
        axes = [
            np.arange(math.floor((a - RADIUS) / h), math.ceil((b + RADIUS) / h) + 1) * h
            for h, a, b in zip(spacing, low, high, strict=True)
        ]
        nodes = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=-1) if axes else np.zeros((1, 0))
        near = ((nodes - np.clip(nodes, low, high)) ** 2).sum(axis=1) <= RADIUS**2
        self.nodes = nodes[near]
        log_weight, self.means = self.family.product(self.nodes @ new, self.nodes @ old, self.temperature)
        logs = log_weight - (self.nodes**2).sum(axis=1) / 2
        self.log_unit = float(logs.max())
        self.masses = np.exp(logs - self.log_unit) * math.prod(spacing) / (2 * math.pi) ** (len(axes) / 2)

    def _modes(self, old: np.ndarray, new: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box that holds where the integrands have their modes: each easy label, the origin, and A'(⟨θ, x⟩)."""
        found = [0 * slopes, self.family.growth * slopes, -self.family.growth * slopes]
        found += [_mode(self.family, label, old, new, self.temperature) for label in self.family.easiest]
        return np.min(found, axis=0), np.max(found, axis=0)

    @property
    def mean_weight(self) -> float:
        return math.exp(self.log_unit) * float(self.masses.sum())

    def _seen_from(self, theta: np.ndarray) -> tuple[_Frame, Iterator[tuple[float, float, np.ndarray]]]:
        """The frame that holds θ, too; and (ξ_3, its mass, ⟨θ, x⟩ on the grid) for each node of the third axis."""
        frame = self.frame.with_vector(theta)
        coordinates = frame.coordinates(theta)[0]
        many = len(self.slopes)
        if (abs(coordinates[:many]) > 1.2 * self.slopes).any():  # steeper than the grid was made for
            self._look(np.maximum(self.slopes, 1.5 * abs(coordinates[:many])))
        inside = self.nodes @ coordinates[:many]
        if len(coordinates) == many:
            return frame, iter([(0.0, 1.0, inside)])
        slope = float(coordinates[-1])
        h = self.family.spacing(slope, float(np.linalg.norm(coordinates)), self.temperature)
        third = (
            np.arange(-math.ceil(RADIUS / h), math.ceil((RADIUS + self.family.growth * slope) / h) + 1) * h
        )
        masses = h * np.exp(-(third**2) / 2) / math.sqrt(2 * math.pi)
        return frame, ((x, mass, inside + slope * x) for x, mass in zip(third, masses, strict=True))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """∇E[w ℓ] at θ, (d,)."""
        frame, seen = self._seen_from(theta)
        total = np.zeros(len(frame.images))
        for x, mass, predictor in seen:
            excess = self.masses * (self.family.mean(predictor) - self.means)
            sums = [*(excess @ self.nodes), x * excess.sum()]
            total += mass * np.array(sums[: len(total)])
        return math.exp(self.log_unit) * total @ frame.images

    def curvature(self, theta: np.ndarray, along: np.ndarray) -> float:
        """E[w A''(⟨θ, x⟩)⟨u, x⟩²]: what u has outside the frame scatters by itself."""
        frame, seen = self._seen_from(theta)
        inside = frame.coordinates(along)[0]
        outside = max(float(frame.covariance.quadratic(along)) - inside @ inside, 0.0)
        many, total = len(self.slopes), 0.0
        for x, mass, predictor in seen:
            square = (self.nodes @ inside[:many] + x * inside[many:].sum()) ** 2 + outside
            total += mass * float(self.masses @ (self.family.variance(predictor) * square))
        return math.exp(self.log_unit) * total

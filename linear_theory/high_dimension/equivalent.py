"""The deterministic equivalent of weighted least squares: what n rows in d dimensions do, as a few 1-D integrals.

A row that is left out meets residuals that it has not fitted itself; taken in, it pulls with the leverage

    p = g w/(1 + g w),        g = (1/n) tr Σ̃ (λ + E[w̃]Σ̃)⁻¹,        w̃ = w/(1 + g w) = p/g,

so that n rows weighted by w act as a population weighted by w̃. All is written in p and Λ = λg, from which g has
gone, with R = (Λ + E[p]Σ̃)⁻¹, D = σ² + Λ ⟨Σ̃e, Re⟩ + E[Z²p] ⟨Σ̃e, RΣ̃e⟩ and the residual r = sZ, s² = eᵀΣ̃e + σ²:

    (d/n) tr(Σ̃R)/d = 1,        h̄ = E[h] = −(s²/D) E[Z²p] RΣ̃e,

    E[hᵀBh] − h̄ᵀBh̄ = N tr(Σ̃RBR)/n / (Λ tr(Σ̃R²)/n + E[p(1 − p)] tr(Σ̃RΣ̃R)/n),
    N = E[p² (r − ⟨x,h̄⟩)²] = (1 + ⟨Σ̃e,h̄⟩/s²)² s² E[Z²p²] + (h̄ᵀΣ̃h̄ − ⟨Σ̃e,h̄⟩²/s²) E[p²].

Nothing in them is a difference of nearly equal numbers. At −λ = z, complex, they are the resolvent's (path.py); two of
them, at z₁ and z₂, give the bilinear form of the second line, in which each product is of one factor from each. For all
products to have floats they are of numbers in units of Σ̃ and of e: powers of two, which change no digit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

from ..arrays import Array, binary_unit, bounded, namespace, quotient
from ..covariance import Covariance, Dense, IdentityPlusLowRank, Operator
from ..covariance.subspace import InvariantSubspace, accept_any
from ..errors import InvalidTypeError, reject
from ..problem import FineTuningProblem, checked_problem
from ..trees import is_concrete, leaves, pytree
from ..weights import KLDRO, Flow, WeightRule, as_rule
from ..weights.rules import checked_log_weights
from .quadrature import normal_quadrature

__all__ = [
    "Expected",
    "Population",
    "Response",
    "bracketed_root",
    "over",
    "population",
    "root_between",
    "scaled",
]

EPS = np.finfo(float).eps

COLDEST = 1e-11
"""τ/s², at which −r²/τ, known to ε r²/τ, still says to a few parts in 10⁶ where γ < 1 rows stop to count."""

LARGEST_LOG = 400.0
"""Of a number that has a float even where the largest or the smallest of the ratios γ divides it."""

LEAST_BULK = 1e-50
"""Of the largest eigenvalue, for squares of resolvents to have floats."""


@pytree
class Expected:
    """What to expect of n rows (T28): of a fit, numbers and a ``theta`` (d,); of a path, with an axis for its times.

    ``theta``, the mean; ``variance``, E‖θ − its mean‖²; ``displacement``, κ = −⟨Σ̃e, mean − θ*⟩/v, the share of the
    shift that the mean has gone (0 where there is none); ``pretrain_error`` and ``target_error``, the means of (4).

    Examples
    --------
    >>> import linear_theory as lt
    >>> problem = lt.paper_problem(0.0, dim=1000, noise_variance=1.0)
    >>> found = lt.high_dimension.optimum(problem, 0.5)  # ordinary least squares: σ²γ/(1 − γ)
    >>> print(f"{found.displacement:.4f} {found.variance:.4f} {found.total_error:.4f}")
    1.0000 1.0000 3.0000
    """

    theta: Array
    displacement: Array
    variance: Array
    pretrain_error: Array
    target_error: Array

    @property
    def total_error(self) -> Array:
        """The mean of the sum of the two errors (4)."""
        return self.pretrain_error + self.target_error


class Units(NamedTuple):
    """Powers of two, in which Σ̃, Σ and e are at most about 1; h has the unit of e."""

    target: float
    pretrain: float
    shift: float


def scaled(array: Array | float, up: tuple[float, ...], down: tuple[float, ...] = ()) -> Array:
    """``array`` times and over powers of two, all at once: only the result can leave the floats."""
    exponent = lambda units: sum(math.frexp(unit)[1] - 1 for unit in units)
    with np.errstate(over="ignore"):
        return np.ldexp(array, exponent(up) - exponent(down))


def over(covariance: Covariance, unit: float) -> Covariance:
    """A covariance in a unit."""
    if isinstance(covariance, IdentityPlusLowRank):
        return covariance.times(namespace().array(1 / unit))
    return Dense(covariance.dense() / unit)


class Response(NamedTuple):
    """A deterministic equivalent, or several of them (…): p and 1 − p at the nodes, Λ, E[p], E[Z²p]."""

    leverage: Array  # (…, nodes)
    rest: Array
    inner: Array  # (…)
    mass: Array
    second: Array


@dataclasses.dataclass(frozen=True)
class Population:
    """The problem in the eigenbasis of Σ̃: what e reaches, one value each, and what the traces run over.

    ``values``, ``shift`` (m,): eigenvalues, and e's coordinates, in the space that e reaches; ``bulk`` (k,), ``shares``
    and ``pretrain``: eigenvalues, their shares of all d, and the mean of Σ on each. All but the shares, and σ², s² and
    v, are in ``units``.
    """

    problem: FineTuningProblem
    ratio: float
    rule: WeightRule
    reach: InvariantSubspace
    vectors: Array
    values: Array
    shift: Array
    bulk: Array
    shares: Array
    pretrain: Array
    units: Units
    noise: float
    variance: float
    signal: float

    def log_weights(self, z: Array) -> Array:
        """log w at residuals r = sz."""
        logarithms = checked_log_weights(namespace(), self.rule, float(self.problem.residual_variance) * z**2)
        if not (logarithms < math.inf).all():
            reject("temperature", self.rule, "has weights that are infinite or NaN; they must be bounded")
        return logarithms

    @property
    def positive_share(self) -> float:
        """Of all d directions, those that the rows move in."""
        return float(self.shares[self.bulk > 0].sum())

    def fit(self, inner: Array, mass: Array) -> Array:
        """(1/n) tr Σ̃R, which is 1 at the solution."""
        at_bulk = np.multiply.outer(mass, self.bulk) + np.asarray(inner)[..., None]
        seen = self.bulk > 0
        return self.ratio * (self.shares[seen] * self.bulk[seen] / at_bulk[..., seen]).sum(axis=-1)

    def resolvent(self, response: Response, values: Array) -> Array:
        """The eigenvalues of R (…, k), 0 in the null space of Σ̃, in which nothing moves."""
        seen = values > 0
        below = response.inner[..., None] + response.mass[..., None] * np.where(seen, values, 1.0)
        return np.where(seen, 1 / below, 0.0)

    def direction(self, response: Response) -> tuple[Array, Array, Array]:
        """RΣ̃e (…, m), σ² + Λ⟨Σ̃e, Re⟩, and D."""
        resolved = self.resolvent(response, self.values) * self.shift
        left = self.noise + response.inner * (resolved * self.values * self.shift).sum(-1)
        image = resolved * self.values
        return image, left, left + response.second * (image * self.values * self.shift).sum(-1)

    def mean(self, response: Response) -> Array:
        """h̄ in the eigenbasis (…, m)."""
        image, _, whole = self.direction(response)
        if self.variance == 0:  # every residual is 0
            return 0.0 * image
        return -(self.variance * response.second / whole)[..., None] * image

    def embed(self, inside: Array) -> Array:
        """A vector (…, m) of the eigenbasis as one of R^d."""
        return self.reach.embed(inside @ self.vectors.T)

    def fluctuation(self, one: Response, two: Response, z: Array, mass: Array) -> Array:
        """E[h₁ᵀBh₂] − h̄₁ᵀBh̄₂ for B = I, Σ and Σ̃; of (a,) and (b,) responses (3, a, b)."""
        forms = np.stack([np.ones_like(self.bulk), self.pretrain, self.bulk])
        left, right = self.resolvent(one, self.bulk), self.resolvent(two, self.bulk)
        traces = self.ratio * (left * (self.shares * self.bulk * forms)[:, None]) @ right.T
        unfitted = (one.rest * mass) @ two.leverage.T  # E[(1 − p₁)p₂] = E[p₂] − E[p₁p₂]
        return self._residual(one, two, z, mass) * traces / (two.inner * traces[0] + unfitted * traces[2])

    def _residual(self, one: Response, two: Response, z: Array, mass: Array) -> Array:
        """E[p₁p₂ (r − ⟨x,h̄₁⟩)(r − ⟨x,h̄₂⟩)]."""
        both = lambda f: (one.leverage * (f * mass)) @ two.leverage.T
        if self.variance == 0:
            return 0.0 * both(1.0)
        parts = [self.direction(response) for response in (one, two)]
        kept = [left / whole for _, left, whole in parts]  # 1 + ⟨Σ̃e,h̄⟩/s²
        means = [self.mean(response) for response in (one, two)]
        # h̄ᵀΣ̃h̄ − ⟨Σ̃e,h̄⟩²/s² = (σ² h̄ᵀΣ̃h̄ + v uᵀΣ̃u)/s², u what of h̄ is not along e.
        along = [quotient(namespace(), h @ (self.values * self.shift), self.signal, 0.0) for h in means]
        apart = [h - np.multiply.outer(a, self.shift) for h, a in zip(means, along, strict=True)]
        form = lambda pair: (pair[0] * self.values) @ pair[1].T
        across = (self.noise * form(means) + self.signal * form(apart)) / self.variance
        return np.multiply.outer(*kept) * self.variance * both(z**2) + across * both(1.0)

    def leverage(self, log_gain: float, z: Array) -> tuple[Array, Array]:
        """p and 1 − p at a real g = exp(log_gain), perhaps ∞, and residuals sz."""
        logarithms = self.log_weights(z)
        with np.errstate(invalid="ignore"):  # ∞ − ∞ of a weight 0
            exponent = np.where(logarithms > -math.inf, log_gain + logarithms, -math.inf)
        return special.expit(exponent), special.expit(-exponent)

    def nodes(self, log_gain: float) -> tuple[Array, Array]:
        """Nodes for p, p² and p(1 − p), also times Z², at a real g."""

        def functions(z: Array) -> Array:
            p, rest = self.leverage(log_gain, z)
            stack = np.stack([p, p**2, p * rest])
            return np.concatenate([stack, z**2 * stack])

        size = abs(log_gain) if math.isfinite(log_gain) else 0.0
        return normal_quadrature(functions, 4 * EPS * (4 + size))

    def mean_leverage(self, log_gain: float) -> Array:
        """E[p] at a real g."""
        z, mass = self.nodes(log_gain)
        return self.leverage(log_gain, z)[0] @ mass

    def log_gain(self, log_ridge: float) -> float:
        """log g at a ridge > 0."""
        inner = lambda u: np.asarray(math.exp(min(max(log_ridge + u, -LARGEST_LOG), LARGEST_LOG)))
        return bracketed_root(lambda u: math.log(self.fit(inner(u), self.mean_leverage(u))))


def bracketed_root(falling: Callable[[float], float]) -> float:
    """The root of a falling function on the whole line."""
    low, high, step = -1.0, 1.0, 1.0
    while falling(low) < 0:
        low, step = low - step, 2 * step
    step = 1.0
    while falling(high) > 0:
        high, step = high + step, 2 * step
    return root_between(falling, low, high)


def root_between(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of a function of which the values at both ends differ in sign, to rounding."""
    found: Any = optimize.brentq(function, low, high, xtol=1e-300, rtol=4 * EPS, maxiter=10_000)
    return float(found)


def population(problem: object, ratio: object, temperature: object, *others: object) -> Population:
    """The checked arguments, in the eigenbasis of Σ̃."""
    if not is_concrete(problem, ratio, temperature, *others):
        raise InvalidTypeError(
            "problem", problem, "linear_theory.high_dimension is NumPy only and cannot be traced"
        )
    space = namespace()
    rule = as_rule(temperature)  # pyright: ignore[reportArgumentType]
    if rule not in leaves(rule):  # a rule of this package, perhaps with a JAX array in it
        rule = space.tree(rule)
    if isinstance(rule, KLDRO):
        raise InvalidTypeError(
            "temperature", rule, "has weights without a bound, of which nothing is known here"
        )
    checked = checked_problem(space, problem)
    within = lambda v: (v >= 1e-100) & (v <= 1e100)  # beyond, products of three have no float
    gamma = float(bounded(space, "ratio", ratio, within, "must be finite and > 0, from 1e-100 to 1e100"))
    target, pretrain = checked.target_operator, checked.pretrain_operator
    for name, one in (("target_covariance", target), ("pretrain_covariance", pretrain)):
        if isinstance(one, Operator):
            raise InvalidTypeError(
                name, one, "must be a matrix or IdentityPlusLowRank: traces need its spectrum"
            )
    sizes = [float(binary_unit(space, one.ceiling)) for one in (target, pretrain)]
    target, pretrain = (over(one, size) for one, size in zip((target, pretrain), sizes, strict=True))
    reach = target.reach(checked.shift, accept_any)
    found = reach.covariance.spectrum(reach.coordinates)
    if isinstance(target, IdentityPlusLowRank):
        bulk, shares = np.array([float(target.scale)]), np.ones(1)
        on_bulk = (
            np.array([float(pretrain.scale)])
            if isinstance(pretrain, IdentityPlusLowRank)
            else np.array([np.trace(pretrain.dense()) / checked.dim])
        )
    else:
        bulk, shares = found.values, np.full(checked.dim, 1 / checked.dim)
        on_bulk = pretrain.quadratic(found.vectors.T)
    if not (bulk > LEAST_BULK).any():
        remedy = (
            "has a target covariance in whose bulk there is nothing, or no eigenvalue above "
            f"{LEAST_BULK:g} of the largest: no row says anything"
        )
        reject("problem", problem, remedy)
    seen = np.where(found.values > 0, found.coordinates, 0.0)
    coldest = COLDEST * float(checked.residual_variance)
    if isinstance(rule, Flow) and float(rule.temperature) < coldest:
        remedy = (
            f"must be at least {coldest:.4g}, {COLDEST:g} of the residual variance: below, rounding r²/τ leaves no "
            "digits; raise it"
        )
        reject("temperature", temperature, remedy)
    length = math.sqrt(checked.residual_variance) / math.sqrt(sizes[0])
    units = Units(sizes[0], sizes[1], float(binary_unit(space, np.append(seen, length))))
    squares = (checked.noise_variance, checked.residual_variance, checked.shift_variance)
    return Population(
        checked, gamma, rule, reach, found.vectors, found.values, seen / units.shift, bulk, shares, on_bulk, units,
        *(float(scaled(square, (), (units.target, units.shift, units.shift))) for square in squares),
    )  # fmt: skip

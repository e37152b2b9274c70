"""What training from θ* sees of a problem: the few directions it moves in, and the errors there.

With h = θ − θ* = Vx, V the eigenvectors of Σ̃ that the shift has a part in,

    err_tot = xᵀSx + (c + x)ᵀΛ(c + x),        S = VᵀΣV,  Λ = VᵀΣ̃V,  c = Vᵀe,

up to what no training changes. Of equal eigenvalues one vector is enough, so in the paper's problem there are two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..arrays import Array, binary_unit, namespace
from ..covariance.spectrum import Spectrum, downdated_spectrum, separated
from ..covariance.subspace import InvariantSubspace, converged
from ..problem import FineTuningProblem, quadratic_above_rounding
from ..trajectories import fixed_point

__all__ = ["Modes", "Weighted", "asked_of_numpy", "searched", "seen_forms"]


class Modes(NamedTuple):
    """In units in which the largest eigenvalue and the largest coordinate are 1: Λ's diagonal, c, S, σ², V in rows."""

    values: Array
    shift: Array
    old: Array
    noise: float
    rows: Array
    rate_unit: float
    length_unit: float

    @classmethod
    def of(cls, problem: FineTuningProblem, reach: InvariantSubspace) -> Modes:
        matrix = reach.covariance.dense()
        found = separated(namespace(problem), matrix, reach.covariance.spectrum(reach.coordinates))
        seen = np.flatnonzero(found.reached & (found.values > 0))
        seen = seen[np.argsort(found.values[seen])]
        values, shift = found.values[seen], found.coordinates[seen]
        rows = reach.embed(found.vectors[:, seen].T)
        old = rows @ problem.pretrain_operator.apply(rows).T
        rate, length = values.max(initial=0.0) or 1.0, abs(shift).max(initial=0.0) or 1.0
        noise = float(problem.noise_variance / rate / length / length)
        return cls(values / rate, shift / length, old / rate, noise, rows, float(rate), float(length))

    @property
    def variance(self) -> float:
        """v = cᵀΛc."""
        return float(self.values @ self.shift**2)

    @property
    def temperature_unit(self) -> float:
        return self.rate_unit * self.length_unit * self.length_unit

    def error(self, moved: Array) -> Array:
        """err_tot at x (…, k)."""
        left = self.shift + moved
        return ((moved @ self.old) * moved).sum(axis=-1) + (self.values * left * left).sum(axis=-1)

    @property
    def kept(self) -> float:
        """ω = A/(A + B), the share of the shift that the best average keeps (Lemma F.4)."""
        a, b = float(self.shift @ self.old @ self.shift), self.variance
        return a / (a + b)

    @property
    def optimum(self) -> Array:
        """x of the least err_tot: −(S + Λ)⁻¹Λc."""
        return -np.linalg.lstsq(self.old + np.diag(self.values), self.values * self.shift, rcond=None)[0]

    def ratio(self, temperature: Array) -> Array:
        """(τ + 2σ²)/(τ + 2s²), what weights leave of the variance along the shift (Lemma F.1)."""
        total = temperature + 2 * self.noise
        return np.where(np.isinf(temperature), 1.0, total / (total + 2 * self.variance))

    def mass(self, temperature: Array) -> Array:
        """μ = E[w]."""
        return (1 + 2 * (self.variance + self.noise) / temperature) ** -0.5

    def displacement(self, temperature: Array) -> Array:
        """κ = τ/(τ + 2σ²)."""
        return 1 / (1 + 2 * self.noise / temperature)

    def weighted(self, temperature: Array) -> Weighted:
        """M = Σ'/μ at each of the temperatures (n,), all at once, to rounding beside the largest eigenvalue."""
        image = self.values * self.shift
        taken = ((1 - self.ratio(temperature)) / self.variance)[:, None, None]
        values, vectors = np.linalg.eigh(np.diag(self.values) - taken * image[:, None] * image)
        return Weighted(np.maximum(values, 0.0), vectors, self.shift @ vectors)

    def weighted_to_the_last_digit(self, temperature: Array) -> Weighted:
        """The same one after the other, each eigenvalue and coordinate to its own rounding."""
        space, one = namespace(self.values), np.eye(len(self.values))
        given = Spectrum(self.values, one, self.shift, np.ones(len(self.values), dtype=bool))
        found = [downdated_spectrum(space, np.diag(self.values), given, r) for r in self.ratio(temperature)]
        return Weighted(*(np.stack([f[k] for f in found]) for k in range(3)))


class Weighted(NamedTuple):
    """Of n temperatures: M's eigenvalues (n, k), vectors (n, k, k) in columns, and e's coordinates (n, k)."""

    values: Array
    vectors: Array
    shift: Array

    def moved(self, left: Array, kappa: Array) -> Array:
        """x = −κ(1 − φ(M))c from φ at M's eigenvalues, ``left`` (n, …, k), and κ (n,)."""
        gone = np.expand_dims(kappa, tuple(range(1, left.ndim))) * (left - 1)
        middle = tuple(range(1, left.ndim - 1))
        return np.einsum("n...k,njk->n...j", gone * np.expand_dims(self.shift, middle), self.vectors)


def searched(problem: FineTuningProblem, search: Callable[[Modes], tuple[Array, Any]]) -> Any:
    """What ``search`` finds in the modes of a NumPy problem, beside the x there: of an operator in enough of them."""
    found: dict[str, Any] = {}

    def result(reach: InvariantSubspace) -> tuple[Array, float]:
        modes = Modes.of(problem, reach)
        moved, found["it"] = search(modes)
        found["in"] = reach
        inside = moved @ modes.rows
        return (inside if reach.basis is None else inside @ reach.basis.T), abs(modes.shift).max(initial=0.0)

    reach = problem.target_operator.reach(problem.shift, converged(result))
    # Of a space that is exact nobody asks, also where smaller ones were asked of.
    if found.get("in") is not reach:
        result(reach)
    return found["it"]


def seen_forms(problem: FineTuningProblem) -> tuple[Array, Array]:
    """eᵀΣe and eᵀΣ̃e of the part of the shift that training can see, in one unit."""
    space = namespace(problem)
    seen = (problem.pretrained - fixed_point(problem, math.inf)) / binary_unit(space, problem.shift)
    forms = (problem.pretrain_operator, problem.target_operator)
    a, b = (quadratic_above_rounding(space, covariance, seen) for covariance in forms)
    return a, b


def asked_of_numpy(
    search: Callable[..., tuple[Array, ...]], shapes: tuple[Any, ...], *arguments: Any
) -> tuple[Array, ...]:
    """``search`` of JAX arguments, in NumPy and float64, also under jit and vmap: constants of these shapes."""

    def on_host(*given: Any) -> tuple[Array, ...]:
        given = jax.tree.map(lambda leaf: np.asarray(leaf, dtype=float), given)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(given)):
            missing = lambda dtype: np.nan if np.issubdtype(dtype, np.floating) else -1
            return tuple(np.full(one.shape, missing(one.dtype), dtype=one.dtype) for one in shapes)
        return tuple(np.asarray(x, dtype=one.dtype) for x, one in zip(search(*given), shapes, strict=True))

    held = jax.lax.stop_gradient(arguments)
    return jax.pure_callback(on_host, shapes, *held, vmap_method="sequential")

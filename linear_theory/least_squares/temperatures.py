"""One set of rows under many temperatures: FLOW's minimiser as a function of τ, for little more than a few.

The weights exp(−ℓ/τ) are functions of (ℓ, 1/τ) whose numerical rank is small: over two decades of τ some
twenty of them span all the others to 1e-9. So the normal equations are summed at that many temperatures, the nodes, in
coordinates in which the rows are about orthonormal, so that Cholesky loses nothing; every other Gram matrix is a
combination of these.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ..arrays import Array, Namespace, bounded
from ..errors import InvalidTypeError, reject
from ..sharding import on_automatic_mesh
from ..threads import limit_blas_threads
from ..trees import is_concrete, pytree
from . import cholesky, solver
from .blocks import added, blocks, over_strips, weighted_products
from .rows import Sample, checked_ridge, checked_sample, noisy, refuse_infinite
from .solution import EPS, unrefined_error

__all__ = ["TemperaturePath", "temperature_path"]

WINDOW = 2.0
"""Decades of temperature that share nodes."""

QUANTILES, EXTREMES = 2000, 400
"""How many of the losses, evenly, and of the smallest and largest: the sample on which weights are written in terms of
one another.
"""

GRID = 200
"""Temperatures to a window, evenly in logarithm, that may become nodes."""

MAX_NODES = 40

MAX_CONDITION = 100.0
"""Condition number of rows that are orthonormal in the middle of the window beyond which a direction hangs on
small weights: too small beside the others to be sure of in the sums, or in the measure of the error."""

MAX_WHITENING_ERROR = 0.1
"""What Cholesky may lose of the coordinates in which rows are about orthonormal: the solutions lose less there."""

GRAM_BATCH = 32
"""Gram matrices that are combined at once."""

CHECKS = 12
"""Temperatures at which the error is measured on all rows: those where the sample's rows say it is largest."""

ESTIMATES = 96
"""Temperatures, evenly over a window, at which weights are looked at to count the nodes and solutions to judge them."""


@pytree
class TemperaturePath:
    """FLOW's minimisers over temperatures, argmin (1/n) Σ exp(−rᵢ²/τ)(yᵢ − ⟨xᵢ,θ⟩)² at each τ (section 4).

    ``temperatures`` (T,); ``theta`` (T, d); ``mean_weight`` (T,), the mean of exp(−loss/τ), by which FLOW's
    step is smaller; ``weightings``, how many weighted Gram matrices were summed over the rows; ``error``, twice
    the largest relative error ‖θ − θ_exact‖/‖θ_exact − start‖ that passes over the rows measured, at the dozen of a
    hundred temperatures at which a sample of some thousand rows says that it is largest (0 where every temperature
    was summed by itself). Equal temperatures are summed once.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> path = lt.temperature_path(np.ones((3, 1)), np.array([1.0, 2.0, 9.0]), np.zeros(1), [1e9, 1.0])
    >>> print(path.theta.shape, path.mean_weight.round(4))
    (2, 1) [1.     0.1287]
    """

    temperatures: Array
    theta: Array
    mean_weight: Array
    weightings: int | Array
    error: float | Array


@on_automatic_mesh
def temperature_path(
    X: Array,
    y: Array,
    start: Array,
    temperatures: Array,
    ridge: float | Array = 0.0,
    *,
    accuracy: float = 1e-8,
    column_scale: Array | None = None,
) -> TemperaturePath:
    """:func:`linear_theory.solve` with FLOW's weights exp(−rᵢ²/τ), rᵢ = yᵢ − ⟨xᵢ, start⟩, at every τ asked for.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
        θ*: what the losses are taken at, and what the minimiser is closest to.
    temperatures : (T,) array
        τ > 0 in the units of y², in any order; ``inf`` is unweighted.
    ridge : float
        ≥ 0, as in :func:`linear_theory.solve`.
    accuracy : float
        Largest relative error of θ − start allowed to the sharing. It is measured; more weightings are summed
        until it holds. Temperatures for which it cannot (condition numbers beyond about 1e6, so low that few
        rows have any weight), wide rows, and JAX arrays (where the path is differentiable) are solved one by
        one.
    column_scale : (d,) array, optional
        As in :func:`linear_theory.solve`: the magnitude each column was made from.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve`; for temperatures ≤ 0 or none at all, or an accuracy outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.ones((3, 1)), np.array([1.0, 2.0, 9.0])
    >>> path = lt.temperature_path(X, y, np.zeros(1), [np.inf, 10.0, 1.0])
    >>> print(path.theta[:, 0].round(4))  # ever nearer to what the easiest rows say
    [4.     1.427  1.0474]
    """
    space, sample = checked_sample(X, y, start, None, temperatures, ridge, column_scale=column_scale)
    if sample.y.ndim == 2:
        reject(
            "y", y, f"must be a vector, not an array of shape {sample.y.shape}: weights belong to one task"
        )
    taus = bounded(space, "temperatures", temperatures, lambda t: t > 0, "must be > 0", ndim=1)
    if taus.shape[0] == 0:
        reject("temperatures", temperatures, "is empty; ask for at least one")
    ridge = checked_ridge(space, ridge)
    if isinstance(accuracy, bool) or not isinstance(accuracy, float | int):
        raise InvalidTypeError("accuracy", accuracy, "must be a number in (0, 1)")
    if not 0 < accuracy < 1:
        reject("accuracy", accuracy, "must be in (0, 1)")
    if space.xp is jnp:
        return _each(space, sample, taus, ridge)
    return _shared(space, sample, taus, float(ridge), accuracy)


def _each(space: Namespace, sample: Sample, taus: Array, ridge: Array) -> TemperaturePath:
    """In JAX: every temperature by itself."""
    if is_concrete(sample):
        _residual(space, sample)  # Refused where squares are no floats; under tracing they make NaN.

    def one(tau: Array, sample: Sample, ridge: Array) -> tuple[Array, Array]:
        losses = sample.residual**2
        # The largest weight is 1, so that none of this underflows; the ridge keeps its proportion.
        least = jax.lax.stop_gradient(jnp.min(losses))
        weights = jnp.exp(-(losses - least) / tau)
        rows = sample.weighted(weights)
        most = math.log(float(jnp.finfo(space.dtype).max)) / 2  # so strong a ridge leaves nothing to move
        pull = ridge * jnp.exp(jnp.minimum(least / tau, most))
        theta = solver.minimise(space, rows, pull).theta
        return theta, weights.mean() * jnp.exp(-least / tau)

    @jax.custom_jvp
    def path(taus: Array, sample: Sample, ridge: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda tau: one(tau, sample, ridge), taus)

    @path.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        # A loop that JAX transposes forgets the rules of what it repeats, and a second derivative would be wrong.
        return path(*primals), jax.jvp(jax.vmap(one, (0, None, None)), primals, tangents)[1]

    theta, mass = path(taus, sample, ridge)
    return TemperaturePath(taus, theta, mass, taus.shape[0], space.array(0.0))


def _shared(space: Namespace, sample: Sample, taus: Array, ridge: float, accuracy: float) -> TemperaturePath:
    """In NumPy: each window of temperatures from the nodes that it shares, and what they cannot give by itself."""
    (n, d), largest = sample.X.shape, np.finfo(float).max
    different, place = np.unique(taus, return_inverse=True)
    with np.errstate(over="ignore"):  # no weight, or a ridge that nothing moves
        residual = _residual(space, sample)
        losses = residual**2
        least, rates = losses.min(), np.minimum(1 / different, largest / 2)
        excess = losses - least
        pulls = np.minimum(n * ridge * np.exp(least * rates), largest) if ridge else 0 * rates
        grid = TemperatureGrid(rates, pulls)
        displacement, mass = np.full((len(rates), d), np.nan), np.empty(len(rates))
        weightings, error = 0, 0.0
        for window in _windows(rates) if n >= d and not noisy(sample) else ():
            shared = SharedTemperatures(sample.X, residual, excess, grid.only(window), accuracy)
            # Beside the sums, which have threads of their own, much small algebra that threads only slow down.
            with limit_blas_threads(n * d**2, d**3):
                displacement[window], mass[window] = shared.fill()
            weightings, error = weightings + shared.weightings, max(error, shared.error)
        theta = sample.start + displacement
        for t in np.flatnonzero(np.isnan(displacement[:, 0])):
            weights = np.exp(-excess * rates[t])
            theta[t] = solver.minimise(space, sample.weighted(weights), pulls[t] / n).theta
            mass[t], weightings = weights.mean(), weightings + 1
        mass *= np.exp(-least * rates)
    return TemperaturePath(taus, theta[place], mass[place], weightings, error)


def _residual(space: Namespace, sample: Sample) -> Array:
    """r at the start, its squares finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        residual = sample.residual
        if not np.isfinite(residual**2).all():
            refuse_infinite(space, sample.X)
            reject("y", sample.y, "is so far from X·start that squared residuals overflow; rescale y")
    return residual


def _windows(rates: Array) -> list[Array]:
    """Which temperatures share nodes: equal parts of the decades asked for."""
    positive = rates[rates > 0]
    decades = np.log10(positive.max()) - np.log10(positive.min()) if positive.size else 0.0
    return _parts(rates, max(1, math.ceil(decades / WINDOW - 1e-9)))


def _parts(rates: Array, count: int) -> list[Array]:
    """Places of the rates, in so many equal parts of their decades that are not empty; 0 goes with the smallest."""
    moving = rates > 0
    place = np.zeros(len(rates))
    if moving.any():
        logarithms = np.log(rates[moving])
        low, high = logarithms.min(), logarithms.max()
        place[moving] = (logarithms - low) / max(high - low, 1e-300) * count
    part = np.minimum(place.astype(int), count - 1)
    return [np.flatnonzero(part == k) for k in range(count) if (part == k).any()]


class Nodes(NamedTuple):
    """Rates 1/τ in order of importance, and every wanted weight in terms of the first k of them.

    On a sample of the losses, every weight in units of its mean there. ``rows`` are those that have these
    losses, and each stands for so many of all rows.
    """

    rates: Array
    left: Array
    triangle: Array
    sample: Array
    rows: Array
    stands_for: Array

    def combine(self, k: int, rates: Array) -> tuple[Array, Array]:
        """Coefficients (k, T) and the root mean square errors (T,) of the weights they give, on the sample."""
        wanted, size = _normalised_weights(self.sample, rates)
        given, unit = _normalised_weights(self.sample, self.rates[:k])
        coefficients = scipy.linalg.solve_triangular(self.triangle[:k, :k], self.left[:, :k].T @ wanted)
        errors = np.sqrt(((given @ coefficients - wanted) ** 2).sum(axis=0))
        return coefficients / unit[:, None] * size, errors

    def needed(self, rates: Array, accuracy: float) -> int:
        """The fewest nodes that give the weights at these rates to this accuracy; one too many if none do."""
        accurate = lambda k: self.combine(k, rates)[1].max() <= accuracy
        return bisect.bisect_left(range(len(self.rates) + 1), True, lo=1, key=accurate)


def _normalised_weights(losses: Array, rates: Array) -> tuple[Array, Array]:
    """exp(−ℓᵢ sⱼ)/√n in units of its mean over i, and these means."""
    weights = np.exp(-np.outer(losses, rates))
    means = weights.mean(axis=0)
    return weights / (means * math.sqrt(len(losses))), means


def _batches(values: Array, count: int) -> Iterator[Array]:
    """So many at a time."""
    return (values[low : low + count] for low in range(0, len(values), count))


def choose_nodes(excess: Array, rates: Array) -> Nodes:
    """Which weights span the others: column-pivoted QR of exp(−ℓᵢ sⱼ) over a sample of the losses."""
    n = len(excess)
    ends = np.geomspace(1, n, EXTREMES).astype(int) - 1
    evenly = np.linspace(0, n - 1, min(n, QUANTILES)).astype(int)
    places = np.unique(np.concatenate([evenly, ends, n - 1 - ends]))
    rows = np.argsort(excess)[places]
    sample, between = excess[rows], (places[1:] + places[:-1] + 1) / 2
    stands_for = np.diff(np.concatenate([[0.0], between, [n]]))
    positive = rates[rates > 0]
    grid = np.geomspace(positive.min(), positive.max(), GRID) if positive.size else np.zeros(0)
    grid = np.unique(np.concatenate([grid, rates[[rates.argmin(), rates.argmax()]]]))
    factors: Any = scipy.linalg.qr(_normalised_weights(sample, grid)[0], mode="economic", pivoting=True)
    left, triangle, order = factors
    sizes = np.abs(triangle.diagonal())
    most = min(MAX_NODES, int((sizes > EPS * sizes[0]).sum()))  # fewer where there are few different losses
    return Nodes(grid[order[:most]], left[:, :most], triangle[:most, :most], sample, rows, stands_for)


class TemperatureGrid(NamedTuple):
    """The temperatures asked for: rates s = 1/τ and n·ridge, both in units in which the largest weight is 1."""

    rates: Array
    pulls: Array

    def only(self, chosen: Array) -> TemperatureGrid:
        """Some of them."""
        return TemperatureGrid(self.rates[chosen], self.pulls[chosen])


@dataclass(frozen=True)
class Whitened:
    """X·P, block by block: rows in coordinates u, δ = Pu, in which they are about orthonormal."""

    X: Array
    whitening: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.X.shape

    def __getitem__(self, rows: slice) -> Array:
        return self.X[rows] @ self.whitening


class Sums(NamedTuple):
    """What the rows say at some nodes: Gram (k, d, d), moment (k, d) and Σw (k,)."""

    gram: Array
    moment: Array
    mass: Array

    @classmethod
    def over(cls, X: Array | Whitened, residual: Array, excess: Array, rates: Array) -> Sums:
        """One pass over the rows for all these rates."""
        (n, d), k = X.shape, len(rates)
        sums = cls(np.zeros((k, d, d)), np.zeros((k, d)), np.zeros(k))
        half = -rates[:, None] / 2
        for low in range(0, n, 10**5):
            sums.mass[...] += np.exp(2 * half * excess[low : low + 10**5]).sum(axis=1)
        roots = lambda rows: tuple(np.exp(half * excess[rows]))
        for strip in weighted_products(X, residual, np.zeros(d), roots, count=k):
            for j, (gram, moment, _) in enumerate(strip):
                sums.gram[j] += gram
                sums.moment[j] += moment
        return sums

    def beside(self, other: Sums) -> Sums:
        """The nodes of both."""
        return Sums(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def factors(
        self, coefficients: Array, pulls: Array, metric: Array
    ) -> Iterator[tuple[cholesky.Factor | None, Array]]:
        """For every column of coefficients (k, T): of its Gram matrix + pull·metric, and its moment (d,)."""
        k, d = len(coefficients), self.moment.shape[1]
        for low in range(0, coefficients.shape[1], GRAM_BATCH):
            part = coefficients[:, low : low + GRAM_BATCH].T
            grams = (part @ self.gram[:k].reshape(k, d * d)).reshape(-1, d, d)
            for gram, moment, pull in zip(
                grams, part @ self.moment[:k], pulls[low : low + GRAM_BATCH], strict=True
            ):
                if pull > 0:
                    gram += pull * metric
                solvable = np.isfinite(gram).all() and gram.diagonal().min() > 0
                yield cholesky.factorise(gram, 0.0) if solvable else None, moment


class SharedTemperatures:
    """Temperatures of one window, and the nodes they share."""

    def __init__(
        self, X: Array, residual: Array, excess: Array, grid: TemperatureGrid, accuracy: float
    ) -> None:
        self.X, self.residual, self.excess, self.grid = X, residual, excess, grid
        self.accuracy, self.weightings, self.error = accuracy, 0, 0.0

    def fill(self) -> tuple[Array, Array]:
        """δ (T, d) and the mean weights (T,) in units of the largest; NaN what must be solved by itself."""
        count, d = len(self.grid.rates), self.X.shape[1]
        nothing = np.full((count, d), np.nan), np.full(count, np.nan)
        nodes = choose_nodes(self.excess, np.unique(self.grid.rates))
        parts = _parts(self.grid.rates, ESTIMATES)
        even = self.grid.rates[[part[len(part) // 2] for part in parts]]
        k = nodes.needed(even, self.accuracy / 2)
        if k + 1 >= len(np.unique(self.grid.rates)) or (whitening := self._whitening()) is None:
            return nothing
        self.whitening, self.metric = whitening, whitening.T @ whitening
        whitened, sums, errors = Whitened(self.X, whitening), None, [math.inf] * 2
        while k <= len(nodes.rates):
            known = 0 if sums is None else len(sums.mass)
            more = Sums.over(whitened, self.residual, self.excess, nodes.rates[known:k])
            sums = more if sums is None else sums.beside(more)
            self.weightings += k - known
            coefficients, missed = nodes.combine(k, self.grid.rates)
            judged = np.array([part[missed[part].argmax()] for part in parts])
            some = self._judged(nodes, sums, coefficients[:, judged], self.grid.only(judged))
            errors.append(self._measured(sums, coefficients[:, judged], *some, self.grid.only(judged)))
            if 2 * errors[-1] <= self.accuracy:
                self.error = 2 * errors[-1]
                displacement, others = nothing[0], np.setdiff1d(np.arange(count), judged)
                displacement[judged], _ = some
                rest = self._solved(sums, coefficients[:, others], self.grid.only(others))
                for t, (_, moved) in zip(others, rest, strict=True):
                    displacement[t] = moved
                return displacement, sums.mass @ coefficients / len(self.excess)
            if errors[-1] > errors[-3] / 2:  # rounding, or losses that the sample does not show
                break
            k = max(nodes.needed(even, self.accuracy**2 / (4 * errors[-1])), k + 2)
        return nothing

    def _whitening(self) -> Array | None:
        """P from the weights in the middle of the window; None where Cholesky cannot give it."""
        positive = self.grid.rates[self.grid.rates > 0]
        middle = np.sqrt(positive.min()) * np.sqrt(positive.max()) if positive.size else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            gram = Sums.over(self.X, self.residual, self.excess, np.array([middle])).gram[0]
        self.weightings += 1
        if not np.isfinite(gram).all() or gram.diagonal().min() <= 0:
            return None
        factor = cholesky.factorise(gram, float(np.median(self.grid.pulls)))
        if factor is None or not unrefined_error(factor.condition, len(gram)) < MAX_WHITENING_ERROR:
            return None
        inverse = scipy.linalg.solve_triangular(factor.lower, np.eye(len(gram)), lower=True)
        return factor.scale[:, None] * inverse.T

    def _solved(
        self, sums: Sums, coefficients: Array, grid: TemperatureGrid
    ) -> Iterator[tuple[cholesky.Factor | None, Array]]:
        """Of every temperature the factor and δ (d,), NaN where the sums cannot give it to the accuracy."""
        for factor, moment in sums.factors(coefficients, grid.pulls, self.metric):
            displacement = np.full_like(moment, np.nan)
            # What Cholesky leaves of the error without refinement must be within the accuracy too.
            if factor is not None and (
                factor.condition * factor.scale.max() < MAX_CONDITION * factor.scale.min()
                and unrefined_error(factor.condition, len(moment)) < self.accuracy / 4
            ):
                displacement = self.whitening @ factor.solve(moment)
            yield factor, displacement

    def _judged(
        self, nodes: Nodes, sums: Sums, coefficients: Array, grid: TemperatureGrid
    ) -> tuple[Array, Array]:
        """δ (T, d) as they are solved; and the error (T,) that the sample expects."""
        count = coefficients.shape[1]
        displacement, expected = np.empty((count, self.X.shape[1])), np.zeros(count)
        solved = self._solved(sums, coefficients, grid)
        for batch in _batches(np.arange(count), GRAM_BATCH):
            moved = {}
            for t, (factor, displacement[t]) in zip(batch, solved, strict=False):
                if np.abs(displacement[t]).max() > 0:
                    moved[t] = factor
            if moved:
                chosen = np.array(list(moved))
                slopes = self._slopes(
                    nodes, coefficients[:, chosen], grid.rates[chosen], displacement[chosen]
                )
                expected[chosen] = self._errors(moved.values(), slopes, displacement[chosen])
        return displacement, expected

    def _measured(
        self, sums: Sums, coefficients: Array, displacement: Array, expected: Array, grid: TemperatureGrid
    ) -> float:
        """The largest ‖H⁻¹∇‖/‖δ‖ at a few of the temperatures: where the sample's rows say that it is largest."""
        rates, pulls = grid
        moved = np.flatnonzero(np.nan_to_num(np.abs(displacement).max(axis=1)) > 0)
        if not moved.size:  # nothing to move, or none that can be solved here
            return 0.0 if np.isfinite(displacement).any() else math.inf
        moved = moved[np.argsort(rates[moved])]
        parts = np.array_split(moved, min(CHECKS, len(moved)))
        chosen = np.array([part[expected[part].argmax()] for part in parts])
        moments = self._moments(displacement[chosen], rates[chosen])
        slopes = moments - pulls[chosen, None] * displacement[chosen]
        # A dozen are factorised again, which costs less than to keep the factors of all.
        again = sums.factors(coefficients[:, chosen], pulls[chosen], self.metric)
        factors = [factor for factor, _ in again if factor is not None]
        return float(self._errors(factors, slopes, displacement[chosen]).max())

    def _errors(self, factors: Iterable[cholesky.Factor], slopes: Array, displacement: Array) -> Array:
        """‖H⁻¹∇‖/‖δ‖ of each factor of H, ∇ and δ."""
        inverse = lambda factor, slope: self.whitening @ factor.solve(self.whitening.T @ slope)
        rows = zip(factors, slopes, displacement, strict=True)
        return np.array([_ratio(inverse(factor, slope), delta) for factor, slope, delta in rows])

    def _slopes(self, nodes: Nodes, coefficients: Array, rates: Array, displacement: Array) -> Array:
        """XᵀE(r − Xδ) (C, d) over the sample's rows, E what their weights are off by at each temperature."""
        X = self.X[nodes.rows]
        weights = np.exp(-np.outer(nodes.sample, nodes.rates[: len(coefficients)]))
        given = weights @ coefficients
        excess = (given - np.exp(-np.outer(nodes.sample, rates))) * nodes.stands_for[:, None]
        return (excess * (self.residual[nodes.rows, None] - X @ displacement.T)).T @ X

    def _moments(self, displacement: Array, rates: Array) -> Array:
        """XᵀW(r − Xδ) (C, d) for every δ (C, d) at its own temperature: one pass over the rows."""
        (n, d), count = self.X.shape, len(rates)

        def strip_sums(strip: slice, block: int) -> tuple[Array]:
            moments = np.zeros((d, count))
            for rows in blocks(strip, block):
                residual = self.residual[rows, None] - self.X[rows] @ displacement.T
                moments += self.X[rows].T @ (residual * np.exp(-np.outer(self.excess[rows], rates)))
            return (moments,)

        (moments,) = added(over_strips(strip_sums, n, d, 4.0 * n * d * count), np.zeros((d, count)))
        return moments.T


def _ratio(change: Array, displacement: Array) -> float:
    """‖change‖/‖δ‖, for a δ that is not 0."""
    unit = np.abs(displacement).max()
    return float(np.linalg.norm(change / unit) / np.linalg.norm(displacement / unit))

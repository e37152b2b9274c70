"""One set of rows under many temperatures: FLOW's minimiser as a function of τ, for little more than a few.

The weights exp(−ℓ/τ) are functions of (ℓ, 1/τ) whose numerical rank is small: over two decades of τ some
twenty of them span all the others to 1e-9. So the normal equations are summed at that many temperatures, in
one pass over the rows, and every other Gram matrix is a combination of these (``span``).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, bounded
from ..errors import InvalidTypeError, reject
from ..sharding import on_automatic_mesh
from ..threads import limit_blas_threads
from ..trees import pytree
from . import dense, traced
from .blocks import over_strips
from .rows import Sample, checked_sample, refuse_infinite
from .span import Span, Wanted

__all__ = ["TemperaturePath", "temperature_path"]

WINDOW = 2.0
"""Decades of temperature that share nodes."""


@pytree
class TemperaturePath:
    """FLOW's minimisers over temperatures, argmin (1/n) Σ exp(−rᵢ²/τ)(yᵢ − ⟨xᵢ,θ⟩)² at each τ (section 4).

    ``temperatures`` (T,); ``theta`` (T, d); ``mean_weight`` (T,), the mean of exp(−loss/τ), by which FLOW's
    step is smaller; ``weightings``, how many weighted Gram matrices were summed over the rows; ``error``, twice
    the largest relative error ‖θ − θ_exact‖/‖θ_exact − start‖ that passes over the rows measured, at the dozen
    temperatures at which a sample of some thousand rows says that it is largest (0 where every temperature was
    summed by itself). Equal temperatures are summed once.

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
    accuracy: float = 1e-8,
    *,
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
    accept = lambda v: (v >= 0) & (v < math.inf)
    ridge = bounded(space, "ridge", ridge, accept, "must be finite and ≥ 0")
    if isinstance(accuracy, bool) or not isinstance(accuracy, float | int):
        raise InvalidTypeError("accuracy", accuracy, "must be a number in (0, 1)")
    if not 0 < accuracy < 1:
        reject("accuracy", accuracy, "must be in (0, 1)")
    if space.xp is jnp:
        return _each(space, sample, taus, ridge)
    return _shared(space, sample, taus, float(ridge), accuracy)


def _each(space: Namespace, sample: Sample, taus: Array, ridge: Array) -> TemperaturePath:
    def one(tau: Array, sample: Sample, ridge: Array) -> tuple[Array, Array]:
        losses = sample.residual**2
        # The largest weight is 1, so that none of this underflows; the ridge keeps its proportion.
        least = jax.lax.stop_gradient(jnp.min(losses))
        weights = jnp.exp(-(losses - least) / tau)
        rows = sample.weighted(weights)
        most = math.log(float(jnp.finfo(space.dtype).max)) / 2  # so strong a ridge leaves nothing to move
        fit = traced.fit(space, rows, ridge * jnp.exp(jnp.minimum(least / tau, most)))
        return (sample.start + fit.displacement) + fit.rest, weights.mean() * jnp.exp(-least / tau)

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
    (n, d), largest = sample.X.shape, np.finfo(float).max
    different, place = np.unique(taus, return_inverse=True)
    with np.errstate(over="ignore"):  # no weight, or a ridge that nothing moves
        residual = _residual(space, sample)
        losses = residual**2
        least, rates = losses.min(), np.minimum(1 / different, largest / 2)
        excess = losses - least
        pulls = np.minimum(n * ridge * np.exp(least * rates), largest) if ridge else 0 * rates
        wanted = Wanted(rates, pulls)
        displacement, mass = np.full((len(rates), d), np.nan), np.empty(len(rates))
        rest = np.zeros((len(rates), d))
        weightings, error = 0, 0.0
        for window in _windows(rates) if n >= d and not dense.noisy(sample) else ():
            span = Span(sample.X, residual, excess, wanted.only(window), accuracy)
            # Beside the sums, which have threads of their own, much small algebra that threads only slow down.
            with limit_blas_threads(n * d**2, d**3):
                displacement[window], mass[window] = span.fill()
            weightings, error = weightings + span.weightings, max(error, span.error)
        for t in np.flatnonzero(np.isnan(displacement[:, 0])):
            weights = np.exp(-excess * rates[t])
            found = dense.fit(space, sample.weighted(weights), pulls[t] / n)
            displacement[t], rest[t] = found.displacement, found.rest
            mass[t], weightings = weights.mean(), weightings + 1
        mass *= np.exp(-least * rates)
    theta = (sample.start + displacement) + rest
    return TemperaturePath(taus, theta[place], mass[place], weightings, error)


def _residual(space: Namespace, sample: Sample) -> Array:
    """r at the start, its squares finite."""
    part = lambda strip, _: sample.y[strip] - sample.X[strip] @ sample.start
    n, d = sample.X.shape
    with np.errstate(over="ignore", invalid="ignore"):
        residual = np.concatenate(list(over_strips(part, n, d, n * d)))
        if not np.isfinite(residual**2).all():
            refuse_infinite(space, sample.X)
            reject("y", sample.y, "is so far from X·start that squared residuals overflow; rescale y")
    return residual


def _windows(rates: Array) -> list[Array]:
    """Which temperatures share nodes: equal parts of the decades asked for; τ = ∞ goes with the hottest."""
    positive = rates[rates > 0]
    if not positive.size:
        return [np.arange(len(rates))]
    low, high = np.log10(positive.min()), np.log10(positive.max())
    count = max(1, math.ceil((high - low) / WINDOW - 1e-9))
    place = np.zeros(len(rates))
    place[rates > 0] = (np.log10(positive) - low) / max(high - low, 1e-300) * count
    part = np.minimum(place.astype(int), count - 1)
    return [np.flatnonzero(part == k) for k in range(count) if (part == k).any()]

"""How exactly FLOW's minimiser is known from n rows, and how its averaging is undone.

The weights w = exp(−r²/τ), r = y − ⟨x, θ*⟩, are functions of the rows, so the minimiser θ̂ solves Σ wᵢρᵢxᵢ = 0,
ρ = y − ⟨x, θ̂⟩: an M-estimator, and with H = E[w x xᵀ] each row moves it by its influence over n,

    τ given:            IFᵢ = H⁻¹ wᵢρᵢxᵢ,
    τ = sample median:  IFᵢ = H⁻¹ wᵢρᵢxᵢ + b (½ − 1{rᵢ² ≤ τ})/f,    b = ∂θ̂/∂τ = H⁻¹ E[w ρ r²/τ² x],

f the density of r² at its median, by which the median itself moves. No law of x or of the noise is assumed. What θ̂ is
an estimate of is θ_∞, where training ends in the population, and not the new task's own θ̃*.

The way back: if the noise is Gaussian, whatever the law of x, or if x is Gaussian, whatever the law of a noise that is
independent of it, training ends on the segment, θ_∞ = θ* − κe. By Stein's lemma in the Gaussian of the two, with
∂w/∂r = −2rw/τ, the weighted mean squared residual there is m = E[wρ²]/E[w] = (1 − κ)τ/2, so that κ = 1 − 2m/τ.
"""

from __future__ import annotations

import math

import jax
import numpy as np
import scipy.linalg

from .arrays import Array, Namespace, bounded, finite, namespace, require, shaped, whole_or_nan
from .errors import reject
from .least_squares.rows import Sample, checked_sample, refuse_infinite
from .least_squares.solver import minimise
from .sharding import on_automatic_mesh
from .trees import is_concrete, pytree
from .weights import flow_weights, median_temperature

__all__ = ["StandardErrors", "UndoneAveraging", "standard_errors", "undo_averaging"]


@pytree
class StandardErrors:
    """FLOW's minimiser and how exactly it is known (T15).

    ``theta`` (d,), an estimate of θ_∞; ``covariance`` (d, d) of its error; ``temperature`` τ of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y = np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0])
    >>> known = lt.standard_errors(X, y, [0.0], np.inf)  # a plain mean: 3 ± √(Σ(y − 3)²)/4
    >>> print(known.theta, known.standard_errors.round(4))
    [3.] [0.9354]
    """

    theta: Array
    covariance: Array
    temperature: Array

    @property
    def standard_errors(self) -> Array:
        """The standard error of each entry of ``theta``, (d,).

        Examples
        --------
        >>> import linear_theory as lt
        >>> known = lt.standard_errors([[1.0], [1.0]], [0.0, 2.0], [0.0], float("inf"))
        >>> print(known.standard_errors.round(4))
        [0.7071]
        """
        space = namespace(self.covariance)
        return space.xp.sqrt(space.xp.diagonal(self.covariance))

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """(low, high), each (d,): θ ± z·(standard error), with the normal quantile z of this coverage of θ_∞.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For a level that is not between 0 and 1.

        Examples
        --------
        >>> import linear_theory as lt
        >>> known = lt.standard_errors([[1.0], [1.0]], [0.0, 2.0], [0.0], float("inf"))
        >>> low, high = known.interval(0.95)
        >>> print(low.round(4), high.round(4))  # 1 ± 1.96/√2
        [-0.3859] [2.3859]
        """
        space = namespace(self.theta, level)
        within = lambda v: (v > 0) & (v < 1)
        level = bounded(space, "level", level, within, "must be between 0 and 1, for instance 0.95")
        reach = space.special.ndtri((1 + level) / 2) * self.standard_errors
        return self.theta - reach, self.theta + reach


@on_automatic_mesh
def standard_errors(
    X: Array, y: Array, start: Array, temperature: float | Array | None = None
) -> StandardErrors:
    """The minimiser of (1/n) Σ exp(−rᵢ²/τ)(yᵢ − ⟨xᵢ,θ⟩)², rᵢ = yᵢ − ⟨xᵢ, start⟩, with its standard errors (T15).

    The sandwich Σ IFᵢIFᵢᵀ/n² of the rows' influences. A temperature that is the median of the *same* sample's losses
    is random itself and moves θ̂ along with it: the usual sandwich, which forgets that, covers 83 to 88 % where 95 %
    are meant. The errors of ``solve`` with these weights as if they were known precisions are wrong in any case.

    Parameters
    ----------
    X : (n, d) array
        n > d rows, of full rank under the weights.
    y : (n,) array
    start : (d,) array
        θ*: what the losses are taken at.
    temperature : float, optional
        τ > 0 in the units of y², known beforehand; ``None`` is the sample median, and its own error is counted;
        ``inf`` is unweighted.

    Returns
    -------
    StandardErrors
        For n → ∞ at fixed d, as independent rows of any law with enough moments; where d/n is not small they are
        too short. In JAX differentiable, but not through the median's indicator, which moves in steps.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`; for n ≤ d, columns that depend on one
        another, a sample median that many rows share, so that the losses have no density there.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 2))
    >>> y = X[:, 1] + rng.normal(size=2000)  # the new task asks for (0, 1), the old one is (1, 1)
    >>> for temperature in (None, 0.91):  # the same τ, chosen by these rows and known beforehand
    ...     known = lt.standard_errors(X, y, [1.0, 1.0], temperature)
    ...     print(known.theta.round(2), known.standard_errors.round(3))
    [0.68 1.  ] [0.023 0.013]
    [0.68 1.  ] [0.017 0.013]
    """
    space, sample = _checked(X, y, start, temperature)
    n, d = sample.X.shape
    if n <= d:
        reject("X", X, f"has {n} rows for {d} columns; an error can be told only of more rows than columns")
    losses, tau, weights = _weighed(space, sample, temperature)
    solution = minimise(space, sample.weighted(weights), space.array(0.0))
    remedy = (
        f"leaves {d - int(solution.rank)} of {d} directions undetermined" if is_concrete(solution) else ""
    )
    determined = solution.rank == d
    theta = require(
        space, "X", solution.theta, determined, f"{remedy}; leave columns out that depend on others", X
    )
    score = space.xp.sqrt(weights) * (sample.y - sample.X @ theta)
    root = _inverse_root(space, sample, weights, solution.columns)
    influence = score[:, None] * root
    if temperature is None:
        # ∂w/∂τ = w r²/τ², so that θ̂ moves by the mean influence of rows weighted so.
        drift = ((losses / tau / tau) @ influence) / n
        below = space.xp.where(losses <= tau, 1.0, 0.0)
        influence = influence + (0.5 - below)[:, None] * (drift / _density(space, losses, tau))
    covariance = influence.T @ influence / n / n
    found = whole_or_nan(space, {"theta": theta, "covariance": covariance, "temperature": tau})
    return StandardErrors(**found)


def _checked(X: object, y: object, start: object, *others: object) -> tuple[Namespace, Sample]:
    """The engine of all the arguments, and the rows in it, finite, with one column of labels."""
    space, sample = checked_sample(X, y, start, None, *others)
    if sample.y.ndim != 1:
        reject("y", y, f"has shape {sample.y.shape}; must be (n,): one column of labels at a time")
    refuse_infinite(space, sample.X)
    return space, sample


def _weighed(space: Namespace, sample: Sample, temperature: object) -> tuple[Array, Array, Array]:
    """The losses r² at the start, the temperature asked for or their median, and FLOW's weights."""
    losses = sample.residual**2
    if temperature is None:
        tau = space.array(median_temperature(losses))
    else:
        tau = bounded(space, "temperature", temperature, lambda v: v > 0, "must be > 0")
    return losses, tau, flow_weights(losses, tau)


def _inverse_root(space: Namespace, sample: Sample, weights: Array, columns: Array) -> Array:
    """Rows H⁻¹√wᵢxᵢ (n, d), H = XᵀWX/n: with √W X = Q R D, D the columns' lengths, they are n·qᵢR⁻ᵀD⁻¹."""
    scaled = space.xp.sqrt(weights)[:, None] * sample.X / columns
    orthonormal, triangle = space.xp.linalg.qr(scaled)
    if space.xp is np:
        rows = scipy.linalg.solve_triangular(triangle, orthonormal.T).T
    else:
        rows = jax.scipy.linalg.solve_triangular(triangle, orthonormal.T).T
    return len(sample.X) * rows / columns


SILVERMAN = 0.9
"""Of his rule of thumb for the width of a Gaussian kernel."""

IQR_OF_A_NORMAL = 1.349


def _density(space: Namespace, losses: Array, tau: Array) -> Array:
    """The density of r² at τ, f(√τ)/(2√τ), f that of abs(r): a Gaussian kernel, reflected at 0, as f is not."""
    xp, size, n = space.xp, space.xp.sqrt(losses), losses.shape[0]
    quartiles = xp.quantile(size, space.array([0.25, 0.75]))
    spread = xp.minimum(xp.std(size), (quartiles[1] - quartiles[0]) / IQR_OF_A_NORMAL)
    remedy = "has no density: half of the losses are equal; pass a temperature of your own"
    width = SILVERMAN * n**-0.2 * require(space, "median of losses", spread, spread > 0, remedy, tau)
    middle = xp.sqrt(tau)
    kernel = lambda gap: xp.exp(-((gap / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width)
    return xp.mean(kernel(middle - size) + kernel(middle + size)) / (2 * middle)


@pytree
class UndoneAveraging:
    """What one weighted fit says of the whole way from θ* to θ̃* (T16).

    ``theta`` (d,), an estimate of θ̃*; ``displacement`` κ, the share of the way that FLOW has gone; ``noise_variance``
    σ² of labels whose noise is Gaussian.

    Examples
    --------
    >>> import linear_theory as lt
    >>> lt.undo_averaging([[1.0], [1.0]], [0.0, 2.0], [0.0], [1.0], temperature=4.0)
    UndoneAveraging(theta=[2.], displacement=0.5, noise_variance=2.0)
    """

    theta: Array
    displacement: Array
    noise_variance: Array


@on_automatic_mesh
def undo_averaging(
    X: Array, y: Array, start: Array, theta: Array, temperature: float | Array | None = None
) -> UndoneAveraging:
    """θ̃*, κ and σ² from FLOW's minimiser ``theta``: κ = 1 − 2m/τ, θ̃* = θ* + (θ − θ*)/κ, σ² = m/κ (T16).

    m = Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)²/Σ wᵢ with the weights exp(−rᵢ²/τ) that ``theta`` was fitted with. Under label noise FLOW
    trained to convergence is the model average θ* + κ(θ̃* − θ*) if one of the two is Gaussian: the noise, for every law
    of x (κ is then τ/(τ + 2σ²)), or x, for every law of a noise that is independent of it. What it leaves of the
    weighted rows tells κ in both cases; σ² is right in the first alone.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
        θ*.
    theta : (d,) array
        The minimiser of the weighted loss, for instance of :func:`standard_errors` or :func:`linear_theory.solve`.
    temperature : float, optional
        τ > 0 of the weights; ``None`` is the sample median; ``inf``: κ = 1, nothing was averaged.

    Returns
    -------
    UndoneAveraging
        For n ≫ d. Where neither x nor the noise is Gaussian, or the noise varies along the shift, FLOW's minimiser is
        no average of θ* and θ̃*, and this is no way back.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.flow_weights`; where m ≥ τ/2, which no average leaves.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_t(4, size=(100_000, 2))  # any law of x
    >>> y = X[:, 1] + rng.normal(size=100_000)  # θ̃* = (0, 1), σ² = 1
    >>> averaged = lt.standard_errors(X, y, [1.0, 1.0]).theta
    >>> undone = lt.undo_averaging(X, y, [1.0, 1.0], averaged)
    >>> print(averaged.round(2), abs(undone.theta).round(1), f"{undone.noise_variance:.2f}")
    [0.65 1.  ] [0. 1.] 1.02
    """
    space, sample = _checked(X, y, start, theta, temperature)
    end = shaped(
        "theta", finite(space, "theta", theta, ndim=1), sample.start.shape, "one entry a column of X"
    )
    _, tau, weights = _weighed(space, sample, temperature)
    left = (weights * sample.seen_from(end).residual ** 2).sum() / weights.sum()
    kappa = 1 - 2 * left / tau
    remedy = (
        f"leaves a weighted mean squared residual of {float(left):.4g}, not below τ/2: it is no minimiser "
        "of FLOW's loss, or no average of start and the new optimum"
        if is_concrete(left)
        else ""
    )
    kappa = require(space, "theta", kappa, kappa > 0, remedy, theta)
    return UndoneAveraging(sample.start + (end - sample.start) / kappa, kappa, left / kappa)

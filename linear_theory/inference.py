"""How exactly FLOW's minimiser is known from n rows, and how its averaging is undone.

The weights w = exp(−r²/τ), r = y − ⟨x, θ*⟩, are functions of the rows, so the minimiser θ̂ solves Σ wᵢρᵢxᵢ = 0,
ρ = y − ⟨x, θ̂⟩: an M-estimator. With H = E[w x xᵀ] each row moves it by its influence over n,

    τ given:            IFᵢ = H⁻¹ wᵢρᵢxᵢ,
    τ = sample median:  IFᵢ = H⁻¹ wᵢρᵢxᵢ + b (½ − 1{rᵢ² ≤ τ})/f,    b = ∂θ̂/∂τ = H⁻¹ E[w ρ r²/τ² x],

f the density of r² at its median, by which the median itself moves. In a sample ρᵢ is divided by 1 − ℓᵢ, ℓᵢ the
leverage of the row: H⁻¹wᵢρᵢxᵢ/(n(1 − ℓᵢ)) is by how much θ̂ moves when row i is left out, exactly.

The way back: if the noise is Gaussian, whatever the law of x, or if x is Gaussian around 0, whatever the law of a noise
that is independent of it, training ends on the line from θ* through θ̃*, at θ_∞ = θ* − κe. By Stein's lemma in the
Gaussian of the two, with ∂w/∂r = −2rw/τ, the weighted mean squared residual there is m = E[wρ²]/E[w] = (1 − κ)τ/2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np
import scipy.linalg

from .arrays import Array, Namespace, binary_unit, bounded, finite, namespace, require, shaped, whole_or_nan
from .errors import reject
from .least_squares.rows import Sample, checked_sample
from .least_squares.solver import minimise
from .reading import same_labels
from .sharding import on_automatic_mesh
from .trees import pytree
from .weights import effective_sample_size, flow_weights, median_temperature

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
    >>> known = lt.standard_errors(X, y, [0.0], np.inf)  # a plain mean: 3 ± √(Σ(y − 3)²)/3, each left out in turn
    >>> print(known.theta, known.standard_errors.round(4))
    [3.] [1.2472]
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
        [1.4142]
        """
        space = namespace(self.covariance)
        return space.xp.sqrt(space.xp.diagonal(self.covariance, axis1=-2, axis2=-1))

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
        >>> print(low.round(4), high.round(4))  # 1 ± 1.96·√2
        [-1.7718] [3.7718]
        """
        space = namespace(self.theta, level)
        within = lambda v: (v > 0) & (v < 1)
        level = bounded(space, "level", level, within, "must be between 0 and 1, for instance 0.95")
        reach = -space.special.ndtri((1 - level) / 2) * self.standard_errors
        return self.theta - reach, self.theta + reach


@on_automatic_mesh
def standard_errors(
    X: Array, y: Array, start: Array, temperature: float | Array | None = None
) -> StandardErrors:
    """The minimiser of (1/n) Σ exp(−rᵢ²/τ)(yᵢ − ⟨xᵢ,θ⟩)², rᵢ = yᵢ − ⟨xᵢ, start⟩, with its standard errors (T15).

    The sandwich Σ IFᵢIFᵢᵀ/n² of what leaving out each row does (the jackknife's, or HC3). A temperature that is the
    median of the *same* sample's losses is random itself and moves θ̂ along with it: where FLOW averages, under label
    noise, the usual sandwich forgets that and covers as little as 80 % along the shift where 95 % are meant. The
    textbook's (XᵀWX)⁻¹, for weights that are known precisions, is wrong in any case.

    Parameters
    ----------
    X : (n, d) array
        Independent rows, worth more than d equally weighted ones under the weights (``effective_sample_size``).
    y : (n,) array
    start : (d,) array
        θ*: what the losses are taken at. It must not have been fitted to these rows.
    temperature : float, optional
        τ > 0 in the units of y², known beforehand; ``None`` is the sample median, and its own error is counted;
        ``inf`` is unweighted.

    Returns
    -------
    StandardErrors
        For θ_∞, where training ends in the population: at its median temperature if none is given. Right for n → ∞ at
        fixed d, for every law with enough moments under which r² has a density at its median; too short where d over
        the effective sample size is not small, or few rows have most of the leverage.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`; for rows worth no more than d,
        directions that no row or a single one determines, a median that many losses share, and errors whose squares
        are no floats.

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
    unit, losses, tau, weights = _weighed(space, sample, temperature)
    solved, leverage = _geometry(space, sample.X, weights)
    theta = minimise(space, sample.weighted(weights), space.array(0.0)).theta
    xp, n = space.xp, len(sample.X)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # looked for in the result
        influence = (xp.sqrt(weights) * (sample.y - sample.X @ theta) / unit)[:, None] * solved
        moved = influence / (1 - leverage)[:, None]
        if temperature is None:
            # ∂w/∂τ = w r²/τ², so that θ̂ moves by the mean influence of rows weighted so.
            drift = (losses / tau) @ influence / n / _density(space, losses, tau)
            moved = moved + xp.where(losses <= tau, -0.5, 0.5)[:, None] * drift
        within = moved.T @ moved / n**2
        covariance = within * unit * unit
        sizes, perfect = xp.diagonal(covariance), xp.diagonal(within) == 0
        known = xp.isfinite(covariance).all() & ((sizes > space.range[0]) | perfect).all()
        remedy = "gives errors whose squares are no floats; give y and the columns of X in other units"
        covariance = require(space, "y", covariance, known, remedy, y)
        found = {"theta": theta, "covariance": covariance, "temperature": tau * unit * unit}
    return StandardErrors(**whole_or_nan(space, found))


def _checked(X: object, y: object, start: object, *others: object) -> tuple[Namespace, Sample]:
    """The engine of all the arguments, and the rows in it, finite, with one column of labels."""
    space, sample = checked_sample(X, y, start, None, *others)
    if sample.y.ndim != 1:
        reject("y", y, f"has shape {sample.y.shape}; must be (n,): one column of labels at a time")
    if len(sample.X) <= sample.X.shape[1]:
        n, d = sample.X.shape
        reject("X", X, f"has {n} rows for {d} columns; an error can be told only of more rows than columns")
    finite_everywhere = space.xp.isfinite(sample.X).all()
    require(space, "X", sample.X, finite_everywhere, "must be finite (no NaN, no infinity)")
    return space, sample


class _Weighed(NamedTuple):
    """FLOW's weights of rows: ``losses`` r² and ``tau`` in units of ``unit``², in which their squares are floats."""

    unit: Array
    losses: Array
    tau: Array
    weights: Array


def _weighed(space: Namespace, sample: Sample, temperature: object) -> _Weighed:
    """The weights at this temperature, or at the median of the losses; worth more rows than there are columns."""
    xp, (n, d) = space.xp, sample.X.shape
    residual = sample.residual
    largest = space.constant(xp.max(abs(residual)))
    shortest, longest = (edge**0.25 for edge in space.range)
    plain = (largest == 0) | ((largest > shortest) & (largest < longest))
    unit = xp.where(plain, 1.0, binary_unit(space, residual))
    losses = (residual / unit) ** 2
    if temperature is None:
        tau = space.array(median_temperature(losses))
    else:
        tau = bounded(space, "temperature", temperature, lambda v: v > 0, "must be > 0")
        with np.errstate(over="ignore", under="ignore"):  # all rows weigh alike, or few weigh at all
            tau = tau / unit / unit
    weights = flow_weights(losses, tau)
    remedy = f"gives weights under which {n} rows are worth no more than d = {d} of them; raise it"
    enough = effective_sample_size(weights) > d
    return _Weighed(unit, losses, tau, require(space, "temperature", weights, enough, remedy, temperature))


class _Geometry(NamedTuple):
    """Of weighted rows: ``solved`` (n, d), H⁻¹√wᵢxᵢ with H = XᵀWX/n, and ``leverage`` (n,)."""

    solved: Array
    leverage: Array


def _geometry(space: Namespace, X: Array, weights: Array) -> _Geometry:
    """With √W X = Q R D, D the columns' lengths: H⁻¹√wᵢxᵢ = n D⁻¹R⁻¹qᵢ, and the leverages are ‖qᵢ‖²."""
    xp, n = space.xp, len(X)
    nonzero = lambda sizes: xp.where(sizes > 0, sizes, 1.0)
    peak = nonzero(xp.max(abs(X), axis=0))
    scaled = xp.sqrt(weights)[:, None] * (X / peak)
    lengths = nonzero(xp.sqrt((scaled**2).sum(axis=0)))
    orthonormal, triangle = xp.linalg.qr(scaled / lengths)
    values = xp.linalg.svd(space.constant(triangle), compute_uv=False)
    remedy = "has directions that these weights leave undetermined; leave out columns that depend on others, or raise τ"
    triangle = require(space, "X", triangle, values[-1] > n * space.eps * values[0], remedy, X)
    leverage = (orthonormal**2).sum(axis=1)
    shared = space.constant(leverage) < 1 - math.sqrt(space.eps)
    remedy = "has a row that alone determines a direction, so that its error cannot be told; leave it out, or raise τ"
    leverage = require(space, "X", leverage, shared, remedy, X)
    solve = scipy.linalg.solve_triangular if xp is np else jax.scipy.linalg.solve_triangular
    with np.errstate(over="ignore"):  # of columns so short that the errors are no floats
        return _Geometry(n * solve(triangle, orthonormal.T).T / lengths / peak, leverage)


SILVERMAN = 0.9
"""Of his rule of thumb for the width of a Gaussian kernel."""

IQR_OF_A_NORMAL = 1.349


def _density(space: Namespace, losses: Array, tau: Array) -> Array:
    """τ times the density of r² at τ, ½√τ f(√τ), f that of abs(r): a Gaussian kernel, reflected at 0, as f is not."""
    xp, size, n = space.xp, space.xp.sqrt(losses), losses.shape[0]
    quartiles = xp.quantile(size, space.array([0.25, 0.75]))
    spread = xp.minimum(xp.std(size), (quartiles[1] - quartiles[0]) / IQR_OF_A_NORMAL)
    equal = xp.mean(xp.where(abs(losses - tau) <= 8 * space.eps * tau, 1.0, 0.0))
    known = (spread > 0) & (equal <= max(2 / n, n**-0.5))
    remedy = (
        "is shared by many rows, so that the losses have no density there; pass a temperature of your own"
    )
    width = SILVERMAN * n**-0.2 * require(space, "median of losses", spread, known, remedy, tau)
    middle = xp.sqrt(tau)
    kernel = lambda gap: xp.exp(-((gap / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width)
    return xp.mean(kernel(middle - size) + kernel(middle + size)) * middle / 2


@pytree
class UndoneAveraging:
    """What one weighted fit says of the whole way from θ* to θ̃* (T16).

    ``theta`` (d,), an estimate of θ̃*; ``displacement`` κ, how far FLOW has gone in units of the way, and
    ``displacement_error``, its standard error; ``noise_variance`` σ², right for Gaussian noise alone.

    Examples
    --------
    >>> import linear_theory as lt
    >>> X, y = [[1.0], [1.0], [1.0], [1.0]], [0.0, 2.0, 0.0, 2.0]
    >>> undone = lt.undo_averaging(X, y, [1.0], [1.0], temperature=16.0)
    >>> print(undone.theta, f"{undone.displacement:.4f} ± {undone.displacement_error:.4f}")
    [1.] 0.8333 ± 0.0000
    """

    theta: Array
    displacement: Array
    displacement_error: Array
    noise_variance: Array


@on_automatic_mesh
def undo_averaging(
    X: Array, y: Array, start: Array, theta: Array, temperature: float | Array | None = None
) -> UndoneAveraging:
    """θ̃*, κ and σ² from FLOW's minimiser ``theta``: κ = 1 − 2m/τ, θ̃* = θ* + (θ − θ*)/κ, σ² = m/κ (T16).

    m is the weighted mean of (yᵢ − ⟨xᵢ,θ⟩)²/(1 − ℓᵢ), with the weights exp(−rᵢ²/τ) that ``theta`` was fitted with and
    the leverages ℓᵢ of the rows. Under label noise FLOW trained to convergence ends at θ* + κ(θ̃* − θ*) if one of the
    two is Gaussian: the noise, for every law of x, and then κ = τ/(τ + 2σ²) and it is a model average; or x around 0,
    for every law of a noise that is independent of it. What it leaves of the weighted rows tells κ in both cases.

    Parameters
    ----------
    X : (n, d) array
        As in :func:`standard_errors`. A column of ones is not Gaussian around 0: with it the noise must be.
    y : (n,) array
    start : (d,) array
        θ*. It must not have been fitted to these rows.
    theta : (d,) array
        The minimiser of the weighted loss, for instance of :func:`standard_errors` or :func:`linear_theory.solve`.
    temperature : float, optional
        τ > 0 of the weights; ``None`` is the sample median; ``inf``: κ = 1, nothing was averaged.

    Returns
    -------
    UndoneAveraging
        ``theta`` has the error of the fit over κ, and that of κ times (θ − θ*)/κ². Where neither x nor the noise is
        Gaussian, the noise varies along the shift, or the line is no model of the labels, this is no way back.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`standard_errors`; for a ``theta`` that is a tenth of a standard error away from the minimiser; where κ
        is within two standard errors of 0: what has not moved cannot be followed back.

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
    same_labels("parameters", X=(X, 1), start=(start, 0), theta=(theta, 0))
    space, sample = _checked(X, y, start, theta, temperature)
    end = shaped(
        "theta", finite(space, "theta", theta, ndim=1), sample.start.shape, "one entry a column of X"
    )
    unit, _, tau, weights = _weighed(space, sample, temperature)
    solved, leverage = _geometry(space, sample.X, weights)
    xp = space.xp
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        residual = sample.seen_from(end).residual / unit
        moved = (xp.sqrt(weights) * residual)[:, None] * solved
        rounding = ROUNDINGS * space.eps * len(sample.X) * abs(end) / unit
        near = abs(moved.sum(axis=0)) <= FROM_MINIMUM * xp.sqrt((moved**2).sum(axis=0)) + rounding
    remedy = "is not the minimiser of the loss with these weights; pass that of standard_errors() or solve()"
    end = require(space, "theta", end, near, remedy, theta)
    squares = residual**2 / (1 - leverage)
    left = (weights * squares).sum() / weights.sum()
    averaged = 2 * left / tau  # 1 − κ
    kappa = 1 - averaged
    error = 2 / tau * xp.sqrt(((weights * (squares - left)) ** 2).sum()) / weights.sum()
    remedy = (
        "leaves κ within two standard errors of 0: what has not moved has no way back; raise the temperature"
    )
    kappa = require(space, "theta", kappa, abs(kappa) > 2 * error, remedy, theta)
    found = {
        "theta": end + (end - sample.start) * (averaged / kappa),
        "displacement": kappa,
        "displacement_error": error,
        "noise_variance": left / kappa * unit * unit,
    }
    return UndoneAveraging(**whole_or_nan(space, found))


FROM_MINIMUM, ROUNDINGS = 0.1, 64.0
"""How far from the minimiser a theta may be that is taken for it: in standard errors, and in ε of theta."""

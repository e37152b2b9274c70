"""Many tasks, one after the other: where the parameters are after each, and what they have forgotten of the others.

Each task, trained to convergence from where the last one ended, goes a part A_t of the way to its optimum:

    θ_t = θ_{t−1} + A_t (θ°_t − θ_{t−1})

The projector on what its rows span for ``plain`` training, Σ_t(Σ_t + λ)⁻¹ with a ``ridge`` to the previous point, and
under label noise the number κ_t = τ_t/(τ_t + 2σ_t²) for FLOW, whatever the law of x. Of all three ``sampled`` says what
to expect where each task has n fresh rows and d/n is not small.

Examples
--------
>>> import numpy as np
>>> import linear_theory as lt
>>> optima = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 3.0]])
>>> tau = lt.sequences.harmonic_temperatures(np.full(3, 0.5))  # ∞, 1, 1/2
>>> print(lt.sequences.flow(optima, tau, 0.5))  # after t tasks the plain mean of their optima
[[3.  0. ]
 [1.5 1.5]
 [2.  2. ]]
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .arrays import (
    Array,
    Namespace,
    binary_unit,
    bounded,
    finite,
    integer,
    namespace,
    positive,
    quotient,
    require,
    shaped,
    share,
)
from .covariance import Dense
from .errors import InvalidTypeError, InvalidValueError, reject
from .high_dimension.optimum import mean_and_spread
from .problem import FineTuningProblem
from .propagator.apply import Decay, Shrinkage, propagate
from .propagator.matrix_functions import Kernel
from .tilting import population_median_temperature
from .trees import is_concrete, pytree

__all__ = [
    "ExpectedTasks",
    "flow",
    "harmonic_temperatures",
    "plain",
    "plain_distance",
    "ridge",
    "sampled",
    "task_errors",
]


def flow(
    optima: Array,
    temperatures: float | Array,
    noise_variances: float | Array,
    start: Array | None = None,
) -> Array:
    """FLOW on a sequence of tasks with Gaussian label noise, each in its population and to convergence (T19).

    Weights are taken at the previous point. θ_t = (1 − κ_t)θ_{t−1} + κ_tθ°_t with κ_t = τ_t/(τ_t + 2σ_t²): a moving
    average of the optima, for every law of x with a nonsingular weighted covariance. :func:`harmonic_temperatures` make
    it their plain mean.

    Parameters
    ----------
    optima : (T, d) array
        θ°_t, the optimum of each task.
    temperatures, noise_variances : float or (T,) array
        τ_t > 0 (``inf``: standard fine-tuning) and σ_t² ≥ 0, both in the units of y².
    start : (d,) array, optional
        θ₀; 0 if left out.

    Returns
    -------
    (T, d) array
        θ after each task.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, NaN or infinity, τ ≤ 0, σ² < 0. Under JAX tracing a bad value gives NaN.

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.sequences.flow([[1.0], [0.0], [0.0]], 2.0, 1.0).ravel())  # κ = ½
    [0.5   0.25  0.125]
    """
    space, optima, start = _checked(optima, start, temperatures, noise_variances)
    tau = _one_a_task(space, "temperatures", temperatures, optima, lambda v: v > 0, "must be > 0")
    accept = lambda v: (v >= 0) & (v < math.inf)
    noise = _one_a_task(space, "noise_variances", noise_variances, optima, accept, "must be ≥ 0 and finite")
    large = space.xp.maximum(tau, noise) > 1  # 2σ² need not be a float, nor τ/2 where both are the smallest
    with np.errstate(over="ignore"):
        tau, noise = space.xp.where(large, tau / 2, tau), space.xp.where(large, noise, 2 * noise)
    kappa, rest = share(space, tau, noise, 1.0), share(space, noise, tau, 0.0)
    return _visited(space, start, len(optima), lambda t, theta: rest[t] * theta + kappa[t] * optima[t])


def harmonic_temperatures(noise_variances: Array) -> Array:
    """τ₁ = ∞, τ_t = 2σ_t²/(t − 1): with them κ_t = 1/t, and :func:`flow` is the plain mean of the optima (T19).

    ``noise_variances`` (T,), each > 0 and at most half the largest float → (T,). Raises InvalidValueError or
    InvalidTypeError for anything else, and for no task (a bad value gives NaN under JAX tracing).

    Examples
    --------
    >>> import linear_theory as lt
    >>> print(lt.sequences.harmonic_temperatures([1.0, 1.0, 3.0]))
    [inf  2.  3.]
    """
    space = namespace(noise_variances)
    largest = float(np.finfo(space.dtype).max) / 2
    remedy = (
        f"must be > 0 (without noise FLOW goes to each optimum, at every temperature) and at most {largest:.4g}, "
        "for 2σ² to be a float; measure y in larger units"
    )
    accept = lambda v: (v > 0) & (v <= largest)
    noise = bounded(space, "noise_variances", noise_variances, accept, remedy, ndim=1)
    if noise.size == 0:
        reject("noise_variances", noise_variances, f"has shape {noise.shape}; it needs a task")
    before = space.array(np.arange(len(noise)))
    return space.xp.where(before > 0, 2 * (noise / space.xp.where(before > 0, before, 1.0)), math.inf)


def plain(optima: Array, covariances: Array, start: Array | None = None) -> Array:
    """Standard training on a sequence of tasks, each without noise and to convergence (T20).

    θ_t − θ°_t = P_t(θ_{t−1} − θ°_t), P_t the projector on the null space of Σ_t: gradient descent from the previous
    point ends at the nearest of the parameters that fit the task. Σ_t is XᵀX/n of rows, or a population's.

    Parameters
    ----------
    optima : (T, d) array
    covariances : (T, d, d) array
        Σ_t of the inputs of each task, symmetric positive semi-definite.
    start : (d,) array, optional

    Returns
    -------
    (T, d) array
        θ after each task. What counts as a zero eigenvalue is as everywhere in this package, d·ε of the largest.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`flow`; for a matrix that is not symmetric or not positive semi-definite.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rows = np.array([[1.0, 0.0], [0.6, 0.8]])  # two tasks, of one row each; both are solved at 0
    >>> print(lt.sequences.plain(np.zeros((2, 2)), rows[:, :, None] * rows[:, None], [0.0, 1.0]).round(2))
    [[ 0.    1.  ]
     [-0.48  0.36]]
    """
    space, optima, start = _checked(optima, start, covariances)
    covariances = _checked_covariances(space, covariances, optima)
    null = Decay(space.xp.asarray(True))  # φ is 1 at eigenvalue 0, and else 0
    return _left_of_each(space, null, space.array(1.0), optima, covariances, start)


def ridge(optima: Array, covariances: Array, strength: float | Array, start: Array | None = None) -> Array:
    """Ridge to the previous point on a sequence of tasks, λ‖θ − θ_{t−1}‖² beside each task's loss (T20).

    θ_t = θ_{t−1} + (Σ_t + λ)⁻¹Σ_t(θ°_t − θ_{t−1}), which leaves λ/(m + λ) of the way along an eigenvalue m of Σ_t.
    With label noise that is the mean over it, where Σ_t is of given rows.

    Parameters
    ----------
    optima, covariances, start
        As in :func:`plain`.
    strength : float
        λ > 0, beside a loss that is a mean over rows without ½; λ → 0 is :func:`plain`, with the
        same zero eigenvalues.

    Returns
    -------
    (T, d) array
        θ after each task.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`plain`; for λ ≤ 0.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(lt.sequences.ridge(np.ones((3, 1)), np.ones((3, 1, 1)), 1.0).ravel())  # half of the way each time
    [0.5   0.75  0.875]
    """
    space, optima, start = _checked(optima, start, covariances, strength)
    covariances = _checked_covariances(space, covariances, optima)
    strength = positive(space, "strength", strength)
    with np.errstate(over="ignore"):  # 1/λ of the smallest floats, which would make ∞·0 of an eigenvalue 0
        scale = space.xp.minimum(1 / strength, float(np.finfo(space.dtype).max))
    return _left_of_each(space, Shrinkage(), scale, optima, covariances, start)


def plain_distance(
    optima: Array,
    reference: Array,
    rows: int,
    noise_variance: float | Array = 0.0,
    *,
    start: Array | None = None,
) -> Array:
    """E‖θ_t − a‖² after each task of fewer rows than parameters, x ~ N(0, I), standard training (T21).

    With ϱ = 1 − n/d each task leaves ϱ of the squared distance, adds 1 − ϱ of that of its own optimum, and noise:

        E‖θ_t − a‖² = ϱ E‖θ_{t−1} − a‖² + (1 − ϱ)‖θ°_t − a‖² + nσ²/(d − n − 1)

    (the form of Lin et al. 2023). Trained to convergence, positive weights change nothing here.

    Parameters
    ----------
    optima : (T, d) array
    reference : (d,) array
        a, a fixed point; an optimum θ°_j for what is forgotten of task j.
    rows : int
        n ≥ 1 fresh rows for each task, n < d − 1.
    noise_variance : float
        σ² ≥ 0.
    start : (d,) array, optional

    Returns
    -------
    (T,) array

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`flow`; for n that is no integer from 1 to d − 2.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> print(lt.sequences.plain_distance(np.eye(4)[:2], np.eye(4)[0], 2))
    [0.5  1.25]
    """
    space, optima, start = _checked(optima, start, reference, noise_variance)
    dim = optima.shape[1]
    a = shaped("reference", finite(space, "reference", reference, ndim=1), (dim,), "one a parameter")
    n = integer("rows", rows, "must be one integer")
    if not 0 < n < dim - 1:
        reject("rows", rows, f"must be from 1 to d − 2 = {dim - 2}, fewer than parameters")
    accept = lambda v: (v >= 0) & (v < math.inf)
    noise = bounded(space, "noise_variance", noise_variance, accept, "must be ≥ 0 and finite")
    entering = n / dim
    added = entering * ((optima - a) ** 2).sum(axis=1) + n * noise / (dim - n - 1)
    return _visited(space, ((start - a) ** 2).sum(), len(optima), lambda t, q: (1 - entering) * q + added[t])


@pytree
class ExpectedTasks:
    """What to expect after each of T tasks on n fresh rows each (T30).

    ``theta`` (T, d), the mean of θ_t; ``variance`` (T,), E‖θ_t − its mean‖²; ``displacement`` (T,), κ_t, the share of
    the way to its optimum that task t goes in the mean, in the metric of Σ̃_t; ``errors`` (T, T), the mean of
    (θ_t − θ°_j)ᵀΣ̃_j(θ_t − θ°_j), row t after task t, column j on task j, as :func:`task_errors`.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> found = lt.sequences.sampled(np.eye(3), 0.5, 1.0)  # ordinary least squares: the optimum, and σ²γ/(1 − γ)
    >>> print(found.theta.round(3)[-1], found.variance.round(3))
    [0. 0. 1.] [1. 1. 1.]
    """

    theta: Array
    variance: Array
    displacement: Array
    errors: Array


def sampled(
    optima: Array,
    ratio: float,
    noise_variances: float | Array = 0.0,
    *,
    temperatures: float | Array | None = math.inf,
    ridge: float = 0.0,
    covariances: Array | None = None,
    start: Array | None = None,
) -> ExpectedTasks:
    """A sequence of tasks of n fresh rows each in d dimensions, n, d → ∞ with d/n → ratio: what to expect (T30).

    Task t is the fit of :func:`linear_theory.high_dimension.optimum` from where the last one ended: standard training
    as it stands, with a ``ridge`` to the previous point, and with ``temperatures`` FLOW, weights taken at the previous
    point. In the eigenbasis of Σ̃_t its mean keeps A_t of the shift, and it adds a covariance F_t of its own, so that

        m_t = θ°_t + A_t(m_{t−1} − θ°_t),        C_t = A_tC_{t−1}A_tᵀ + F_t,

    A_t and F_t those of (T28) with (m_{t−1} − θ°_t)(m_{t−1} − θ°_t)ᵀ + C_{t−1} for eeᵀ: what earlier rows have left
    as error is residual to the next task, to which it makes a temperature colder and a fit noisier. n → ∞ is
    :func:`flow`, or :func:`ridge` with Σ̃_t.

    Parameters
    ----------
    optima : (T, d) array
    ratio : float
        γ = d/n > 0, the same for all tasks, also above 1 (1e-100 to 1e100); without a ridge not 1.
    noise_variances : float or (T,) array
        σ_t² ≥ 0.
    temperatures : float or (T,) array or None
        τ_t > 0; ``inf`` is standard training, and ``None`` the median of the losses that each task begins with.
    ridge : float
        λ ≥ 0, beside a loss that is a mean over rows without ½.
    covariances : (T, d, d) array, optional
        Σ̃_t of Gaussian rows, symmetric positive semi-definite; the identity if left out.
    start : (d,) array, optional
        θ₀; 0 if left out.

    Returns
    -------
    ExpectedTasks
        NumPy only: it has no derivatives and cannot be traced by JAX. Of n rows the means are off by O(1/d). At one
        temperature and with few rows errors may grow from task to task; there they are heavy-tailed, and the limit
        says little.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`flow`, :func:`plain` and :func:`linear_theory.high_dimension.optimum`; for JAX tracers.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> optima = np.eye(5, 500)
    >>> for ratio in (0.01, 0.5):  # many rows for each dimension, and two
    ...     standard = lt.sequences.sampled(optima, ratio, 0.5)
    ...     flow = lt.sequences.sampled(optima, ratio, 0.5, temperatures=1.0)
    ...     print(f"on the first task: {standard.errors[-1, 0]:.3f}, with FLOW {flow.errors[-1, 0]:.3f}")
    on the first task: 2.005, with FLOW 1.277
    on the first task: 2.500, with FLOW 2.338
    """
    given = (optima, ratio, noise_variances, temperatures, ridge, covariances, start)
    if not is_concrete(given):
        raise InvalidTypeError(
            "optima", optima, "linear_theory.sequences.sampled is NumPy only and cannot be traced"
        )
    space = namespace()
    optima, mean = _with_start(space, optima, start)
    accept = lambda v: (v >= 0) & (v < math.inf)
    noise = _one_a_task(space, "noise_variances", noise_variances, optima, accept, "must be ≥ 0 and finite")
    tau = None
    if temperatures is not None:
        tau = _one_a_task(space, "temperatures", temperatures, optima, lambda v: v > 0, "must be > 0")
    named = {
        "pretrained": ("optima", optima),
        "noise_variance": ("noise_variances", noise_variances),
        "temperature": ("temperatures", temperatures),
        "target_covariance": ("covariances", covariances),
        "problem": ("covariances", covariances),
    }
    if covariances is not None:
        covariances = _checked_covariances(space, covariances, optima)
    spread = np.zeros((1, 1)) if covariances is None else np.zeros((optima.shape[1],) * 2)
    steps = []
    for t, optimum in enumerate(optima):
        values, axes, frame = _axes(None if covariances is None else covariances[t], mean - optimum)
        along, inside = axes.T @ (mean - optimum), frame.T @ spread @ frame
        variances = np.maximum(np.diagonal(inside), 0.0)
        # What is left to learn falls from task to task, until its square has no float.
        unit = float(binary_unit(space, np.append(along, np.sqrt([*variances, noise[t]]))))
        squares = (along / unit) ** 2 + variances / unit / unit
        sigma2 = noise[t] / unit / unit
        temperature = None if tau is None else tau[t] / unit / unit
        try:
            problem = FineTuningProblem(np.sqrt(squares), 0 * squares, np.diag(values), noise_variance=sigma2)
            kept, added = _kept_and_added(problem, ratio, ridge, temperature)
        except InvalidValueError as error:
            if error.argument not in named:
                raise
            argument, value = named[error.argument]
            units = "" if unit == 1 else f" (where {unit:.3g} is the unit of labels)"
            raise InvalidValueError(argument, value, f"in task {t + 1} {error.remedy}{units}") from None
        mean = optimum + axes @ (kept * along)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = frame @ (kept[:, None] * inside * kept + np.diag(added * unit * unit)) @ frame.T
        steps.append((mean, spread, quotient(space, values * squares @ (1 - kept), values @ squares, 0.0)))
    theta, spreads, displacement = map(np.stack, zip(*steps, strict=True))
    metric = np.ones((len(optima), 1, 1)) if covariances is None else covariances
    with np.errstate(over="ignore", invalid="ignore"):
        errors = task_errors(theta, optima, covariances) + np.einsum("tij,sij->ts", spreads, metric)
    if not np.isfinite(errors).all():
        remedy = "lead, with this noise, to squares beyond the largest float; give labels in larger units"
        reject("optima", optima, remedy)
    return ExpectedTasks(theta, spreads.trace(axis1=1, axis2=2), displacement, errors)


def _axes(covariance: Array | None, e: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues (k,), and eigenvectors for the mean (d, k) and for the spread.

    Of the identity one is enough: of e only the length counts, and of the spread the trace, held as (1, 1).
    """
    if covariance is None:
        length = math.hypot(*e)
        return np.ones(1), (e / length if length > 0 else e)[:, None], np.eye(1)
    values, vectors = np.linalg.eigh(covariance)
    return np.maximum(values, 0.0), vectors, vectors


def _kept_and_added(
    problem: FineTuningProblem, ratio: float, ridge: float, temperature: float | None
) -> tuple[Array, Array]:
    """A_t and F_t on the axes of a diagonal Σ̃."""
    if temperature is None:
        learned = problem.residual_variance == 0  # nothing is left to weigh
        temperature = math.inf if learned else float(population_median_temperature(problem))
    vectors, kept, added = mean_and_spread(problem, ratio, ridge, temperature)
    axes = vectors**2  # the axes, in the order of the eigenvalues
    return axes @ kept, axes @ added


def task_errors(path: Array, optima: Array, covariances: Array | None = None) -> Array:
    """(θ_t − θ°_j)ᵀΣ_j(θ_t − θ°_j), (T, T): row t after task t, column j on task j (T19).

    Below the diagonal that is what has been forgotten of earlier tasks, above it what later ones will ask for.

    Parameters
    ----------
    path, optima : (T, d) arrays
        θ_t, as :func:`flow` and the others return it, and θ°_j.
    covariances : (T, d, d) array, optional
        Σ_j; the identity if left out.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`plain`.

    Examples
    --------
    >>> import linear_theory as lt
    >>> optima = [[1.0], [0.0]]
    >>> print(lt.sequences.task_errors(lt.sequences.flow(optima, 2.0, 1.0), optima))
    [[0.25   0.25  ]
     [0.5625 0.0625]]
    """
    space, optima, _ = _checked(optima, None, path, covariances)
    path = shaped("path", finite(space, "path", path, ndim=2), optima.shape, "one row a task, as in optima")
    away = path[:, None] - optima[None]
    if covariances is None:
        return (away**2).sum(axis=-1)
    covariances = _checked_covariances(space, covariances, optima)
    return space.xp.einsum("tjd,jde,tje->tj", away, covariances, away)


def _left_of_each(
    space: Namespace, kernel: Kernel, scale: Array, optima: Array, covariances: Array, start: Array
) -> Array:
    """θ_t = θ°_t + φ(scale·Σ_t)(θ_{t−1} − θ°_t)."""
    left = lambda t, theta: propagate(kernel, scale, Dense(covariances[t]), theta - optima[t])
    return _visited(space, start, len(optima), lambda t, theta: optima[t] + left(t, theta))


def _visited(space: Namespace, state: Array, count: int, step: Callable[[int, Array], Array]) -> Array:
    """What ``step`` makes of the state at each task, one after the other."""
    visited = []
    for t in range(count):
        state = step(t, state)
        visited.append(state)
    return space.xp.stack(visited)


def _checked(optima: object, start: object, *others: object) -> tuple[Namespace, Array, Array]:
    """The engine of all the arguments, optima (T, d) and the start (d,) in it."""
    space = namespace(optima, start, *others)
    return space, *_with_start(space, optima, start)


def _with_start(space: Namespace, optima: object, start: object) -> tuple[Array, Array]:
    """Optima (T, d) and the start (d,)."""
    checked = finite(space, "optima", optima, ndim=2)
    if checked.size == 0:
        reject("optima", optima, f"has shape {checked.shape}; it needs a task and a parameter")
    dim = checked.shape[1]
    if start is None:
        return checked, space.xp.zeros(dim, dtype=space.dtype)
    return checked, shaped("start", finite(space, "start", start, ndim=1), (dim,), "one a parameter")


def _one_a_task(
    space: Namespace,
    name: str,
    value: object,
    optima: Array,
    accept: Callable[[Array], Array],
    remedy: str,
) -> Array:
    """A number for each task, given as one number or as (T,)."""
    array = bounded(space, name, value, accept, remedy, ndim=(0, 1))
    if array.ndim == 1:
        shaped(name, array, (len(optima),), "one number for each task, or one for all")
    return space.xp.broadcast_to(array, (len(optima),))


def _checked_covariances(space: Namespace, value: object, optima: Array) -> Array:
    """(T, d, d), each symmetric and positive semi-definite to rounding."""
    xp, (count, dim) = space.xp, optima.shape
    matrices = finite(space, "covariances", value, ndim=3)
    matrices = shaped("covariances", matrices, (count, dim, dim), "one matrix for each task")
    held = space.constant(matrices)
    slack = 16 * dim * space.eps * xp.max(abs(held), axis=(1, 2))
    gap = xp.max(abs(held - held.transpose(0, 2, 1)), axis=(1, 2))
    matrices = require(
        space, "covariances", matrices, (gap <= slack).all(), "must be symmetric, each of them", value
    )
    smallest = xp.linalg.eigvalsh(held)[:, 0]
    remedy = "must be positive semi-definite, each of them"
    return require(space, "covariances", matrices, (smallest >= -slack).all(), remedy, value)

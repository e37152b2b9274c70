"""Weighted least squares from a start, solved: the minimiser closest to where training began.

L(θ) = (1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖²: a mean over n, not over Σw, as in the paper. Everything is
solved for the displacement δ = θ − start, of Σ wᵢ(rᵢ − ⟨xᵢ,δ⟩)² + pull·‖δ‖² with rᵢ = yᵢ − ⟨xᵢ,start⟩ and
pull = n·ridge.
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace
from ..sharding import on_automatic_mesh
from ..threads import limit_blas_threads
from . import differentiable, pivoted
from .cholesky import by_inner_products, by_normal_equations, residual_sums
from .rows import Sample, checked_ridge, checked_sample, noisy, refuse_infinite, refuse_overflow
from .solution import Method, Solution, from_start, seen_from_end

__all__ = ["minimise", "solve", "with_ridge_rows"]

TINY = float(np.finfo(float).tiny)


@on_automatic_mesh
def solve(
    X: Array,
    y: Array,
    start: Array,
    weights: Array | None = None,
    ridge: float | Array = 0.0,
    *,
    column_scale: Array | None = None,
) -> Solution:
    """The minimiser of (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖² that is closest to ``start``.

    That is the limit of gradient descent from ``start``, for every shape and rank: where X is wide,
    rank-deficient or weights are 0, the components the rows do not determine stay at the start.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) or (n, m) array
        (n, m) are m problems with the same rows and weights.
    start : (d,) array, or (d, m) beside (n, m) labels
    weights : (n,) array, optional
        ≥ 0; ``None`` is all ones. With ``ridge = 0``: weight 0 = row removed, weight 2 = row twice, all
        weights × c = the same θ.
    ridge : float
        ≥ 0, on the scale of the *mean* loss; scikit-learn's ``alpha`` is n·ridge, SciPy's ``damp²`` too.
    column_scale : (d,) array, optional
        ≥ 0, the magnitude of what each column was made from, for instance the largest entry before it was
        centred: entries are then taken to be known to n·ε of it, which is what centring n rows leaves of a
        constant, and columns, and combinations of columns, of which no more is left say nothing. Left out (or 0
        for a column) every column counts, down to 1e-300, for nothing in the rows tells rounding from data;
        ``Solution.advice`` then names those that are tiny beside others.

    Returns
    -------
    Solution
        ``error_bound`` is what rounding may have done; how exactly n rows tell θ is
        :func:`linear_theory.standard_errors`, whose weights are FLOW's.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For wrong shapes, empty data, NaN or infinity, negative weights or ridge.

    Notes
    -----
    The method is chosen by what is measured. Normal equations in cache-sized blocks (of the rows' inner
    products, where X is wide) and Cholesky, where the equilibrated condition number κ is small; corrected by
    passes over the rows, r = y − Xθ and δ ← δ + G⁻¹XᵀWr, while d·κ²·ε leaves these a contraction; beyond
    that, and where the rank is deficient, Householder QR with rows sorted and columns pivoted, stable row by
    row, and corrected by what it leaves of the rows: where all can be met, each entry of θ gets its own digits,
    however small it is beside the others. The rank is that of X's rows with positive weight, rows and columns
    equilibrated: a tiny weight is a weight. "Closest" is in the coordinates given.

    Promised for columns from 10⁻³⁰ to 10³⁰ and weights down to 10⁻³⁰⁰ of the largest. Beyond that, up to 10^±150, it is
    the same in all cases tried but with a ridge, where the fit is held and small coordinates may not be.

    In float64 the relative error in *equilibrated* coordinates, ‖c∘(θ − θ exact)‖/‖c∘δ‖ with cⱼ = √Σ wᵢxᵢⱼ² the
    length of a column, is a small multiple of κε(1 + κ‖r‖/(‖X‖‖δ‖)). In the coordinates given, an entry that
    belongs to a small column has a larger error than one that belongs to a large one, whichever norm θ is measured
    in; ``Solution.error_bound`` states each. Where the start is so far away that its rounding costs digits, the
    residual is taken anew from where the solution ended, and solved for again, until it no longer does.

    In JAX the rank is that of √w·X, and an SVD, stable by columns and not by rows, takes the place of QR: θ has the
    digits of its largest entry in equilibrated coordinates, and a small column's entry of the closest minimiser may
    have none.
    A row is rounding where its √w is below ε times the heaviest's, weights 1e-32 apart (1e-14 in float32): at
    temperatures as low as that θ stays at the start along what only such rows determine, and ``rank`` does not count
    it. NumPy arrays have neither limit. The derivative is the implicit function theorem's, of any order, never
    through the factorisation: exact wherever the rank does not change; NaN where columns depend on each other beside
    one that is 10⁶ times smaller (200 times in float32), for rounding would be all there is of it.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y, start = np.array([[1.0], [1.0], [1.0]]), np.array([1.0, 2.0, 9.0]), np.zeros(1)
    >>> print(lt.solve(X, y, start).theta.round(4))
    [4.]
    >>> print(lt.solve(X, y, start, weights=[1.0, 1.0, 0.0]).theta.round(4))  # weight 0 = row removed
    [1.5]
    >>> print(lt.solve([[1.0, 1.0]], [3.0], [3.0, 2.0]).theta.round(4))  # the closest of all that fit
    [2. 1.]
    """
    space, sample = checked_sample(X, y, start, weights, ridge, column_scale=column_scale)
    return minimise(space, sample, checked_ridge(space, ridge))


def minimise(space: Namespace, sample: Sample, ridge: Array) -> Solution:
    """The minimiser for checked rows and ridge: by a factorisation JAX can trace, or by the cheapest that NumPy has."""
    if space.xp is jnp:
        return differentiable.minimise(space, sample, ridge)
    pull = len(sample.X) * float(ridge)
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows is looked for in the result.
        solution, correction = _from_start_and_end(space, sample, pull)
        if not np.isfinite(solution.theta).all():
            # Squares of the labels or of the start may be no floats. δ is linear in both together, output by output.
            sizes = [np.abs(value).max(axis=0, initial=1.0) for value in (sample.y, sample.start)]
            unit = np.ldexp(1.0, np.frexp(np.maximum(*sizes))[1] - 1)
            scaled = sample.labelled(sample.y / unit, sample.start / unit)
            solution, correction = _from_start_and_end(space, scaled, pull)
            solution = replace(
                solution, theta=solution.theta * unit, residual=solution.residual * unit * unit
            )
            correction = correction * unit
        refuse_overflow(space, sample, sample.start + solution.theta)
    return from_start(space, sample.start, solution, correction)


def _from_start_and_end(space: Namespace, sample: Sample, pull: float) -> tuple[Solution, Array]:
    """δ, and where the start is far what solutions from where it ended add to start + δ."""
    solution = _displacement(space, sample, pull)
    solve_from = lambda end: _displacement(space, with_ridge_rows(sample, pull).seen_from(end), 0.0).theta
    delta, correction = seen_from_end(space, sample.start, solution.theta, solution.columns, solve_from)
    if delta is solution.theta:
        return solution, correction
    _, energy = residual_sums(sample.seen_from(sample.start + delta), correction)
    return replace(solution, theta=delta, residual=energy), correction


def with_ridge_rows(sample: Sample, pull: float) -> Sample:
    """The ridge as rows of their own: √pull·θ = √pull·start."""
    if pull == 0:
        return sample
    d = sample.X.shape[1]
    X, y = np.concatenate([sample.X, np.eye(d)]), np.concatenate([sample.y, sample.start])
    return Sample(X, y, sample.start, np.concatenate([sample.row_weights, np.full(d, pull)]), sample.noise)


def _displacement(space: Namespace, sample: Sample, pull: float) -> Solution:
    """The solution with δ for θ, by the cheapest method that what is measured on the rows allows."""
    n, d = sample.X.shape
    largest = 1.0 if sample.weights is None else float(sample.weights.max())
    if largest == 0 or not np.isfinite(pull):  # No row has any weight, or none moves an infinite pull.
        refuse_infinite(space, sample.X)
        zero = np.zeros(sample.start.shape)
        energy, rank = residual_sums(sample, zero)[1], d if pull > 0 else 0
        return Solution(zero, rank, 1.0, energy, Method.NO_WEIGHT, 0, np.zeros(d), zero)
    # All weights and the ridge times c is the same optimum: in these units the largest is about 1.
    root = _power_of_two(max(largest, pull) ** 0.5)
    unit = root * root
    solution, scaled = None, _in_units(sample, unit)
    if scaled is not None and (pull == 0 or pull / unit >= TINY) and not noisy(sample):
        by_cholesky = by_inner_products if n < d else by_normal_equations
        smaller = min(n, d)
        with limit_blas_threads(n * d * smaller, d * smaller**2):
            solution = by_cholesky(scaled, pull / unit)
    if solution is None:
        refuse_infinite(space, sample.X)
        solution = pivoted.minimise(sample, root, pull)
    residual, columns = solution.residual * unit, solution.columns * root
    return replace(solution, rank=d if pull > 0 else solution.rank, residual=residual, columns=columns)


def _in_units(sample: Sample, unit: float) -> Sample | None:
    """The rows with weights/unit; None if that underflows for some."""
    if unit == 1:
        return sample
    scaled = sample.row_weights / unit
    if ((scaled < TINY) & (sample.row_weights > 0)).any():
        return None
    return sample.weighted(scaled)


def _power_of_two(value: float) -> float:
    """The power of two at or below ``value``: dividing by it is exact."""
    return float(2.0 ** (np.frexp(value)[1] - 1)) if 0 < value < np.inf else value

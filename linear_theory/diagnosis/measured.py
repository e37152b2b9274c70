"""``diagnose``: rows checked, weighed and solved for, into the numbers of a :class:`Diagnosis`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import Array, finite, namespace
from ..covariance import Dense, checked_covariance
from ..errors import reject
from ..least_squares import Solution, checked_sample, solve
from ..least_squares.rows import checked_scale, largest_entries, refuse_infinite, without_rounding
from ..losses import checked_log_weights
from ..sharding import on_automatic_mesh
from ..tables import same_labels, same_rows
from ..trees import is_concrete
from ..weights import as_rule
from .bases import gram
from .columns import warn_of_weights
from .paths import half_life, kept, price, safe_step
from .prior import checked_counts, mean, median_loss
from .result import Diagnosis

__all__ = ["diagnose"]


@on_automatic_mesh
def diagnose(
    X: Array,
    y: Array,
    start: Array,
    temperature: float | Array | None = None,
    pretrain_covariance: Array | None = None,
    *,
    pretrain_rows: Array | None = None,
    sample_weight: Array | None = None,
    column_scale: Array | None = None,
) -> Diagnosis:
    """What FLOW will stall on the rows X (n, d), y (n,) from ``start`` (d,), how long, at what price.

    Parameters
    ----------
    X : (n, d) array
    y : (n,) array
    start : (d,) array
        θ*: the losses are those of yᵢ − ⟨xᵢ, start⟩.
    temperature : float or weight rule, optional
        τ > 0 in the units of y²; ``None`` is the median loss of the start on these rows.
    pretrain_covariance : (d, d) array, optional
        Σ for the forgetting error, the second moment of the rows the start was trained on.
    pretrain_rows : (m, d) array, optional
        Instead of Σ rows the start was trained on, without labels: Σ = (1/m) X_oldᵀX_old. Scaled as X was, and
        centred, by their own means, if X was. With neither, no total of forgetting and target error is told
        and no method is called the best: that depends on Σ. Forgetting is then measured on X itself.
    sample_weight : (n,) array, optional
        Prior weights v ≥ 0: a row counts as v rows like it, in every sum, in the median, and in the number of rows by
        which standard errors and checks go. Integers are counts; others should have mean 1. FLOW's w multiplies them.
    column_scale : (d,) array, optional
        The magnitude each column was made from, as in :func:`linear_theory.solve`: of X, and of ``pretrain_rows``.
        Columns of which centring has left no more than rounding are then taken for zeros; nothing moves along them.

    Returns
    -------
    Diagnosis
        ``print`` it for the report; ``.picture()`` draws it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As :func:`linear_theory.solve` and :func:`linear_theory.flow_weights`; where both Σ and rows for it are given.

    Warns
    -----
    UserWarning
        Where X has named columns and one is named like weights of rows: it is taken for a feature.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> rng = np.random.default_rng(0)
    >>> X, old = rng.standard_normal((500, 2)), rng.standard_normal((300, 2)) * [2.0, 1.0]
    >>> y = X @ np.array([3.0, 1.0])
    >>> for temperature in (10.0, 1.0, 0.1):
    ...     diagnosis = lt.diagnose(X, y, np.zeros(2), temperature, pretrain_rows=old)
    ...     print(f"{diagnosis.half_life:.1f} steps, {diagnosis.effective_samples:.0f} effective samples")
    1.7 steps, 380 effective samples
    13.6 steps, 146 effective samples
    194.9 steps, 46 effective samples
    """
    for name, array in (("X", X), ("pretrain_rows", pretrain_rows)):
        warn_of_weights(name, array)
    space, rows = checked_sample(
        X,
        y,
        start,
        None,
        temperature,
        pretrain_covariance,
        pretrain_rows,
        sample_weight,
        column_scale=column_scale,
    )
    if rows.y.ndim == 2:
        reject("y", y, f"must be a vector, not an array of shape {rows.y.shape}")
    refuse_infinite(space, rows.X)
    same_labels(
        "parameters",
        X=(X, 1),
        pretrain_covariance=(pretrain_covariance, 0, 1),
        pretrain_rows=(pretrain_rows, 1),
    )
    same_rows(X=X, y=y, sample_weight=sample_weight)
    xp, start = space.xp, rows.start
    counts = checked_counts(space, "sample_weight", sample_weight, rows.X.shape[0])
    share = counts / counts.sum()
    with np.errstate(over="ignore"):
        losses, unweighted = rows.residual**2, gram(rows.X, share)
    _representable("X", X, unweighted)
    _representable("y", y, losses)
    tau = (
        median_loss(space, losses, None if sample_weight is None else counts)
        if temperature is None
        else temperature
    )
    rule = as_rule(tau)
    log_weights = xp.where(counts > 0, checked_log_weights(space, rule, losses), -math.inf)
    largest = xp.max(log_weights)
    if is_concrete(largest) and float(largest) == -math.inf:
        reject("temperature", tau, "leaves no row with any weight; raise it")
    weights = xp.exp(log_weights - largest)  # scale-free, so that none of this underflows
    old, sigma = _remembered(space, start.shape[0], pretrain_covariance, pretrain_rows, column_scale)
    still = xp.zeros_like(start)  # solved for the displacement: the start's size costs no digits
    both = counts * weights
    plain = solve(
        rows.X, rows.residual, still, None if sample_weight is None else counts, column_scale=column_scale
    )
    flow = solve(rows.X, rows.residual, still, both, column_scale=column_scale)
    displaced, shift = xp.stack([still, flow.theta, plain.theta]), -plain.theta
    weighted = gram(rows.X, both / both.sum())
    values, vectors = xp.linalg.eigh(weighted)
    spectrum = xp.stack([_reached(xp.linalg.eigvalsh(unweighted), plain), _reached(values, flow)])
    slow = xp.argmax(kept(spectrum))
    excess, length = displaced + shift, xp.sqrt(shift @ shift)
    with np.errstate(over="ignore"):  # KL-DRO's may be larger than any float
        mass = xp.exp(largest) * mean(counts, weights)
    return Diagnosis(
        temperature=space.array(getattr(rule, "temperature", xp.nan)),
        mean_weight=mass,
        effective_samples=counts.sum() * mean(counts, weights) ** 2 / mean(counts, weights**2),
        covariances=xp.stack([unweighted, weighted]),
        spectrum=spectrum,
        shift=shift,
        weighted_shift=-displaced[1],
        stalled_direction=vectors[:, slow],
        overlap=abs(vectors[:, slow] @ shift) / xp.where(length > 0, length, 1.0),
        half_life=half_life(2 * safe_step(spectrum) * spectrum[1, slow]),
        target_errors=(excess * (excess @ unweighted)).sum(axis=-1),
        forgetting=price(Dense(unweighted) if sigma is None else sigma, displaced),
        pretrain_covariance=sigma,
        pretrain_rows=old,
        sample_weight=counts,
        rule=space.tree(rule),
        rows=rows.weighted(weights),
    )


def _remembered(space: Any, dim: int, sigma: Any, old: Any, scale: Any) -> tuple[Array | None, Any]:
    """The old rows, checked, and Σ: theirs, or the one given."""
    if old is None:
        if sigma is None:
            return None, None
        sigma = checked_covariance(space, "pretrain_covariance", sigma, dim)
        return None, sigma if hasattr(sigma, "quadratic") else Dense(sigma)
    if sigma is not None:
        reject("pretrain_rows", old, "are there to make pretrain_covariance of; give one of the two")
    rows = finite(space, "pretrain_rows", old, ndim=2)
    if rows.shape[0] == 0 or rows.shape[1] != dim:
        reject("pretrain_rows", old, f"has shape {rows.shape}, must have (m, {dim}), m ≥ 1: the columns of X")
    if scale is not None:
        made_from, largest = checked_scale(space, scale, dim), largest_entries(space, rows)
        rows, _ = without_rounding(space, rows, made_from, largest, rows.shape[0])
    with np.errstate(over="ignore"):
        second = gram(rows) / rows.shape[0]
    _representable("pretrain_rows", old, second)
    return rows, Dense(second)


def _representable(name: str, given: object, squares: Array) -> None:
    if is_concrete(squares) and not np.isfinite(squares).all():
        reject(name, given, "has squares beyond the largest float; use larger units")


def _reached(values: Array, solution: Solution) -> Array:
    """Ascending eigenvalues, with 0 instead of rounding along what no row reaches; none negative."""
    xp = namespace(values).xp
    unreached = xp.arange(values.shape[0]) < values.shape[0] - solution.rank
    return xp.where((unreached & ~xp.isnan(values)) | (values < 0), 0.0, values)

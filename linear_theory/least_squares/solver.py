"""Weighted least squares from a start, solved: the minimiser closest to where training began.

L(θ) = (1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖²: a mean over n, not over Σw, as in the paper.
Everything is solved for the displacement δ = θ − start.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from ..arrays import Array, bounded
from ..sharding import on_automatic_mesh
from . import cholesky, differentiable
from .rows import checked_sample
from .solution import Solution

__all__ = ["solve"]


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
    residual is taken anew from where the first solution ended, and solved for again.

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
    accept = lambda v: (v >= 0) & (v < math.inf)
    ridge = bounded(space, "ridge", ridge, accept, "must be finite and ≥ 0")
    engine = differentiable if space.xp is jnp else cholesky
    return engine.minimise(space, sample, ridge)

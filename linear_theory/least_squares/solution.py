"""Weighted least squares from a start, solved: the minimiser closest to where training began.

L(θ) = (1/n) Σ wᵢ (yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖²: a mean over n, not over Σw, as in the paper.
Everything is solved for the displacement δ = θ − start.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, bounded, namespace
from ..sharding import on_automatic_mesh
from ..trees import is_concrete, pytree
from . import dense, traced
from .equations import NormalEquations
from .fit import METHODS, Fit
from .rows import checked_sample

__all__ = ["Solution", "solve"]

ROUNDINGS = 32.0
"""How many roundings in a row the bound of the error allows for."""

TINY_BESIDE = 1e-12
"""How small beside the largest a column is that may be what rounding has left of one."""


@pytree
class Solution:
    """A minimiser and how it was found.

    ``theta`` (d,) or (d, m). ``rank`` of the weighted X (of X and ridge together if ridge > 0: d).
    ``condition``: an estimate of κ₂ of the column-equilibrated √w·X over its range (of its rows, where X is
    wide); from sums alone, of the whole: infinite where they cannot show a direction. ``residual``
    Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)², () or (m,). ``refinements``: how many passes over the rows the answer was corrected
    with. ``columns`` (d,): √Σ wᵢxᵢⱼ², the units in which errors are even. ``method``: what was done, in words.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> solution = lt.solve([[1.0, 0.0], [1.0, 0.0]], [1.0, 3.0], start=[0.0, 7.0])
    >>> print(solution.theta.round(4), solution.rank, f"{solution.residual:.4f}")  # column 1 says nothing
    [2. 7.] 1 2.0000
    """

    theta: Array
    rank: Array
    condition: Array
    residual: Array
    way: Array
    refinements: Array
    columns: Array
    start: Array

    @property
    def method(self) -> str:
        """What was done, in words.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> lt.solve(np.eye(2), np.ones(2), np.zeros(2)).method
        'Cholesky on the normal equations'
        """
        if not is_concrete(self.way):
            return "not known while traced"
        return METHODS[int(self.way.max())]

    @property
    def error_bound(self) -> Array:
        """About how far rounding may have moved each entry of ``theta``, in its own units: (d,) or (d, m).

        Wedin's bound in equilibrated coordinates, cⱼθⱼ with c the ``columns``, read coordinate by coordinate:

            abs(θⱼ − θⱼ exact) ≤ 32 ε (κ‖√w·r‖(1 + κ) + κ(‖c∘δ‖ + Σ c·abs(start)))/cⱼ + ε·abs(θⱼ),    r = y − Xθ:

        of first order, for X, y and weights with errors of a few ε of their own. A direction the rows do not
        determine has no part in it; infinite where κ is. In a column that is small beside the others it is
        large: that is how well such an entry can be known at all.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X = np.array([[1.0, 1e-9], [1.0, 2e-9], [1.0, 3e-9]])
        >>> solution = lt.solve(X, np.array([1.0, 2.0, 4.0]), np.zeros(2))
        >>> bool((abs(solution.theta - [-2 / 3, 1.5e9]) <= solution.error_bound).all())
        True
        """
        space = namespace(self.theta)
        xp, columns = space.xp, self.columns
        size = lambda values: xp.sqrt((((values.T * columns).T) ** 2).sum(axis=0))
        left = xp.sqrt(xp.maximum(self.residual, 0.0))
        with np.errstate(invalid="ignore"):
            reach = left * (1 + self.condition) + size(self.theta - self.start)
            moved = self.condition * (reach + (xp.abs(self.start).T * columns).T.sum(axis=0))
        seen = columns > 0
        each = (xp.ones_like(self.theta) * moved).T / xp.where(seen, columns, 1.0)
        return ROUNDINGS * space.eps * xp.where(seen, each, 0.0).T + space.eps * xp.abs(self.theta)

    @property
    def advice(self) -> str:
        """What to look at before the answer is used, in words.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> left, x = 0.1 - np.nextafter(0.1, 1.0), np.arange(10.0)  # of 0.1 less a mean in its last digit off
        >>> centred = np.column_stack([np.full(10, left), x - 4.5])
        >>> solution = lt.solve(centred, x, np.zeros(2))
        >>> print(solution.advice.split(":")[0], "|", solution.rank)
        column 0 is 5e-18 times as large as the largest | 2
        >>> solution = lt.solve(centred, x, np.zeros(2), column_scale=[0.1, 9.0])
        >>> print(solution.advice, "|", solution.rank, solution.theta.round(4))
        nothing to do | 1 [0. 1.]
        """
        if not is_concrete(self.columns, self.condition):
            return "not known while traced"
        columns, found = np.asarray(self.columns, dtype=float), []
        small = np.flatnonzero((columns > 0) & (columns < TINY_BESIDE * columns.max(initial=0.0)))
        if small.size:
            found.append(
                f"column {small[0]} is {columns[small[0]] / columns.max():.0e} times as large as the largest: if "
                "that is what centring or a difference has left of a constant, pass column_scale="
            )
        if np.isinf(float(np.max(self.condition))):
            found.append("the sums cannot show every direction: use solve() on the rows, or streaming.solve")
        return "; ".join(found) or "nothing to do"


def _solution(space: Namespace, start: Array, fit: Fit) -> Solution:
    whole = lambda value: space.xp.asarray(value)
    return Solution(
        (start + fit.displacement) + fit.rest,
        whole(fit.rank),
        space.array(fit.condition),
        fit.residual,
        whole(fit.way),
        whole(fit.refinements),
        fit.columns,
        start,
    )


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
    The way is chosen by what is measured. Normal equations in cache-sized blocks (of the rows' inner
    products, where X is wide) and Cholesky, where the equilibrated condition number κ is small; corrected by
    passes over the rows, r = y − Xθ and δ ← δ + G⁻¹XᵀWr, while d·κ²·ε leaves these a contraction; beyond
    that, and where the rank is deficient, Householder QR with rows sorted and columns pivoted, stable row by
    row, and corrected by what it leaves of the rows: where all can be met, each entry of θ gets its own digits,
    however small it is beside the others. The rank is that of X's rows with positive weight, rows and columns
    equilibrated: a tiny weight is a weight. "Closest" is in the coordinates given.

    In float64 the relative error in *equilibrated* coordinates, ‖c∘(θ − θ exact)‖/‖c∘δ‖ with cⱼ = √Σ wᵢxᵢⱼ² the
    length of a column, is a small multiple of κε(1 + κ‖r‖/(‖X‖‖δ‖)). In the coordinates given, an entry that
    belongs to a small column has a larger error than one that belongs to a large one, whichever norm θ is measured
    in; ``Solution.error_bound`` states each. Where the start is so far away that its rounding costs digits, the
    residual is taken anew from where the first solution ended, and solved for again.

    In JAX the rank is that of √w·X, the QR is an SVD, and entries of the closest minimiser have the digits of the
    largest in equilibrated coordinates. The derivative is the implicit function theorem's, of any order, never
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
    engine = traced if space.xp is jnp else dense
    return _solution(space, sample.start, engine.fit(space, sample, ridge))


def from_equations(space: Namespace, equations: NormalEquations, ridge: Array) -> Solution:
    """The same from the sums alone."""
    return _solution(space, equations.start, traced.fit_equations(space, equations, ridge))

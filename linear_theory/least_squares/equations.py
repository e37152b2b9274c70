"""Normal equations: the sums over rows that decide a least-squares problem, and merge with ``+``."""

from __future__ import annotations

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, bounded, finite, namespace, numeric
from ..errors import reject
from ..sharding import on_automatic_mesh
from ..trees import is_concrete, pytree
from .blocks import one_root, weighted_products
from .differentiable import Summed, minimise_sums
from .rows import Sample, checked_sample, refuse_infinite
from .solution import Solution

__all__ = ["NormalEquations"]


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b and what rounding took from it: exact, whatever the sizes (Knuth)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def _products(sample: Sample) -> tuple[Array, Array, Array]:
    """XᵀWX, XᵀWr and Σwr² in JAX: of sharded rows each device's own, added by the compiler."""
    # Not through √w, which has no derivative at 0.
    weighted = lambda values: values if sample.weights is None else (values.T * sample.weights).T
    X, residual = sample.X, sample.residual
    return X.T @ weighted(X), weighted(X).T @ residual, (residual * weighted(residual)).sum(axis=0)


@pytree
class NormalEquations:
    """Gram, moment and energy of weighted rows seen from a start: a sum, so that parts merge with ``+``.

    ``gram`` Σ wᵢxᵢxᵢᵀ (d, d), ``moment`` Σ wᵢxᵢrᵢ (d,) or (d, m), ``energy`` Σ wᵢrᵢ² () or (m,) with
    rᵢ = yᵢ − ⟨xᵢ, start⟩, and ``count`` n. Sums, not means, so that addition is exact in meaning; the loss
    divides by ``count``.

    ``+`` is associative and order-independent to rounding, with :meth:`empty` as identity. ``carry`` holds
    what rounding took from each sum so far, so that 10⁹ parts lose no more digits than one.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y, start = np.array([[1.0], [1.0], [1.0]]), np.array([1.0, 2.0, 9.0]), np.zeros(1)
    >>> here = lt.NormalEquations.of(X[:2], y[:2], start)
    >>> there = lt.NormalEquations.of(X[2:], y[2:], start)
    >>> print((here + there).solve().theta.round(4))  # as of all rows together
    [4.]
    """

    gram: Array
    moment: Array
    energy: Array
    count: Array
    start: Array
    carry: tuple[Array, ...]

    @classmethod
    @on_automatic_mesh
    def of(
        cls,
        X: Array,
        y: Array,
        start: Array,
        weights: Array | None = None,
        *,
        column_scale: Array | None = None,
    ) -> NormalEquations:
        """From rows X (n, d), y (n,) or (n, m), a start (d,) or (d, m) and weights (n,) ≥ 0 (``None``: ones).

        ``column_scale`` (d,): the magnitude each column was made from, as in :func:`linear_theory.solve`; a
        column of which no more than rounding is left counts as zeros. (Combinations of columns that are
        rounding are beyond what sums can show; ``solve`` on the rows tells them.)

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For wrong shapes, empty data, NaN or infinity, negative weights, or rows so large that their
            squares overflow.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> X, y, start = np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1)
        >>> sums = lt.NormalEquations.of(X, y, start, weights=[1.0, 0.25])
        >>> print(sums.gram, sums.moment, sums.energy, sums.count)
        [[1.25]] [1.75] 3.25 2.0
        """
        return cls.of_sample(*checked_sample(X, y, start, weights, column_scale=column_scale))

    @classmethod
    def of_sample(cls, space: Namespace, sample: Sample) -> NormalEquations:
        """The same from checked rows.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> from linear_theory.least_squares.rows import checked_sample
        >>> checked = checked_sample(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1), None)
        >>> print(lt.NormalEquations.of_sample(*checked).moment)
        [4.]
        """
        if space.xp is np:
            total = cls.summed(sample)
        else:
            sums = _products(sample)
            count = space.array(float(sample.X.shape[0]))
            total = cls(*sums, count, sample.start, cls._no_carry(sums, count))._marked(space, sample)
        if is_concrete(total) and not all(bool(space.xp.isfinite(v).all()) for v in total._sums):
            refuse_infinite(space, sample.X)
            remedy = "is so large that sums of squares overflow; rescale the columns, or use solve()"
            reject("X", sample.X, remedy)
        return total

    def _marked(self, space: Namespace, sample: Sample) -> NormalEquations:
        """Itself, with the smallest normal float for a sum of squares that is 0 by underflow alone: beside others it
        is nothing, and alone it tells ``solve`` from columns of zeros and from a start that fits.
        """
        xp, smallest = space.xp, float(jnp.finfo(space.dtype).tiny)
        gram, energy = self.gram, xp.asarray(self.energy)
        gone = xp.diagonal(gram) == 0, energy == 0
        if is_concrete(gone) and not any(bool(which.any()) for which in gone):
            return self
        counted = True if sample.weights is None else (sample.weights > 0)[:, None]
        columns = (xp.where(counted, sample.X, 0.0) != 0).any(axis=0)
        left = sample.residual.reshape(len(sample.X), -1)
        residuals = (xp.where(counted, left, 0.0) != 0).any(axis=0).reshape(energy.shape)
        mark = lambda which: xp.where(which, smallest, 0.0).astype(space.dtype)
        marked = gram + xp.diag(mark(gone[0] & columns))
        return replace(self, gram=marked, energy=energy + mark(gone[1] & residuals))

    @classmethod
    @on_automatic_mesh
    def empty(cls, start: Array) -> NormalEquations:
        """No rows yet: the identity of ``+`` for this start, (d,) or (d, m).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> total = lt.NormalEquations.empty(start=np.zeros(1))
        >>> for X, y in [(np.ones((2, 1)), np.array([1.0, 3.0])), (np.ones((1, 1)), np.array([8.0]))]:
        ...     total = total + lt.NormalEquations.of(X, y, np.zeros(1))
        ...
        >>> print(total.count, total.solve().theta.round(4))
        3.0 [4.]
        """
        space = namespace(start)
        start = finite(space, "start", start, ndim=(1, 2))
        zero = lambda *shape: space.xp.zeros(shape, dtype=space.dtype)
        sums = zero(start.shape[0], start.shape[0]), zero(*start.shape), zero(*start.shape[1:])
        return cls(*sums, zero(), start, cls._no_carry(sums, zero()))

    @classmethod
    def summed(cls, sample: Sample) -> NormalEquations:
        """Of checked NumPy rows; where squares overflow or rows are not finite, nor are the sums.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> from linear_theory.least_squares.rows import checked_sample
        >>> _, sample = checked_sample(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1), None)
        >>> print(lt.NormalEquations.summed(sample).moment)
        [4.]
        """
        shapes = [(sample.X.shape[1],) * 2, sample.start.shape, sample.y.shape[1:]]
        total, lost = np.zeros((2, sum(map(math.prod, shapes))))  # one vector is added quicker than three
        with np.errstate(over="ignore", invalid="ignore"):  # looked for in the sums
            for (part,) in weighted_products(sample.X, sample.y, sample.start, one_root(sample.weights)):
                total, error = _two_sum(total, np.concatenate([value.ravel() for value in part]))
                lost += error
            total, lost = _two_sum(total, lost)

        def apart(values: Array) -> list[Array]:
            ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
            return [v.reshape(s) for v, s in zip(np.split(values, ends), shapes, strict=True)]

        gram, moment, energy = apart(total)
        count = np.array(float(len(sample.X)))
        return cls(gram, moment, energy, count, sample.start, (*apart(lost), np.zeros(())))._marked(
            namespace(), sample
        )

    @staticmethod
    def _no_carry(sums: tuple[Array, ...], count: Array) -> tuple[Array, ...]:
        return tuple(0.0 * value for value in (*sums, count))

    @property
    def _sums(self) -> tuple[Array, Array, Array, Array]:
        return self.gram, self.moment, self.energy, self.count

    def _plus(self, sums: tuple[Array, ...], carry: tuple[Array, ...] | None = None) -> NormalEquations:
        with np.errstate(over="ignore", invalid="ignore"):
            pairs = [_two_sum(a, b) for a, b in zip(self._sums, sums, strict=True)]
            lost = [a + error for a, (_, error) in zip(self.carry, pairs, strict=True)]
            if carry is not None:
                lost = [a + b for a, b in zip(lost, carry, strict=True)]
            # What was lost goes back as soon as the sum can hold it again.
            whole = [_two_sum(total, rest) for (total, _), rest in zip(pairs, lost, strict=True)]
        gram, moment, energy, count = (total for total, _ in whole)
        return NormalEquations(gram, moment, energy, count, self.start, tuple(rest for _, rest in whole))

    def __add__(self, other: NormalEquations) -> NormalEquations:
        if not isinstance(other, NormalEquations):
            return NotImplemented
        if self.start.shape != other.start.shape:
            mine, theirs = self.start.shape, other.start.shape
            if mine[0] != theirs[0]:
                reject("other", other.start, f"has {theirs[0]} columns, this has {mine[0]}")
            reject("other", other.start, f"has a start of shape {theirs}, this one of {mine}")
        if is_concrete(self.start, other.start) and not bool((self.start == other.start).all()):
            reject("other", other.start, "was taken from another start; take both from the same")
        return self._plus(other._sums, other.carry)

    def __radd__(self, other: int) -> NormalEquations:
        """0 + these are these: what ``sum`` begins with, and no other number."""
        return self if type(other) is int and other == 0 else NotImplemented

    def gradient(self, displacement: Array) -> Array:
        """∇L at start + δ: (2/n)(Gδ − g); no ½ in the loss, hence the 2.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
        >>> print(sums.gradient(np.array([0.0])), sums.gradient(np.array([2.0])))  # −2·mean y; 0 at the mean
        [-4.] [0.]
        """
        sums, displacement = self._beside(displacement)
        return 2 / sums.count * (displacement @ sums.gram - sums.moment)

    def loss(self, displacement: Array) -> Array:
        """L at start + δ, for δ (…, d): (1/n)(energy − 2⟨g, δ⟩ + δᵀGδ).

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
        >>> print(sums.loss(np.array([[0.0], [2.0]])))  # the mean square, and the variance, of y
        [5. 1.]
        """
        sums, displacement = self._beside(displacement)
        curved = (displacement * (displacement @ sums.gram)).sum(axis=-1)
        return (sums.energy - 2 * displacement @ sums.moment + curved) / sums.count

    def _beside(self, displacement: Array) -> tuple[NormalEquations, Array]:
        """These sums and δ (…, d), both in one engine."""
        space = namespace(self, displacement)
        return space.tree(self), numeric(space, "displacement", displacement, tuple(range(1, 33)))

    @on_automatic_mesh
    def solve(self, ridge: float | Array = 0.0) -> Solution:
        """The minimiser of L + ridge·‖θ − start‖² closest to ``start``, from the sums alone.

        Without the rows nothing can be refined: the relative error is about κ²·ε where :func:`solve` reaches
        κ·ε, κ the condition number of the weighted rows, and directions with σ/σ_max below about √ε count as
        null. Where that leaves out a direction, ``condition`` is infinite: it is that of the whole, and the sums
        cannot show whether the columns depend on each other or nearly do. ``solve`` on the rows can.
        ``residual`` is energy − ⟨g, δ⟩, known to ε·energy.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For a negative or infinite ridge, no rows at all, or sums that over- or underflowed.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
        >>> print(sums.solve().theta.round(4), sums.solve(ridge=1.0).theta.round(4))
        [2.] [1.]
        """
        space: Namespace = namespace(self, ridge)
        accept = lambda v: (v >= 0) & (v < jnp.inf)
        ridge = bounded(space, "ridge", ridge, accept, "must be finite and ≥ 0")
        if is_concrete(self.count) and float(self.count) == 0:
            reject("count", self.count, "there are no rows yet; add some before solving")
        if is_concrete(self) and not all(np.isfinite(v).all() for v in self._sums):
            reject("gram", self.gram, "sums of squares overflowed as parts were added; rescale the columns")
        total = space.tree(self)
        squares, energy = space.xp.diagonal(total.gram), space.xp.asarray(total.energy)
        smallest = float(jnp.finfo(space.dtype).tiny) / space.eps
        drowned = (squares > 0) & (squares + total.count * ridge < smallest)
        lost = drowned.any() | ((energy > 0) & (energy < smallest)).any()
        if not is_concrete(lost):
            total = replace(total, gram=space.xp.where(lost, space.xp.nan, total.gram))
        elif bool(lost):
            name = "gram" if bool(drowned.any()) else "energy"
            remedy = (
                "holds sums of squares that underflow; give the columns and y in other units, or use solve()"
            )
            reject(name, getattr(self, name), remedy)
        sums = Summed(total.gram, total.count * ridge, total.moment)
        return minimise_sums(space, sums, total.energy, total.count, total.start)

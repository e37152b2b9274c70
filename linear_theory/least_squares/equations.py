"""Normal equations: the sums over rows that decide a least-squares problem, and merge with ``+``."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, finite, namespace, numeric, shaped
from ..errors import reject
from ..sharding import on_automatic_mesh
from ..trees import is_concrete, pytree
from .blocks import one_root, weighted_products
from .pseudo_inverse import column_sizes, differentiable_split, minimiser, spectral_inverse
from .rows import Sample, checked_ridge, checked_sample, refuse_infinite
from .solution import Method, Solution, from_start

__all__ = ["NormalEquations"]


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b and what rounding took from it: exact, whatever the sizes (Knuth)."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def _compensated_products(sample: Sample) -> tuple[list[Array], list[Array]]:
    """XᵀWX, XᵀWr and Σwr² in NumPy, and what rounding has taken from each as the strips of rows were added."""
    shapes = [(sample.X.shape[1],) * 2, sample.start.shape, sample.y.shape[1:]]
    total, lost = np.zeros((2, sum(map(math.prod, shapes))))  # One vector is added quicker than three.
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows is looked for in the sums.
        for (part,) in weighted_products(sample.X, sample.y, sample.start, one_root(sample.weights)):
            total, error = _two_sum(total, np.concatenate([value.ravel() for value in part]))
            lost += error
        total, lost = _two_sum(total, lost)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    reshaped = lambda parts: [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return reshaped(np.split(total, ends)), reshaped(np.split(lost, ends))


def _products(sample: Sample) -> tuple[Array, Array, Array]:
    """XᵀWX, XᵀWr and Σwr² in JAX: of sharded rows each device's own, added by the compiler."""
    # The square root of a weight has no derivative at 0.
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
        total = cls.summed(sample)
        if is_concrete(total) and not all(bool(space.xp.isfinite(v).all()) for v in total._sums):
            refuse_infinite(space, sample.X)
            remedy = "is so large that sums of squares overflow; rescale the columns, or use solve()"
            reject("X", sample.X, remedy)
        return total

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
        sums = zero(start.shape[0], start.shape[0]), zero(*start.shape), zero(*start.shape[1:]), zero()
        return cls(*sums, start, tuple(0.0 * value for value in sums))

    @classmethod
    def summed(cls, sample: Sample) -> NormalEquations:
        """The sums of checked rows; where squares overflow or rows are not finite, nor are the sums.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> from linear_theory.least_squares.rows import checked_sample
        >>> _, sample = checked_sample(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1), None)
        >>> print(lt.NormalEquations.summed(sample).moment)
        [4.]
        """
        space = namespace(sample)
        if space.xp is np:
            (gram, moment, energy), carry = _compensated_products(sample)
        else:
            gram, moment, energy = _products(sample)
            carry = 0.0 * gram, 0.0 * moment, 0.0 * energy
        count = space.array(float(sample.X.shape[0]))
        total = cls(gram, moment, energy, count, sample.start, (*carry, 0.0 * count))
        return total._with_underflow_marked(space, sample)

    def _with_underflow_marked(self, space: Namespace, sample: Sample) -> NormalEquations:
        """Itself, with the smallest normal float for a sum of squares that is 0 by underflow alone.

        Beside others that is nothing, and alone it tells ``solve`` from columns of zeros and from a start that fits.
        """
        xp, smallest = space.xp, float(jnp.finfo(space.dtype).tiny)
        gram, energy = self.gram, xp.asarray(self.energy)
        no_column, no_energy = xp.diagonal(gram) == 0, energy == 0
        if is_concrete(no_column, no_energy) and not (bool(no_column.any()) or bool(no_energy.any())):
            return self
        counted = True if sample.weights is None else (sample.weights > 0)[:, None]
        nonzero = lambda rows: (xp.where(counted, rows, 0.0) != 0).any(axis=0)
        columns = nonzero(sample.X)
        residuals = nonzero(sample.residual.reshape(len(sample.X), -1)).reshape(energy.shape)
        mark = lambda underflowed: xp.where(underflowed, smallest, 0.0).astype(space.dtype)
        marked = gram + xp.diag(mark(no_column & columns))
        return replace(self, gram=marked, energy=energy + mark(no_energy & residuals))

    @property
    def _sums(self) -> tuple[Array, Array, Array, Array]:
        return self.gram, self.moment, self.energy, self.count

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
        with np.errstate(over="ignore", invalid="ignore"):
            sums = [_two_sum(a, b) for a, b in zip(self._sums, other._sums, strict=True)]
            carries = zip(self.carry, sums, other.carry, strict=True)
            lost = [mine + error + theirs for mine, (_, error), theirs in carries]
            # What was lost goes back as soon as the sum can hold it again.
            sums = [_two_sum(total, part) for (total, _), part in zip(sums, lost, strict=True)]
        gram, moment, energy, count = (total for total, _ in sums)
        return NormalEquations(gram, moment, energy, count, self.start, tuple(part for _, part in sums))

    def __radd__(self, other: int) -> NormalEquations:
        """0 + these are these: what ``sum`` begins with, and no other number."""
        return self if type(other) is int and other == 0 else NotImplemented

    def gradient(self, displacement: Array) -> Array:
        """∇L at start + δ: (2/n)(Gδ − g); no ½ in the loss, hence the 2.

        ``displacement`` δ has the shape of ``start``, perhaps with more axes before it: (…, d) or (…, d, m); so has ∇L.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For another shape, or what is no number.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
        >>> print(sums.gradient(np.array([0.0])), sums.gradient(np.array([2.0])))  # −2·mean y; 0 at the mean
        [-4.] [0.]
        """
        sums, displacement = self._beside(displacement)
        return 2 / sums.count * (sums._curved(displacement) - sums.moment)

    def loss(self, displacement: Array) -> Array:
        """L at start + δ: (1/n)(energy − 2⟨g, δ⟩ + δᵀGδ), for each of the outputs.

        ``displacement`` δ as in :meth:`gradient`; L is (…) or (…, m).

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For another shape, or what is no number.

        Examples
        --------
        >>> import numpy as np
        >>> import linear_theory as lt
        >>> sums = lt.NormalEquations.of(np.ones((2, 1)), np.array([1.0, 3.0]), np.zeros(1))
        >>> print(sums.loss(np.array([[0.0], [2.0]])))  # the mean square, and the variance, of y
        [5. 1.]
        """
        sums, displacement = self._beside(displacement)
        drop = displacement * (2 * sums.moment - sums._curved(displacement))
        return (sums.energy - drop.sum(axis=-sums.start.ndim)) / sums.count

    def _curved(self, displacement: Array) -> Array:
        """Gδ, (…, d) or (…, d, m)."""
        return displacement @ self.gram if self.start.ndim == 1 else self.gram @ displacement

    def _beside(self, displacement: Array) -> tuple[NormalEquations, Array]:
        """These sums and δ (…, d) or (…, d, m), both in one engine."""
        space, own = namespace(self, displacement), self.start.shape
        delta = numeric(space, "displacement", displacement, tuple(range(len(own), 33)))
        remedy = f"the shape {own} of the start, perhaps with more axes before it"
        return space.tree(self), shaped("displacement", delta, (*delta.shape[: -len(own)], *own), remedy)

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
        ridge = checked_ridge(space, ridge)
        if is_concrete(self.count) and float(self.count) == 0:
            reject("count", self.count, "there are no rows yet; add some before solving")
        if is_concrete(self) and not all(np.isfinite(v).all() for v in self._sums):
            reject("gram", self.gram, "sums of squares overflowed as parts were added; rescale the columns")
        total = space.tree(self)
        squares, energy = space.xp.diagonal(total.gram), space.xp.asarray(total.energy)
        smallest = float(jnp.finfo(space.dtype).tiny) / space.eps
        column_underflows = ((squares > 0) & (squares + total.count * ridge < smallest)).any()
        underflows = column_underflows | ((energy > 0) & (energy < smallest)).any()
        if not is_concrete(underflows):
            total = replace(total, gram=space.xp.where(underflows, space.xp.nan, total.gram))
        elif bool(underflows):
            name = "gram" if bool(column_underflows) else "energy"
            remedy = (
                "holds sums of squares that underflow; give the columns and y in other units, or use solve()"
            )
            reject(name, getattr(self, name), remedy)
        sums = Summed(total.gram, total.count * ridge, total.moment)
        return minimise_sums(space, sums, total.energy, total.count, total.start)


@pytree
class Summed:
    """Of sums: H = Gram + pull·I, g = moment."""

    gram: Array
    pull: Array
    moment: Array

    def matrix(self) -> Array:
        """H (d, d)."""
        return self.gram + self.pull * jnp.eye(len(self.gram), dtype=self.gram.dtype)

    def apply(self, vectors: Array) -> Array:
        """H v."""
        return self.gram @ vectors + self.pull * vectors

    def slope(self, displacement: Array) -> Array:
        """g − Hδ."""
        return self.moment - self.apply(displacement)


def minimise_sums(space: Namespace, sums: Summed, energy: Array, count: Array, start: Array) -> Solution:
    """The minimiser from sums alone, in NumPy as in JAX: eigenvectors of the equilibrated Gram matrix.

    Where the sums cannot show whether there is a direction, the condition number of the whole is infinite.
    """
    xp, gram, moment, pull = space.xp, sums.gram, sums.moment, sums.pull
    d = gram.shape[0]
    stop = jax.lax.stop_gradient if xp is jnp else lambda value: value
    matrix, squares = stop(gram + pull * xp.eye(d, dtype=space.dtype)), stop(xp.diagonal(gram))
    scale = column_sizes(space, xp.diagonal(matrix))
    # A column of zeros gets an eigenvalue that no other can have, so that no other vector has a part in it.
    zero_columns = xp.diagonal(matrix) == 0
    apart = xp.diag(zero_columns.astype(space.dtype))
    values, vectors = xp.linalg.eigh(matrix / scale / scale[:, None] - apart)
    vectors = xp.where(zero_columns[:, None] | (values < -0.5), 0.0, vectors)
    kept = values > d * space.eps * xp.maximum(values[-1], 0.0)
    inverse = spectral_inverse(
        space, xp.sqrt(xp.where(kept, values, 0.0)), vectors, kept, scale, zero_columns, power=2
    )
    displacement = inverse.root @ (inverse.root.T @ stop(moment))
    unknown = xp.isnan(matrix).any()  # Sums that hold a bad value have no rank, and no minimiser.
    displacement = xp.where(unknown, xp.nan, displacement)
    if xp is jnp:
        split = differentiable_split(space, inverse, stop(xp.sqrt(squares)))
        displacement = minimiser(split, displacement, sums)
    with np.errstate(over="ignore", invalid="ignore"):
        drop = (moment * displacement).sum(axis=0)
        curved = pull * (displacement * displacement).sum(axis=0)
        residual = energy - drop - curved
    largest_rank = xp.where(pull > 0, float(d), xp.minimum(space.array((squares > 0).sum()), count))
    condition = xp.where(space.array(inverse.rank) < largest_rank, xp.inf, inverse.condition)
    condition = xp.where(unknown, xp.nan, condition)
    rank, sizes = xp.where(pull > 0, d, inverse.rank), xp.sqrt(squares)
    solution = Solution(displacement, rank, condition, residual, int(Method.SPECTRAL), 0, sizes, 0.0 * start)
    return from_start(space, start, solution)

"""Normal equations and weighted least squares over chunks of rows, in flat memory."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import jax
import numpy as np

from ..arrays import Array, namespace
from ..errors import reject
from ..least_squares import NormalEquations, Sample, cholesky, pivoted
from ..least_squares import Solution as InMemory
from ..least_squares.blocks import added, residual_products, triangle, weighted_triangles
from ..least_squares.rows import checked_ridge
from ..least_squares.solution import EPS, Method, from_start, is_far, seen_from_end, unrefined_error
from ..least_squares.solver import minimise, with_ridge_rows
from ..threads import shared_thread_pool
from ..trees import is_traced, pytree
from ..weights import Flow, Uniform, WeightRule, as_rule
from ..weights.rules import checked_log_weights
from .losses import part_losses
from .stream import Part, Source, Stream

__all__ = ["Solution", "normal_equations", "solve"]

MAX_TWO_PASS_CONTRACTION = 1e-6
"""What a refinement may leave of an error: then two refinements do, and more would cost more than QR."""


def normal_equations(
    source: Source,
    start: Array,
    temperature: float | WeightRule = math.inf,
    *,
    column_scale: Array | None = None,
) -> NormalEquations:
    """Σ wᵢxᵢxᵢᵀ, Σ wᵢxᵢrᵢ, Σ wᵢrᵢ² with rᵢ = yᵢ − ⟨xᵢ, start⟩, in one pass and flat memory.

    Parameters
    ----------
    source : chunks (X, y) or (X, y, weights), (b, d), (b,), (b,)
    start : (d,) array
    temperature : float or weight rule
        wᵢ = exp(−rᵢ²/τ), or the rule's, times the weight in the source if it has any; ``inf`` (the default)
        leaves those alone. For the paper's default: ``median_loss(source, start).value``.
    column_scale : (d,) array, optional
        The magnitude each column was made from, as in :meth:`linear_theory.NormalEquations.of`. How large the
        columns are shows in all rows only: this takes one pass more, before the others.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a bad chunk or row (named), no rows, weights that all underflow, or sums that overflow; for a
        ``column_scale`` beside a source that can be gone through only once.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> chunks = lt.streaming.from_arrays(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), rows=2)
    >>> print(lt.streaming.normal_equations(chunks, np.zeros(1)).moment)
    [12.]
    """
    stream, rule = Stream(source, start, column_scale), _float64_rule(temperature)
    with shared_thread_pool():
        total = _sums(partial(_samples, stream, rule))
    if not np.isfinite(total.gram).all() or not np.isfinite(total.energy):
        remedy = "has rows so large that sums of squares overflow; rescale columns, or use solve()"
        reject("source", source, remedy)
    return total


@pytree
class Solution(InMemory):
    """A minimiser, how it was found, the ``rows`` (n) it is for and the ``passes`` over them that it took.

    As :class:`linear_theory.Solution`, with θ (d,). ``triangle``: 1 if the rows were first reduced to d + 2,
    by QR.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> chunks = lt.streaming.from_arrays(np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), rows=2)
    >>> solution = lt.streaming.solve(chunks, np.zeros(1))
    >>> print(solution.theta.round(4), solution.rows, solution.passes, solution.triangle)
    [3.] 4 1 0
    """

    rows: int
    passes: int
    triangle: int

    @property
    def method(self) -> str:
        """What was done, in words."""
        return ("QR of the rows in blocks, then: " if self.triangle else "") + super().method


def solve(
    source: Source,
    start: Array,
    temperature: float | WeightRule = math.inf,
    ridge: float = 0.0,
    *,
    column_scale: Array | None = None,
) -> Solution:
    """The minimiser of (1/n) Σ wᵢ(yᵢ − ⟨xᵢ,θ⟩)² + ridge·‖θ − start‖² closest to ``start``, in flat memory.

    As :func:`linear_theory.solve`, for rows that come in chunks, and to the same accuracy, but for weights 1e16
    apart (see the notes).

    Parameters
    ----------
    source, start, temperature
        As for :func:`normal_equations`.
    ridge : float
        ≥ 0, on the scale of the mean loss.
    column_scale : (d,) array, optional
        The magnitude each column was made from: columns, and combinations of columns, of which no more than
        rounding is left say nothing, as in :func:`linear_theory.solve`. One pass more, before the others.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a bad chunk or row (named), no rows, weights that all underflow, a source that changes between
        passes, a negative ridge, or a ``column_scale`` beside a source that can be gone through only once.

    Notes
    -----
    One pass for the normal equations, and where their condition number asks for it one or two more that
    refine; where that would not do, and for fewer rows than columns, one pass of Householder QR, block by
    block, which leaves d + 2 rows with the same minimiser. A source that can be gone through only once is
    reduced by QR at once: two to four times the work of a pass, and no condition number is too large. Where
    the start is so far away that its rounding costs digits, QR too, of the labels as they are beside those
    seen from the start: the few rows that it leaves are seen anew from where the first solution ended. QR is
    stable column by column, not row by row: beside weights 1e16 times as large, a row is rounding here, and
    still a row in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import linear_theory as lt
    >>> X, y, start = np.ones((4, 1)), np.array([1.0, 2.0, 3.0, 6.0]), np.zeros(1)
    >>> chunks = lt.streaming.from_arrays(X, y, rows=2)
    >>> tau = lt.streaming.median_loss(chunks, start).value
    >>> print(lt.streaming.solve(chunks, start, tau).theta.round(4))
    [1.6421]
    >>> print(lt.solve(X, y, start, lt.flow_weights(y**2)).theta.round(4))  # the same in memory
    [1.6421]
    """
    stream, rule = Stream(source, start, column_scale), _float64_rule(temperature)
    ridge = float(checked_ridge(namespace(), ridge))
    with shared_thread_pool():
        by_sums = not stream.once and (stream.columns is None or stream.columns.visible)
        rows, correction = partial(_samples, stream, rule), 0.0
        solution = _by_equations(stream, rows, ridge) if by_sums else None
        by_triangle = solution is None or _far(stream, solution)
        if solution is None or by_triangle:
            solution, correction = _by_triangle(stream, rows, ridge)
    solution = from_start(namespace(), stream.start, solution, correction)
    return Solution(**vars(solution), rows=stream.rows, passes=stream.passes, triangle=int(by_triangle))


def _float64_rule(temperature: float | WeightRule) -> WeightRule:
    """The rule that ``temperature`` means; a number of JAX's in it would take the losses to its own precision."""

    def number(leaf: Any) -> Any:
        known = isinstance(leaf, jax.Array) and not is_traced(leaf)
        return np.float64(leaf) if known and leaf.ndim == 0 and leaf.dtype.kind == "f" else leaf

    return jax.tree.map(number, as_rule(temperature))


Rows = Callable[[], Iterator[tuple[Part, Sample]]]
"""A pass over weighted rows."""


def _far(stream: Stream, solution: InMemory) -> bool:
    """Whether the start is so far from where its displacement ended that digits were lost."""
    return bool(is_far(namespace(), stream.start, stream.start + solution.theta, solution.columns))


def _samples(stream: Stream, rule: WeightRule) -> Iterator[tuple[Part, Sample]]:
    """A pass over the rows, which have the rule's weights at the start times their own."""
    uniform = isinstance(rule, Uniform) or (isinstance(rule, Flow) and float(rule.temperature) == math.inf)
    heaviest, counted = 0.0, False
    for part in stream:
        sample = part.sample
        counted = counted or sample.weights is None or bool(sample.weights.any())
        if not uniform:
            weights = _weights(part, rule)
            heaviest = max(heaviest, float(weights.max()))
            sample = sample.weighted(weights)
        yield part, sample
    if not uniform and counted and heaviest == 0:  # Rows that the source leaves out say nothing of the rule.
        reject("temperature", rule, "all weights underflow to 0; raise it towards the smallest loss")


def _weights(part: Part, rule: WeightRule) -> Array:
    """The rule's weights times those in the source."""
    with np.errstate(over="ignore"):
        weights = np.exp(checked_log_weights(namespace(), rule, part_losses(part)))
    if part.sample.weights is not None:
        weights *= part.sample.weights
    valid = np.isfinite(weights)
    if not valid.all():
        row = int(np.argmin(valid))
        reject(
            "weight", weights[row], f"is too large under {rule!r} at {part.place(row)}; raise the temperature"
        )
    return weights


def _sums(rows: Rows) -> NormalEquations:
    """The normal equations in one pass; not finite where squares overflow."""

    def part_sums(part: Part, sample: Sample) -> NormalEquations:
        sums = NormalEquations.summed(sample)
        if not (np.isfinite(sums.gram).all() and np.isfinite(sums.moment).all()):
            part.refuse_infinite()
        return sums

    return reduce(operator.add, itertools.starmap(part_sums, rows()))


def _by_equations(stream: Stream, rows: Rows, ridge: float) -> InMemory | None:
    """The solution with δ for θ from the normal equations, refined by passes; None where these cannot be relied on."""
    total, pull = _sums(rows), stream.rows * ridge
    if stream.rows < stream.start.size:
        return None  # Beside a ridge, what no row sees would get the rounding of columns in other units.
    if not (np.isfinite(total.gram).all() and (total.gram.diagonal() > 0).all()):
        return None  # A column is zero, or has underflowed and looks like zeros.
    factor = cholesky.factorise(total.gram, pull)
    if factor is None or not unrefined_error(factor.condition, len(total.gram)) < MAX_TWO_PASS_CONTRACTION:
        return None

    def residual_sums(displacement: Array) -> tuple[Array, ...]:
        products = (
            strip_sums
            for _, sample in rows()
            for strip_sums in residual_products(
                sample.X, sample.y, (sample.start, displacement), sample.weights
            )
        )
        return added(products, np.zeros(stream.start.shape), np.zeros(()))

    with np.errstate(over="ignore", invalid="ignore"):  # What overflows on the way is taken from the rows.
        return cholesky.from_sums(total.gram, total.moment, total.energy, pull, residual_sums)


def _by_triangle(stream: Stream, rows: Rows, ridge: float) -> tuple[InMemory, Array]:
    """The displacement from R of the QR factorisation of √w (X, r, y): d + 2 rows with the same minimiser; and what
    others from where it ended add to it, where the start is far: y has the digits that r has lost.
    """
    mass, zero = 0.0, np.zeros(stream.start.shape)
    starts = np.column_stack([stream.start, zero])

    def triangles() -> Iterator[Array]:
        nonlocal mass
        for part, sample in rows():
            mass += len(sample.X) if sample.weights is None else float(sample.weights.sum())
            twice = np.broadcast_to(sample.y[:, None], (len(sample.y), 2))
            for reduced in weighted_triangles(sample.X, twice, starts, sample.weights):
                if not np.isfinite(reduced).all():
                    part.refuse_infinite()
                    remedy = "has rows so large that they overflow; rescale the columns"
                    reject("source", stream.source, remedy)
                yield reduced

    with np.errstate(over="ignore", invalid="ignore"):  # Overflow is looked for in every triangle.
        joined = triangle(triangles())
    noise = None if stream.columns is None else stream.columns.noise * math.sqrt(mass)
    sample, unexplained = _independent_rows(joined, stream.rows, noise)
    (residual, labels), pull = sample.y.T, ridge * stream.rows
    if len(sample.X) == 0:
        rank = stream.start.size if ridge > 0 else 0
        return InMemory(zero, rank, 1.0, unexplained[0], Method.NO_WEIGHT, 0, np.zeros(len(zero)), zero), zero
    solution = minimise(namespace(), sample.labelled(residual, zero), np.asarray(pull / len(sample.X)))

    def solve_from(end: Array) -> Array:
        # The ridge pulls to the start and not to the end.
        known = with_ridge_rows(sample.labelled(labels, stream.start), pull)
        return minimise(namespace(), known.labelled(known.y - known.X @ end, zero), np.zeros(())).theta

    delta, correction = seen_from_end(namespace(), stream.start, solution.theta, solution.columns, solve_from)
    if delta is solution.theta:
        return replace(solution, residual=solution.residual + unexplained[0]), correction
    with np.errstate(over="ignore"):
        left = labels - sample.X @ (stream.start + delta) - sample.X @ correction
        energy = (left**2).sum() + unexplained[1]
    return replace(solution, theta=delta, residual=energy), correction


def _independent_rows(factor: Array, rows: int, noise: Array | None = None) -> tuple[Sample, Array]:
    """As many rows as the rank of X, with the same minimisers for r and y, and the energy of each that none explains.

    What rounding has left of zero is dropped: columns equilibrated and pivoted, the rows of R whose diagonal
    is below the tolerance of :func:`solve` in memory, times √ of the roundings on the way, log₂(rows). Columns of
    ``noise`` (d,), the length of what each was made from, are known to rows·ε of it: in its units, what is below
    that is dropped as well.
    """
    k, d = factor.shape[0], factor.shape[1] - 2
    X, right = factor[:, :d], factor[:, d:]
    if k == rows and noise is None:  # The rows are so few that they have not been reduced.
        return Sample(X, right, np.zeros((d, 2)), None), np.zeros(2)
    largest = np.abs(X).max(axis=0)
    exponents = np.frexp(largest if noise is None else np.maximum(largest, noise))[1]
    pivoted_factor = pivoted.qr(np.ldexp(X, -exponents))
    sizes = np.abs(pivoted_factor.triangle.diagonal())
    tolerance = sizes.max() * pivoted.rank_tolerance(k, d) * math.sqrt(1 + math.log2(rows))
    tolerance = max(tolerance, 0.0 if noise is None else rows * EPS)
    rank = int((sizes > tolerance).sum())
    independent = np.empty((rank, d))
    independent[:, pivoted_factor.columns] = pivoted_factor.triangle[:rank]
    rotated = pivoted_factor.turn(right, transpose=True)
    X, y = _without_rounding_of_dependence(independent, rotated[:rank], exponents, tolerance)
    sample = Sample(np.ldexp(X, exponents), y, np.zeros((d, 2)), None)
    with np.errstate(over="ignore"):  # Labels may be large where what the start leaves of them is not.
        return sample, (rotated[rank:] ** 2).sum(axis=0)


def _without_rounding_of_dependence(
    rows: Array, right: Array, exponents: Array, tolerance: float
) -> tuple[Array, Array]:
    """The same equations, turned, with columns that depend on each other as those of X do.

    ``rows`` (r, d), known to ``tolerance``, independent and in units of 2^exponents. R repeats a column to the rounding
    of its length in every row. Beside a column in smaller units that is much, and the closest minimiser would move by
    it: so the rows become a triangle from the largest column down, in which nothing of a large one stands beside a
    small one alone, nor of what depends on it.
    """
    basic, others, combination = pivoted.dependence(rows, exponents, tolerance)
    # Fewer are basic where the last pivot is so near the tolerance that the rank could be either.
    if len(basic) < len(rows) or others.size == 0:
        return rows, right
    order = np.argsort(-exponents[basic], kind="stable")
    basic, combination = basic[order], combination[order]
    turn, turned = np.linalg.qr(rows[:, basic])
    rows = turn.T @ rows
    rows[:, basic] = turned
    # Of terms much larger than their sum the rounding would be more than what is taken away.
    rounding = EPS * (np.abs(turned) @ np.abs(combination)).max(axis=0, initial=0.0)
    rows[:, others] = np.where(rounding <= tolerance, turned @ combination, rows[:, others])
    return rows, turn.T @ right

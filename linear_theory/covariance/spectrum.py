"""A symmetric matrix A and a vector v in A's eigenbasis, and what a rank-one weight makes of them.

A weight turns A into M = A − (1 − ratio) A e eᵀA/(eᵀA e), whose inverse is A⁻¹ + κ e eᵀ, κ = (1/ratio − 1)/(eᵀA e).
In A's eigenbasis (λᵢ, e's coordinates cᵢ) an eigenvalue λ' of M is a root of the secular equation

    λ' Σᵢ λᵢ cᵢ²/(λᵢ − λ') = 1/κ,         its vector is u ∝ λᵢ cᵢ/(λᵢ − λ'),        eᵀu = 1/(κ λ' ‖λᵢ cᵢ/(λᵢ − λ')‖).

The left side grows from −∞ to ∞ between any two λᵢ, so each root is found for itself, as a distance from the nearer
of them; and the last formula has no difference in it. So a coordinate of e that the weight has made 10³⁰⁰ times
smaller than e keeps its digits: it is known from the structure, where an eigendecomposition of M would only give
rounding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import Array, Namespace, binary_unit, namespace

__all__ = ["Spectrum", "downdated_spectrum", "eigenbasis", "rank_cutoff", "separated", "spectrum"]


class Spectrum(NamedTuple):
    """Eigenvalues (m,), eigenvectors (m, m) in columns, a vector's coordinates (m,), and which are not rounding."""

    values: Array
    vectors: Array
    coordinates: Array
    reached: Array

    def of(self, space: Namespace, vector: Array) -> Spectrum:
        """The same of another vector: a coordinate is reached beyond the rounding of its own sum."""
        coordinates = vector @ self.vectors
        rounding = self.values.shape[0] * space.eps * (abs(vector) @ abs(self.vectors))
        return Spectrum(self.values, self.vectors, coordinates, abs(coordinates) > rounding)


def rank_cutoff(space: Namespace, scale: Array) -> Array:
    """What counts as zero beside ``scale`` (eigenvalues, or a matrix): d · eps · the largest entry."""
    return scale.shape[0] * space.eps * space.xp.max(space.xp.abs(scale), initial=0.0)


def eigenbasis(space: Namespace, matrix: Array, cutoff: Array | None = None) -> tuple[Array, Array]:
    """Eigenvalues (m,), those up to ``cutoff``, by default rounding, being 0, and eigenvectors (m, m) in columns."""
    values, vectors = space.xp.linalg.eigh(matrix)
    cutoff = rank_cutoff(space, values) if cutoff is None else cutoff
    return space.xp.where(values <= cutoff, 0.0, values), vectors


def spectrum(space: Namespace, matrix: Array, vector: Array, cutoff: Array | None = None) -> Spectrum:
    """Of a matrix and a vector."""
    values, vectors = eigenbasis(space, matrix, cutoff)
    return Spectrum(values, vectors, vector, values > 0).of(space, vector)


def downdated_spectrum(space: Namespace, matrix: Array, given: Spectrum, ratio: Array) -> Spectrum:
    """Of M and e, from the spectrum of the matrix A and e; unchanged where M is A to rounding."""
    if space.xp is np:
        unchanged = abs(1 - ratio) < space.eps or not (given.reached & (given.values > 0)).any()
        with np.errstate(all="ignore"):  # infinity at a pole, and 0 below the floats, are meant
            return given if unchanged else _among_reached(space, separated(space, matrix, given), ratio)
    return _traced(matrix, given, ratio)


def _among_reached(space: Namespace, given: Spectrum, ratio: Array) -> Spectrum:
    """Nothing happens in a direction that is not reached."""
    seen = np.flatnonzero(given.reached)
    if len(seen) == len(given.reached):
        return _weighted(space, given, ratio)
    values, vectors, coordinates = given.values.copy(), given.vectors.copy(), given.coordinates.copy()
    part = Spectrum(values[seen], vectors[:, seen], coordinates[seen], given.reached[seen])
    values[seen], vectors[:, seen], coordinates[seen], _ = _weighted(space, part, ratio)
    return Spectrum(values, vectors, coordinates, given.reached)


@jax.jit
def _traced(matrix: Array, given: Spectrum, ratio: Array) -> Spectrum:
    """The same with no look at a value; compiled once for each shape, for its many small steps."""
    space = namespace(matrix)
    found = _weighted(space, separated(space, matrix, given), ratio)
    unchanged = abs(1 - ratio) < space.eps
    return Spectrum(*(jnp.where(unchanged, a, b) for a, b in zip(given, found, strict=True)))


def separated(space: Namespace, matrix: Array, given: Spectrum) -> Spectrum:
    """The same with e along one vector of each eigenspace, so that no two reached eigenvalues coincide.

    Two eigenvalues are one where the errors of their residuals ‖A v − λ v‖ leave no gap between them.
    """
    xp, (values, vectors, coordinates, reached) = space.xp, given
    unit = binary_unit(space, values)  # Otherwise the squares leave the floats before the matrix does.
    residuals = unit * xp.sqrt((((matrix @ vectors - vectors * values) / unit) ** 2).sum(axis=0))
    within = 8 * (residuals[1:] + residuals[:-1]) + 4 * space.eps * values[1:]
    joined = (values[1:] - values[:-1] <= within) & ((values[:-1] == 0) == (values[1:] == 0))
    reached = reached & (values > 0)
    if xp is np and not joined.any():
        return Spectrum(values, vectors, coordinates, reached)
    first = xp.concatenate([xp.ones(1, dtype=bool), ~joined])
    label = xp.cumsum(first)
    same = label[:, None] == label[None, :]
    members = space.array(same.sum(axis=1))
    several = members > 1
    seen = xp.where(reached, coordinates, 0.0)
    # A Householder reflection in every eigenspace of more than one dimension, e's part there to its first vector.
    length = xp.sqrt(xp.where(same, seen[None, :] ** 2, 0.0).sum(axis=1))
    sign = xp.where(seen < 0, -1.0, 1.0)
    normal = xp.where(several, seen + xp.where(first, sign * length, 0.0), 0.0)
    square = xp.where(same, normal[None, :] ** 2, 0.0).sum(axis=1)
    reflection = xp.where(same & (square > 0)[:, None], normal[:, None] * normal[None, :], 0.0)
    turn = (
        xp.eye(values.shape[0], dtype=space.dtype)
        - 2 * reflection / xp.where(square > 0, square, 1.0)[:, None]
    )
    kept = xp.where(several, first & (length > 0), reached)
    along = xp.where(several, -sign * length, coordinates)
    return Spectrum(
        xp.where(same, values[None, :], 0.0).sum(axis=1) / members,
        vectors @ turn,
        xp.where(kept, along, coordinates @ turn),
        kept,
    )


class _Poles(NamedTuple):
    """The secular equation in units in which the largest eigenvalue and e are 1.

    For a downdate as above. For an update (ratio > 1) in its other form, Σᵢ (λᵢ cᵢ)²/(λᵢ − λ') = eᵀAe/(1 − ratio), in
    which the largest root does not cancel.
    """

    values: Array
    coordinates: Array
    update: Array
    strengths: Array  # λᵢ cᵢ², for an update (λᵢ cᵢ)²; 0 where e has no coordinate
    target: Array


class _Origins(NamedTuple):
    """Where each root is measured from: λ' = value − side·y·size, y > 0, at most ``most``.

    ``index`` is the pole, −1 for the point 0; ``size`` is λ²c² there, so that y is of order one however small c.
    """

    index: Array
    value: Array
    size: Array
    side: Array
    most: Array


def _weighted(space: Namespace, given: Spectrum, ratio: Array) -> Spectrum:
    """M and e in M's eigenbasis, from A and e in A's, no two reached eigenvalues of which coincide."""
    xp, (values, vectors, coordinates, reached) = space.xp, given
    # A ratio of 0 has no κ, and an eigenvalue of 0 would be a null space; nothing above 0 is as small as this.
    smallest_float = float(jnp.finfo(space.dtype).tiny)
    ratio = xp.maximum(ratio, 4 * smallest_float)
    largest = xp.max(values)
    unit = xp.where(largest > 0, largest, 1.0)
    seen = xp.where(reached, coordinates, 0.0)
    length = xp.max(abs(seen))
    length = xp.where(length > 0, length, 1.0)
    length = length * xp.sqrt(((seen / length) ** 2).sum())
    length = xp.where(length > 0, length, 1.0)
    lam, c = values / unit, seen / length
    update, quadratic_form, below = ratio > 1, (lam * c**2).sum(), xp.where(ratio == 1, 1.0, 1 - ratio)
    inverse_kappa = quadratic_form * ratio / below
    strengths = xp.where(update, lam, 1.0) * lam * c**2
    poles = _Poles(lam, c, update, strengths, xp.where(update, quadratic_form / below, inverse_kappa))
    origins = _origins(space, poles, reached, ratio)
    y = _roots(space, poles, origins)
    root, own, gaps = _distances(xp, poles, origins, y)
    gaps = xp.where(own | (gaps == 0), 1.0, gaps)  # a gap of 0 is one of no strength
    scaled = lam * c
    origin_weight = xp.where(origins.index >= 0, origins.side * y * scaled[origins.index], 1.0)
    corrections = _loewner(
        space, poles, reached, own, gaps, y, below / xp.where(quadratic_form > 0, quadratic_form, 1.0)
    )
    components = xp.where(own, 1.0, scaled[:, None] * origin_weight[None, :] / gaps) * corrections[:, None]
    norms = xp.sqrt((components**2).sum(axis=0))
    norms = xp.where(norms > 0, norms, 1.0)
    inside = xp.where(reached[None, :], components / norms, xp.eye(lam.shape[0], dtype=space.dtype))
    positive = xp.where(reached & (root > 0), root, 1.0)
    return Spectrum(
        xp.where(reached, xp.maximum(root * unit, smallest_float), values),
        vectors @ inside,
        xp.where(reached, inverse_kappa * origin_weight / (positive * norms) * length, coordinates),
        reached,
    )


def _distances(xp: Any, poles: _Poles, origins: _Origins, y: Array) -> tuple[Array, Array, Array]:
    """λ'; which pole each is measured from; and λᵢ − λ', by its distance from that pole."""
    offset = origins.side * y * origins.size
    own = xp.arange(poles.values.shape[0])[:, None] == origins.index[None, :]
    gaps = poles.values[:, None] - origins.value[None, :] + offset[None, :]
    return origins.value - offset, own, gaps


def _others(xp: Any, poles: _Poles, origins: _Origins, y: Array) -> tuple[Array, Array, Array, Array]:
    """λ', Σ strengthᵢ/(λᵢ − λ') without the pole that λ' is measured from, its derivative by λ', and Σ|…|."""
    root, own, gaps = _distances(xp, poles, origins, y)
    counted = ~own & (poles.strengths[:, None] != 0)
    terms = xp.where(counted, poles.strengths[:, None] / xp.where(counted, gaps, 1.0), 0.0)
    slopes = terms / xp.where(counted, gaps, 1.0)
    return root, terms.sum(axis=0), slopes.sum(axis=0), abs(terms).sum(axis=0)


def _origins(space: Namespace, poles: _Poles, reached: Array, ratio: Array) -> _Origins:
    """The nearer end of each root's interval: below its own λ for a downdate, above it for an update."""
    xp, lam = space.xp, poles.values
    m = lam.shape[0]
    place = xp.arange(m)
    before, after = _neighbours(xp, place, reached, m)
    is_update = poles.update
    left, right = xp.where(is_update, place, before), xp.where(is_update, after, place)
    low = xp.where(left >= 0, lam[left], 0.0)
    open_end = right >= m
    high = xp.where(open_end, lam * xp.where(is_update, ratio, 1.0), lam[xp.where(open_end, 0, right)])
    middle = low + (high - low) / 2
    at_middle = _Origins(xp.full(m, -1), 0 * lam, 1 + 0 * lam, -1 + 0 * lam, middle)
    _, total, *_ = _others(xp, poles, at_middle, middle)
    nearer_right = (xp.where(is_update, 1.0, middle) * total < poles.target) & ~open_end
    index = xp.where(nearer_right, right, left)
    value = xp.where(index >= 0, lam[index], 0.0)
    size = xp.where(index >= 0, (value * poles.coordinates[index]) ** 2, 1.0)
    width = xp.where(open_end, high - low, (high - low) / 2)
    largest = float(np.finfo(space.dtype).max)
    most = xp.minimum(1.25 * width / xp.where(size > 0, size, 1.0), largest)  # short of the other pole
    most = xp.where(size > 0, most, largest)
    return _Origins(index, value, size, xp.where(nearer_right, 1.0, -1.0).astype(space.dtype), most)


def _neighbours(xp: object, place: Array, reached: Array, m: int) -> tuple[Array, Array]:
    """Of each place the next reached one below (−1: none) and above (m: none)."""
    if xp is np:
        below = np.maximum.accumulate(np.where(reached, place, -1))
        above = np.minimum.accumulate(np.where(reached, place, m)[::-1])[::-1]
        return np.concatenate([[-1], below[:-1]]), np.concatenate([above[1:], [m]])
    below = jax.lax.cummax(jnp.where(reached, place, -1))
    above = jax.lax.cummin(jnp.where(reached, place, m), reverse=True)
    ends = lambda value: jnp.full(1, value, dtype=place.dtype)
    return jnp.concatenate([ends(-1), below[:-1]]), jnp.concatenate([above[1:], ends(m)])


def _roots(space: Namespace, poles: _Poles, origins: _Origins) -> Array:
    """y by Newton's steps, and where one leaves the bracket by halving it in the order of the floats' bits.

    Measured from a pole the equation is y·R = 1, R smooth: what all else makes of λ'. Measured from 0 it is
    y·Σ λᵢcᵢ²/(λᵢ − y) = 1/κ, which is convex.
    """
    xp, target = space.xp, poles.target
    pole = origins.index >= 0
    unit = xp.where(pole & ~poles.update, origins.value, 1.0)
    kind, rounds = {4: (np.int32, 32), 8: (np.int64, 64)}[np.dtype(space.dtype).itemsize]
    bits = lambda y: y.view(kind) if xp is np else jax.lax.bitcast_convert_type(y, kind)
    floats = lambda b: b.view(space.dtype) if xp is np else jax.lax.bitcast_convert_type(b, space.dtype)

    def residual(y: Array) -> tuple[Array, Array, Array]:
        """h(y), which grows through 0 at the root, its derivative, and what is rounding in it."""
        root, total, slope, size = _others(xp, poles, origins, y)
        right_side = xp.where(poles.update, target, target / root)
        right_side_slope = xp.where(poles.update, 0.0, right_side / root)
        rest = origins.side * (right_side - total)
        origin_weight = xp.where(pole, y * unit, y / target)
        value = origin_weight * xp.where(pole, rest, total) - 1.0
        change = xp.where(
            pole, unit * (rest + y * origins.size * (right_side_slope + slope)), (total + y * slope) / target
        )
        return (
            value,
            change,
            2 * space.eps * (1 + origin_weight * (size + xp.where(pole, abs(right_side), 0.0))),
        )

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        low, high, y, done = state
        value, change, rounding = residual(y)
        low, high = xp.where((value < 0) & ~done, y, low), xp.where((value >= 0) & ~done, y, high)
        newton = y - value / change
        inside = (newton > low) & (newton < high)
        ends = bits(low), bits(high)
        half = floats(ends[0] + (ends[1] - ends[0]) // 2)
        settled = (abs(value) <= rounding) | (ends[1] - ends[0] <= 1)
        return low, high, xp.where(done | settled, y, xp.where(inside, newton, half)), done | settled

    first = _initial_guess(xp, poles, origins, unit)
    never = xp.zeros(first.shape, dtype=bool)
    state = (xp.zeros_like(first), origins.most, first, never)
    if xp is np:
        for _ in range(2 * rounds):
            state = step(state)
            if state[3].all():
                break
        return state[2]
    unfinished = lambda counted: ~counted[1][3].all() & (counted[0] < 2 * rounds)
    return jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, step(c[1])), (0, state))[1][2]


def _initial_guess(xp: Any, poles: _Poles, origins: _Origins, unit: Array) -> Array:
    """The root of the equation with all else as it is at the origin, or the end of the bracket."""
    nearby = 0.0 * origins.most
    root, total, *_ = _others(xp, poles, origins, nearby)
    pole = origins.index >= 0
    right_side = xp.where(poles.update, poles.target, poles.target / xp.where(root > 0, root, 1.0))
    guess = xp.where(pole, 1 / (unit * origins.side * (right_side - total)), poles.target / total)
    return xp.where((guess > 0) & (guess < origins.most), guess, origins.most)


def _loewner(
    space: Namespace, poles: _Poles, reached: Array, own: Array, gaps: Array, y: Array, share: Array
) -> Array:
    """The coordinates of which the computed roots are the exact ones, over the given ones (Gu and Eisenstat 1994).

    With them the vectors are orthogonal to rounding also where roots lie so close that their own errors would mix
    them: share·(λᵢcᵢ)² = Π_k(λᵢ − λ'_k)/Π_{k≠i}(λᵢ − λ_k), share = (1 − ratio)/(eᵀAe).
    """
    xp, lam, c = space.xp, poles.values, poles.coordinates
    m = lam.shape[0]
    itself = xp.eye(m, dtype=bool)
    # √|λᵢ − λ'_k|, through y where the root is measured from λᵢ, for there the square may underflow.
    roots = xp.where(own, xp.sqrt(y)[None, :] * abs(lam * c)[:, None], xp.sqrt(abs(gaps)))
    apart = abs(lam[:, None] - lam[None, :])
    between = xp.sqrt(xp.where(itself | (apart == 0), 1.0, apart))
    factors = xp.where(reached[None, :], roots / between, 1.0)
    product = xp.prod(factors, axis=1)
    given = xp.sqrt(abs(share)) * abs(lam * c)
    usable = reached & (given > 0) & (product > 0) & (product < math.inf)
    return xp.where(usable, product / xp.where(given > 0, given, 1.0), 1.0)

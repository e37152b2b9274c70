"""The one place for tolerances. Each is derived; none was widened until a test passed.

The promise is 1e-12 relative. A backward stable computation returns the exact answer for inputs moved by a
few units of the last place, so where the answer's condition number κ is so large that κ·ε exceeds the
promise, nobody working in float64 could keep it, and the derived bound SAFETY·κ·ε takes its place:
`bound(condition)` is the larger of the two.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np

from .reference.population import INF, Case, mp, norm
from .reference.rows import exact_matrix, exact_vector

EPS = 2.0**-52
"""Spacing of float64 at 1; the unit roundoff is half of it."""

TINY = 2.0**-1022
"""Smallest normal float64. Below it relative precision is gone, and XLA flushes to zero."""

LARGEST = 1.7976931348623157e308
"""Beyond it float64 says infinity."""

RELATIVE = 1e-12
"""The promise of issue 2."""

VACUOUS = 1e-2
"""A bound wider than this would let wrong formulas pass: such a point has no place in a grid."""

SAFETY = 16
"""The rounding error of a short formula, in units of ε: the small constant in front of its condition number κ."""

SIGMAS = 4.0
"""A simulation may be this many standard errors off (two-sided probability 6e-5)."""


def bound(condition=0.0):
    """max(1e-12, SAFETY · κ · ε)."""
    return max(RELATIVE, SAFETY * EPS * float(condition))


def power_condition(eigenvalue, steps, gap_is_exact=True):
    """κ of λ^K. With 1−λ known to relative ε (FLOW's slow direction) it is K(1−λ)/|λ|; with λ itself, K."""
    eigenvalue = abs(float(eigenvalue))
    if steps == 0 or eigenvalue in (0.0, 1.0):
        return 0.0
    return steps * ((1 - eigenvalue) / eigenvalue if gap_is_exact else 1.0)


def power_bound(eigenvalue, steps, gap_is_exact=True):
    """Bound for λ^K: where λ^K is no underflow, K|ln λ| < 745, so an honest power is near the promise for
    every K.
    """
    return bound(power_condition(eigenvalue, steps, gap_is_exact))


def quadratic_form_condition(matrix, vector):
    """κ of vᵀAv under relative changes of every entry: |v|ᵀ|A||v| / vᵀAv, at most cond(A)·d."""
    size = range(len(vector))
    value = mp.fsum(vector[i] * matrix[i, j] * vector[j] for i in size for j in size)
    if value == 0:
        return 0.0
    return mp.fsum(abs(vector[i] * matrix[i, j] * vector[j]) for i in size for j in size) / abs(value)


def least_squares_condition(X, y, theta, start, weights=None):
    """Wedin: κ + κ² · ‖residual‖ / (‖A‖‖δ‖) + (‖start‖ + ‖y‖/‖A‖)/‖δ‖-type terms, all relative to ‖θ‖, A =
    √w X.

    The displacement δ = θ − start solves A δ ≈ √w (y − X start); forming that right-hand side costs ε(|y| +
    |X||start|).
    """
    if norm(theta) == 0:
        return 0.0
    moved, _ = _least_squares_terms(X, y, theta, start, weights)
    return moved / norm(theta)


def _least_squares_terms(X, y, theta, start, weights):
    """How far θ moves over ε, and the size of what θ is the sum and difference of."""
    n, d = X.rows, X.cols
    w = [mp.mpf(1)] * n if weights is None else [mp.mpf(v) for v in weights]
    A = mp.matrix([[mp.sqrt(w[i]) * X[i, j] for j in range(d)] for i in range(n)])
    singular = list(mp.svd_r(A, compute_uv=False)) if n >= d else list(mp.svd_r(A.T, compute_uv=False))
    largest = max(singular)
    if largest == 0:
        return mp.mpf(0), norm(start)
    smallest = min(s for s in singular if s > mp.mpf(10) ** -25 * largest)
    kappa = largest / smallest
    residual = mp.sqrt(mp.fsum(w[i] * (y[i] - (X * theta)[i]) ** 2 for i in range(n)))
    forming = mp.sqrt(mp.fsum(w[i] * (abs(y[i]) + _absolute_row(X, start, i)) ** 2 for i in range(n)))
    delta = norm(theta - start)
    moved = kappa * delta + kappa * forming / largest + kappa**2 * residual / largest + norm(start)
    return moved, norm(start) + forming / largest


def ridged(X, y, start, weights=None, ridge=0.0):
    """Exact rows of the same problem without a ridge: d more of them, √(nλ) I with the label √(nλ)·start."""
    X, y, start = exact_matrix(X), exact_vector(y), exact_vector(start)
    w = None if weights is None else list(weights)
    if ridge:
        n, d = X.rows, X.cols
        extra = mp.sqrt(mp.mpf(ridge) * n) * mp.eye(d)
        pulled = extra * start
        X = mp.matrix([*X.tolist(), *extra.tolist()])
        y = mp.matrix([*y, *pulled])
        w = None if w is None else [*w, *[1.0] * d]
    return X, y, start, w


def least_squares_measure(X, y, start, weights=None, ridge=0.0, *, want):
    """What an error of θ is relative to, and κ in that: where θ vanishes by cancellation, its terms do not."""
    X, y, start, w = ridged(X, y, start, weights, ridge)
    moved, terms = _least_squares_terms(X, y, want, start, w)
    size = max(norm(want), terms)
    return size, moved / size if size else mp.mpf(0)


def _absolute_row(X, start, i):
    return mp.fsum(abs(X[i, j] * start[j]) for j in range(X.cols))


# ----------------------------------------------------------------------------- measured condition numbers


def _next(value):
    """The next float away from zero; zeros (structural) and infinities stay."""
    return value if value == 0 or math.isinf(value) else math.nextafter(value, math.copysign(INF, value))


def neighbours(item, move=_next):
    """Everything that is a Case, a Rule or a float but for one float, moved, by default by one unit in the last
    place; covariances stay symmetric.
    """
    if isinstance(item, bool | int | str | None):
        return
    if isinstance(item, float):
        if move(item) != item:
            yield move(item)
    elif isinstance(item, tuple):
        matrix = bool(item) and isinstance(item[0], tuple)
        for i, entry in enumerate(item):
            for j, part in enumerate(entry[: i + 1] if matrix else [entry]):
                for value in neighbours(part, move):
                    if matrix:
                        moved = [list(row) for row in item]
                        moved[i][j] = moved[j][i] = value
                        yield tuple(map(tuple, moved))
                    else:
                        yield (*item[:i], value, *item[i + 1 :])
    else:
        for field in fields(item):
            for moved in neighbours(getattr(item, field.name), move):
                yield replace(item, **{field.name: moved})


def measured_condition(function, *inputs, want=None, size=None, move=_next, unit=EPS):
    """Σ_j ‖f(x + ulp_j) − f(x)‖ / (ε‖f(x)‖), measured on the reference itself, every input float moved in
    turn; relative to ``size`` instead of ‖f(x)‖ if that is given. ``move`` another way, by a share ``unit`` for ε.

    Beside the input floats themselves, the shift e = θ* − θ̃* is rounded once by any program: moving θ* and
    θ̃* covers it.
    """
    want = function(*inputs) if want is None else want
    size, total = norm_of(want) if size is None else size, mp.mpf(0)
    if size == 0:
        return mp.mpf(0)
    for k, item in enumerate(inputs):
        for moved in neighbours(item, move):
            total += norm_of(function(*inputs[:k], moved, *inputs[k + 1 :]) - want)
    return total / (size * mp.mpf(unit))


def norm_of(value):
    if not isinstance(value, mp.matrix):
        return abs(value)
    return norm(value) if value.cols == 1 else mp.norm(value, 1)


# --------------------------------------------------------------------------------------------- comparison


def exact(value):
    """A float, vector or matrix of floats as the exact numbers they are."""
    shape = getattr(value, "shape", ())
    if isinstance(value, mp.matrix | mp.mpf):
        return value
    if len(shape) == 0:
        return mp.mpf(float(value))
    if len(shape) == 1:
        return mp.matrix([mp.mpf(float(v)) for v in value])
    return mp.matrix([[mp.mpf(float(v)) for v in row] for row in value])


def disagreement(label, got, want, condition=None, scale=1.0, resolution=0.0):
    """None if ‖got − want‖ ≤ bound · ‖want‖ (+ underflow at `scale`), else a line saying by how much it is
    off.

    `condition`, a function without arguments, is asked only when the promise itself is broken: deriving κ
    can be dear. `resolution` is what the reference itself cannot tell from
    zero, where the wanted number is a component that vanishes by cancellation.
    """
    got = exact(got)
    finite = all(mp.isfinite(v) for v in (got if isinstance(got, mp.matrix) else [got]))
    floor = 8 * mp.mpf(TINY) * max(1, mp.mpf(scale)) + resolution
    if not isinstance(want, mp.matrix) and want > LARGEST:
        return None if got == INF else f"{label}: got {got}, want an overflow"
    if not finite:
        return f"{label}: got {got}, want {mp.nstr(want, 17)}"
    gap, size = norm_of(got - want), norm_of(want)
    if gap <= mp.mpf(RELATIVE) * size + floor:
        return None
    allowed = bound(condition() if condition else 0.0)
    if allowed > VACUOUS:
        return f"{label}: so ill-conditioned (bound {allowed:.1e}) that the comparison would assert nothing"
    if gap <= mp.mpf(allowed) * size + floor:
        return None
    relative = mp.nstr(gap / size, 3) if size else "inf"
    return f"{label}: relative error {relative} > {allowed:.2e}"


def scales(case: Case):
    """The largest number in play, for the underflow term, and what the reference cannot tell from zero.

    Under noise the limit θ_∞ − θ̃* is the solution of a system whose right-hand side can vanish by cancellation
    (τ = ∞), to 60 digits less a margin; without noise it is exactly 0 in the reference too, and tiny iterates
    keep all their digits.
    """
    size = max(abs(v) for v in (*case.pretrained, *case.target, 1.0))
    return {"scale": size, "resolution": mp.mpf(10) ** -45 * size if case.noise else 0}


# ---------------------------------------------------------------- laws: two computed arrays, both rounded


def near(got, want, condition=0.0, scale=None):
    """Whether two computed arrays agree to `bound(condition)` of `scale`, by default the largest entry in
    them.

    Both sides of a law are rounded, so a law's condition number is the sum of theirs. Same shape, finite.
    """
    got, want = np.asarray(got, dtype=float), np.asarray(want, dtype=float)
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return False
    if scale is None:
        scale = np.max(np.abs(want), initial=0.0)
    return bool(np.max(np.abs(got - want), initial=0.0) <= bound(condition) * float(scale) + 8 * TINY)


def not_above(got, limit, condition=0.0, scale=None):
    """Whether got ≤ limit up to rounding: an inequality between two computed numbers or arrays."""
    got, limit = np.asarray(got, dtype=float), np.asarray(limit, dtype=float)
    if scale is None:
        scale = np.max(np.abs(limit), initial=0.0)
    return bool(np.all(got - limit <= bound(condition) * float(scale) + 8 * TINY))


def spectral_condition(matrix):
    """d · λ_max/λ_min⁺ of a covariance: what a law about its matrix functions may lose."""
    values = np.linalg.eigvalsh(np.asarray(matrix, dtype=float))
    positive = values[values > len(values) * EPS * values[-1]] if values[-1] > 0 else np.ones(1)
    return len(values) * float(positive[-1] / positive[0])


def within_standard_errors(samples, want, sigmas=SIGMAS):
    """Whether the mean over axis 0 of independent samples is within `sigmas` standard errors of `want`."""
    samples = np.asarray(samples, dtype=float)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    return bool(np.all(np.abs(samples.mean(axis=0) - np.asarray(want)) <= sigmas * error + 8 * TINY))

"""What ``diagnose`` says of rows, in 60 digits: sums over rows, mpmath's eigenvectors, powers by squaring."""

from __future__ import annotations

from linear_theory.testing.reference import rows
from linear_theory.testing.reference.population import INF, mp, power_action


def quadratic(matrix, vector):
    return (vector.T * matrix * vector)[0]


def inner(a, b):
    return (a.T * b)[0]


def diagnosis(X, y, start, temperature=None, sigma=None, steps=()):
    """Every number by name; the paths of the three methods at these steps, by repeated squaring."""
    n, d = len(y), len(start)
    A = rows.exact_matrix(X)
    residual = rows.exact_vector(y) - A * rows.exact_vector(start)
    losses = [residual[i] ** 2 for i in range(n)]
    ordered = sorted(losses)
    tau = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if temperature is None else mp.mpf(temperature)
    w = [mp.exp(-loss / tau) for loss in losses]
    mass = mp.fsum(w) / n
    unweighted, slope = A.T * A / n, A.T * residual / n
    heavy, pull = mp.zeros(d, d), mp.zeros(d, 1)
    for i in range(n):
        heavy += w[i] * A[i, :].T * A[i, :] / n
        pull += w[i] * residual[i] * A[i, :].T / n
    weighted = heavy / mass
    values, vectors = mp.eigsy(weighted)
    order = sorted(range(d), key=lambda k: values[k])
    target = mp.lu_solve(unweighted, slope)  # displacements from the start
    limit = mp.lu_solve(heavy, pull)
    Sigma = unweighted if sigma is None else rows.exact_matrix(sigma)
    both = lambda delta: (quadratic(Sigma, delta), quadratic(unweighted, delta - target))
    unweighted_values = sorted(mp.eigsy(unweighted, eigvals_only=True))
    steepest = max(unweighted_values[-1], values[order[-1]])
    step = mp.mpf(1) / 2 if steepest < 2 else 1 / (2 * steepest)
    slowest = max(order, key=lambda k: abs(1 - 2 * step * values[k]))
    slow, direction = values[slowest], vectors[:, slowest]
    flow_rate = step / mass
    standard = (
        flow_rate if flow_rate * unweighted_values[-1] < 1 else max(step, 1 / (2 * unweighted_values[-1]))
    )
    paths = {}
    for name, matrix, end, rate in (
        ("standard", unweighted, target, standard),
        ("FLOW", heavy, limit, flow_rate),
        ("same mean step", unweighted, target, step),
    ):
        once = mp.eye(d) - 2 * rate * matrix
        paths[name] = [both(end - power_action(once, end, k)) for k in steps]
    keep = abs(1 - 2 * step * slow)
    return {
        "temperature": tau,
        "mean_weight": mass,
        "effective_samples": mp.fsum(w) ** 2 / mp.fsum(v**2 for v in w),
        "gram": unweighted,
        "weighted": weighted,
        "spectrum": mp.matrix([[*unweighted_values], [values[k] for k in order]]),
        "shift": -target,
        "weighted_shift": -limit,
        "stalled_direction": direction,
        "overlap": abs(inner(direction, target)) / mp.sqrt(inner(target, target)),
        "half_life": mp.log(2) / -mp.log(keep) if keep < 1 else INF,
        "errors": mp.matrix([both(mp.zeros(d, 1)), both(limit), both(target)]),
        "learning_rates": mp.matrix([standard, flow_rate, step]),
        "paths": mp.matrix([list(point) for path in paths.values() for point in path]),
    }

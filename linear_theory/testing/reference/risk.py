"""Errors (4), averaging, the joint optimum, hard samples, the median: plain sums, roots, a linear solve."""

from __future__ import annotations

from functools import lru_cache

from .population import gauss_legendre, inner, mp, residual_split


def _exact(theta):
    return mp.matrix([mp.mpf(float(t)) if not isinstance(t, mp.mpf) else t for t in theta])


def pretrain_error(case, theta):
    u = _exact(theta) - mp.matrix(case.pretrained)
    return inner(u, case.sigma * u)


def target_error(case, theta):
    u = _exact(theta) - mp.matrix(case.target)
    return inner(u, mp.matrix(case.covariance) * u)


def total_error(case, theta):
    return pretrain_error(case, theta) + target_error(case, theta)


def average(case, omega):
    w = mp.mpf(omega)
    return w * mp.matrix(case.pretrained) + (1 - w) * mp.matrix(case.target)


@lru_cache(None)
def best_average_weight(case):
    """Where the total error on the averaging line is stationary: a central difference is exact for a
    parabola.
    """
    f = lambda omega: total_error(case, average(case, omega))
    return mp.findroot(lambda omega: f(omega + 1) - f(omega - 1), (mp.mpf("0.3"), mp.mpf("0.7")))


def best_model_average(case):
    return average(case, best_average_weight(case))


def joint_optimum(case):
    S, T = case.sigma, mp.matrix(case.covariance)
    return mp.lu_solve(S + T, S * mp.matrix(case.pretrained) + T * mp.matrix(case.target))


def gap_closed(case, theta):
    """Of the total error between the best average and the joint optimum."""
    most, least = (total_error(case, point) for point in (best_model_average(case), joint_optimum(case)))
    return (most - total_error(case, theta)) / (most - least)


@lru_cache(None)
def _tail_second_moment(fraction):
    """E[Z² | |Z| ≥ t] where P(|Z| ≥ t) = fraction: root-finding, then quadrature over the tail."""
    q = mp.mpf(fraction)
    t = mp.mpf(0)
    if q < 1:
        guess = mp.sqrt(-2 * mp.log(q))
        f = lambda t: mp.log(mp.erfc(t / mp.sqrt(2)) / q)
        t = mp.findroot(f, (guess / 2, guess), tol=mp.mpf(10) ** (20 - 2 * mp.dps))
    end = mp.sqrt(t * t + mp.mpf(2.5) * mp.dps * mp.log(10))
    density = lambda z: mp.exp(-z * z / 2) * mp.sqrt(2 / mp.pi)
    return gauss_legendre(lambda z: z * z * density(z), t, end) / q


def hard_sample_error(case, theta, fraction):
    """E[⟨θ − θ̃*, x⟩² | |r| among the largest]; given r, ⟨δ, x⟩ is Gaussian with mean ⟨δ, h⟩ r."""
    variance, h, G = residual_split(case)
    delta = mp.matrix([*(_exact(theta) - mp.matrix(case.target)), 0])
    return inner(delta, G * delta) + variance * inner(delta, h) ** 2 * _tail_second_moment(fraction)


@lru_cache(None)
def median_chi_square():
    """The median of Z², from the probability of |Z| ≤ √m by quadrature."""
    density = lambda z: mp.exp(-z * z / 2) * mp.sqrt(2 / mp.pi)
    return mp.findroot(lambda root: mp.quad(density, [0, root]) - mp.mpf(1) / 2, mp.mpf("0.6745")) ** 2


def population_median_temperature(case):
    return residual_split(case)[0] * median_chi_square()

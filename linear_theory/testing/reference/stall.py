"""The paper's plane a second time: β, the spectrum and (14) read off the matrix Q = I − Σ'/μ, which
quadrature builds.

β is *defined* by the stalled direction ē − βρē⊥, the eigenvector of Q with the largest eigenvalue; it is
found from Q, and the temperature belonging to a β by root-finding on that. At ρ = 0 the direction does not
tell β, and λ₁ = 1/(1+β) does.
"""

from __future__ import annotations

from functools import lru_cache

from .population import INF, UNWEIGHTED, Rule, mp, norm, power_action, residual_moment


def plane_matrix(temperature, rho):
    """Q in units of the shift, in the basis (ē, ē⊥); `temperature` in units of ‖e‖², an mpf.

    The conditioning of `reference`, with e = (1, 0): Σ̃e = (1, ρ), s² = 1,  Σ' = m₀(Σ̃ − Σ̃e eᵀΣ̃) + m₂ Σ̃e
    eᵀΣ̃.
    """
    rho = mp.mpf(rho)
    covariance = mp.matrix([[1, rho], [rho, 1]])
    c = covariance[:, 0]
    rule = UNWEIGHTED if temperature == INF else Rule("flow", temperature)
    m0, m2 = residual_moment(rule, mp.mpf(1), 0), residual_moment(rule, mp.mpf(1), 2)
    return mp.eye(2) - (m0 * (covariance - c * c.T) + m2 * (c * c.T)) / m0


def _eigen(Q):
    values, V = mp.eigsy(Q)
    return (values[1], values[0]), V[:, 1]


def _parameter_of(Q, rho):
    (top, _), v = _eigen(Q)
    if rho == 0:
        return 1 / top - 1
    return -v[1] / (v[0] * mp.mpf(rho))


def _units(temperature, shift_norm):
    return INF if temperature == INF else mp.mpf(temperature) / mp.mpf(shift_norm) ** 2


@lru_cache(None)
def stall_parameter(temperature, rho, shift_norm=1.0):
    tau = _units(temperature, shift_norm)
    if tau == INF:
        return mp.mpf(INF) if rho == 0 else 1 / mp.mpf(rho)
    return _parameter_of(plane_matrix(tau, rho), rho)


@lru_cache(None)
def stall_temperature(beta, rho, shift_norm=1.0):
    """Root of log β(τ) − log β in log τ. The paper's formula serves as the starting guess alone."""
    b, r = mp.mpf(beta), mp.mpf(rho)
    f = lambda log_tau: mp.log(_parameter_of(plane_matrix(mp.exp(log_tau), rho), rho) / b)
    guess = mp.log(2 * b * (1 - r * r) / (1 - b * b * r * r))
    root = mp.findroot(
        f, (guess - mp.mpf("1e-3"), guess + mp.mpf("1e-3")), tol=mp.mpf(10) ** (20 - 2 * mp.dps)
    )
    return mp.exp(root) * mp.mpf(shift_norm) ** 2


@lru_cache(None)
def plane_of(beta, rho):
    return plane_matrix(stall_temperature(beta, rho), rho)


def stall_spectrum(beta, rho):
    """(λ₁, λ₂) of Q: the eigenvalue of ē − βρē⊥ first."""
    return _eigen(plane_of(beta, rho))[0]


def closed_form(beta, rho, steps):
    """Q^K ē: components along ē and ē⊥."""
    return power_action(plane_of(beta, rho), mp.matrix([1, 0]), steps)


def stall_direction(beta, rho):
    """The eigenvector, of length 1, on the side of ē."""
    v = _eigen(plane_of(beta, rho))[1]
    return v * mp.sign(v[0]) / norm(v)


def stall_approximation(beta, rho, steps):
    """(15): the part of Q^K ē along the stalled eigenvector."""
    v = stall_direction(beta, rho)
    return stall_spectrum(beta, rho)[0] ** int(steps) * v[0] * v


def model_average_weight(beta, rho, steps):
    """γ, the component of that along ē."""
    return stall_approximation(beta, rho, steps)[0]


def half_life(beta, rho):
    """How many steps the largest eigenvalue takes to ½."""
    return mp.log(mp.mpf(1) / 2) / mp.log(stall_spectrum(beta, rho)[0])


def squared_mass(beta, rho):
    """E[w]² at the temperature of β."""
    rule = Rule("flow", stall_temperature(beta, rho))
    return residual_moment(rule, mp.mpf(1), 0) ** 2

"""One-pass SGD a second time: the second moment of u = (θ − θ̃*, −1) as one explicit linear map, built
index by index.

One sample moves θ by −2ηw x⟨z, u⟩, that is u ← (I − 2ηw Π z zᵀ) u, so

    M_ij ← M_ij − 2η Σ_k (Π_i S_ik M_kj + M_ik S_kj Π_j) + 4η² Π_i Π_j Σ_kl T_ijkl M_kl

with S = E[w z zᵀ] and T_ijkl = E[w² z_i z_j z_k z_l]. T by two routes: `conditioned` splits z = h r + g and
sums over which of the four factors come in g-pairs, valid for every weight rule; `isserlis` sums over the
three pairings of the Gaussian that w² tilts z into, valid for exponential rules.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

from .population import inner, joint_moment, mp, power_action, residual_moment, residual_split

PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


def _residual_moments(case, rule):
    variance = residual_split(case)[0]
    return [residual_moment(rule, variance, order, 2) * variance ** (order // 2) for order in (0, 2, 4)]


def conditioned(case, rule):
    """T as a function of its four indices, through z = h r + g."""
    _, h, G = residual_split(case)
    n0, n2, n4 = _residual_moments(case, rule)

    def entry(*index):
        total = n4 * mp.fprod(h[i] for i in index)
        for (a, b), (c, d) in PAIRINGS:
            one, two = G[index[a], index[b]], G[index[c], index[d]]
            total += n0 * one * two
            total += n2 * (one * h[index[c]] * h[index[d]] + two * h[index[a]] * h[index[b]])
        return total

    return entry


def isserlis(case, rule):
    """T through the tilted covariance C₂ = E[w² z zᵀ]/E[w²]."""
    _, h, G = residual_split(case)
    n0, n2, _ = _residual_moments(case, rule)
    C = G + (n2 / n0) * (h * h.T)
    return lambda *index: (
        n0 * mp.fsum(C[index[a], index[b]] * C[index[c], index[d]] for (a, b), (c, d) in PAIRINGS)
    )


@lru_cache(None)
def second_moment_map(case, rule, learning_rate, fourth=conditioned):
    """The D² × D² matrix of one step on vec(M)."""
    D = case.dim + 1
    eta = mp.mpf(learning_rate)
    S, T = joint_moment(case, rule), fourth(case, rule)
    free = [1] * case.dim + [0]
    A = mp.eye(D * D)
    for i, j in product(range(D), repeat=2):
        for k in range(D):
            A[i * D + j, k * D + j] -= 2 * eta * free[i] * S[i, k]
            A[i * D + j, i * D + k] -= 2 * eta * free[j] * S[k, j]
        if free[i] and free[j]:
            for k, m in product(range(D), repeat=2):
                A[i * D + j, k * D + m] += 4 * eta**2 * T(i, j, k, m)
    return A


@lru_cache(None)
def sgd_error(case, rule, steps, learning_rate, fourth=conditioned):
    """E err₂ = tr(Σ̃ M_θθ) after `steps` samples."""
    d, D = case.dim, case.dim + 1
    M = _second_moment(case, rule, steps, learning_rate, fourth)
    return mp.fsum(inner(case.covariance[i], M[i * D : i * D + d]) for i in range(d))


@lru_cache(None)
def sgd_pretrain_error(case, rule, steps, learning_rate, fourth=conditioned):
    """E err₁ = E (u − e)ᵀΣ(u − e) with u = θ − θ̃*, of which the mean is −M_θ,last."""
    d, D = case.dim, case.dim + 1
    M, e, S = _second_moment(case, rule, steps, learning_rate, fourth), case.shift, case.sigma
    moved = lambda i, j: M[i * D + j] + M[i * D + d] * e[j] + e[i] * M[j * D + d] + e[i] * e[j]
    return mp.fsum(S[i, j] * moved(i, j) for i, j in product(range(d), repeat=2))


@lru_cache(None)
def _second_moment(case, rule, steps, learning_rate, fourth):
    D = case.dim + 1
    u = mp.matrix([*case.shift, -1])
    start = mp.matrix([u[i] * u[j] for i, j in product(range(D), repeat=2)])
    return power_action(second_moment_map(case, rule, learning_rate, fourth), start, steps)


@lru_cache(None)
def sgd_stability_limit(case, rule):
    """The smallest η at which some second moment S of θ − θ̃* neither grows nor falls: η·drift(S) + η²·kick(S) = 0.

    So 1/η is the largest eigenvalue of −drift⁻¹ kick; both are read off the step's matrix at η = 1 and 2.
    """
    d, D = case.dim, case.dim + 1
    at = [i * D + j for i, j in product(range(d), repeat=2)]
    inside = lambda eta: mp.matrix(
        [[second_moment_map(case, rule, eta)[a, b] - (a == b) for b in at] for a in at]
    )
    one, two = inside(mp.mpf(1)), inside(mp.mpf(2))
    drift, kick = (one * 4 - two) / 2, (two - 2 * one) / 2  # η·drift + η²·kick
    values, _ = mp.eig(mp.inverse(-drift) * kick)
    return 1 / max(mp.re(v) for v in values)

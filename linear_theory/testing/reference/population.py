"""The theory a second time, in 60 digits and by other means: quadrature, matrix power, linear solve,
root-finding.

Nothing here uses a closed formula that the package is tested on. What is used, derived once:

**Conditioning on the residual.** With x ~ N(0, Σ̃), ξ ~ N(0, σ²) independent and y = ⟨θ̃*, x⟩ + ξ, the
residual of the pre-trained model is r = y − ⟨θ*, x⟩ = ξ − ⟨e, x⟩, which is N(0, s²) with s² = eᵀΣ̃e + σ².
Write z = (x, ξ), a = (−e, 1), C = diag(Σ̃, σ²), so that r = ⟨a, z⟩ and Cov(z, r) = Ca. A jointly Gaussian
vector splits as

    z = h r + g,    h = Ca / s²,    g ~ N(0, G) independent of r,    G = C − Ca aᵀC / s²,

with h = (−Σ̃e, σ²)/s². A weight w = g(r) depends on z through r only. Hence, with Z standard normal and
m_k = E[w(sZ) Zᵏ] — a one-dimensional integral, done numerically —

    E[w] = m₀,    E[w z zᵀ] = m₀ G + s² m₂ h hᵀ,

whose x-block is Σ' = E[w x xᵀ] and whose (x, ξ)-column is p = E[w x ξ]. The gradient of E[w (y − ⟨θ,x⟩)²]
is 2(Σ'θ − E[w x y]) and E[w x y] = Σ'θ̃* + p, so the displacement δ = θ − θ̃* obeys δ ← δ − 2η(Σ'δ − p), an
affine map: the matrix [[I − 2ηΣ', 2ηp], [0, 1]] acting on (δ, 1). Powers of that matrix, by repeated
squaring, are the iterates. Without noise p is exactly 0, so δ keeps its full relative precision however
small it becomes.

A float enters as the exact number it is. Cases are hashable, and everything dear is cached.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import mpmath

mp = mpmath.mp.clone()  # a context of our own: nobody's global precision is touched
mp.dps = 60

INF = math.inf


@dataclass(frozen=True)
class Rule:
    """A weight rule as the reference sees it: `kind` in flow, kldro, hard; `value` the temperature or
    threshold.
    """

    kind: str
    value: float

    def __str__(self):
        return f"{self.kind}({self.value:.6g})"

    def weight(self, squared):
        """w as a function of the squared residual."""
        if self.kind == "hard":
            return mp.mpf(1) if squared < mp.mpf(self.value) ** 2 else mp.mpf(0)
        if self.value == INF:
            return mp.mpf(1)
        sign = {"flow": -1, "kldro": 1}[self.kind]
        return mp.exp(sign * squared / mp.mpf(self.value))


def flow(temperature):
    return Rule("flow", float(temperature))


UNWEIGHTED = flow(INF)


@dataclass(frozen=True)
class Case:
    """A fine-tuning problem by its exact floats. `pretrain_covariance=()` is the identity."""

    pretrained: tuple
    target: tuple
    covariance: tuple
    pretrain_covariance: tuple = ()
    noise: float = 0.0

    def __str__(self):
        digest = zlib.crc32(repr((self.pretrained, self.target, self.covariance)).encode()) % 10_000
        correlation = f"Σ̃₀₁={self.covariance[0][1]:.3g} " if self.dim > 1 else ""
        return f"d={self.dim} {correlation}‖e‖={self.shift_squared**0.5:.3g} σ²={self.noise:.3g} #{digest:04}"

    @property
    def dim(self):
        return len(self.target)

    @property
    def shift(self):
        return mp.matrix([mp.mpf(a) - mp.mpf(b) for a, b in zip(self.pretrained, self.target, strict=True)])

    @property
    def shift_squared(self):
        return float(inner(self.shift, self.shift))

    @property
    def sigma(self):
        return mp.matrix(self.pretrain_covariance) if self.pretrain_covariance else mp.eye(self.dim)


def paper_case(rho, shift_norm=1.0, dim=2, noise=0.0, pretrain_covariance=()):
    """Equation (3) in coordinates: target 0, e along axis 0, ē⊥ along axis 1."""
    rows = [[1.0 if i == j else 0.0 for j in range(dim)] for i in range(dim)]
    if dim > 1:
        rows[0][1] = rows[1][0] = rho
    return Case(
        (shift_norm, *(0.0,) * (dim - 1)), (0.0,) * dim, freeze(rows), freeze(pretrain_covariance), noise
    )


def freeze(matrix):
    return tuple(tuple(float(entry) for entry in row) for row in matrix)


def inner(u, v):
    return mp.fdot(list(u), list(v))


def norm(v):
    return mp.sqrt(inner(v, v))


# ------------------------------------------------------------------------------------------------ moments


@lru_cache(None)
def residual_moment(rule, variance, order, power=1):
    """E[w(sZ)^power Z^order] for standard normal Z and s² = `variance`, by quadrature.

    The integrand is Zᵏ exp(−rate Z²), rate = 1/2 ± power s²/τ. On the whole line the trapezoidal rule of
    step h errs by about exp(−π²/(rate h²)), far below the working precision here. A hard threshold jumps:
    Gauss-Legendre up to the jump.
    """
    density = lambda z: z**order * mp.exp(-z * z / 2)
    end = mp.sqrt(2.4 * mp.dps * mp.log(10))
    if rule.kind == "hard":
        if variance:
            end = min(end, mp.mpf(rule.value) / mp.sqrt(variance))
        return 2 * gauss_legendre(density, 0, end) / mp.sqrt(2 * mp.pi)
    rate = mp.mpf(1) / 2
    if rule.value != INF:
        rate += {"flow": 1, "kldro": -1}[rule.kind] * power * variance / mp.mpf(rule.value)
    if rate <= 0:
        raise ValueError(f"E[w^{power}] does not exist for {rule} at residual variance {float(variance)}")
    unit = 1 / mp.sqrt(2 * rate)
    f = lambda z: rule.weight(variance * z * z) ** power * density(z)
    return trapezoid(f, unit * end, unit * mp.mpf("0.3")) / mp.sqrt(2 * mp.pi)


def trapezoid(f, end, step):
    """∫ f over the line, f even and negligible beyond `end`."""
    return step * (f(mp.mpf(0)) + 2 * mp.fsum(f(k * step) for k in range(1, int(end / step) + 2)))


def gauss_legendre(f, start, end):
    value, error = mp.quad(f, mp.linspace(start, end, 5), method="gauss-legendre", error=True)
    if error > mp.mpf(10) ** (15 - mp.dps) * abs(value):
        raise ArithmeticError(f"quadrature did not converge: {mp.nstr(error)}")
    return value


@lru_cache(None)
def residual_split(case):
    """s², h and G of the docstring: z = h r + g. With s² = 0 the residual is no random variable and h = 0."""
    d = case.dim
    C = mp.zeros(d + 1)
    for i, row in enumerate(case.covariance):
        for j, entry in enumerate(row):
            C[i, j] = mp.mpf(entry)
    C[d, d] = mp.mpf(case.noise)
    a = mp.matrix([*(-case.shift), 1])
    Ca = C * a
    variance = inner(a, Ca)
    if variance == 0:
        return variance, mp.zeros(d + 1, 1), C
    h = Ca / variance
    return variance, h, C - h * Ca.T


@lru_cache(None)
def mass(case, rule):
    """E[w]."""
    return residual_moment(rule, residual_split(case)[0], 0)


@lru_cache(None)
def joint_moment(case, rule):
    """E[w z zᵀ] for z = (x, ξ)."""
    variance, h, G = residual_split(case)
    return mass(case, rule) * G + variance * residual_moment(rule, variance, 2) * (h * h.T)


def weighted_covariance(case, rule):
    return joint_moment(case, rule)[: case.dim, : case.dim]


def noise_pull(case, rule):
    """p = E[w x ξ]."""
    return joint_moment(case, rule)[: case.dim, case.dim]


# ----------------------------------------------------------------------------------------------- iterates


def power_action(matrix, vector, steps):
    """matrix^steps · vector by repeated squaring; relative precision lost is about `steps` units."""
    steps = int(steps)
    while steps:
        if steps & 1:
            vector = matrix * vector
        steps >>= 1
        if steps:
            matrix = matrix * matrix
    return vector


def default_step(case, rule):
    return 1 / (2 * mass(case, rule))


@lru_cache(None)
def displacement(case, rule, steps, learning_rate=None):
    """θ_K − θ̃* from the affine gradient step, homogeneous coordinates."""
    d = case.dim
    eta = default_step(case, rule) if learning_rate is None else mp.mpf(learning_rate)
    affine = mp.eye(d + 1)
    affine[:d, :d] = mp.eye(d) - 2 * eta * weighted_covariance(case, rule)
    affine[:d, d] = 2 * eta * noise_pull(case, rule)
    return power_action(affine, mp.matrix([*case.shift, 1]), steps)[:d]


def iterate(case, rule, steps, learning_rate=None):
    return mp.matrix(case.target) + displacement(case, rule, steps, learning_rate)


@lru_cache(None)
def limit_displacement(case, rule):
    """θ_∞ − θ̃*, the solution of Σ'δ = p."""
    return mp.lu_solve(weighted_covariance(case, rule), noise_pull(case, rule))


def fixed_point(case, rule):
    return mp.matrix(case.target) + limit_displacement(case, rule)


def gradient(case, rule, theta=None):
    """2(Σ'δ − p) at θ = θ̃* + δ, by default at θ*, where training begins."""
    delta = case.shift if theta is None else mp.matrix(theta) - mp.matrix(case.target)
    return 2 * (weighted_covariance(case, rule) * delta - noise_pull(case, rule))


def least_loss(case, rule):
    """E[w (y − ⟨θ_∞, x⟩)²], what is left where training ends: the residual there is ⟨(−δ, 1), z⟩."""
    u = mp.matrix([*(-limit_displacement(case, rule)), 1])
    return inner(u, joint_moment(case, rule) * u)


def displaced(case, rule):
    """κ: how much of the shift is gone where training ends."""
    return inner(case.shift, case.shift - limit_displacement(case, rule)) / inner(case.shift, case.shift)


def effective_sample_size(case, rule):
    """E[w]²/E[w²]."""
    return mass(case, rule) ** 2 / residual_moment(rule, residual_split(case)[0], 0, 2)


def ridge_optimum(case, rule, ridge):
    """Where 2(Σ'δ − p) + 2λ(δ − e) is 0."""
    pulled = weighted_covariance(case, rule) + mp.mpf(ridge) * mp.eye(case.dim)
    return mp.matrix(case.target) + mp.lu_solve(pulled, noise_pull(case, rule) + mp.mpf(ridge) * case.shift)


@lru_cache(None)
def eigenbasis(case, rule):
    """Eigenvalues and orthonormal eigenvectors of Σ'."""
    return mp.eigsy(weighted_covariance(case, rule))


@lru_cache(None)
def gradient_flow(case, rule, time):
    """dδ/dt = −2(Σ'δ − p) in the eigenbasis of Σ'."""
    if time == INF:
        return fixed_point(case, rule)
    limit = limit_displacement(case, rule)
    eigenvalues, V = eigenbasis(case, rule)
    coefficients = V.T * (case.shift - limit)
    decayed = [mp.exp(-2 * mp.mpf(time) * eigenvalues[i]) * coefficients[i] for i in range(case.dim)]
    return mp.matrix(case.target) + limit + V * mp.matrix(decayed)


@lru_cache(None)
def stable_learning_rate(case, rule):
    """1/λ_max(Σ') over the eigenvectors that e has a component of: along them |1 − 2ηλ| < 1 up to there.

    Eigenvectors of one eigenvalue count together, so that no choice of basis matters.
    """
    return 1 / max(_entered(case, rule))


def _entered(case, rule):
    """The eigenvalues of Σ' along which e has a component."""
    values, V = eigenbasis(case, rule)
    share = V.T * case.shift
    seen = mp.mpf(10) ** -25 * norm(case.shift)
    return [values[i] for i in range(case.dim) if abs(share[i]) > seen]


def hardly_entered(case, rule):
    """Whether e has a component along an eigenvector that floats cannot tell from 0, be it 0 or not."""
    _, V = eigenbasis(case, rule)
    shares = [abs(share) / norm(case.shift) for share in V.T * case.shift]
    return any(share < mp.mpf(10) ** -10 for share in shares)


def stall_rate(case, rule):
    """The smallest eigenvalue of Σ'/μ along which the path moves at all."""
    entered = _entered(case, rule)
    return min(v for v in entered if v > mp.mpf(10) ** -40 * max(entered)) / mass(case, rule)


def floats(vector):
    """A vector as Python floats."""
    return [float(v) for v in vector]

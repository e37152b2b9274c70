"""The reference against itself: every quantity by a second route that shares as little as possible with the
first.
"""

from __future__ import annotations

import numpy as np
import pytest

from linear_theory.testing.reference import population as ref
from linear_theory.testing.reference import risk, sgd, stall
from linear_theory.testing.reference.population import Case, Rule, flow, mp, norm
from linear_theory.testing.tolerances import SIGMAS, exact

DIGITS = mp.mpf(10) ** -48
FLOAT_QUADRATURE = 1e-13  # a float64 trapezoidal sum over 10⁶ points of size one

PLANE = Case((1.0, -0.5), (0.25, 0.5), ((1.5, 0.25), (0.25, 0.75)), noise=0.5)
SPACE = Case((1.0, -0.5, 0.25), (0.5, 0.5, -1.0), ((1.0, 0.25, 0.0), (0.25, 0.75, 0.5), (0.0, 0.5, 1.25)))
RULES = (flow(1.5), flow(float("inf")), Rule("kldro", 40.0), Rule("hard", 1.25))


def close(a, b, tolerance=DIGITS):
    a, b = exact(a), exact(b)
    difference = a - b
    size = (lambda v: mp.norm(v, 1)) if isinstance(difference, mp.matrix) else abs
    return size(difference) <= tolerance * max(size(b), mp.mpf(1))


@pytest.mark.parametrize("rule", [flow(1e-6), flow(0.45), flow(1e6), Rule("kldro", 3.0)], ids=str)
@pytest.mark.parametrize("order", [0, 2, 4])
def test_trapezoid_is_gauss_legendre(rule, order):
    rate = 0.5 + {"flow": 1, "kldro": -1}[rule.kind] / rule.value
    f = lambda z: rule.weight(z * z) * z**order * mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    assert close(
        ref.residual_moment(rule, mp.mpf(1), order), 2 * ref.gauss_legendre(f, 0, 14 / mp.sqrt(rate)), 1e-40
    )


def whitened_grid(dim):
    """A trapezoidal rule for the standard normal in `dim` dimensions, nothing conditioned on anything."""
    one = np.arange(-60, 61) * 0.15
    z = np.stack([axis.ravel() for axis in np.meshgrid(*[one] * dim, indexing="ij")])
    density = np.exp(-0.5 * (z**2).sum(0)) * (0.15 / np.sqrt(2 * np.pi)) ** dim
    return z, density


@pytest.mark.parametrize("case", [PLANE, SPACE], ids=["x and noise", "three dimensions"])
@pytest.mark.parametrize("rule", RULES[:3], ids=str)
def test_moments_by_brute_force(case, rule):
    """E[w], E[w x xᵀ], E[w x ξ] and E[w x y] over the whole space (x, ξ)."""
    z, density = whitened_grid(3)
    d = case.dim
    x = np.linalg.cholesky(np.array(case.covariance)) @ z[:d]
    noise = np.sqrt(case.noise) * z[2] if d == 2 else 0 * z[0]
    residual = noise - np.array(ref.floats(case.shift)) @ x
    sign = {"flow": -1, "kldro": 1}[rule.kind]
    w = density * np.exp(sign * residual**2 / rule.value)
    assert close(w.sum(), ref.mass(case, rule), FLOAT_QUADRATURE)
    assert close((w * x) @ x.T, ref.weighted_covariance(case, rule), FLOAT_QUADRATURE)
    assert close((w * x) @ noise, ref.noise_pull(case, rule), FLOAT_QUADRATURE)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("case", [PLANE, SPACE], ids=["plane", "space"])
def test_iterates_are_gradient_steps(case, rule):
    """Seven literal gradient steps; E[w x y] through y = r + ⟨θ*, x⟩, where the iterates go through ξ."""
    variance, h, _ = ref.residual_split(case)
    S = ref.weighted_covariance(case, rule)
    pull = S * mp.matrix(case.pretrained) + variance * ref.residual_moment(rule, variance, 2) * h[: case.dim]
    theta = mp.matrix(case.pretrained)
    for _ in range(7):
        theta -= mp.mpf(0.125) * 2 * (S * theta - pull)
    assert close(ref.iterate(case, rule, 7, 0.125), theta)
    assert close(ref.iterate(case, rule, 10**6, 0.125), ref.fixed_point(case, rule))
    assert close(ref.gradient_flow(case, rule, 1e5), ref.fixed_point(case, rule))


@pytest.mark.parametrize("steps", [101, 10**6, 10**12])
def test_power_by_squaring_is_power_of_eigenvalues(steps):
    case = ref.paper_case(0.6)
    rule = flow(1e-3)
    values, V = mp.eigsy(mp.eye(2) - ref.weighted_covariance(case, rule) / ref.mass(case, rule))
    coefficients = V.T * case.shift
    want = V * mp.matrix([values[i] ** steps * coefficients[i] for i in range(2)])
    assert norm(ref.displacement(case, rule, steps) - want) <= mp.mpf(10) ** -40 * norm(want)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_gradient_flow_is_the_matrix_exponential(rule):
    affine = mp.zeros(3)
    affine[:2, :2] = -2 * ref.weighted_covariance(PLANE, rule)
    affine[:2, 2] = 2 * ref.noise_pull(PLANE, rule)
    moved = mp.expm(affine * mp.mpf(1.75)) * mp.matrix([*PLANE.shift, 1])
    assert close(ref.gradient_flow(PLANE, rule, 1.75), mp.matrix(PLANE.target) + moved[:2])


def test_best_average_by_golden_section():
    """A minimum found by comparing values alone, which gives half of the digits."""
    f = lambda w: risk.total_error(SPACE, risk.average(SPACE, w))
    low, high, golden = mp.mpf(0), mp.mpf(1), (mp.sqrt(5) - 1) / 2
    for _ in range(110):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if f(a) < f(b) else (a, high)
    assert close(risk.best_average_weight(SPACE), low, mp.mpf(10) ** -22)
    joint = risk.joint_optimum(SPACE)
    step = mp.mpf(10) ** -20
    for axis in range(3):
        nudge = mp.matrix([step if i == axis else 0 for i in range(3)])
        assert risk.total_error(SPACE, joint + nudge) > risk.total_error(SPACE, joint)


def draw(case, rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, case.dim)) @ np.linalg.cholesky(np.array(case.covariance)).T
    return x, np.sqrt(case.noise) * rng.standard_normal(rows)


def test_hard_samples_by_simulation():
    rows, fraction = 400_000, 0.1
    x, noise = draw(PLANE, rows, 11)
    theta = np.array([0.75, 0.125])
    residual = np.abs(noise - x @ np.array(ref.floats(PLANE.shift)))
    hardest = np.argsort(residual)[-int(rows * fraction) :]
    errors = (x[hardest] @ (theta - np.array(PLANE.target))) ** 2
    # The threshold is estimated too: its error is of the same order, hence the factor two in the variance.
    standard_error = np.sqrt(2) * errors.std() / np.sqrt(len(hardest))
    want = float(risk.hard_sample_error(PLANE, theta, fraction))
    assert abs(errors.mean() - want) < SIGMAS * standard_error
    assert standard_error < 0.01 * want
    assert close(risk.hard_sample_error(PLANE, theta, 1.0), risk.target_error(PLANE, theta))


@pytest.mark.parametrize("rule", [flow(1.5), flow(float("inf"))], ids=str)
def test_sgd_by_two_fourth_moments(rule):
    a, b = (sgd.sgd_error(PLANE, rule, 50, 0.0625, fourth) for fourth in (sgd.conditioned, sgd.isserlis))
    assert close(a, b)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_sgd_by_simulation(rule):
    """200 000 independent runs of six one-sample steps."""
    runs, steps, eta = 200_000, 6, 0.0625
    shift = np.array(ref.floats(PLANE.shift))
    u = np.tile(shift, (runs, 1))
    for k in range(steps):
        x, noise = draw(PLANE, runs, 100 + k)
        squared = (noise - x @ shift) ** 2
        w = {
            "flow": np.exp(-squared / rule.value),
            "kldro": np.exp(squared / rule.value),
            "hard": squared < rule.value**2,
        }[rule.kind]
        u = u + 2 * eta * (w * (noise - (u * x).sum(1)))[:, None] * x
    errors = ((u @ np.array(PLANE.covariance)) * u).sum(1)
    want = float(sgd.sgd_error(PLANE, rule, steps, eta))
    standard_error = errors.std() / np.sqrt(runs)
    assert abs(errors.mean() - want) < SIGMAS * standard_error
    assert standard_error < 0.02 * want


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.999])
@pytest.mark.parametrize("share", [1e-3, 0.5, 0.999])
def test_stall_parameter_inverts_the_temperature(rho, share):
    """The eigenvector's β against the paper's τ(β), and Lemma F.3 against the eigenvalues."""
    beta = share / rho if rho else share * 5
    b, r = mp.mpf(beta), mp.mpf(rho)
    tau = stall.stall_temperature(beta, rho)
    assert abs(tau / (2 * b * (1 - r * r) / (1 - b * b * r * r)) - 1) < mp.mpf(10) ** -38
    first, second = stall.stall_spectrum(beta, rho)
    assert close(first, (1 + b * r * r) / (1 + b), mp.mpf(10) ** -38)
    assert close(second, r * r * (1 - b) / (1 - b * r * r), mp.mpf(10) ** -38)


def test_median_of_chi_square():
    assert mp.nstr(risk.median_chi_square(), 15) == "0.454936423119573"
    assert close(2 * mp.gammainc(mp.mpf(1) / 2, 0, risk.median_chi_square() / 2, regularized=True), 1)

"""β, its inverse, Lemma F.3 and (14) against the matrix Q that quadrature builds."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.reference import stall
from linear_theory.testing.reference.population import mp, norm
from linear_theory.testing.tolerances import (
    RELATIVE,
    bound,
    disagreement,
    measured_condition,
    power_bound,
    power_condition,
)
from tests.agreement import RHOS, STEPS, TEMPERATURES, assert_agrees, assert_rejects, under_jit

SHIFT_NORMS = (1.0, 0.3, 40.0)
BETA_SHARES = (1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 0.999999)
RHO = pytest.mark.parametrize("rho", RHOS)
NOTHING = mp.mpf(10) ** -38  # what the reference, a root found to 40 digits, cannot tell from zero


def betas(rho):
    """The whole interval (0, 1/ρ): shares of its end, and the paper's end 1; without an end at ρ = 0."""
    return (*(share / rho for share in BETA_SHARES), 1.0) if rho else (1e-6, 1e-3, 0.3, 1.0, 5.0, 5e5)


def compare_parameter(function, rho):
    for norm_ in SHIFT_NORMS:
        for relative in TEMPERATURES:
            inputs = (relative * norm_**2, rho, norm_)
            want = stall.stall_parameter(*inputs)
            derive = lambda inputs=inputs, want=want: measured_condition(
                stall.stall_parameter, *inputs, want=want
            )
            yield disagreement(f"β{inputs}", function(*inputs), want, derive)


def compare_temperature(function, rho):
    for norm_ in SHIFT_NORMS:
        for beta in betas(rho):
            want = stall.stall_temperature(beta, rho, norm_)
            derive = lambda inputs=(beta, rho, norm_), want=want: measured_condition(
                stall.stall_temperature, *inputs, want=want
            )
            yield disagreement(f"τ(β={beta}, {rho}, {norm_})", function(beta, rho, norm_), want, derive)


def component(function, k):
    return lambda *inputs: function(*inputs)[k]


def compare_spectrum(function, rho):
    """Each eigenvalue by itself."""
    for beta in betas(rho):
        got, want = function(beta, rho), stall.stall_spectrum(beta, rho)
        for k in range(2):
            derive = lambda beta=beta, k=k: measured_condition(component(stall.stall_spectrum, k), beta, rho)
            label = f"λ_{k + 1}(β={beta}, ρ={rho})"
            yield disagreement(label, got[k], want[k], derive, resolution=NOTHING)


def compare_closed_form(function, rho, steps=STEPS):
    """Each component by itself: (14) promises that nothing cancels."""
    for beta in betas(rho):
        along = function(np.full(len(steps), beta), np.full(len(steps), rho), np.array(steps))
        for n, K in enumerate(steps):
            want = stall.closed_form(beta, rho, K)
            for k in range(2):
                derive = lambda beta=beta, K=K, k=k: measured_condition(
                    component(stall.closed_form, k), beta, rho, K
                )
                label = f"(14)[{k}](β={beta}, ρ={rho}, K={K})"
                yield disagreement(
                    label, np.asarray(along[k])[n], want[k], derive, resolution=NOTHING * norm(want)
                )


@RHO
def test_stall_parameter(rho):
    assert_agrees(compare_parameter(lt.stall_parameter, rho))
    assert_agrees(compare_parameter(under_jit(lt.stall_parameter), rho))


@RHO
def test_stall_temperature(rho):
    assert_agrees(compare_temperature(lt.stall_temperature, rho))
    assert_agrees(compare_temperature(under_jit(lt.stall_temperature), rho))


@RHO
def test_stall_spectrum(rho):
    assert_agrees(compare_spectrum(lt.stall_spectrum, rho))
    assert_agrees(compare_spectrum(under_jit(lt.stall_spectrum), rho))


@RHO
def test_closed_form(rho):
    assert_agrees(compare_closed_form(lt.closed_form, rho))
    scalar = lambda b, r, steps: np.transpose(
        [lt.closed_form(float(b[0]), float(r[0]), int(k)) for k in steps]
    )
    assert_agrees(compare_closed_form(scalar, rho))
    compiled = under_jit(lt.closed_form)
    assert_agrees(compare_closed_form(lambda *a: compiled(*map(jnp.asarray, a)), rho))


@pytest.mark.parametrize(("rho", "beta", "steps"), [(0.6, 1e-6, 10**6), (0.9, 1e-3, 10**4), (0.6, 0.5, 101)])
def test_power_condition_is_the_measured_one(rho, beta, steps):
    """κ(λ₁^K) = K(1−λ₁)/λ₁ · κ(1−λ₁): the chain rule behind `power_condition`, measured on the reference."""
    gap = lambda beta, rho: 1 - stall.stall_spectrum(beta, rho)[0]
    power = lambda beta, rho: stall.stall_spectrum(beta, rho)[0] ** steps
    measured = measured_condition(power, beta, rho)
    derived = power_condition(1 - gap(beta, rho), steps) * measured_condition(gap, beta, rho)
    assert abs(measured / derived - 1) < 1e-9
    assert bound(measured) == power_bound(1 - gap(beta, rho), steps) == RELATIVE


# ------------------------------------------------------------------------------------------------ mutants


def parameter_from(squared_mass, rho):
    """The β with μ²(β) = `squared_mass`: positive root of mρ²β² + (1−ρ²)(1−m)β − m = 0."""
    m, half = squared_mass, (1 - rho**2) * (1 - squared_mass) / 2
    return m / (half + np.sqrt(half**2 + (m * rho) ** 2))


def squared_mass(temperature, norm_):
    return 1 / (1 + 2 * norm_**2 / temperature)


PARAMETER_MUTANTS = {
    "μ for μ²": lambda t, r, n: parameter_from(np.sqrt(squared_mass(t, n)), r),
    "1/τ for 2/τ": lambda t, r, n: parameter_from(squared_mass(2 * t, n), r),
    "‖e‖ for ‖e‖²": lambda t, r, n: parameter_from(squared_mass(t, np.sqrt(n)), r),
    "the other root": lambda t, r, n: -1 / (r**2 * lt.stall_parameter(t, r, n)),
}


def spectrum(beta, rho):
    return (1 + beta * rho**2) / (1 + beta), rho**2 * (1 - beta) / (1 - beta * rho**2)


SPECTRUM_MUTANTS = {
    "swapped": lambda b, r: spectrum(b, r)[::-1],
    "λ₂ with the sign flipped": lambda b, r: (spectrum(b, r)[0], -spectrum(b, r)[1]),
    "λ₂ = ρ²λ₁": lambda b, r: (spectrum(b, r)[0], r**2 * spectrum(b, r)[0]),
    "ρ for ρ²": lambda b, r: ((1 + b * r) / (1 + b), spectrum(b, r)[1]),
}


def formula(beta, rho, steps, lost=1.0, sign=-1.0, second=1.0, absolute=False):
    """(14), as it stands in the paper, with room for mistakes."""
    first, other = spectrum(beta, rho)
    other = np.abs(other) if absolute else other
    p, q = first**steps, second * other**steps
    scale = 1 + lost * beta**2 * rho**2
    return (p + beta**2 * rho**2 * q) / scale, sign * beta * rho * (p - q) / scale


FORM_MUTANTS = {
    "not normalised": lambda b, r, k: formula(b, r, k, lost=0.0),
    "e⊥ with the sign flipped": lambda b, r, k: formula(b, r, k, sign=1.0),
    "(15) for (14)": lambda b, r, k: formula(b, r, k, second=0.0),
    "|λ₂|": lambda b, r, k: formula(b, r, k, absolute=True),
    "one step too many": lambda b, r, k: formula(b, r, k + 1),
}


def test_the_formula_without_a_mistake_is_accepted():
    """Or the rejections below would mean nothing. Where it cancels (large β) the paper's form is not
    asked.
    """
    lines = [
        line
        for line in compare_closed_form(formula, 0.6, (0, 1, 2, 3, 10, 101))
        if line and "β=1.66" not in line
    ]
    assert not lines, lines[:5]
    assert_agrees(compare_spectrum(spectrum, 0.6))
    assert_agrees(compare_parameter(lambda t, r, n: parameter_from(squared_mass(t, n), r), 0.6))


@pytest.mark.parametrize("mutant", PARAMETER_MUTANTS.values(), ids=PARAMETER_MUTANTS.keys())
def test_rejects_parameter(mutant):
    assert_rejects(compare_parameter(mutant, 0.6))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_rejects_temperature(factor):
    assert_rejects(compare_temperature(lambda *a: factor * lt.stall_temperature(*a), 0.6))


@pytest.mark.parametrize("mutant", SPECTRUM_MUTANTS.values(), ids=SPECTRUM_MUTANTS.keys())
def test_rejects_spectrum(mutant):
    assert_rejects(compare_spectrum(mutant, 0.6))


@pytest.mark.parametrize("mutant", FORM_MUTANTS.values(), ids=FORM_MUTANTS.keys())
def test_rejects_closed_form(mutant):
    assert_rejects(compare_closed_form(mutant, 0.6, (1, 2, 3, 10)))

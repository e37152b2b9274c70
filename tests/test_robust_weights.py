"""Laws of the robust rules and of those that prefer hard samples: weights, and Gaussian moments in all digits."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

import linear_theory as lt
from linear_theory.testing.tolerances import RELATIVE, near, not_above, within_standard_errors
from linear_theory.tilting.population import weighted_moments
from linear_theory.weights import (
    Cauchy,
    Clipped,
    Flow,
    Focal,
    HardSamples,
    HardThreshold,
    Huber,
    Power,
    Tukey,
)
from tests.agreement import numpy_problem
from tests.strategies import log_uniform, random_case

mp = mpmath.mp.clone()
mp.dps = 150

MADE = {
    "Cauchy": Cauchy,
    "power 1/4": lambda c: Power(c, 0.25),
    "power 3": lambda c: Power(c, 3.0),
    "power 50": lambda c: Power(c, 50.0),
    "Huber": Huber,
    "Tukey": Tukey,
    "clipped": lambda c: Clipped(c**2, 0.05),
    "clipped low": lambda c: Clipped(c**2, 1e-30),
    "focal": lambda c: Focal(c**2, 2.0),
    "focal 0.3": lambda c: Focal(c**2, 0.3),
    "hard": HardSamples,
}
"""Each rule at the cutoff c (FLOW's is √τ), in the units of y."""
EASY = {name: rule for name, rule in MADE.items() if name not in ("focal", "focal 0.3", "hard")}
EACH = pytest.mark.parametrize("make", MADE.values(), ids=MADE)
LOSSES = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0, 1e3, allow_subnormal=False))


# --------------------------------------------------------------------------------------------------- weights


def meant(rule, q):
    """w at q = r²/c², from its definition."""
    match rule:
        case Cauchy():
            return 1 / (1 + q)
        case Power():
            return (1 + q) ** -rule.exponent
        case Huber():
            return np.minimum(1, 1 / np.sqrt(np.maximum(q, 1e-300)))
        case Tukey():
            return np.maximum(1 - q, 0) ** 2
        case Clipped():
            return np.maximum(rule.floor, np.exp(-q))
        case Focal():
            return (-np.expm1(-q)) ** rule.exponent
    return (q >= 1) * 1.0


@EACH
@given(losses=LOSSES, cutoff=log_uniform(0.1, 1e2))
def test_weights_are_their_definition(make, losses, cutoff):
    rule = make(cutoff)
    clear = abs(losses / cutoff**2 - 1) > 1e-12
    got, want = np.exp(rule.log_weights(losses)), meant(rule, losses / cutoff**2)
    assert near(got[clear], want[clear], 1e4, 1.0)
    assert ((got >= 0) & (got <= 1)).all()


@EACH
@given(losses=LOSSES, cutoff=log_uniform(0.1, 1e2))
def test_weights_are_monotone_in_the_loss_and_know_only_its_ratio(make, losses, cutoff):
    falls = make in EASY.values()
    logs = make(cutoff).log_weights(np.sort(losses))
    assert all(a >= b if falls else a <= b for a, b in itertools.pairwise(logs))
    got, want = (np.exp(make(c * cutoff).log_weights(c * c * losses)) for c in (4, 1))
    assert near(got, want, 1e4)


@pytest.mark.parametrize("make", EASY.values(), ids=EASY)
def test_at_infinity_nothing_is_weighted(make):
    assert not make(math.inf).log_weights([0.0, 1.0, 1e308]).any()
    assert near(lt.weight_mass(lt.paper_problem(0.6), make(math.inf)), 1.0)
    tilt = lt.residual_tilt(make(math.inf), 1.0)
    assert (tilt.mass, tilt.ratio, tilt.deficit) == (1.0, 1.0, 0.0)


def test_infinite_losses():
    for make in (Cauchy, Huber, Tukey, lambda c: Power(c, 3.0)):
        assert make(1.0).log_weights([math.inf]) == -math.inf
    assert near(Clipped(1.0, 0.25).log_weights([math.inf]), [math.log(0.25)])
    for rule in (Focal(1.0, 2.0), HardSamples(1.0), HardThreshold(math.inf)):
        assert rule.log_weights([math.inf]) == 0


def test_tails_beyond_the_largest_quotient():
    """r/c = 1e300, whose square is no float."""
    assert near(Cauchy(1e-150).log_weights([1e300]), [-2 * 300 * math.log(10)])
    assert near(Huber(1e-150).log_weights([1e300]), [-300 * math.log(10)])


@given(LOSSES, log_uniform(0.1, 1e2))
def test_kin(losses, cutoff):
    """Power is Cauchy to that power, and FLOW where it is high; hard samples are what a threshold drops."""
    cauchy = Cauchy(cutoff).log_weights(losses)
    assert near(Power(cutoff, 3.0).log_weights(losses), 3 * cauchy, 10)
    p, q = 1e8, losses / cutoff**2
    high = Power(cutoff * math.sqrt(p), p).log_weights(losses)
    assert near(high, Flow(cutoff**2).log_weights(losses), 1e8 * max(1.0, q.max()) ** 2 / p, 1e8)
    kept = np.exp(HardThreshold(cutoff).log_weights(losses)) + np.exp(HardSamples(cutoff).log_weights(losses))
    assert (kept == 1).all()


# --------------------------------------------------------------------------------------------------- moments


def phi(a):
    return mp.exp(-(a**2) / 2) / mp.sqrt(2 * mp.pi)


def inside(a):
    return mp.erf(a / mp.sqrt(2))


def closed(name, a):
    """(m₀, m₂) of the rule at a = c/s, in closed form with 150 digits."""
    a, q = mp.mpf(a), mp.mpf(a) ** 2
    if name == "Cauchy":
        mass = mp.sqrt(mp.pi / 2) * a * mp.exp(q / 2) * mp.erfc(a / mp.sqrt(2))
        return mass, q * (1 - mass)
    if name.startswith("power"):
        p = {"power 1/4": mp.mpf("0.25"), "power 3": mp.mpf(3), "power 50": mp.mpf(50)}[name]
        u = lambda k: (q / 2) ** (k / 2) * mp.hyperu(k / 2, (k + 2) / 2 - p, q / 2)
        return u(mp.mpf(1)), u(mp.mpf(3))
    if name == "Huber":
        return inside(a) + a * mp.e1(q / 2) / mp.sqrt(2 * mp.pi), inside(a)
    if name == "Tukey":
        i0 = inside(a)
        i2 = i0 - 2 * a * phi(a)
        i4 = 3 * i2 - 2 * a**3 * phi(a)
        i6 = 5 * i4 - 2 * a**5 * phi(a)
        return i0 - 2 * i2 / q + i4 / q**2, i2 - 2 * i4 / q + i6 / q**2
    if name.startswith("clipped"):
        floor = mp.mpf(0.05 if name == "clipped" else 1e-30)
        k, edge = mp.sqrt(1 + 2 / q), a * mp.sqrt(-mp.log(floor))
        outside = mp.erfc(edge / mp.sqrt(2))
        square = (inside(k * edge) - 2 * k * edge * phi(k * edge)) / k**3
        return inside(k * edge) / k + floor * outside, square + floor * (outside + 2 * edge * phi(edge))
    if name == "focal":
        terms = [(mp.binomial(2, j) * (-1) ** j, 1 + 2 * j / q) for j in range(3)]
        return sum(b * k**-0.5 for b, k in terms), sum(b * k**-1.5 for b, k in terms)
    return mp.erfc(a / mp.sqrt(2)), mp.erfc(a / mp.sqrt(2)) + 2 * a * phi(a)


CUTOFFS = (1e-12, 1e-6, 1e-3, 0.1, 0.7, 1.0, 3.0, 12.0, 35.0)


@pytest.mark.parametrize("name", [name for name in MADE if name != "focal 0.3"])
@pytest.mark.parametrize("variance", [1.0, 4.0e8])
def test_moments_are_the_closed_forms_in_all_digits(name, variance):
    """Also the deficit, and also where the closed forms cancel to nothing in float64."""
    for a in CUTOFFS:
        tilt = lt.residual_tilt(MADE[name](a * math.sqrt(variance)), variance)
        mass, square = closed(name, a)
        want = mass, square / mass, 1 - square / mass
        for got, meaning in zip((tilt.mass, tilt.ratio, tilt.deficit), want, strict=True):
            negligible = abs(meaning) < 1e-290
            assert negligible or abs(mp.mpf(float(got)) / meaning - 1) < RELATIVE, (a, got, meaning)


def test_tukey_in_float64_would_have_lost_everything():
    a = 1e-5
    within = math.erf(a / math.sqrt(2))
    i2 = within - 2 * a * norm.pdf(a)
    i4 = 3 * i2 - 2 * a**3 * norm.pdf(a)
    assert abs((within - 2 * i2 / a**2 + i4 / a**4) / lt.residual_tilt(Tukey(a), 1.0).mass - 1) > 0.1


@EACH
@pytest.mark.parametrize("cutoff", [0.3, 2.0])
def test_moments_are_integrals_of_the_weights(make, cutoff):
    """Of w and of w², by another quadrature."""
    rule, variance = make(cutoff), 1.7
    weight = lambda z: meant(rule, np.float64(variance * z * z / cutoff**2))
    kink = cutoff / math.sqrt(variance)
    edges = [kink, kink * math.sqrt(-math.log(getattr(rule, "floor", 0.5))), 1.0]
    of = lambda f: 2 * scipy.integrate.quad(lambda z: f(z) * norm.pdf(z), 0, 14, points=edges, limit=400)[0]
    tilt = lt.residual_tilt(rule, variance)
    mass = of(weight)
    assert near(tilt.mass, mass, 1e6)
    assert near(tilt.ratio, of(lambda z: z * z * weight(z)) / mass, 1e6)
    assert near(tilt.ratio + tilt.deficit, 1.0)
    alone = lt.FineTuningProblem([math.sqrt(variance)], [0.0], [[1.0]])
    worth = lt.population_effective_sample_size(alone, rule)
    assert near(worth, mass**2 / of(lambda z: weight(z) ** 2), 1e6)


@EACH
@given(a=log_uniform(1e-4, 20), stretch=st.floats(1.01, 2))
def test_moments_move_one_way(make, a, stretch):
    """Easy samples up: the mass rises with the cutoff, 0 ≤ h ≤ 1. Hard samples up: it falls, and h ≥ 1."""
    narrow, wide = (lt.residual_tilt(make(c), 1.0) for c in (a, stretch * a))
    if make in EASY.values():
        assert not_above(narrow.mass, wide.mass)
        assert not_above(narrow.ratio, 1.0)
        assert narrow.ratio >= 0
    else:
        assert not_above(wide.mass, narrow.mass)
        assert not_above(1.0, narrow.ratio)


EXAMPLE = numpy_problem(random_case(3, 30.0, noise=0.5, seed=4))


@EACH
def test_weighted_covariance_is_that_of_rows(make):
    """Lemma F.1 for the rule, from the definition: w x xᵀ of sampled rows; a fifth off in the cutoff is seen."""
    rng, rows = np.random.default_rng(7), 100_000
    X = rng.standard_normal((rows, 3)) @ np.linalg.cholesky(EXAMPLE.target_covariance).T
    r = math.sqrt(EXAMPLE.noise_variance) * rng.standard_normal(rows) - X @ EXAMPLE.shift
    w = np.exp(make(0.9).log_weights(r**2))
    assert within_standard_errors(w, lt.weight_mass(EXAMPLE, make(0.9)))
    outer = w[:, None, None] * X[:, :, None] * X[:, None, :]
    assert within_standard_errors(outer, lt.weighted_covariance(EXAMPLE, make(0.9)))
    assert not within_standard_errors(w, lt.weight_mass(EXAMPLE, make(1.08)))


@EACH
def test_training_to_convergence_ends_on_the_segment(make):
    """Averaging under any rule, by the normal equations of the same population."""
    moments = weighted_moments(EXAMPLE, make(1.0))
    theta = lt.fixed_point(EXAMPLE, make(1.0))
    assert near(theta, EXAMPLE.pretrained - moments.kappa * EXAMPLE.shift, 1e3)


@EACH
def test_jax_agrees_and_has_derivatives(make):
    with jax.enable_x64(True):
        cutoffs = jnp.array([0.2, 1.0, 5.0])
        ratio = lambda c: lt.residual_tilt(make(c), 1.3).ratio
        want = np.array([ratio(float(c)) for c in cutoffs])
        assert near(jax.jit(jax.vmap(ratio))(cutoffs), want, 100)
        slopes = jax.jit(jax.vmap(jax.grad(ratio)))(cutoffs)
        h = 1e-5
        differences = [(ratio(float(c) + h) - ratio(float(c) - h)) / (2 * h) for c in cutoffs]
        assert np.allclose(slopes, differences, rtol=1e-6, atol=1e-9)
        weighted = jax.jit(jax.grad(lambda c: make(c).log_weights(jnp.array([0.0, 0.5, 2.0]))[1]))(1.5)
        assert np.isfinite(weighted)
        assert near(
            lt.residual_tilt(make(1.0), np.array([0.5, 2.0])).mass[1], lt.residual_tilt(make(1.0), 2.0).mass
        )
    single = lt.residual_tilt(make(jnp.array(1.0, dtype=jnp.float32)), 1.0)
    assert single.mass.dtype == jnp.float32
    assert near(float(single.ratio), lt.residual_tilt(make(1.0), 1.0).ratio, 32 * 2.0**29)


FALLS = {
    "Cauchy": (-1.0, 3.0),
    "power 1/4": (-0.25, 0.25 * 1.25 / 2 * 3),
    "power 3": (-3.0, 3.0 * 4.0 / 2 * 3),
    "Huber": (0.0, 0.0),
    "Tukey": (-2.0, 3.0),
    "clipped": (-1.0, 1.5),
    "clipped low": (-1.0, 1.5),
}
"""w = 1 + a q + …, q = r²/c², so that m₀ = 1 + a s²/c² + b s⁴/c⁴ + …, b three times the coefficient of q²."""


@functools.cache
def slopes_where_nothing_varies(name):
    """Of a cutoff: the derivatives of m₀, h and 1 − h by the variance and by the cutoff, and the second of m₀."""
    tilt = lambda v, c: lt.residual_tilt(MADE[name](c), v)

    def slopes(c):
        of = lambda part: jax.grad(lambda v, c: getattr(tilt(v, c), part), argnums=(0, 1))(0.0, c)
        return [of(part) for part in ("mass", "ratio", "deficit")], jax.grad(
            jax.grad(lambda v: tilt(v, c).mass)
        )(0.0)

    return jax.jit(slopes)


@pytest.mark.parametrize("name", FALLS)
@given(cutoff=log_uniform(1e-3, 1e3))
def test_where_nothing_varies_the_mass_has_the_derivatives_of_its_series(name, cutoff):
    """Of the mass, and of h = 1 + 2a s²/c² + …, whose deficit is 1 − h; in the variance and in the cutoff."""
    a, b = (coefficient / cutoff**power for coefficient, power in zip(FALLS[name], (2, 4), strict=True))
    assert near(lt.residual_tilt(MADE[name](cutoff), 0.0).mass, 1.0, 10)
    first, second = slopes_where_nothing_varies(name)(cutoff)
    for (by_variance, by_cutoff), want in zip(first, (a, 2 * a, -2 * a), strict=True):
        assert near(by_variance, want, 100)
        assert by_cutoff == 0
    assert near(second, 2 * b, 100)


@given(log_uniform(1e-3, 100), log_uniform(1e-6, 1e6))
def test_focal_weights_leave_nothing_where_nothing_varies(exponent, temperature):
    """Whatever the exponent: w(0) = 0."""
    rule = Focal(temperature, exponent)
    with pytest.raises(lt.InvalidValueError, match="leaves no weight"):
        lt.residual_tilt(rule, 0.0)
    assert np.isnan(jax.jit(lambda v: lt.residual_tilt(rule, v).mass)(0.0))


@given(log_uniform(1e-3, 0.5), log_uniform(1e-280, 1e-20))
def test_focal_weights_of_small_residuals_are_a_power_of_them(exponent, variance):
    """w = q^Γ, so h = 2Γ + 1 and m₀ = (2 s²/τ)^Γ Γ(Γ + ½)/√π, also where q is no float."""
    tilt = lt.residual_tilt(Focal(1.0, exponent), variance)
    assert near(tilt.ratio, 2 * exponent + 1, 1e3)
    assert near(tilt.deficit, -2 * exponent, 1e3)
    assert near(tilt.mass, (2 * variance) ** exponent * math.gamma(exponent + 0.5) / math.sqrt(math.pi), 1e3)


def test_what_leaves_no_moments_is_refused_by_name():
    for rule, argument in (
        (Cauchy(1e-120), "cutoff"),
        (Huber(1e-120), "cutoff"),
        (Power(1e-120, 2.0), "cutoff"),
        (Focal(1e-250, 2.0), "temperature"),
        (Focal(1e200, 2.0), "temperature"),
        (HardSamples(60.0), "cutoff"),
        (Tukey(5e-324), "cutoff"),
    ):
        with pytest.raises(lt.InvalidValueError) as caught:
            lt.weight_mass(lt.paper_problem(0.6), rule)
        assert caught.value.argument == argument
    with pytest.raises(lt.InvalidTypeError, match="keep the tilted samples Gaussian"):
        lt.sgd_error(lt.paper_problem(0.6), 3, 0.1, Cauchy(1.0))


def test_exponents_and_floors_at_the_ends_of_their_ranges_are_taken():
    assert np.isclose(lt.weights.Focal(1.0, 100).log_weights([1.0])[0], 100 * math.log1p(-math.exp(-1.0)))
    assert lt.weights.Clipped(1.0, 1.0).log_weights([1.0])[0] == 0


def test_a_sample_at_the_cutoff_itself_is_a_hard_one():
    assert HardSamples(2.0).log_weights([4.0])[0] == 0
    for rule in (HardThreshold(2.0), Tukey(2.0)):
        assert rule.log_weights([4.0])[0] == -math.inf

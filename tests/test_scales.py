"""Every population function at every scale: the right value or one clear error, and no warning on the way.

A unit of x, of y or of Σ is anybody's own, so problems are drawn with shifts, noise, temperatures and covariances from
1e-310 to 1e308. The values are those of the definitions in 1400 digits, in which nothing cancels.
"""

from __future__ import annotations

import math
import random
from collections import Counter

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammainc

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.testing.tolerances import RELATIVE, near
from linear_theory.tilting import gaussian_tilt
from linear_theory.weights import KLDRO, Flow, HardThreshold, Uniform
from tests.strategies import SEEDS, log_uniform

mp = mpmath.mp.clone()
mp.dps = 1400

SHIFT, TARGET, PRETRAIN = [1.0, 0.25], [[1.0, 0.5], [0.5, 0.75]], [[1.5, -0.5], [-0.5, 5.0]]
SIZES = (1e-300, 1e-220, 1e-155, 1e-150, 1e-80, 1e-10, 1.0, 1e10, 1e80, 1e150, 1e155, 1e220, 1e300)
NOISE = (0.0, 1e-310, 1e-300, 1e-150, 1e-8, 1.0, 1e8, 1e150, 1e300, 1e308)
TEMPERATURES = (5e-324, 1e-310, 1e-300, 1e-150, 1e-8, 1.0, 1e8, 1e150, 1e300, 1e308, math.inf)
SUBNORMAL = mp.mpf(2) ** -1073


class Exact:
    """What the functions mean, from a problem's floats."""

    def __init__(self, problem, tau):
        self.e, self.C = mp.matrix(problem.shift.tolist()), mp.matrix(problem.target_covariance.tolist())
        self.S, self.noise = (
            mp.matrix(problem.pretrain_covariance.tolist()),
            mp.mpf(float(problem.noise_variance)),
        )
        self.v = self.form(self.C, self.e)
        self.s2, self.tau = self.v + self.noise, tau
        self.a = self.form(self.S, self.e)

    @staticmethod
    def form(A, u):
        return (u.T * A * u)[0]

    def mass(self, power=1):
        return 1 / mp.sqrt(1 + 2 * power * self.s2 / mp.mpf(self.tau)) if self.tau < math.inf else mp.mpf(1)

    def threshold_mass(self, cutoff):
        a = mp.mpf(cutoff) / mp.sqrt(2 * self.s2) if cutoff < math.inf else mp.inf
        if a > 40:
            return mp.mpf(1)
        if a < mp.mpf(10) ** -40:
            return 2 * a / mp.sqrt(mp.pi)
        return mpmath.erf(mpmath.mpf(a))

    def total(self, u):
        return self.form(self.S, u - self.e) + self.form(self.C, u)

    def joint(self):
        return mp.lu_solve(self.S + self.C, self.S * self.e)

    def gap(self):
        """(what optimal averaging has above the joint optimum, its error)."""
        average = self.total(self.a / (self.a + self.v) * self.e)
        return average - self.total(self.joint()), average

    def gap_closed(self, u):
        gap, average = self.gap()
        return (average - self.total(u)) / gap

    def hard(self, u, q):
        with mpmath.workdps(40):
            c = mpmath.findroot(lambda z: mpmath.erfc(z / mpmath.sqrt(2)) - mpmath.mpf(q), 1.6)
            excess = 2 * c * mpmath.npdf(c) / mpmath.mpf(q)
        return self.form(self.C, u) + mp.mpf(excess) * (u.T * self.C * self.e)[0] ** 2 / self.s2

    def sgd(self, steps, eta):
        """The recursion of sgd_error's docstring, every difference taken in 1400 digits."""
        C, eta, keep = mp.zeros(3), mp.mpf(eta), mp.diag([1, 1, 0])
        C[0:2, 0:2], C[2, 2] = self.C, self.noise
        u = mp.matrix([*self.e, -1])
        share = lambda k: 2 * k / (mp.mpf(self.tau) + 2 * k * self.s2) if self.tau < math.inf else mp.mpf(0)
        C1, C2 = (C - share(k) * (C * u) * (C * u).T for k in (1, 2))
        M = u * u.T
        for _ in range(steps):
            product = M * C2
            trace = product[0, 0] + product[1, 1] + product[2, 2]
            drift, kick = keep * C1 * M + M * C1 * keep, keep * (2 * C2 * M * C2 + trace * C2) * keep
            M = M - 2 * eta * self.mass(1) * drift + 4 * eta**2 * self.mass(2) * kick
        return sum(self.C[i, j] * M[i, j] for i in range(2) for j in range(2))


def attempt(call):
    """The answer, or the package's error."""
    try:
        return call(), None
    except lt.InvalidValueError as refused:
        return None, refused


def drawn(rng):
    """A problem and a temperature at sizes of their own; None where the constructor refuses."""
    x, noise, tau, c, p = (rng.choice(k) for k in (SIZES, NOISE, TEMPERATURES, SIZES, SIZES))
    if rng.random() < 0.5:  # a temperature that matters
        noise = rng.choice((0.0, min(1e300, noise)))
        tau = rng.choice((1e-300, 1e-12, 0.1, 1.0, 10.0, 1e12)) * x * x * c
    tau = math.inf if tau > 1e308 else tau or 1e-300
    scaled = lambda size, matrix: size * np.array(matrix)
    sigmas = scaled(c, TARGET), scaled(p, PRETRAIN)
    problem, refused = attempt(lambda: lt.FineTuningProblem(scaled(x, SHIFT), [0, 0], *sigmas, noise))
    assert refused is None or "rescale" in refused.remedy
    return problem, tau


def functions(problem, tau, theta):
    """(the function's answer, its meaning) by name."""
    exact, u = Exact(problem, tau), mp.matrix(theta.tolist())
    cutoff, step = math.sqrt(tau), 0.1 / float(problem.target_covariance[0, 0])
    return {
        "weight_mass": (lambda: lt.weight_mass(problem, tau), exact.mass),
        "of the threshold": (
            lambda: lt.weight_mass(problem, HardThreshold(cutoff)),
            lambda: exact.threshold_mass(cutoff),
        ),
        "median": (lambda: lt.population_median_temperature(problem), lambda: mp.mpf(MEDIAN) * exact.s2),
        "best_average_weight": (
            lambda: lt.best_average_weight(problem),
            lambda: exact.a / (exact.a + exact.v),
        ),
        "pretrain_error": (
            lambda: lt.pretrain_error(problem, theta),
            lambda: exact.form(exact.S, u - exact.e),
        ),
        "target_error": (lambda: lt.target_error(problem, theta), lambda: exact.form(exact.C, u)),
        "total_error": (lambda: lt.total_error(problem, theta), lambda: exact.total(u)),
        "gap_closed": (lambda: lt.gap_closed(problem, theta), lambda: exact.gap_closed(u)),
        "hard_sample_error": (
            lambda: lt.hard_sample_error(problem, theta, 0.1),
            lambda: exact.hard(u, 0.1),
        ),
        "sgd_error": (lambda: lt.sgd_error(problem, 3, step, tau), lambda: exact.sgd(3, step)),
    }


MEDIAN = "0.45493642311957283"


def judged(got, want, relative=RELATIVE):
    return bool(np.isfinite(got)) and abs(mp.mpf(float(got)) - want) <= relative * abs(want) + SUBNORMAL


@pytest.mark.parametrize("seed", range(8))
def test_the_right_value_or_one_clear_error(seed):
    rng, seen = random.Random(seed), Counter()
    for _ in range(40):
        problem, tau = drawn(rng)
        if problem is None:
            continue
        theta = float(np.abs(problem.shift).max()) * np.array([0.3, -0.2])
        for name, (function, meaning) in functions(problem, tau, theta).items():
            want = meaning()
            got, refused = attempt(function)
            if refused:
                assert abs(want) > 1e307 or abs(want) < 1e-307, (name, refused)
                seen[name, "refused"] += 1
                continue
            assert judged(got, want), (name, problem, tau, got, mp.nstr(want, 17))
            seen[name, "right"] += 1
    assert all(
        seen[name, "right"] >= 4 for name in ("weight_mass", "median", "best_average_weight", "gap_closed")
    )
    assert not judged(float(want) * (1 + 1e-11) + 1e-300, want)


# ------------------------------------------------------------------------------------ a direction that is not there


def null_problem(rng, dim, noise=0.0):
    """e in the null space of Σ̃ = V diag(λ) Vᵀ up to the rounding of its entries; Σ anything."""
    e, spectrum = rng.standard_normal(dim), rng.uniform(0.5, 2.0, dim)
    basis = np.linalg.qr(np.column_stack([e, rng.standard_normal((dim, dim - 1))]))[0]
    spectrum[0] = 0.0
    covariance, root = (basis * spectrum) @ basis.T, rng.standard_normal((dim, dim))
    sigma = np.eye(dim) + root @ root.T
    return lt.FineTuningProblem(
        e, np.zeros(dim), (covariance + covariance.T) / 2, (sigma + sigma.T) / 2, noise
    )


def closed_by_differences(problem, theta):
    """The share as a quotient of differences: what it must not be."""
    average, optimum = (
        lt.total_error(problem, f(problem)) for f in (lt.best_model_average, lt.joint_optimum)
    )
    return (average - lt.total_error(problem, theta)) / (average - optimum)


@given(SEEDS, st.integers(2, 8), st.integers(-300, 300).map(lambda k: 2.0**k))
def test_without_variance_along_the_shift_there_is_none(seed, dim, unit):
    problem = null_problem(np.random.default_rng(seed), dim)
    problem = lt.FineTuningProblem(
        unit * problem.pretrained, problem.target, problem.target_covariance, problem.pretrain_covariance
    )
    theta = 0.3 * problem.pretrained
    assert problem.shift_variance == 0
    assert lt.best_average_weight(problem) == 1
    assert np.isnan(lt.gap_closed(problem, theta))
    assert lt.hard_sample_error(problem, theta, 0.1) == lt.target_error(problem, theta)
    assert lt.weight_mass(problem, 1e-12) == 1
    with pytest.raises(lt.InvalidValueError, match="already fits every sample"):
        lt.population_median_temperature(problem)


def test_the_gap_of_the_example_is_none():
    unit = np.array([0.6, 0.8])
    problem = lt.FineTuningProblem(5 * unit, [0, 0], np.eye(2) - np.outer(unit, unit), [[2, 0.5], [0.5, 1]])
    assert np.isnan(lt.gap_closed(problem, [1.0, 1.0]))
    assert not np.isnan(closed_by_differences(problem, [1.0, 1.0]))  # as it was: a number, of rounding alone


@given(log_uniform(1e-7, 1.0), log_uniform(1e-100, 1e100))
def test_a_gap_is_told_down_to_the_rounding_of_its_pull(lean, size):
    """Σ = I + lean·(ē ē⊥ᵀ + ē⊥ ēᵀ) against Σ̃ = I: the gap is about lean²/8 of the error, 1e-15 at the least."""
    problem = lt.FineTuningProblem([3.0, 4.0], [0, 0], size * np.eye(2), size * turned(lean))
    theta = np.array([1.0, 2.5])
    exact, u = Exact(problem, math.inf), mp.matrix(theta.tolist())
    condition = 1e3 / lean  # of p, whose terms are 1/lean times as large
    assert judged(lt.gap_closed(problem, theta), exact.gap_closed(u), RELATIVE + condition * 2.0**-52)
    if lean < 1e-6:
        assert not judged(
            closed_by_differences(problem, theta), exact.gap_closed(u), RELATIVE + condition * 2.0**-52
        )
    best = lt.gap_closed(problem, [lt.best_model_average(problem), lt.joint_optimum(problem)])
    assert near(best, [0.0, 1.0], condition, 1.0)


def turned(lean):
    along, across = np.array([0.6, 0.8]), np.array([-0.8, 0.6])
    return np.eye(2) + lean / 2 * (np.outer(along, across) + np.outer(across, along))


# ------------------------------------------------------------------------------------------- the rules at their ends


RULES = (Flow, KLDRO, HardThreshold)
ENDS = (
    5e-324,
    2.3e-308,
    1e-300,
    1e-200,
    1e-155,
    1e-120,
    1e-10,
    0.1,
    1.0,
    1.4,
    1.5,
    10.0,
    60.0,
    1e10,
    1e150,
    1e308,
)


def meant(rule, value, variance):
    """(m₀, h, 1 − h) from their definitions."""
    s2 = mp.mpf(variance)
    if rule is HardThreshold:
        t = mp.mpf(value) / mp.sqrt(2 * s2)
        if t > 60:
            return mp.mpf(1), mp.mpf(1), 2 * t * mp.exp(-(t**2)) / mp.sqrt(mp.pi)
        if t < mp.mpf(10) ** -30:
            return 2 * t / mp.sqrt(mp.pi), 2 * t**2 / 3, 1 - 2 * t**2 / 3
        with mpmath.workdps(150):
            t = mpmath.mpf(t)
            mass = mpmath.erf(t)
            lost = 2 * t * mpmath.exp(-(t**2)) / mpmath.sqrt(mpmath.pi) / mass
            return tuple(mp.mpf(x) for x in (mass, 1 - lost, lost))
    ratio = 1 / (1 + (2 if rule is Flow else -2) * s2 / mp.mpf(value))
    return mp.sqrt(ratio), ratio, 1 - ratio


@pytest.mark.parametrize("variance", [1e-300, 1e-12, 1.0, 3.0, 1e200])
@pytest.mark.parametrize("rule", RULES)
def test_moments_at_the_ends(rule, variance):
    for value in ENDS:
        if rule is KLDRO and value <= 2 * variance:
            with pytest.raises(lt.InvalidValueError, match="too low"):
                gaussian_tilt(rule(value), np.float64(variance), namespace())
            continue
        want = meant(rule, value, variance)
        made = rule(value)
        tilt, refused = attempt(lambda made=made: gaussian_tilt(made, np.float64(variance), namespace()))
        if refused:
            assert "smallest float" in refused.remedy
            assert want[0] < 2.0**-1022
            continue
        for got, meaning in zip((tilt.mass, tilt.ratio, tilt.deficit), want, strict=True):
            assert judged(got, meaning, RELATIVE), (value, got, mp.nstr(meaning, 17))


@pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("rule", RULES)
def test_moments_in_jax(rule, x64):
    with jax.enable_x64(x64):
        space = namespace(jnp.array(1.0))
        for value in (1e-30, 1e-20, 1e-10, 0.01, 0.5, 1.4, 1.5, 3.0, 60.0, 1e10, 1e30, math.inf):
            if rule is KLDRO and value <= 2:
                continue
            tilt = gaussian_tilt(rule(value), jnp.array(1.0), space)
            want = meant(rule, value, 1.0) if value < math.inf else (1, 1, 0)
            for got, meaning in zip((tilt.mass, tilt.ratio, tilt.deficit), want, strict=True):
                assert got.dtype == space.dtype
                tiny = float(jnp.finfo(space.dtype).tiny)
                assert abs(float(got) - float(meaning)) <= 64 * space.eps * abs(float(meaning)) + tiny


@pytest.mark.parametrize("rule", [Flow(math.inf), KLDRO(math.inf), HardThreshold(math.inf)])
def test_at_infinity_every_rule_is_uniform(rule):
    for problem in (
        lt.paper_problem(0.6),
        lt.paper_problem(0.6, 1e3, noise_variance=2.0),
        lt.paper_problem(0.6, 0.0),
    ):
        assert lt.weight_mass(problem, rule) == 1
        assert np.array_equal(
            lt.weighted_covariance(problem, rule), lt.weighted_covariance(problem, Uniform())
        )
    for losses in ([0.0, 5e-324, 1.0, 1.7e308, math.inf], jnp.array([0.0, 1.0, math.inf])):
        assert not np.asarray(rule.log_weights(losses)).any()
        assert not np.signbit(np.asarray(rule.log_weights(losses))).any()


def test_a_threshold_on_gradients_and_the_wrong_form():
    """h → a²/3: P(χ²₃ < a²)/P(χ²₁ < a²), each a float of its own, is 0 below a = 1e-103."""
    ratio = lambda c: gaussian_tilt(HardThreshold(c), jnp.array(1.0), namespace(c)).ratio
    for a in (1e-120, 1e-60, 1e-8):  # what follows is a² of it
        assert abs(float(ratio(jnp.array(a))) / (a * a / 3) - 1) <= RELATIVE
        assert near(jax.grad(ratio)(jnp.array(a)), 2 * a / 3, scale=a)
    assert gammainc(1.5, 1e-240 / 2) == 0


LOSSES = [0.0, 5e-324, 1e-300, 0.5, 1.0, 2.0, 1e300, 1.7e308]


def exponent(rule, value, loss):
    if rule is HardThreshold:
        return mp.mpf(0) if mp.sqrt(mp.mpf(loss)) < mp.mpf(value) else -mp.inf
    return mp.mpf(loss) / mp.mpf(value) * (-1 if rule is Flow else 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [5e-324, 1e-300, 1e-10, 1.5, 1e10, 1e308])
def test_log_weights_at_the_ends(rule, value):
    for loss in LOSSES:
        want = exponent(rule, value, loss)
        if rule is KLDRO and want > mp.mpf(1.7e308):
            with pytest.raises(lt.InvalidValueError, match="no finite logarithm") as caught:
                rule(value).log_weights([loss])
            assert caught.value.argument == "losses"
            assert caught.value.value == loss
            continue
        (got,) = rule(value).log_weights([loss])
        if want < mp.mpf(-1.7e308):
            assert got == -math.inf
        else:
            assert judged(got, want, 2.0**-52)


@pytest.mark.parametrize("rule", [Flow(1.0), KLDRO(1.0), HardThreshold(1.0), Uniform()])
def test_losses_of_every_kind_and_of_none(rule):
    want = rule.log_weights(np.array([1.0, 3.0]))
    for losses in (
        [1, 3],
        (1.0, 3.0),
        np.array([1, 3]),
        np.array([1, 3], dtype=np.uint8),
        np.float32([1, 3]),
    ):
        got = rule.log_weights(losses)
        assert got.dtype == np.float64
        assert np.array_equal(got, want)
    assert np.array_equal(rule.log_weights(jnp.array([1.0, 3.0])), want)
    assert isinstance(rule.log_weights(jnp.array([1, 3])), jax.Array)
    for bad in ([1.0, -1.0], [1.0, math.nan], -1.0):
        with pytest.raises(lt.InvalidValueError, match="must be ≥ 0"):
            rule.log_weights(bad)
    for bad in ([True, False], ["1", "2"], [1j], None):
        with pytest.raises(lt.InvalidTypeError):
            rule.log_weights(bad)
    traced = jax.jit(rule.log_weights)(jnp.array([1.0, -1.0, math.nan]))
    assert np.isnan(traced).tolist() == [False, True, True]


def test_an_infinite_loss_is_a_row_left_out():
    assert Flow(1.0).log_weights([math.inf]) == -math.inf
    assert HardThreshold(1.0).log_weights([math.inf]) == -math.inf
    assert Uniform().log_weights([math.inf]) == 0
    with pytest.raises(lt.InvalidValueError, match="losses"):
        KLDRO(1.0).log_weights([math.inf])


def test_a_parameter_lost_in_a_lower_precision_is_refused():
    with jax.enable_x64(False):
        for rule in (Flow(1e-50), HardThreshold(1e-50)):
            with pytest.raises(lt.InvalidValueError, match="float32"):
                rule.log_weights(jnp.array([1.0]))
            with pytest.raises(lt.InvalidValueError, match="float32"):
                lt.weight_mass(lt.paper_problem(jnp.array(0.6)), rule)


# -------------------------------------------------------------------------------------------------- where paths end


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@given(
    warmth=log_uniform(1e-307, 1e300),
    size=log_uniform(1e-140, 1e140),
    norm=log_uniform(1e-70, 1e70),
    dim=st.integers(1, 3),
)
def test_without_noise_the_limit_is_the_target(xp, warmth, size, norm, dim):
    """κ = 1 at every τ > 0: however slow the stalled direction, in infinite time it has been gone along.

    A mass μ in the exponent would make it a null space, where the path stays: τ^1.5 is no float below 1e-205.
    """
    with jax.enable_x64(True):
        covariance = size * (np.eye(dim) + 0.1)
        form = float(covariance[0, 0]) * norm * norm
        temperature = warmth * form
        if not (1e-290 < form < 1e290 and 1e-307 < temperature < 1e307):
            return
        problem = lt.FineTuningProblem(norm * xp.eye(dim)[0], xp.zeros(dim), xp.asarray(covariance))
        limit = lt.fixed_point(problem, temperature)
        assert np.abs(limit).max() <= RELATIVE * norm


@pytest.mark.parametrize("longest", [1.7e308, math.inf])
def test_the_longest_time_is_no_step_in_a_null_space(longest):
    """∞·0 is no number; what does not move has not moved after any time."""
    problem = lt.FineTuningProblem([1.0, 2.0], [0.0, 0.0], np.diag([0.0, 3.0]))
    for rule in (math.inf, 1e-3, KLDRO(100.0)):
        assert lt.gradient_flow(problem, longest, rule).tolist() == [1.0, 0.0]


def test_the_longest_step():
    """θ₁ = e − 2ηΣ'e: a float where the weights are small, and one clear error where it is none."""
    problem = lt.paper_problem(0.6)
    longest, cold = 1.7e308, 1e-290
    assert lt.iterate(problem, 0, longest).tolist() == [1.0, 0.0]
    exact = Exact(lt.paper_problem(0.6, pretrain_covariance=np.eye(2)), cold)
    want = -2 * mp.mpf(longest) * exact.mass() ** 3 * mp.mpf(0.6)  # Σ'e = μ³Σ̃e
    assert judged(lt.iterate(problem, 1, longest, cold)[1], want)
    for call in (lambda: lt.iterate(problem, 1, longest), lambda: lt.model_average(problem, 1e308 * 2)):
        with pytest.raises(lt.InvalidValueError):
            call()
    with pytest.raises(lt.InvalidValueError, match=r"omega.*beyond the largest float"):
        lt.model_average(lt.paper_problem(0.6, 1e10), 1e308)


@pytest.mark.parametrize("dim", [1, 2, 3, 200])
def test_nothing_to_learn_has_no_largest_step(dim):
    """e = 0, or in the null space of Σ̃: infinity in NumPy and in JAX, as it stands and under ``jit``."""
    still = [lt.paper_problem(0.0, 0.0, dim), lt.paper_problem(jnp.array(0.0), 0.0, dim)]
    for problem in still:
        for temperature in (math.inf, 0.5):
            assert lt.stable_learning_rate(problem, temperature) == math.inf
    assert jax.jit(lt.stable_learning_rate)(still[1]) == math.inf


# ------------------------------------------------------------------------------------------- what is refused, and how


@pytest.mark.parametrize("dtype", [np.float64, jnp.float64, jnp.float32], ids=["numpy", "jax", "float32"])
def test_a_scale_is_right_or_refused(dtype):
    """The law is a law of units: what is accepted at norm c is c² times what it is at 1."""
    with jax.enable_x64(dtype is not jnp.float32):
        array = np.array if dtype is np.float64 else lambda x: jnp.array(x, dtype=dtype)
        one = lt.paper_problem(array(0.6))
        accepted = []
        for k in range(-1040, 1024, 13 if dtype is np.float64 else 90 if dtype is jnp.float64 else 16):
            c = math.ldexp(1.0, k) if k >= -1022 else 0.0
            if dtype is jnp.float32 and not 2.0**-126 <= c < 2.0**127:
                continue
            problem, refused = attempt(lambda c=c: lt.paper_problem(array(0.6), array(c)))
            if refused:
                assert "rescale y" in refused.remedy
                continue
            accepted.append(c)
            if c == 0:
                assert problem.shift_variance == 0
                continue
            assert float(problem.shift_variance) == c * c * float(one.shift_variance)
            tau = array(c * c)
            assert lt.weight_mass(problem, tau) == lt.weight_mass(one, array(1.0))
            median = lt.population_median_temperature(one)
            assert float(lt.population_median_temperature(problem)) == c * c * float(median)
            assert lt.best_average_weight(problem) == lt.best_average_weight(one)
            theta = problem.pretrained * array(0.25)
            want = lt.hard_sample_error(one, one.pretrained * array(0.25), array(0.125))
            assert float(lt.hard_sample_error(problem, theta, array(0.125))) == c * c * float(want)
            error = float(lt.sgd_error(one, 2, array(0.125), array(1.0)))
            assert near(
                float(lt.sgd_error(problem, 2, array(0.125), tau)) / (c * c),
                error,
                2**30 * (dtype is jnp.float32),
            )
        assert len(accepted) > 5
        assert any(0 < c < 1e-8 for c in accepted)
        assert any(c > 1e8 for c in accepted)


@pytest.mark.parametrize(
    ("arguments", "argument", "remedy"),
    [
        (([1e-160, 0], [0, 0], np.eye(2)), "pretrained", "rescale y"),
        (([9e153, 0], [0, 0], np.eye(2)), "pretrained", "rescale y"),
        (([1e308, 0], [-1e308, 0], np.eye(2)), "pretrained", "rescale y"),
        (([1.0, 0], [0, 0], np.eye(2), None, 1e308), "noise_variance", "rescale y"),
        (([0.0, 0], [0, 0], np.eye(2), None, 5e-324), "noise_variance", "rescale y"),
        (([1.0, 0], [0, 0], 1e-305 * np.eye(2)), "target_covariance", "rescale x"),
        (([1.0, 0], [0, 0], 1e305 * np.eye(2)), "target_covariance", "rescale x"),
        (([1.0, 0], [0, 0], np.eye(2), 1e308 * np.eye(2)), "pretrain_covariance", "rescale x"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, argument, remedy):
    with pytest.raises(lt.InvalidValueError) as caught:
        lt.FineTuningProblem(*arguments)
    assert caught.value.argument == argument
    assert remedy in caught.value.remedy


def test_out_of_range_under_tracing_is_nan():
    mass = jax.jit(lambda c: lt.weight_mass(lt.paper_problem(0.6, c), 1.0))
    assert np.isfinite(mass(1e100))
    assert np.isnan([mass(1e-160), mass(1e160)]).all()


# ------------------------------------------------------------------------------------------------ the plane's formulas


@given(
    log_uniform(1e-300, 1e300), st.sampled_from([0.0, 1e-300, 1e-8, 0.3, 0.999]), log_uniform(1e-300, 1e300)
)
def test_stall_parameter_at_every_scale(tau, rho, norm):
    """The root of τρ²β² + 2(1−ρ²)‖e‖²β − τ = 0, and back."""
    t, r = mp.mpf(tau) / mp.mpf(norm) ** 2, mp.mpf(rho)
    b = 1 - r**2
    want = t / (b + mp.sqrt(b**2 + (r * t) ** 2))
    beta, refused = attempt(lambda: lt.stall_parameter(tau, rho, norm))
    if refused:
        assert refused.argument == "temperature"
        assert not 1e-307 < t < 1e307
        return
    assert judged(beta, want)
    if beta < 1e-300 or not 1e-290 < want * mp.mpf(norm) ** 2 < 1e290 or beta * rho > 0.9:
        return
    assert judged(lt.stall_temperature(beta, rho, norm), mp.mpf(tau), 1e-9)


@pytest.mark.parametrize(
    ("call", "argument", "value"),
    [
        (lambda: lt.closed_form([0.1, 0.2], 0.6, [1, 2, 3]), "beta", [0.1, 0.2]),
        (lambda: lt.stall_approximation([0.1, 0.2], 0.6, [1, 2, 3]), "beta", [0.1, 0.2]),
        (lambda: lt.stall_temperature([0.1, 0.2], 0.6, [1.0, 2.0, 3.0]), "beta", [0.1, 0.2]),
        (lambda: lt.stall_spectrum([0.1, 0.2], [0.6, 0.5, 0.4]), "beta", [0.1, 0.2]),
        (lambda: lt.stall_parameter([0.1, 0.2], 0.6, [1.0, 2.0, 3.0]), "temperature", [0.1, 0.2]),
    ],
)
def test_shapes_that_do_not_broadcast_are_named_with_their_values(call, argument, value):
    with pytest.raises(lt.InvalidValueError, match="do not broadcast") as caught:
        call()
    assert caught.value.argument == argument
    assert np.array_equal(caught.value.value, value)


def test_an_error_shows_what_was_given():
    far = np.array([1e200, 0.0])
    for function in (lt.target_error, lt.pretrain_error, lt.total_error):
        with pytest.raises(lt.InvalidValueError, match="beyond the largest float") as caught:
            function(lt.paper_problem(0.6), far)
        assert caught.value.argument == "theta"
        assert np.array_equal(caught.value.value, far)


# --------------------------------------------------------------------------------------------------------------- SGD


def test_sgd_answers_jax_with_jax():
    problem = lt.paper_problem(0.6, noise_variance=0.1)
    want = lt.sgd_error(problem, [0, 3, 5], 0.05)
    got = lt.sgd_error(problem, jnp.array([0, 3, 5]), 0.05)
    assert isinstance(got, jax.Array)
    assert near(got, want)
    assert isinstance(lt.sgd_error(problem, jnp.array(3), 0.05), jax.Array)
    assert not isinstance(lt.sgd_error(problem, np.array([3]), 0.05), jax.Array)


@given(log_uniform(1e-150, 1e3), log_uniform(1e-300, 1e3))
def test_the_noise_that_cold_weights_leave(signal, temperature):
    """σ² = 1 and e small: the weighted variance of ξ is (v + hσ²)/s², which 1 − (1 − h)/s² has lost."""
    problem = lt.FineTuningProblem(signal * np.array(SHIFT), [0, 0], TARGET, PRETRAIN, 1.0)
    exact = Exact(problem, temperature)
    assert judged(lt.sgd_error(problem, 3, 0.1, temperature), exact.sgd(3, 0.1))


@pytest.mark.parametrize("rho", [1e-160, 1e-200, 1e-300])
def test_a_tiny_correlation_keeps_its_component(rho):
    """K = 1 at β = 0.1/ρ: −βρ(λ₁ − λ₂)/(1 + β²ρ²), also where the squares of q = 1/β are no floats."""
    beta = 0.1 / rho
    b, r = mp.mpf(beta), mp.mpf(rho)
    lambda1, lambda2 = (1 + b * r**2) / (1 + b), r**2 * (1 - b) / (1 - b * r**2)
    want = -b * r * (lambda1 - lambda2) / (1 + b**2 * r**2)
    got = lt.closed_form(beta, rho, 1)[1]
    assert abs(mp.mpf(float(got)) - want) <= RELATIVE * abs(want)


@given(
    st.one_of(log_uniform(1e-16, 0.5).map(lambda gap: 1 - gap), log_uniform(1e-300, 0.5)),
    st.one_of(log_uniform(1e-16, 0.5).map(lambda gap: 1 - gap), log_uniform(1e-300, 1.0), st.just(1.0)),
)
def test_the_spectrum_has_all_digits_near_every_corner(rho, beta):
    """λ₂ and μ² by their fractions in 1400 digits, for β ≤ 1; the naive 1 − βρ² has lost them near ρ = β = 1."""
    b, r = mp.mpf(beta), mp.mpf(rho)
    pole = 1 - b * r**2
    lambda2 = r**2 * (1 - b) / pole
    mass = b * (1 - r**2) / ((1 + b) * pole)
    assert judged(lt.stall_spectrum(beta, rho)[1], lambda2)
    assert judged(lt.squared_mass(beta, rho), mass)
    temperature = 2 * b * (1 - r**2) / (1 - (b * r) ** 2)
    if mp.mpf(2) ** -1020 < temperature:
        assert judged(lt.stall_temperature(beta, rho), temperature)
        assert judged(lt.stall_parameter(math.inf, rho), 1 / r) or 1 / r > mp.mpf(2) ** 1023


def test_the_naive_pole_is_rejected():
    """μ² at β = 1 is ½ for every ρ; with ρ² rounded before it is taken from 1 it is not."""
    rho = 0.999999860664771
    naive = (1 - rho) * (1 + rho) / (2 * (1 - rho**2))
    assert not judged(naive, mp.mpf(0.5))
    assert judged(lt.squared_mass(1.0, rho), mp.mpf(0.5))


@pytest.mark.parametrize("rho", [1e-155, 1e-200, 1e-300])
def test_at_standard_fine_tuning_a_tiny_correlation_is_the_spectrum(rho):
    """β = 1/ρ: λ = ±ρ, also where ρ² is no float."""
    beta = 1 / rho
    for got, want in zip(lt.stall_spectrum(beta, rho), (rho, -rho), strict=True):
        assert near(got, want)

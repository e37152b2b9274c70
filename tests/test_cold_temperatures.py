"""Paths at every temperature, against the literal matrix power in as many digits as it takes.

At a small τ the weighted path's coordinates along the steep directions are of size τ/s². They are no rounding: a step
that diverges there carries them to any size. So what is compared is what a divergent path becomes, too.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.arrays import namespace
from linear_theory.covariance import Dense, IdentityPlusLowRank, Operator, RankOneDowndate
from linear_theory.covariance.spectrum import downdated_spectrum, spectrum
from linear_theory.testing.tolerances import bound, near, spectral_condition
from tests.strategies import SEEDS, log_uniform, orthogonal, random_covariance

mp = mpmath.mp.clone()
mp.dps = 1300

TEMPERATURES = log_uniform(1e-300, 1e300)
SPECTRA = ("spread", "repeated", "identity", "diagonal", "deficient")


def covariance(dim, kind, seed):
    """λ_max = 1.2, so that every downdate's default step converges."""
    rng = np.random.default_rng([seed, 3])
    if kind == "identity":
        return np.eye(dim)
    if kind == "diagonal":
        return np.diag(rng.uniform(0.1, 1.2, dim))
    if kind == "spread":
        return random_covariance(dim, 20.0, 1.2, seed)
    values = np.where(np.arange(dim) < dim // 2, 0.0 if kind == "deficient" else 0.4, 1.2)
    basis = orthogonal(dim, rng)
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2


@st.composite
def problems(draw, kinds=SPECTRA, noise=st.just(0.0)):
    dim, kind, seed = draw(st.integers(1, 5)), draw(st.sampled_from(kinds)), draw(SEEDS)
    e = np.random.default_rng(seed).standard_normal(dim)
    return lt.FineTuningProblem(e, np.zeros(dim), covariance(dim, kind, seed), None, draw(noise))


def literal(problem, temperature, steps, rate):
    """θ_K from the affine step by repeated squaring; ``rate`` is 2ημ."""
    A, e = mp.matrix(problem.target_covariance.tolist()), mp.matrix(problem.shift.tolist())
    image, tau, noise = A * e, mp.mpf(temperature), mp.mpf(float(problem.noise_variance))
    v = (e.T * image)[0]
    M = A - 2 / (tau + 2 * (v + noise)) * image * image.T
    kappa = tau / (tau + 2 * noise)
    step, walked = mp.eye(len(e)) - mp.mpf(rate) * M, kappa * e
    while steps:
        walked = step * walked if steps & 1 else walked
        step, steps = step * step, steps >> 1
    return mp.matrix(problem.target.tolist()) + (1 - kappa) * e + walked


def agrees(got, want, condition, scale=0.0):
    """To the rounding of the answer, or of ``scale`` where that is larger."""
    size = max(mp.sqrt(mp.fsum(x * x for x in want)), mp.mpf(scale))
    gap = mp.sqrt(mp.fsum((mp.mpf(float(g)) - x) ** 2 for g, x in zip(got, want, strict=True)))
    return bool(gap <= bound(condition) * size)


@given(problems(), TEMPERATURES, st.sampled_from([1, 2, 7, 400]))
def test_paths_at_every_temperature(problem, temperature, steps):
    """1 − x is rounded on the scale of 1, and so are the first steps; later ones on that of what is left."""
    got = lt.iterate(problem, steps, temperature=temperature)
    want = literal(problem, temperature, steps, 1)
    loss = 64 * steps * spectral_condition(problem.target_covariance)
    assert agrees(got, want, loss, np.linalg.norm(problem.shift))


@given(problems(kinds=("spread", "diagonal")), TEMPERATURES, st.integers(0, 3))
def test_a_step_that_diverges_does_so_at_every_temperature(problem, temperature, doublings):
    """Ten times the stable step: 19^K of a coordinate of size τ.

    Not where eigenvalues of Σ̃ coincide but for the rounding of its entries: there they are one, and what the floats
    as they are would have in the direction between them, ε of e, is not followed.
    """
    assume(problem.dim > 1)
    mass, steps = lt.weight_mass(problem, temperature), 8 * 2**doublings
    eta = 10 * lt.stable_learning_rate(problem, temperature)
    rate = 2 * eta * mass
    assume(math.isfinite(rate))
    got = lt.iterate(problem, steps, eta, temperature)
    want = literal(problem, temperature, steps, rate)
    assert agrees(got, want, 1e3 * steps * spectral_condition(problem.target_covariance))


@given(problems(noise=log_uniform(1e-3, 1e3)), TEMPERATURES)
def test_paths_under_noise(problem, temperature):
    got = lt.iterate(problem, 9, temperature=temperature)
    want = literal(problem, temperature, 9, 1)
    assert agrees(
        got, want, 640 * spectral_condition(problem.target_covariance), np.linalg.norm(problem.shift)
    )


def test_rounding_is_no_answer_to_what_a_steep_direction_holds():
    """The mutant: coordinates below d·ε·‖e‖ are taken for 0."""
    problem, tau = lt.paper_problem(0.6), 1e-16
    stable = lt.stable_learning_rate(problem, tau)
    want = 1 / (mp.sqrt(mp.mpf(tau) / (tau + 2)) * _top(problem, tau))
    assert agrees([stable], mp.matrix([want]), 10)
    given_ = spectrum(namespace(), problem.target_covariance, problem.shift)
    found = downdated_spectrum(namespace(), problem.target_covariance, given_, np.float64(tau / (tau + 2)))
    rounded = np.abs(found.coordinates) > 2 * np.finfo(float).eps
    assert not agrees([1 / np.sqrt(tau / (tau + 2)) / found.values[rounded].max()], mp.matrix([want]), 10)


def _top(problem, tau):
    A, e = mp.matrix(problem.target_covariance.tolist()), mp.matrix(problem.shift.tolist())
    image = A * e
    return max(mp.eigsy(A - 2 / (mp.mpf(tau) + 2 * (e.T * image)[0]) * image * image.T, eigvals_only=True))


@given(st.floats(0.05, 0.9), st.integers(-299, -20))
def test_a_stall_is_a_power_law_down_to_the_floats(rho, power):
    """At K = 2/τ the same share is left at every cold τ, and what lies across is proportional to τ."""
    tau = 10.0**power
    along, across = lt.iterate(lt.paper_problem(rho), int(2 / tau), temperature=tau)
    assert near(along, math.exp(-1.0), 100)
    # (14): across → −βρ(λ₁^K − λ₂^K), β → τ/(2(1 − ρ²)).
    assert near(across / tau, -rho * math.exp(-1.0) / (2 * (1 - rho**2)), 1e4)


@pytest.mark.parametrize("dim", [60, 400])
def test_many_dimensions_refuse_the_step_that_the_loop_does(dim):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3 * dim, dim))
    problem = lt.FineTuningProblem(rng.standard_normal(dim), np.zeros(dim), rows.T @ rows / (3 * dim))
    assert np.linalg.eigvalsh(problem.target_covariance)[-1] > 2
    for tau in (1.0, 1e-12, 1e-200):
        with pytest.raises(lt.DivergenceError, match="diverges for this covariance"):
            lt.iterate(problem, 1000, temperature=tau)


# ---------------------------------------- eigenvalues and coordinates


@given(
    st.integers(1, 6),
    st.sampled_from(SPECTRA),
    SEEDS,
    st.one_of(log_uniform(1e-300, 0.999), log_uniform(1.001, 1e9), st.sampled_from([0.5, 1.0, 2.0])),
)
def test_the_weighted_eigenbasis(dim, kind, seed, ratio):
    """Orthonormal, and the matrix it was made of: eᵀM e = ratio·eᵀAe by the coordinates alone, to all digits."""
    A = covariance(dim, kind, seed)
    e = np.random.default_rng(seed).standard_normal(dim)
    base = spectrum(namespace(), A, e)
    found = downdated_spectrum(namespace(), A, base, np.float64(ratio))
    loss = spectral_condition(A)
    assert near(found.vectors.T @ found.vectors, np.eye(dim), 64 * loss)
    assert near(
        (found.vectors * found.values) @ found.vectors.T,
        RankOneDowndate(Dense(A), e, ratio).dense(),
        64 * loss,
        max(1.0, ratio),
    )
    seen = np.where(found.reached, found.coordinates, 0.0)
    assert near(np.sum(found.values * seen**2) / ratio, e @ A @ e, 256 * loss)
    assert near(found.vectors @ found.coordinates, e, 64 * loss)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("alone", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_directions_that_are_not_reached_stand_aside(xp, ratio, alone):
    """Below, between or above those that are: each of these has its roots between its own neighbours."""
    A, e = np.diag([1.0, 3.0, 5.0]), np.array([1.0, 2.0, 3.0])
    e[list(alone)] = 0
    space, matrix = namespace(xp.asarray(A)), xp.asarray(A)
    base = spectrum(space, matrix, xp.asarray(e))
    found = downdated_spectrum(space, matrix, base, xp.asarray(ratio))
    M = RankOneDowndate(Dense(A), e, ratio).dense()
    assert near(np.sort(found.values), np.linalg.eigvalsh(M), 64)
    assert near((found.vectors * found.values) @ found.vectors.T, M, 64)
    assert near(found.vectors @ found.coordinates, e, 64)


def test_an_eigenbasis_that_rounds_is_refused():
    """What ``eigh`` of the matrix knows of the stalled direction is ε, not its eigenvalue."""
    A, e, ratio = random_covariance(4, 20.0, 1.2, 5), np.arange(1.0, 5.0), 1e-30
    values, vectors = np.linalg.eigh(RankOneDowndate(Dense(A), e, ratio).dense())
    assert not near(np.sum(values * (e @ vectors) ** 2) / ratio, e @ A @ e, 256 * spectral_condition(A))


# ---------------------------------------- every kind says what its matrix does


@given(st.integers(2, 7), st.integers(0, 3), SEEDS, st.floats(0.1, 3.0))
def test_no_eigenvalue_is_above_the_ceiling(dim, rank, seed, scale):
    rng = np.random.default_rng(seed)
    factor, square = rng.standard_normal((dim, rank)), rng.standard_normal((rank, rank))
    made = IdentityPlusLowRank(factor, square @ square.T * 3, scale)
    for kind in (
        made,
        Dense(made.dense()),
        RankOneDowndate(made, rng.standard_normal(dim), np.float64(rng.uniform(0, 3))),
    ):
        largest = np.linalg.eigvalsh(kind.dense())[-1]
        assert float(kind.ceiling) >= largest * (1 - 64 * dim * np.finfo(float).eps)


@pytest.mark.parametrize(
    ("core", "scale", "stable"), [(8.0, 1.0, r"0\.11111"), (-1.0, 2.5, r"0\.4\b")], ids=["a spike", "a dent"]
)
def test_a_structured_problem_refuses_its_step_where_the_matrix_does(core, scale, stable):
    """Also where what is steepest lies outside the factor's span."""
    made = IdentityPlusLowRank(np.eye(3, 1), np.array([[core]]), scale)
    for given_ in (made, made.dense(), Operator(made.apply, 3)):
        with pytest.raises(lt.DivergenceError, match=f"stable_learning_rate = {stable}"):
            lt.iterate(lt.FineTuningProblem(np.ones(3), np.zeros(3), given_), 100)


@pytest.mark.parametrize("dim", [2, 100, 200, 10**5])
@pytest.mark.parametrize("tau", [1e-8, 1e-16, 1e-100])
def test_the_weighted_form_along_the_shift_keeps_its_digits_when_handed_out(dim, tau):
    """eᵀΣ'e = μ³."""
    problem = lt.paper_problem(0.6, dim=dim)
    weighted, e = lt.weighted_covariance(problem, tau), problem.shift
    forms = [e @ weighted @ e] if dim <= 100 else [weighted.quadratic(e), e @ weighted.apply(e)]
    assert all(near(form / (tau / (tau + 2)) ** 1.5, 1.0, 10) for form in forms)

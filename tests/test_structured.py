"""Structured covariances: whatever a matrix says, the identity plus a low rank and an operator say too."""

from __future__ import annotations

import math
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

import linear_theory as lt
from linear_theory.covariance import IdentityPlusLowRank, Operator
from linear_theory.covariance.subspace import InvariantSubspace
from linear_theory.problem import _absolute_form, shift_in_units
from linear_theory.testing.tolerances import EPS, near, spectral_condition
from linear_theory.weights import HardThreshold
from tests.laws import remade
from tests.strategies import SEEDS, log_uniform, orthogonal
from tests.test_jax_gradients import close, differences

FACTORS = ("general", "orthonormal", "repeated", "zero")


def low_rank(dim, rank, seed, kind="general", scale=0.8):
    """Eigenvalues between 0.2 and 1.4 beside ``scale``; U general, orthonormal, of too low a rank, or 0."""
    rng = np.random.default_rng([seed, 7])
    core = (
        (lambda Q: (Q * rng.uniform(-0.6, 0.6, rank)) @ Q.T)(orthogonal(rank, rng))
        if rank
        else np.zeros((0, 0))
    )
    factor = np.linalg.qr(rng.standard_normal((dim, min(rank, dim))))[0]
    if rank > dim:
        factor = np.concatenate([factor, np.zeros((dim, rank - dim))], axis=1)
    if kind == "zero":
        factor = 0 * factor
    if kind == "repeated" and rank > 1:
        factor = factor.copy()
        factor[:, 1] = factor[:, 0]
        core = core / 2
    if kind == "general" and rank:
        mixing = np.eye(rank) + 0.3 * rng.standard_normal((rank, rank))
        factor, core = factor @ np.linalg.inv(mixing).T, mixing.T @ core @ mixing
    core = (core + core.T) / 2
    return IdentityPlusLowRank(factor, core, scale)


@st.composite
def structured(draw, dims=st.integers(1, 9)):
    """A problem with Σ̃ and Σ the identity plus a low rank; e anywhere, in the range of U, or 0."""
    dim, seed = draw(dims), draw(SEEDS)
    rank = draw(st.integers(0, 4))
    sigma = low_rank(dim, rank, seed, draw(st.sampled_from(FACTORS)))
    rng = np.random.default_rng(seed)
    shift = {
        "anywhere": rng.standard_normal(dim),
        "in the range": sigma.factor @ rng.standard_normal(rank),
        "nearly": sigma.factor @ rng.standard_normal(rank) + 1e-9 * rng.standard_normal(dim),
        "zero": np.zeros(dim),
    }[draw(st.sampled_from(["anywhere", "in the range", "nearly", "zero"]))]
    target = np.zeros(dim) if draw(st.booleans()) else rng.standard_normal(dim)
    pretrain = low_rank(dim, 2, seed + 1, scale=2.0) if draw(st.booleans()) else None
    noise = draw(st.one_of(st.just(0.0), log_uniform(1e-3, 10.0)))
    return lt.FineTuningProblem(target + shift, target, sigma, pretrain, noise)


def as_matrix(problem):
    """The same problem with its covariances written out."""
    written = lambda value: None if value is None else value.dense()
    return remade(
        problem,
        target_covariance=written(problem.target_covariance),
        pretrain_covariance=written(problem.pretrain_covariance),
    )


def as_operator(problem):
    return remade(problem, target_covariance=aslinearoperator(problem.target_covariance.dense()))


TEMPERATURES = (math.inf, 0.05, 3.0)

THETA = {
    "iterate": lambda p, tau: lt.iterate(p, np.array([0, 1, 2, 7, 1000]), temperature=tau),
    "iterate, half the step": lambda p, tau: lt.iterate(p, [3, 10**400], 0.4, tau),
    "gradient_flow": lambda p, tau: lt.gradient_flow(p, np.array([0.0, 0.3, 20.0, math.inf]), tau),
    "fixed_point": lt.fixed_point,
    "joint_optimum": lambda p, tau: lt.joint_optimum(p),
    "best_model_average": lambda p, tau: lt.best_model_average(p),
}

NUMBERS = {
    "weight_mass": lt.weight_mass,
    "stable_learning_rate": lt.stable_learning_rate,
    "pretrain_error": lambda p, tau: lt.pretrain_error(p, np.stack([p.target, p.target + 1])),
    "target_error": lambda p, tau: lt.target_error(p, p.pretrained),
    "total_error": lambda p, tau: lt.total_error(p, p.target + np.arange(p.dim)),
    "hard_sample_error": lambda p, tau: lt.hard_sample_error(p, p.target + 1.0, 0.1),
    "sgd_error": lambda p, tau: lt.sgd_error(p, [0, 1, 2, 50], 0.02, tau),
}

NO_SPECTRUM_NEEDED = [name for name in NUMBERS if name != "sgd_error"]


def same(function, one, other, tau, slack=1.0):
    """Whether a function says the same of two problems, to the rounding of the worse conditioned part of it."""
    got, want = function(one, tau), function(other, tau)
    loss = slack * spectral_condition(other.target_covariance) * (1 + abs(other.target).max())
    return near(got, want, 8 * loss * cancelled(one.target_covariance))


def cancelled(covariance):
    """How much larger the terms of U C Uᵀ are than what they add up to: nearly dependent columns of U."""
    if not isinstance(covariance, IdentityPlusLowRank):
        return 1.0
    terms = np.abs(covariance.factor) @ np.abs(covariance.core) @ np.abs(covariance.factor).T
    return 1.0 + float(terms.max(initial=0.0) / np.abs(covariance.dense()).max())


def defined(problem, name):
    """Σ̃e ≠ 0 where a temperature is compared; a stable step at all where its size is."""
    return problem.residual_variance > 0 and (name != "stable_learning_rate" or problem.shift.any())


@pytest.mark.parametrize("name", THETA)
@given(structured(), st.sampled_from(TEMPERATURES))
def test_paths_are_those_of_the_matrix(name, problem, tau):
    if defined(problem, name):
        assert same(THETA[name], problem, as_matrix(problem), tau)


@pytest.mark.parametrize("name", NUMBERS)
@given(structured(), st.sampled_from(TEMPERATURES))
def test_numbers_are_those_of_the_matrix(name, problem, tau):
    """A shift that lies in the range of U, but for rounding, has directions that rounding may count or not."""
    if defined(problem, name) and (
        name != "stable_learning_rate" or leaving(problem) > 1e-6 or not problem.shift.any()
    ):
        assert same(NUMBERS[name], problem, as_matrix(problem), tau)


def leaving(problem):
    """The share of the shift outside the range of U."""
    e, U = problem.shift, problem.target_covariance.factor
    if not e.any():
        return 0.0
    left = e - U @ np.linalg.pinv(U) @ e
    share = np.linalg.norm(left) / np.linalg.norm(e)
    return share if share > 1e-14 else 0.0


@given(structured(), st.sampled_from((0.05, 3.0)))
def test_the_weighted_covariance_is_of_the_kind_it_was(problem, tau):
    matrix, operator = as_matrix(problem), as_operator(problem)
    if not problem.residual_variance > 0:
        return
    want = lt.weighted_covariance(matrix, tau)
    weighted = lt.weighted_covariance(problem, tau)
    assert isinstance(weighted, IdentityPlusLowRank)
    assert weighted.factor.shape[1] == problem.target_covariance.factor.shape[1] + 1
    assert near(weighted.dense(), want, spectral_condition(matrix.target_covariance))
    assert near(weighted.apply(problem.pretrained), want @ problem.pretrained, 100)
    by_products = lt.weighted_covariance(operator, tau)
    assert isinstance(by_products, Operator)
    assert near(by_products.dense(), want, spectral_condition(matrix.target_covariance))
    assert isinstance(want, np.ndarray)


@pytest.mark.parametrize("name", [*THETA, *NO_SPECTRUM_NEEDED])
@given(structured(dims=st.integers(1, 40)), st.sampled_from(TEMPERATURES))
def test_an_operator_says_the_same(name, problem, tau):
    """Lanczos settles to 64 ε, of which the iterates' condition may make more."""
    if defined(problem, name) and leaving(problem) > 1e-6:
        function = (THETA | NUMBERS)[name]
        assert same(function, as_operator(problem), as_matrix(problem), tau, slack=16)


def test_operators_of_every_make():
    sparse = scipy.sparse.diags_array(
        [np.full(29, 0.2), np.linspace(0.5, 1, 30), np.full(29, 0.2)], offsets=[-1, 0, 1]
    )
    e = np.random.default_rng(0).standard_normal(30)
    want = lt.iterate(lt.FineTuningProblem(e, 0 * e, sparse.toarray()), 9, temperature=1.0)
    for made in (sparse, sparse.tocsr(), aslinearoperator(sparse), Operator(lambda v: sparse @ v, 30)):
        problem = lt.FineTuningProblem(e, 0 * e, made)
        assert isinstance(problem.target_covariance, Operator)
        assert near(lt.iterate(problem, 9, temperature=1.0), want, 30)
        both = lt.FineTuningProblem(e, 0 * e, sparse.toarray(), made)
        assert near(lt.joint_optimum(both), e / 2, 30)


@pytest.mark.parametrize(("size", "scale"), [(1e-180, 1e100), (1e160, 1e-100), (1.0, 1.0)])
@pytest.mark.parametrize("dim", [10, 1000])
def test_a_low_rank_in_any_units(size, scale, dim):
    """eᵀΣ̃e = (d + 1)·scale·size², with e not in the span of the one column, though e's own square is no float."""
    covariance = IdentityPlusLowRank(np.eye(dim, 1), [[scale]], scale)
    problem = lt.FineTuningProblem(size * np.ones(dim), np.zeros(dim), covariance, covariance)
    want = (dim + 1) * (scale * size * size if scale > 1 else size * scale * size)
    assert near(problem.shift_variance, want, dim)
    assert near(lt.target_error(problem, problem.pretrained), want, dim)
    assert near(lt.sgd_error(problem, 0, 1e-6 / scale), want, dim)
    left = lt.iterate(problem, 3, 0.1 / scale) / size
    assert near(left, np.where(np.arange(dim) == 0, 0.6**3, 0.8**3), 10)


def test_a_low_rank_factorises_once(monkeypatch):
    covariance = IdentityPlusLowRank(np.ones((5, 1)), np.eye(1), 2.0)
    first = covariance.ceiling
    monkeypatch.setattr(np.linalg, "qr", None)
    assert covariance.ceiling == first
    assert near(first, 7.0)


@pytest.mark.parametrize("size", [0.0, 1e-140, 1.0, 1e140])
@pytest.mark.parametrize("unit", [1e-150, 1e-10, 1.0, 1e150])
def test_an_operator_of_any_size_and_a_vector_of_none(size, unit):
    """A space that grows from nothing is as good as any; the square of a product need not be a float."""
    matrix = unit * np.diag([1.0, 2.0, 3.0])
    e = size * np.array([1.0, -2.0, 0.5])
    if size and not 1e-290 < unit * size**2 < 1e290:
        return
    given = [
        lt.FineTuningProblem(e, 0 * e, covariance, unit * np.eye(3))
        for covariance in (matrix, Operator(lambda v: matrix @ v, 3))
    ]
    rate = 0.1 / unit
    for function in (lt.joint_optimum, lt.best_model_average, lambda p: lt.iterate(p, 5, rate)):
        want, got = map(function, given)
        assert near(got, want, 10, scale=size)
    want, got = (lt.gap_closed(problem, 0.5 * e) for problem in given)
    assert near(got, want, 100) or (size == 0 and np.isnan(want) and np.isnan(got))


def test_a_krylov_space_takes_few_products():
    """Three eigenvalues in 5000 dimensions: three products, whatever K; a spread-out spectrum: more, until settled."""
    calls = []

    def products(values):
        return Operator(lambda v: calls.append(1) or values * v, len(values))

    e = np.random.default_rng(0).standard_normal(5000)
    for values, K, most in (
        (np.repeat([0.5, 1.0, 1.5], [1000, 3000, 1000]), 10**9, 30),
        (np.linspace(0.1, 1.9, 5000), 500, 600),
    ):
        problem = lt.FineTuningProblem(e, 0 * e, products(values))
        calls.clear()
        assert near(lt.iterate(problem, K, 0.5), (1 - values) ** K * e, 1e3, scale=np.abs(e).max())
        assert 0 < len(calls) < most


@pytest.mark.parametrize("least", [0.1, 0.3, 0.5])
def test_an_operator_settles_at_every_step_and_time(least):
    """Each row beside its own largest entry: the first steps, which a small space knows, do not speak for the last."""
    values, count = np.linspace(0.9, least, 1000), np.array([0, 5, 50, 200])
    problem = lt.FineTuningProblem(np.ones(1000), np.zeros(1000), Operator(lambda v: values * v, 1000))
    for found, want in (
        (lt.iterate(problem, count), (1 - values) ** count[:, None]),
        (lt.gradient_flow(problem, count * 1.0), np.exp(-2.0 * count[:, None] * values)),
    ):
        assert all(near(row, right, 200) for row, right in zip(found, want, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_what_no_sample_sees_stays_for_ever(seed):
    """I − BBᵀ is 0 along B but for rounding, of which any number of steps makes nothing."""
    rng = np.random.default_rng(seed)
    basis, e = np.linalg.qr(rng.standard_normal((30, 2)))[0], rng.standard_normal(30)
    unseen = IdentityPlusLowRank(basis, -np.eye(2))
    for kind in (unseen, Operator(unseen.apply, 30)):
        end = lt.iterate(lt.FineTuningProblem(e, 0 * e, kind), 10**30, 0.4)
        assert near(end, basis @ (basis.T @ e), 100, abs(e).max())


def test_an_unsettled_krylov_space_is_an_error(monkeypatch):
    monkeypatch.setattr("linear_theory.covariance.operator.MAX_PRODUCTS", 64)
    values = np.geomspace(1e-9, 1, 3000)
    problem = lt.FineTuningProblem(np.ones(3000), np.zeros(3000), Operator(lambda v: values * v, 3000))
    with pytest.raises(lt.InvalidValueError, match="not settled after 64 products"):
        lt.iterate(problem, 10**8)


# --------------------------------------------------------------------------------------------- a million dimensions


@pytest.mark.parametrize("steps", [1, 10**3, 10**9])
def test_the_papers_problem_in_a_million_dimensions(steps):
    tau, rho, dim = 2 / steps, 0.6, 10**6
    problem = lt.paper_problem(rho, dim=dim)
    tracemalloc.start()
    theta = lt.iterate(problem, steps, temperature=tau)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    want = lt.closed_form(lt.stall_parameter(tau, rho), rho, steps)
    assert near(theta[:2], np.array(want))
    assert not theta[2:].any()
    assert peak <= 10 * 8 * dim  # some vectors, and not a matrix


def test_every_population_function_in_many_dimensions():
    """The plane of (e, e⊥) knows everything but SGD, whose noise goes everywhere."""
    small = lt.paper_problem(0.6, 2.0, 2, noise_variance=0.3)
    large = lt.paper_problem(0.6, 2.0, 10**5, noise_variance=0.3)
    assert isinstance(large.target_covariance, IdentityPlusLowRank)
    for name, function in THETA.items():
        got = function(large, 1.3)
        assert near(got[..., :2], function(small, 1.3)), name
        assert not got[..., 2:].any()
    for name in ("weight_mass", "stable_learning_rate", "target_error"):
        assert near(NUMBERS[name](large, 1.3), NUMBERS[name](small, 1.3)), name
    assert near(lt.gap_closed(large, lt.iterate(large, 3)), lt.gap_closed(small, lt.iterate(small, 3)), 100)
    assert lt.population_median_temperature(large) == lt.population_median_temperature(small)


@pytest.mark.parametrize("dtype", [np.float64, jnp.float64, jnp.float32], ids=["numpy", "jax", "float32"])
@pytest.mark.parametrize("dim", [4**7, 4**10])
def test_what_can_be_seen_of_a_shift_does_not_hang_on_the_dimension(dim, dtype):
    """The plane knows it: also where eᵀΣ̃e is a hundredth of its terms, which is no rounding in any dimension.

    In these dimensions a column of ones over √d has length 1 to the last bit.
    """
    lead = np.asarray if dtype is np.float64 else lambda x: jnp.asarray(x, dtype=dtype)

    start = np.zeros(dim)
    start[:2] = 1.0, -1.0
    plane = IdentityPlusLowRank(lead(np.eye(dim, 2)), lead(0.98 * np.eye(2)[::-1]), lead(1.0))
    problem = lt.FineTuningProblem(lead(start), lead(0 * start), plane)
    assert abs(problem.shift_variance - 0.04) <= 1e-6
    assert abs(lt.best_average_weight(problem) - 1 / 1.02) <= 1e-6
    ones = np.full(dim, 0.1)
    centred = IdentityPlusLowRank(lead(np.full((dim, 1), 1 / math.sqrt(dim))), lead([[-1.0]]), lead(1.0))
    assert lt.FineTuningProblem(lead(ones), lead(0 * ones), centred).shift_variance == 0


def test_sgd_in_many_dimensions_is_unstable_beyond_its_step():
    """Standard fine-tuning, Σ̃ = I: stable in mean square up to η = 1/(d + 2), which the plane alone cannot know."""
    dim, steps = 10**4, 40_000
    problem = lt.paper_problem(0.0, dim=dim)
    for factor in (0.9, 1.1):
        rate = factor / (dim + 2)
        # E‖θ − 2η⟨θ, x⟩x‖² = (1 − 4η + 4η²(d + 2))‖θ‖² for x ~ N(0, I).
        want = math.exp(steps * math.log1p(-4 * rate * (1 - rate * (dim + 2))))
        error = lt.sgd_error(problem, steps, rate)
        assert near(error, want, steps)
        assert (want < 1) == (factor < 1)
        assert not near(error, math.exp(-4 * rate * steps), steps)


@pytest.mark.parametrize("old", ["dense", "low rank"])
@pytest.mark.parametrize("inside", [True, False])
def test_what_sgd_forgets_in_all_directions_hangs_on_how_many_there_are(old, inside):
    """Noise goes in each of 130, and a low rank keeps but its own: the shift may lie in their span, or not."""
    dim, rng = 130, np.random.default_rng(3)
    sigma, steps = low_rank(dim, 2, 3), np.array([1, 5])
    shift = sigma.factor @ [0.6, -0.8] if inside else rng.standard_normal(dim) / math.sqrt(dim)
    pretrain = low_rank(dim, 2, 4, scale=2.0)
    pretrain = pretrain.dense() if old == "dense" else pretrain
    problem = lt.FineTuningProblem(shift, 0 * shift, sigma, pretrain, 0.5)
    kept_whole = remade(problem, target_covariance=sigma.dense())
    want = lt.sgd_errors(kept_whole, steps, 0.002)
    compiled = jax.jit(lambda problem: lt.sgd_errors(problem, steps, 0.002))
    for got in (lt.sgd_errors(problem, steps, 0.002), compiled(jax.tree.map(jnp.asarray, problem))):
        for one, other in zip(got, want, strict=True):
            assert near(one, other, 1e3)


# ----------------------------------------------------------------------------------------------------- derivatives


def everything(problem, tau):
    thetas = (
        *lt.iterate(problem, np.array([1, 2, 7]), temperature=tau),
        *lt.gradient_flow(problem, np.array([0.3, math.inf]), tau),
        lt.joint_optimum(problem),
    )
    engine = jnp if isinstance(problem.pretrained, jax.Array) else np
    theta = engine.stack(thetas)
    return engine.concatenate(
        [
            theta @ np.cos(np.arange(problem.dim)),
            lt.total_error(problem, theta),
            lt.sgd_error(problem, np.array([3]), 0.02, tau),
            lt.weight_mass(problem, tau)[None],
        ]
    )


def moves(problem, seed):
    """A direction for every leaf: e and U leave the space they were in."""
    rng = np.random.default_rng(seed)
    leaves, structure = jax.tree.flatten(problem)
    made = [rng.standard_normal(np.shape(leaf)) / 4 for leaf in leaves]
    made = [m + m.T if m.ndim == 2 and m.shape[0] == m.shape[1] else m for m in made]
    return jax.tree.unflatten(structure, made)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        pytest.param(
            kind,
            inside,
            marks=() if (kind, inside) == ("general", False) else pytest.mark.deep,
        )
        for kind in FACTORS
        for inside in (False, True)
    ],
)
def test_gradients_leave_the_space(kind, inside):
    """Against differences of the NumPy answer, in every entry of e, U, C, the scale, the noise and Σ."""
    sigma = low_rank(7, 2, 3, kind)
    rng = np.random.default_rng(1)
    e = sigma.factor @ rng.standard_normal(2) if inside and kind != "zero" else rng.standard_normal(7)
    problem = lt.FineTuningProblem(e, np.zeros(7), sigma, low_rank(7, 1, 4, scale=2.0), 0.4)
    direction = moves(problem, 5)
    leaves = jax.tree.map(jnp.asarray, problem)
    at = lambda h, engine: jax.tree.map(lambda leaf, move: leaf + h * move, engine, direction)
    answer = lambda h: everything(at(h, leaves), 1.3)
    slope, backward = jax.jit(lambda h: (jax.jacfwd(answer)(h), jax.jacrev(answer)(h)))(0.0)
    want = differences(lambda h: everything(at(h, problem), 1.3))
    assert close(np.asarray(slope), want)
    assert close(np.asarray(backward), want)
    # Held in the space of U and e, as if what leaves it did not count.
    frozen = remade(problem, target_covariance=sigma.dense() + 0.0)
    assert not close(
        np.asarray(slope), differences(lambda h: everything(at_matrix(h, frozen, direction, sigma), 1.3))
    )


def test_gradients_leave_the_space_in_many_dimensions_at_any_rate():
    """Where the covariance is kept as a low rank, too, and 2ημ is not 1 over the largest eigenvalue."""
    sigma = low_rank(140, 2, 3)
    problem = lt.FineTuningProblem(
        np.random.default_rng(1).standard_normal(140), np.zeros(140), sigma, None, 0.4
    )
    direction = moves(problem, 5)
    leaves = jax.tree.map(jnp.asarray, problem)
    at = lambda h, engine: jax.tree.map(lambda leaf, move: leaf + h * move, engine, direction)

    def answer(problem):
        return lt.iterate(problem, 7, 0.13, 1.3) @ np.cos(np.arange(140))

    slope = jax.jit(jax.jacfwd(lambda h: answer(at(h, leaves))))(0.0)
    assert close(np.asarray(slope), differences(lambda h: answer(at(h, problem))))


def at_matrix(h, problem, direction, sigma):
    """Only the core moves: the mutant of the test above."""
    moved = sigma.factor @ (sigma.core + h * direction.target_covariance.core) @ sigma.factor.T
    return remade(
        problem,
        target_covariance=(moved + moved.T) / 2 + sigma.scale * np.eye(problem.dim),
        pretrained=problem.pretrained + h * direction.pretrained,
    )


def test_under_jit_and_vmap():
    large = lambda rho: lt.iterate(lt.paper_problem(rho, dim=200), 5, temperature=1.0)
    rhos = jnp.array([0.0, 0.3, 0.6])
    want = np.stack([large(float(rho)) for rho in rhos])
    assert near(jax.jit(jax.vmap(large))(rhos), want, 10)
    slope = jax.jit(jax.grad(lambda rho: large(rho)[0]))(0.3)
    small = jax.jit(jax.grad(lambda rho: lt.iterate(lt.paper_problem(rho), 5, temperature=1.0)[0]))(0.3)
    assert near(slope, small, 10)
    assert large(jnp.float32(0.3)).dtype == jnp.float32


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "direction",
    [
        np.ones,
        lambda d: np.full(d, d**-0.5),
        lambda d: np.linspace(1, 1.1, d),
        lambda d: 1 / np.arange(1.0, d + 1),
    ],
    ids=["ones", "their mean", "nearly", "falling"],
)
def test_a_direction_taken_out_of_a_million_is_gone(direction):
    """I − uuᵀ/‖u‖², as of centred columns: what is left along u does not grow with the dimensions."""
    u = direction(10**6)
    covariance = IdentityPlusLowRank(u[:, None], np.array([[-1 / math.fsum(u * u)]]))
    left = covariance.reach(u, lambda subspace: True).covariance.dense()
    assert left.shape == (1, 1)
    assert abs(left).max() <= 16 * EPS


def test_two_directions_and_none_of_many_dimensions():
    """The same for columns that are neither short nor orthogonal; and without any."""
    factor = np.stack([np.ones(10**5), np.linspace(1, 2, 10**5)], axis=1)
    inverse = np.linalg.inv([[math.fsum(a * b) for a in factor.T] for b in factor.T])
    covariance = IdentityPlusLowRank(factor, -(inverse + inverse.T) / 2)
    left = covariance.reach(factor[:, 1], lambda subspace: True).covariance.dense()
    assert abs(left).max() <= 1000 * EPS  # of which the inverse has lost two digits
    assert IdentityPlusLowRank(np.zeros((1000, 0)), np.zeros((0, 0)), 2.0).ceiling == 2.0


def test_what_a_low_rank_covariance_must_be():
    U = np.eye(4, 2)
    cases = [
        ((U, np.eye(3)), "core .*has shape"),
        ((U, np.array([[1.0, 0.5], [0.0, 1.0]])), r"not symmetric \(largest difference 0\.5\)"),
        ((U, -2 * np.eye(2)), r"core.*not positive semi-definite \(smallest eigenvalue -1\)"),
        ((U, np.eye(2), -0.1), r"scale.*not positive semi-definite \(smallest eigenvalue -0\.1\)"),
        ((np.full((4, 2), np.nan), np.eye(2)), "factor.*finite"),
        ((np.zeros((0, 2)), np.eye(2)), "no rows"),
        ((np.ones(4), np.eye(2)), "factor.*must be a matrix"),
    ]
    for arguments, message in cases:
        with pytest.raises(lt.InvalidValueError, match=rf"(?s){message}"):
            IdentityPlusLowRank(*arguments)
    assert IdentityPlusLowRank(U, -np.eye(2)).reach(U[:, 0], lambda reach: True).covariance.eigh()[0][0] == 0


@pytest.mark.parametrize("size", [1e160, 1e308])
def test_a_low_rank_beyond_the_floats_is_refused(size):
    for factor, core, name in (
        (np.full((3, 2), size), np.eye(2), "factor"),
        (np.full((3, 2), 2.0), size * np.array([[1.0, -1.0], [1.0, 1.0]]), "core"),
    ):
        with pytest.raises(lt.InvalidValueError, match=name):
            IdentityPlusLowRank(factor, core)
    small = IdentityPlusLowRank(np.full((3, 1), 1e160), np.array([[1e-320]]))
    assert np.isfinite(small.ceiling)


def test_nobody_can_change_it_afterwards():
    U = np.eye(4, 2)
    covariance = IdentityPlusLowRank(U, np.zeros((2, 2)))
    U[0, 0] = 7.0
    assert covariance.factor[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        covariance.factor[0, 0] = 7.0


def test_how_far_an_operator_is_from_symmetric_is_told_of_its_asymmetric_part():
    """⟨u, Av⟩ − ⟨Au, v⟩ does not hang on what is symmetric in A."""
    skew, told = np.array([[0.0, 0.5], [-0.5, 0.0]]), []
    for symmetric in (np.eye(2), np.array([[7.0, 3.0], [3.0, 90.0]])):
        with pytest.raises(lt.InvalidValueError, match="not symmetric") as caught:
            Operator(lambda v, A=symmetric + skew: A @ v, 2)
        told.append(caught.value.remedy)
    assert told[0] == told[1]


def test_what_an_operator_must_be():
    e = np.ones(3)
    skew = np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    for product, message in (
        (lambda v: skew @ v, "not symmetric"),
        (lambda v: v[:2], "gave shape"),
        (lambda v: v * np.nan, "NaN or infinity"),
    ):
        with pytest.raises(lt.InvalidValueError, match=message):
            Operator(product, 3)
    with pytest.raises(lt.InvalidTypeError, match="must be a function"):
        Operator(np.eye(3), 3)
    with pytest.raises(lt.InvalidTypeError, match="integer"):
        Operator(lambda v: v, 3.0)
    with pytest.raises(lt.InvalidValueError, match="integer"):
        Operator(lambda v: v, 0)
    negative = Operator(lambda v: v * np.array([1.0, -1.0, 1.0]), 3)
    with pytest.raises(lt.InvalidValueError, match=r"not positive semi-definite \(eigenvalue -1 or less\)"):
        lt.iterate(lt.FineTuningProblem(e, 0 * e, negative), 3, 0.1)
    with pytest.raises(lt.InvalidValueError, match="2 dimensions, must have 3"):
        lt.FineTuningProblem(e, 0 * e, low_rank(2, 1, 0))
    with pytest.raises(lt.InvalidValueError, match="has shape"):
        lt.FineTuningProblem(e, 0 * e, aslinearoperator(np.eye(2)))
    operator = Operator(lambda v: v, 3)
    with pytest.raises(lt.InvalidTypeError, match="NumPy"):
        lt.FineTuningProblem(jnp.ones(3), 0 * e, operator)
    with pytest.raises(lt.InvalidTypeError, match="whole spectrum"):
        lt.sgd_error(lt.FineTuningProblem(e, 0 * e, operator), 3, 0.1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda problem, one: lt.iterate(problem, one.astype(int)),
        lambda problem, one: lt.iterate(problem, 300, 0.5 * one),
        lambda problem, one: lt.iterate(problem, 300, temperature=math.inf * one),
        lambda problem, one: lt.gradient_flow(problem, 150 * one),
        lambda problem, one: lt.stable_learning_rate(problem, one),
        lambda problem, one: lt.fixed_point(problem, one),
        lambda problem, one: lt.ridge_optimum(problem, 1e-4 * one),
    ],
)
def test_an_operator_beside_a_jax_number_is_refused(answer):
    """JAX looks at no value, so it would take the first Krylov space, of 16 products, for large enough."""
    values = np.linspace(0.01, 1, 300)
    problem = lt.FineTuningProblem(
        np.ones(300), np.zeros(300), Operator(lambda v: values * v, 300), None, 0.1
    )
    assert np.isfinite(answer(problem, np.array(1.0))).all()
    for call in (answer, jax.jit(answer)):
        with pytest.raises(lt.InvalidTypeError, match="works in NumPy; pass no JAX arrays"):
            call(problem, jnp.array(1.0))


def test_other_rules_in_many_dimensions():
    rule = HardThreshold(0.7)
    want = lt.iterate(lt.paper_problem(0.6), 5, temperature=rule)
    assert near(lt.iterate(lt.paper_problem(0.6, dim=1000), 5, temperature=rule)[:2], want)


# --------------------------------------------------------------------------------------------- mutants of the reach


def test_a_reach_that_is_not_closed_is_rejected(monkeypatch):
    """Without the shift's own direction, or with its remainder not orthogonal, the paths are others."""
    problem = lt.FineTuningProblem(np.ones(9), np.zeros(9), low_rank(9, 2, 1))
    matrix = as_matrix(problem)
    assert same(THETA["iterate"], problem, matrix, 1.0)
    right = IdentityPlusLowRank.reach

    def without_shift(self, vector, enough):
        found = right(self, vector, enough)
        return InvariantSubspace(found.covariance, found.coordinates * [1, 1, 0], found.basis, found.rest)

    monkeypatch.setattr(IdentityPlusLowRank, "reach", without_shift)
    assert not same(THETA["iterate"], problem, matrix, 1.0)

    def unscaled(self, vector, enough):
        found = right(self, vector, enough)
        return InvariantSubspace(
            found.covariance, found.coordinates, found.basis * (1 + 1e3 * EPS), found.rest
        )

    monkeypatch.setattr(IdentityPlusLowRank, "reach", unscaled)
    assert np.abs(problem.target_covariance.dense() - np.eye(9)).max() > 0


@given(SEEDS, st.sampled_from(FACTORS), st.integers(-250, 250))
def test_what_rounding_leaves_is_bounded_without_a_pass_over_the_low_rank(seed, kind, exponent):
    A = low_rank(40, 3, seed, kind)
    unit = 2.0**exponent  # of the factor alone, whose squares need not be floats
    A = IdentityPlusLowRank(A.factor * unit, A.core / unit / unit, A.scale)
    vector = np.random.default_rng(seed).standard_normal(40)
    exact = _absolute_form(A, abs(vector))
    assert exact <= 2 * A.absolute_ceiling * (vector @ vector)
    assert A.absolute_ceiling <= 3 * 3 * 2 * A.ceiling + 3 * A.scale  # so that it decides at all
    held = A.times(1.0)  # whose arrays others may write to: nothing is kept of it
    assert held.absolute_ceiling == math.inf


@given(SEEDS, st.integers(-250, 250))
def test_a_shift_in_the_null_space_of_a_low_rank_has_no_variance(seed, exponent):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((50, 2)))[0]
    null = IdentityPlusLowRank(basis, -np.eye(2))
    e = basis @ rng.standard_normal(2) * 2.0**exponent
    problem = lt.FineTuningProblem(e, np.zeros(50), null)
    _, _, spread = shift_in_units(lt.arrays.namespace(e), problem)
    assert spread == 0
    assert problem.shift_variance == 0
    problem.pretrained[0] += 2.0**exponent  # the caller's own array: what was asked before is not kept
    assert problem.shift_variance > 0

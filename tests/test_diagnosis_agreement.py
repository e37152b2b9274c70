"""``diagnose`` against 60 digits: every number and path, and what a wrong one of each would look like."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linear_theory as lt
from linear_theory.diagnosis import paths as package
from linear_theory.diagnosis.paths import compare_with_theory, shift_ratio
from linear_theory.testing.tolerances import disagreement, exact, near, not_above, within_standard_errors
from tests import reference_diagnosis as reference
from tests.agreement import assert_agrees, assert_rejects
from tests.strategies import SEEDS, random_covariance, random_data

EARLY = 20
SIGMA = random_covariance(3, 5.0, 2.0, 7)


def case(scale, seed, temperature=None, sigma=None):
    """Rows whose curvature is small (scale 1: ½/mean w converges) or large (it does not)."""
    rows = random_data(14, 3, 3, condition=3.0, seed=seed)
    return scale * rows.X, rows.y, rows.start, temperature, sigma


CASES = (
    case(1.0, 1),
    case(1.0, 2, 5.0, SIGMA),
    case(3.5, 3, None, SIGMA),  # FLOW's step is ½, and standard fine-tuning's diverges
    case(30.0, 4),  # ½ diverges
    case(0.01, 5, 0.3),
)


def seen(d):
    """Which recorded steps are compared: every early one, one in the middle, the last."""
    last = len(d.paths.steps) - 1
    return [*range(EARLY), (EARLY + last) // 2, last]


def numbers(d):
    """The numbers of a diagnosis by the reference's names."""
    shown = seen(d)
    return {
        "temperature": d.temperature,
        "mean_weight": d.mean_weight,
        "effective_samples": d.effective_samples,
        "gram": d.covariances[0],
        "weighted": d.covariances[1],
        "spectrum": d.spectrum,
        "shift": d.shift,
        "weighted_shift": d.weighted_shift,
        "stalled_direction": d.stalled_direction,
        "overlap": d.overlap,
        "half_life": d.half_life,
        "errors": np.stack([d.forgetting, d.target_errors], axis=-1),
        "learning_rates": d.paths.learning_rates,
        "paths": np.stack([d.paths.forgetting, d.paths.target_errors], axis=-1)[:, shown].reshape(-1, 2),
    }


def condition(arguments, want):
    """Of everything here: the normal equations' κ², times how much larger the labels are than the shift."""
    X, y, start, *_ = arguments
    kappa = max(float(row[len(start) - 1] / row[0]) for row in want["spectrum"].tolist())
    size = np.linalg.norm(start) + np.linalg.norm(y) / np.linalg.norm(X, 2)
    return (
        len(start) * kappa * max(1.0, size / float(np.linalg.norm(np.array(want["shift"].tolist(), float))))
    )


def comparison(implementation):
    for k, arguments in enumerate(CASES):
        right = lt.diagnose(*arguments)
        want = reference.diagnosis(*arguments, steps=[int(right.paths.steps[k]) for k in seen(right)])
        got = implementation(*arguments)
        sign = (exact(got["stalled_direction"]).T * want["stalled_direction"])[0]
        if sign < 0:  # a direction has none
            got = got | {"stalled_direction": -np.asarray(got["stalled_direction"])}
        kappa = condition(arguments, want)
        for name, value in want.items():
            yield disagreement(f"{name} of case {k}", got[name], value, lambda kappa=kappa: kappa)


def test_agrees_with_sixty_digits():
    assert_agrees(comparison(lambda *rows: numbers(lt.diagnose(*rows))))


def test_agrees_in_jax():
    def in_jax(*rows):
        d = lt.diagnose(*(jnp.asarray(a) if a is not None else None for a in rows))
        assert all(isinstance(leaf, jnp.ndarray) for leaf in (d.spectrum, d.half_life, d.forgetting))
        return numbers(d)

    assert_agrees(comparison(in_jax))


def changed(**changes):
    """A mutant: some numbers made of the right ones in a wrong way."""
    return lambda *rows: (lambda right: right | {k: f(right) for k, f in changes.items()})(
        numbers(lt.diagnose(*rows))
    )


MUTANTS = {
    "weights ignored": lambda X, y, start, tau, sigma: numbers(lt.diagnose(X, y, start, math.inf, sigma)),
    "mean loss for median": lambda X, y, start, tau, sigma: numbers(
        lt.diagnose(X, y, start, float(np.mean((y - X @ start) ** 2)), sigma)
    ),
    "another forgetting": lambda X, y, start, tau, sigma: numbers(
        lt.diagnose(X, y, start, tau, None if sigma is None else np.linalg.inv(sigma))
    ),
    "forgetting without Σ": lambda X, y, start, tau, sigma: numbers(lt.diagnose(X, y, start, tau)),
    "steepest direction": changed(stalled_direction=lambda r: np.linalg.eigh(r["weighted"])[1][:, -1]),
    "unweighted direction": changed(stalled_direction=lambda r: np.linalg.eigh(r["gram"])[1][:, 0]),
    "half-life without the 2": changed(half_life=lambda r: 2 * r["half_life"]),
    "overlap with the weighted shift": changed(
        overlap=lambda r: (
            abs(r["stalled_direction"] @ r["weighted_shift"]) / np.linalg.norm(r["weighted_shift"])
        )
    ),
    "weights squared once": changed(effective_samples=lambda r: 14 * r["mean_weight"]),
    "shift the other way": changed(shift=lambda r: -r["shift"]),
    "target error under the weights": changed(
        errors=lambda r: np.stack(
            [r["errors"][:, 0], [0.0, *r["errors"][1:, 1]]],
            axis=-1,
        )
    ),
    "the same mean step in standard's steps": changed(
        learning_rates=lambda r: r["learning_rates"][[0, 1, 0]],
        paths=lambda r: np.concatenate([r["paths"][: 2 * EARLY + 4], r["paths"][: EARLY + 2]]),
    ),
    "one step late": changed(paths=lambda r: np.roll(r["paths"], 1, axis=0)),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_comparison_rejects_wrong_numbers(mutant):
    assert_rejects(comparison(mutant))


# ------------------------------------------------------------------------------------- averaging, the best for both


@pytest.mark.parametrize("arguments", CASES)
def test_average_joint_optimum_and_theory_are_the_public_functions_fed_with_the_rows(arguments):
    X, y, start, _, sigma = arguments
    d = lt.diagnose(*arguments)
    optimum = np.linalg.lstsq(X, y, rcond=None)[0]
    gram, noise = X.T @ X / 14, float(np.mean((y - X @ optimum) ** 2))
    gram = (gram + gram.T) / 2
    problem = lt.FineTuningProblem(start, optimum, gram, gram if sigma is None else sigma, noise)
    loss = 100 * np.linalg.cond(gram) * max(1.0, np.linalg.norm(start) / np.linalg.norm(start - optimum))
    omega, average = package.best_average(d)
    assert near(omega, lt.best_average_weight(problem), loss)
    optimum_point = package.joint_optimum_point(d)
    for point, theta in (
        (average, lt.best_model_average(problem)),
        (optimum_point, lt.joint_optimum(problem)),
    ):
        assert near(point.forgetting, lt.pretrain_error(problem, theta), loss, float(d.forgetting[2]))
        assert near(point.target_error, lt.target_error(problem, theta), loss, float(d.target_errors[0]))
    tau, told = float(d.temperature), {row.what: row for row in compare_with_theory(d)}
    mass = float(lt.weight_mass(problem, tau))
    weighted = lt.weighted_covariance(problem, tau) / mass
    along = problem.shift @ weighted @ problem.shift / float(problem.shift_variance)
    final = lt.fixed_point(problem, tau)
    kappa = (start - final) @ gram @ problem.shift / float(problem.shift_variance)
    theory = {
        "mean weight": mass,
        "effective samples": 14 * mass**2 / float(lt.weight_mass(problem, tau / 2)),
        "curvature left along the shift": along,
        "way to the new optimum, κ": kappa,
    }
    for what, value in theory.items():
        assert near(told[what].theory, value, loss)
    w = np.exp(-((y - X @ start) ** 2) / tau)
    C = (X.T * w) @ X / w.sum()
    assert near(
        told["curvature left along the shift"].rows,
        problem.shift @ C @ problem.shift / (problem.shift @ gram @ problem.shift),
        loss,
    )
    ratio, above, below = shift_ratio(d)
    assert (above, below) == (3, 11)
    assert near(ratio, np.mean((X @ (start - optimum)) ** 2) / 3 / (noise / 11), loss)


def test_theory_counts_a_row_of_weight_k_as_k_rows():
    rows = random_data(40, 3, 3, seed=11)
    times = np.random.default_rng(2).integers(1, 4, 40)
    counted = lt.diagnose(rows.X, rows.y, rows.start, sample_weight=times.astype(float))
    written_out = lt.diagnose(np.repeat(rows.X, times, axis=0), np.repeat(rows.y, times), rows.start)
    for one, other in zip(compare_with_theory(counted), compare_with_theory(written_out), strict=True):
        assert one.what == other.what
        assert near(one.rows, other.rows, 1e4)
        assert near(one.theory, other.theory, 1e4)


def test_theory_leaves_out_directions_that_no_row_has():
    """The same rows in coordinates turned, one of which is never met."""
    rows = random_data(40, 3, 3, seed=12)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0][:3]
    own = compare_with_theory(lt.diagnose(rows.X, rows.y, rows.start))
    turned = compare_with_theory(lt.diagnose(rows.X @ turn, rows.y, rows.start @ turn))
    for one, other in zip(own, turned, strict=True):
        assert near(one.rows, other.rows, 1e4)
        assert near(one.theory, other.theory, 1e4)
        assert math.isfinite(one.theory)


def by_raw_least_squares(d):
    """The lowest total error by (Σ + G)⁺Ge in the columns' own units, however far apart."""
    gram, sigma = d.covariances[0], d.pretrain_covariance.dense()
    moved = -np.linalg.lstsq(gram + sigma, gram @ d.shift, rcond=None)[0]
    left = moved + d.shift
    return float(moved @ sigma @ moved + left @ gram @ left)


def lowest_holds(lowest_total, seed, spread):
    """Whether units of the columns, powers of two, change the lowest total error, or anything is below it."""
    rows = random_data(40, 3, 3, condition=3.0, seed=seed)
    units = 2.0 ** np.random.default_rng(seed).integers(-spread, spread + 1, 3)
    same = lt.diagnose(rows.X, rows.y, rows.start, None, SIGMA)
    other = lt.diagnose(rows.X * units, rows.y, rows.start / units, None, SIGMA * units * units[:, None])
    c = other._comparison
    lowest = all(
        not_above(lowest_total(other), one.total, 1e4) for one in (c.start, c.flow, c.early, c.average)
    )
    return lowest and near(lowest_total(other), lowest_total(same), 1e4)


@given(SEEDS, st.integers(0, 40))
def test_the_joint_optimum_is_the_lowest_in_any_units(seed, spread):
    assert lowest_holds(lambda d: package.joint_optimum_point(d).total, seed, spread)


def test_the_law_rejects_a_joint_optimum_of_raw_columns():
    assert lowest_holds(by_raw_least_squares, 1, 0)
    assert not all(lowest_holds(by_raw_least_squares, seed, 40) for seed in range(5))


def test_the_joint_optimum_where_a_direction_is_reached_by_no_row():
    """Two equal columns: what matters is their sum, so that three columns have the same joint optimum."""
    rng = np.random.default_rng(3)
    X, old = rng.standard_normal((30, 3)), rng.standard_normal((20, 3))
    turn = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    y, start = rng.standard_normal(30), np.array([1.0, -1.0, 0.5])
    known = package.joint_optimum_point(lt.diagnose(X, y, start, pretrain_rows=old))
    wide = lt.diagnose(X @ turn, y, np.array([1.0, -1.0, 0.25, 0.25]), pretrain_rows=old @ turn)
    found = package.joint_optimum_point(wide)
    assert near(found.forgetting, known.forgetting, 1e4)
    assert near(found.target_error, known.target_error, 1e4)
    zeros = lt.diagnose(0 * X, y, start, pretrain_rows=0 * old)
    assert package.joint_optimum_point(zeros).total == 0


def test_the_joint_optimum_of_columns_that_are_all_small():
    """Each below 1, and one a billionth of the next."""
    rng = np.random.default_rng(4)
    X, y, start = rng.standard_normal((30, 3)), rng.standard_normal(30), np.array([1.0, -1.0, 0.5])
    known = package.joint_optimum_point(lt.diagnose(X, y, start, pretrain_covariance=SIGMA))
    for units in (2.0 ** np.array([-10, -40, -70]), 2.0 ** np.array([70, 40, 10])):
        other = lt.diagnose(X * units, y, start / units, pretrain_covariance=SIGMA * units * units[:, None])
        found = package.joint_optimum_point(other)
        assert near(found.forgetting, known.forgetting, 1e4)
        assert near(found.target_error, known.target_error, 1e4)


@pytest.mark.parametrize("weighted", [False, True])
def test_small_steps_are_many_small_steps(weighted):
    """Gradient flow against gradient descent in ten thousandths of a step: it errs by the order of the step."""
    X, y, start, *_ = CASES[0]
    d = lt.diagnose(X, y, start)
    times, forgetting, target = package.gradient_flow_path(d, weighted)
    w = np.exp(-((y - X @ start) ** 2) / float(d.temperature)) if weighted else np.ones(14)
    rate = float(package.safe_step(d.spectrum)) / w.mean() * 1e-4
    some = [k for k in range(1, len(times), 40) if times[k] * 1e4 >= 1]
    counts = [round(times[k] * 1e4) for k in some]
    moved = lt.descend(X, y, start, w, lt.descent.GradientDescent(rate), counts).theta - start
    left = (moved + d.shift) @ X.T
    order = 1e-4 * 4 + 0.5 / np.array(counts)  # η λ, and the rounding of the count
    assert (abs(((moved @ X.T) ** 2).mean(-1) - forgetting[some]) <= 2 * order * d.forgetting.max()).all()
    assert (abs((left**2).mean(-1) - target[some]) <= 2 * order * d.target_errors.max()).all()
    best = package.best_of_flow(d, weighted)
    assert best.total <= (1 + package.NEAR_BEST) * (forgetting + target).min()


# -------------------------------------------------------------------------------------- the population limit

TEMPERATURE, RHO, BATCHES, ROWS = 0.5, 0.6, 40, 4000


def sampled(problem, rng, temperature=TEMPERATURE):
    root = np.linalg.cholesky(problem.target_covariance)
    X = rng.standard_normal((ROWS, problem.dim)) @ root.T
    y = X @ problem.target + math.sqrt(problem.noise_variance) * rng.standard_normal(ROWS)
    return lt.diagnose(X, y, problem.pretrained, temperature)


def test_many_gaussian_rows_are_the_population():
    """Lemma F.1 and the half-life within 4 standard errors; a 2 forgotten in either is not."""
    problem, rng = lt.paper_problem(RHO, noise_variance=0.0), np.random.default_rng(3)
    found = [sampled(problem, rng) for _ in range(BATCHES)]
    mass = lt.weight_mass(problem, TEMPERATURE)
    masses = [d.mean_weight for d in found]
    assert within_standard_errors(masses, mass)
    assert not within_standard_errors(masses, lt.weight_mass(problem, 2 * TEMPERATURE))
    covariances = [d.mean_weight * d.covariances[1] for d in found]
    assert within_standard_errors(covariances, lt.weighted_covariance(problem, TEMPERATURE))
    assert not within_standard_errors(covariances, mass * problem.target_covariance)
    # To first order in 1/ROWS: a smallest eigenvalue and its logarithm are biased by about their variance.
    lives = np.array([d.half_life for d in found])
    life = float(lt.half_life(lt.stall_parameter(TEMPERATURE, RHO), RHO))
    assert within_standard_errors(lives, life)
    assert not within_standard_errors(lives, 2 * life)


def test_a_diagnosis_may_be_rebuilt():
    """It is a pytree: its leaves, put together again, give the same paths."""
    import jax

    d = lt.diagnose(*CASES[1])
    leaves, structure = jax.tree.flatten(d)
    again = jax.tree.unflatten(structure, leaves)
    assert np.array_equal(again.paths.total, d.paths.total)
    assert {field.name for field in dataclasses.fields(again)} == {f.name for f in dataclasses.fields(d)}

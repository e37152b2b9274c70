"""The moved teacher: length, noise and independence of its rows, and its descent against a literal loop."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from linear_theory.testing.tolerances import bound, near, within_standard_errors
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import teacher

SEEDS, ROWS, DISTANCE = 20, 400, 0.1
SETTINGS = Settings(seed=5)


def stars(seeds: int, inputs: int = 4, width: int = 5):
    """Networks as they are drawn: what they are moved from need not be trained."""
    keys = teacher.keys(SETTINGS, "stars", seeds)
    draw = lambda key: teacher.initial(key, inputs, width)
    return jax.vmap(draw)(keys)


def moved(seeds: int, noise: float, distance: float = DISTANCE, name: str = "rows") -> teacher.Rows:
    return teacher.moved(teacher.keys(SETTINGS, name, seeds), stars(seeds), distance, noise, ROWS)


def of(tree, seed: int) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf[seed]) for name, leaf in tree.items()}


def outputs(params: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    return np.tanh(X @ params["w"] + params["b"]) @ params["a"] + params["c"]


def flat(params: dict[str, np.ndarray]) -> np.ndarray:
    """In the order of the names, as jax.flatten_util has it."""
    return np.concatenate([np.ravel(params[name]) for name in sorted(params)])


def added(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: one[name] + other[name] for name in one}


def energies(noise: float) -> np.ndarray:
    """Mean squared noise over mean squared change, one for each seed."""
    rows, from_, found = moved(SEEDS, noise), stars(SEEDS), []
    for s in range(SEEDS):
        star, shift, X = of(from_, s), of(rows.shift, s), np.asarray(rows.X[s])
        target = outputs(added(star, shift), X)
        change = target - outputs(star, X)
        found.append(((rows.y[s] - target) ** 2).mean() / (change**2).mean())
    return np.array(found)


@pytest.mark.parametrize("noise", [0.3, 4.0])
def test_the_noise_has_the_energy_asked_for(noise):
    found = energies(noise)
    assert within_standard_errors(found, noise)
    assert not within_standard_errors(found, noise**2)  # as if it were a standard deviation
    assert not within_standard_errors(found, noise**0.5)


def test_without_noise_the_labels_are_those_of_the_moved_network():
    rows, from_ = moved(3, 0.0), stars(3)
    for s in range(3):
        want = outputs(added(of(from_, s), of(rows.shift, s)), np.asarray(rows.X[s]))
        assert near(rows.y[s], want, condition=want.size)


@pytest.mark.parametrize("distance", [0.03, 1.0])
def test_the_shift_has_exactly_its_length(distance):
    rows, from_ = moved(4, 0.0, distance), stars(4)
    for s in range(4):
        shift, star = flat(of(rows.shift, s)), flat(of(from_, s))
        assert near(np.linalg.norm(shift), distance * np.linalg.norm(star), condition=len(star))


def test_shifts_and_inputs_differ_from_seed_to_seed():
    rows = moved(3, 0.0)
    units = [flat(of(rows.shift, s)) / np.linalg.norm(flat(of(rows.shift, s))) for s in range(3)]
    assert max(abs(units[s] @ units[t]) for s in range(3) for t in range(s)) < 1 - bound(len(units[0]))
    assert (rows.X[0] != rows.X[1]).all()


def test_the_distance_scales_the_shift_and_moves_nothing_else():
    one, other = moved(2, 0.0, 0.1), moved(2, 0.0, 0.3)
    np.testing.assert_array_equal(one.X, other.X)
    for s in range(2):
        mine, theirs = flat(of(one.shift, s)), flat(of(other.shift, s))
        assert near(3 * mine, theirs, condition=len(mine))


def test_the_rows_of_a_seed_do_not_depend_on_how_many_seeds_there_are():
    few, many = moved(2, 0.5), moved(5, 0.5)
    for mine, theirs in zip(jax.tree.leaves(few), jax.tree.leaves(many), strict=True):
        # The bits of the generator are the same; a wider vector may round a tanh or a sum otherwise.
        assert near(mine, theirs[:2], condition=ROWS)
    words = lambda seeds: np.asarray(jax.random.key_data(teacher.keys(SETTINGS, "rows", seeds)))
    np.testing.assert_array_equal(words(2), words(5)[:2])
    assert (words(2)[0] != words(2)[1]).any()
    other = teacher.keys(SETTINGS, "other", 2)
    assert (words(2) != np.asarray(jax.random.key_data(other))).any()


# ------------------------------------------------------------------------------------------------- paths


def literal(star, X, y, weights, rate: float, steps: tuple[int, ...], over: float) -> np.ndarray:
    """θ_K by hand: −2 Σ w r ∂f / ``over``, one step after the other."""
    p, found = {name: leaf.copy() for name, leaf in star.items()}, []
    for step in range(max(steps) + 1):
        if step in steps:
            found.append(flat(p))
        hidden = np.tanh(X @ p["w"] + p["b"])
        pull = -2 * weights * (y - hidden @ p["a"] - p["c"]) / over
        inner = np.outer(pull, p["a"]) * (1 - hidden**2)
        slope = {"w": X.T @ inner, "b": inner.sum(0), "a": hidden.T @ pull, "c": pull.sum()}
        p = {name: p[name] - rate * slope[name] for name in p}
    return np.stack(found)


def test_paths_are_those_of_a_literal_loop():
    seeds, steps = 2, (0, 1, 3, 12)
    rows, from_ = moved(seeds, 0.5), stars(seeds)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, (seeds, 3, ROWS))
    rates = np.array([[0.01, 0.05, 0.1], [0.02, 0.03, 0.04]])
    got = np.asarray(teacher.paths(from_, rows.X, rows.y, weights, rates, steps))
    assert got.shape == (seeds, 3, len(steps), flat(of(from_, 0)).size)
    for s in range(seeds):
        for m in range(3):
            rest = of(from_, s), np.asarray(rows.X[s]), np.asarray(rows.y[s]), weights[s, m]
            want = literal(*rest, rates[s, m], steps, ROWS)
            assert near(got[s, m], want, condition=max(steps) * ROWS)
            normalised = literal(*rest, rates[s, m], steps, weights[s, m].sum())
            assert not near(got[s, m], normalised, condition=max(steps) * ROWS)


def test_pre_training_fits_the_teacher_it_was_given():
    keys = teacher.keys(SETTINGS, "pre-training", 2)
    trained = teacher.pretrained(keys)
    for s in range(2):
        first, second, third = jax.random.split(keys[s], 3)
        X = np.asarray(jax.random.normal(third, (teacher.ROWS, teacher.INPUTS)))
        y = outputs({k: np.asarray(v) for k, v in teacher.initial(first).items()}, X)
        start = outputs({k: np.asarray(v) for k, v in teacher.initial(second).items()}, X)
        # Better than the best constant by far, and than where it started.
        left = ((y - outputs(of(trained, s), X)) ** 2).mean()
        assert left < y.var() / 10
        assert left < ((y - start) ** 2).mean() / 10

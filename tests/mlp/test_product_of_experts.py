"""The product of experts: its formulas against literal loops; every part fails where FLOW's weights are not its own."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import experts, images
from paper_reproduction.mlp.experiments import _product_networks as networks
from paper_reproduction.mlp.experiments import _product_softmax as softmax
from paper_reproduction.mlp.experiments import product_of_experts

seeds = st.integers(0, 2**31)
temperatures = st.sampled_from([0.2, 0.5, 2.0, 7.0])  # not 1, where τ and 1/τ are one


def laws(seed: int, rows: int = 6, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Two random laws, as logarithms."""
    one, two = np.random.default_rng(seed).normal(size=(2, rows, classes))
    return experts.normalised(one), experts.normalised(two)


def weighted_cross_entropy(law, new, old, temperature) -> float:
    """Σ_y p̃ p*^(1/τ) · −ln p over all rows, term by term."""
    total = 0.0
    for p, q, r in zip(law, new, old, strict=True):
        for k in range(len(p)):
            total += np.exp(q[k]) * np.exp(r[k]) ** (1 / temperature) * -p[k]
    return total


@settings(max_examples=50, deadline=None)
@given(seeds, temperatures, st.floats(1e-3, 1.0))
def test_the_weighted_cross_entropy_is_least_at_the_product(seed, temperature, size):
    """It is W(x) (KL + entropy), for every law; a product with τ for 1/τ has more."""
    new, old = laws(seed)
    best = experts.product(new, old, temperature)
    of = lambda law: weighted_cross_entropy(law, new, old, temperature)
    other = experts.normalised(best + size * np.random.default_rng(seed + 1).normal(size=best.shape))
    mass = np.exp(new + old / temperature).sum(axis=1)
    gap = sum(m * experts.divergence(b[None], o[None]) for m, b, o in zip(mass, best, other, strict=True))
    assert of(other) - of(best) == pytest.approx(gap, rel=1e-9, abs=1e-14)
    assert gap > 0
    assert of(experts.normalised(new + temperature * old)) > of(best)
    assert of(experts.normalised((temperature * new + old) / (1 + temperature))) > of(
        best
    )  # averaged, not sharpened
    assert of(new) > of(best)


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(-1.0, 2.0), st.floats(-1.0, 3.0))
def test_exponents_are_found_whatever_the_normaliser(seed, new_power, old_power):
    new, old = laws(seed)
    free = np.random.default_rng(seed + 2).normal(size=(len(new), 1))
    mixed = experts.normalised(new_power * new + old_power * old)
    found = experts.exponents(mixed, new + free, old - free)
    np.testing.assert_allclose(found, [new_power, old_power], atol=1e-9)


def test_exponents_are_least_squares_weighted_by_the_law():
    new, old = laws(1)
    law, _ = laws(2)
    rows, classes = law.shape
    design, right, weight = [], [], []
    for i in range(rows):
        for k in range(classes):
            design.append([new[i, k], old[i, k], *(float(i == j) for j in range(rows))])
            right.append(law[i, k])
            weight.append(np.exp(law[i, k]))
    root = np.sqrt(weight)[:, None]
    literal = np.linalg.lstsq(root * np.array(design), root[:, 0] * np.array(right), rcond=None)[0]
    np.testing.assert_allclose(experts.exponents(law, new, old), literal[:2], rtol=1e-10)
    assert (
        abs(np.linalg.lstsq(np.array(design), np.array(right), rcond=None)[0][:2] - literal[:2]).max() > 1e-3
    )


@settings(max_examples=50, deadline=None)
@given(seeds, temperatures)
def test_softening_undoes_what_was_sharpened(seed, temperature):
    """Labels of a law p: what is p^T over its sum is undone by T; T = 1 + 1/τ where both experts are one."""
    law, _ = laws(seed)
    assert experts.softening(experts.normalised(temperature * law), np.exp(law)) == pytest.approx(
        temperature, rel=1e-9
    )
    trained = experts.product(law, law, temperature)
    assert experts.softening(trained, np.exp(law)) == pytest.approx(1 + 1 / temperature, rel=1e-9)


def test_softening_of_a_law_that_is_wrong_or_always_right():
    law, _ = laws(4)
    assert experts.softening(law, np.exp(experts.normalised(-law))) == np.inf
    assert experts.softening(law, np.eye(law.shape[1])[law.argmax(axis=1)]) == 0.0


def test_overconfidence_is_confidence_minus_accuracy():
    law, other = laws(3)
    labels = np.exp(other)
    sure = [np.exp(row.max()) for row in law]
    right = [labels[i, int(np.argmax(law[i]))] for i in range(len(law))]
    assert experts.overconfidence(law, labels) == pytest.approx(np.mean(sure) - np.mean(right), rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    temperatures,
    st.floats(0.01, 0.5),
    st.integers(3, 10),
    st.sampled_from([0.5, 0.99, 1.01, 2.0]),
    st.floats(0.1, 3.0),
)
def test_the_label_is_learned_up_to_the_largest_margin(temperature, wrong, classes, part, behind):
    """The product's arg-max, for the old model a margin before the true class; other thresholds are refused."""
    largest = float(experts.largest_margin(temperature, wrong, classes))
    new = np.log([1 - wrong, *[wrong / (classes - 1)] * (classes - 1)])
    old = experts.normalised(np.array([0.0, part * largest, *[-behind] * (classes - 2)]))
    np.testing.assert_allclose(experts.margin(old[None], np.array([0])), part * largest, rtol=1e-9)
    assert (experts.product(new, old, temperature).argmax() == 0) == (part < 1)
    at = experts.normalised(np.array([0.0, largest, *[-behind] * (classes - 2)]))
    odds = lambda law: law[0] - law[1]
    assert odds(experts.product(new, at, temperature)) == pytest.approx(0.0, abs=1e-9)
    for mistaken in (largest / temperature**2, largest - temperature * np.log(classes - 1)):
        moved = experts.normalised(np.array([0.0, mistaken, *[-behind] * (classes - 2)]))
        assert abs(odds(experts.product(new, moved, temperature))) > 1e-3


@settings(max_examples=10, deadline=None)
@given(seeds, temperatures)
def test_newton_ends_where_the_exact_gradient_is_nought(seed, temperature):
    """Σ_x x (W p − mass) in forty digits, at the end and not beside it."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(8, 2))
    mass = rng.random((8, 3)) ** (1 / temperature)
    theta = softmax.minimiser(inputs, mass)
    with mp.workdps(40):
        largest = lambda at: max(abs(g) for g in _gradient(inputs, mass / mass.sum(), at))
        assert largest(theta) < 1e-13
        assert largest(theta + np.array([[1e-6, 0, 0], [0, 0, 0]])) > 1e-10


@settings(max_examples=20, deadline=None)
@given(seeds, temperatures)
def test_softmax_regression_ends_at_the_averaged_logits_sharpened(seed, temperature):
    """Newton's end is θ̃ + θ*/τ up to a common vector; over 1 + 1/τ it is (1 − ω)θ̃ + ωθ*, ω = 1/(1 + τ)."""
    rng = np.random.default_rng(seed)
    inputs, share = rng.normal(size=(12, 2)), rng.dirichlet(np.ones(12))
    new, old = rng.normal(size=(2, 2, 3))
    drawn = softmax.weighted(
        experts.normalised(inputs @ new), experts.normalised(inputs @ old), temperature, share
    )
    centred = lambda theta: theta - theta.mean(axis=1, keepdims=True)
    ends = {run: centred(softmax.minimiser(inputs, mass)) for run, mass in drawn.items()}
    np.testing.assert_allclose(ends["flow"], centred(new + old / temperature), atol=1e-9)
    omega = 1 / (1 + temperature)
    averaged = centred((1 - omega) * new + omega * old)
    np.testing.assert_allclose(ends["flow"] / (1 + 1 / temperature), averaged, atol=1e-9)
    assert abs(ends["flow"] - averaged).max() > 1e-3
    assert abs(ends["flow"] - centred(new + temperature * old)).max() > 1e-3
    np.testing.assert_allclose(ends["permuted"], centred(new), atol=1e-9)


def _gradient(inputs, mass, theta) -> list:
    """Of −Σ mass ln softmax(xΘ), one entry after another."""
    places, classes = range(theta.shape[0]), range(theta.shape[1])
    exact = [[mp.mpf(float(value)) for value in row] for row in theta]
    total = [[mp.mpf(0) for _ in classes] for _ in places]
    for x, m in zip(inputs.tolist(), mass.tolist(), strict=True):
        powers = [mp.exp(mp.fsum(x[i] * exact[i][k] for i in places)) for k in classes]
        for i in places:
            for k in classes:
                total[i][k] += x[i] * (mp.fsum(m) * powers[k] / mp.fsum(powers) - m[k])
    return [entry for row in total for entry in row]


# ---------------------------------------------------------------------------- without FLOW's own weights


def shuffled(losses, temperature=None):
    """FLOW's weights in another order."""
    return np.random.default_rng(0).permutation(FLOW_WEIGHTS(losses, temperature))


def levelled(losses, temperature=None):
    """Each of FLOW's weights replaced by their mean."""
    weights = FLOW_WEIGHTS(losses, temperature)
    return np.full_like(weights, weights.mean())


FLOW_WEIGHTS = lt.flow_weights
PARTS = ("softmax:", "softmax, drawn", "margin:", "digits, early:", "language:")


@functools.cache
def without(own) -> list[str]:
    """The checks of a quick run that fail where the weights are these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lt, "flow_weights", own)
        dataset = product_of_experts.compute(Settings(seed=0, quick=True))
    verdict = product_of_experts.verdict(dataset)
    return [check.name for check in verdict.checks if not check.holds]


@functools.cache
def early_in_the_residual_network(own) -> list[bool]:
    """Which of its checks hold after a few epochs, when what is early is over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lt, "flow_weights", own)
        patch.setattr(networks, "IMAGES", replace(networks.IMAGES, epochs=12))
        patch.setattr(networks, "QUICK_NOISES", networks.JUDGED["images"])
        found = networks.cells("images", Settings(seed=0, quick=True), images.SPLITS)
    return [check.holds for check in networks.checks(found) if check.name.startswith("images, early:")]


@pytest.mark.deep  # it is trained again; that the swapped names of its runs are noticed is asked by day
@pytest.mark.parametrize(("own", "hold"), [(FLOW_WEIGHTS, True), (shuffled, False)])
def test_the_residual_network_is_early_at_the_product_with_the_weights_of_flow_alone(own, hold):
    checks = early_in_the_residual_network(own)
    assert len(checks) == 5
    assert all(checks) == hold


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("own", [shuffled, pytest.param(levelled, marks=pytest.mark.deep)])
def test_every_part_fails_without_the_weights_of_flow(own, part):
    assert any(name.startswith(part) for name in without(own))

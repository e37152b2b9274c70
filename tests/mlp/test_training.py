"""The training loop against a loop written by hand, and the laws of its weights, its pull and its adapters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.testing.tolerances import bound, near
from paper_reproduction.mlp import networks, training
from paper_reproduction.mlp.networks import Architecture, Network, accuracy, blank_head, mixed
from paper_reproduction.mlp.training import Loop, Member, adapted, adapter, batches, head_alone, train, whole
from tests.mlp import literal

ROWS, INPUTS, WIDTH, CLASSES, BATCH, EPOCHS, RANK = 24, 6, 5, 3, 6, 3, 2
NET = Architecture(inputs=INPUTS, width=WIDTH, depth=2, outputs=CLASSES)
RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((ROWS, INPUTS)), RNG.integers(0, CLASSES, ROWS)
WEIGHTS = RNG.uniform(0.0, 1.0, ROWS)
START = NET.initial(jax.random.key(1), jnp.float64)
ORDER = batches(np.random.default_rng(2), ROWS, BATCH, EPOCHS)
FULL = np.arange(ROWS).reshape(1, ROWS).repeat(8, axis=0)  # all rows, eight steps
RATE = 0.3
# Every step sums over a batch or a layer and rounds; at these rates a step amplifies nothing.
ADDITIONS = len(ORDER) * max(BATCH, INPUTS, WIDTH)


def curve_of_nothing(network, extra):
    return jnp.zeros(())


LOOP = Loop(NET.logits, whole, curve_of_nothing)


def member(weights=WEIGHTS, rate=RATE, pull=0.0) -> Member:
    return Member(jnp.asarray(weights), jnp.asarray(rate), jnp.asarray(pull))


def trained(one: Member, order=ORDER, rows=(X, LABELS), start=START, loop=LOOP, trainable=None) -> Network:
    """In float64 the network of one run; by :func:`training.run` itself, which knows no members."""
    trainable = start if trainable is None else trainable
    seen = jnp.asarray([len(order)])
    return training.run(loop, trainable, start, device(rows), jnp.asarray(order), seen, None, one)[0]


def head_trained(one: Member, features=None) -> Network:
    """The head alone, on the features of START's trunk unless others are given."""
    loop = Loop(NET.read, head_alone, curve_of_nothing)
    seen = NET.features(START.trunk, jnp.asarray(X)) if features is None else features
    return trained(one, rows=(seen, LABELS), loop=loop, trainable=START.head)


def device(rows):
    return tuple(jnp.asarray(part) for part in rows)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one, other, condition=ADDITIONS) -> bool:
    return all(near(a, b, condition) for a, b in zip(leaves(one), leaves(other), strict=True))


def trunks(network: Network) -> np.ndarray:
    return np.concatenate([leaf.ravel() for leaf in leaves(network.trunk)])


SETTINGS = [
    {},
    {"weights": np.ones(ROWS)},
    {"pull": 0.1},
    {"pull": 0.05, "rate": 0.1, "weights": np.ones(ROWS)},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(setting) or "flow")
def test_the_loop_is_the_one_written_by_hand(setting):
    one = {"weights": WEIGHTS, "rate": RATE, "pull": 0.0, **setting}
    got = trained(member(**one))
    assert same(got, literal.descend(leaves(START), (X, LABELS), ORDER, **one))
    assert not same(got, START)


def test_wrong_loops_would_be_noticed():
    hand = lambda **wrong: literal.descend(leaves(START), (X, LABELS), ORDER, WEIGHTS, RATE, **wrong)
    assert not same(trained(member()), hand(over_weights=True))
    assert not same(trained(member(pull=0.1)), hand(pull=-0.1))
    assert not same(trained(member(pull=0.1)), hand(pull=0.05))  # λ‖·‖² for λ/2 ‖·‖²
    assert not same(trained(member()), hand(trunk=0.0))
    frozen = lambda **wrong: literal.descend(
        leaves(START), (X, LABELS), ORDER, WEIGHTS, RATE, trunk=0.0, **wrong
    )
    assert same(head_trained(member()), frozen())
    assert not same(head_trained(member()), frozen(over_weights=True))


def test_the_network_is_the_one_written_by_hand():
    assert near(NET.logits(START, X), literal.logits(leaves(START), X), INPUTS + WIDTH)
    assert len(leaves(START)) == 6
    blank = blank_head(START)
    assert not any(leaf.any() for leaf in leaves(blank.head))
    np.testing.assert_array_equal(trunks(blank), trunks(START))
    assert [leaf.shape for leaf in leaves(blank.head)] == [leaf.shape for leaf in leaves(START.head)]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_members_are_single_runs(one_by_one):
    starts = [NET.initial(jax.random.key(s), jnp.float64) for s in range(2)]
    orders = np.stack([batches(np.random.default_rng(s), ROWS, BATCH, EPOCHS) for s in range(2)])
    images, labels = np.stack([X, X[::-1]]), np.stack([LABELS, LABELS[::-1]])
    # The third leaves the floats; its neighbours must not notice.
    each = [member(), member(WEIGHTS**2, 0.1, 0.1), member(rate=1e200, pull=1e200), member(rate=0.1)]
    together = jax.tree.map(lambda *parts: jnp.stack([jnp.stack(parts)] * 2), *each)
    start = jax.tree.map(lambda *parts: jnp.stack(parts), *starts)
    loop = LOOP._replace(one_by_one=one_by_one)
    nets, curve = train(
        loop, start, start, (images, labels), orders, np.array([0, 1, len(ORDER)]), None, together
    )
    assert curve.shape == (2, len(each), 3)
    for s in range(2):
        for m, one in enumerate(each):
            got = jax.tree.map(lambda leaf, s=s, m=m: leaf[s, m], nets)
            if m == 2:
                assert not np.isfinite(trunks(got)).all()
                continue
            assert same(got, trained(one, orders[s], (images[s], labels[s]), starts[s]))


def test_measured_after_so_many_steps():
    loop = Loop(NET.logits, whole, lambda network, extra: (network.head.bias, extra))
    run = lambda order, seen: training.run(
        loop, START, START, device((X, LABELS)), jnp.asarray(order), jnp.asarray(seen), jnp.ones(2), member()
    )
    seen = [0, 1, 4, len(ORDER)]
    network, (biases, extra) = run(ORDER, seen)
    np.testing.assert_array_equal(biases[0], START.head.bias)
    np.testing.assert_array_equal(biases[-1], network.head.bias)
    assert biases.shape == (len(seen), CLASSES)
    assert extra.shape == (len(seen), 2)
    for place, steps in enumerate(seen[1:], start=1):
        assert near(biases[place], run(ORDER[:steps], [steps])[0].head.bias, ADDITIONS)
    assert not near(biases[1], biases[2], ADDITIONS)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_momentum_is_the_one_written_by_hand(momentum):
    """v ← βv + ∇L, θ ← θ − ηv: the sum of past gradients, not their mean."""
    slow = {"rate": 0.05, "pull": 0.1}
    got = trained(member(**slow), loop=LOOP._replace(momentum=momentum))
    hand = lambda **how: literal.descend(leaves(START), (X, LABELS), ORDER, WEIGHTS, **slow, **how)
    assert same(got, hand(momentum=momentum), ADDITIONS / (1 - momentum))
    assert not same(got, hand(momentum=0.0), ADDITIONS / (1 - momentum))
    mean = literal.descend(leaves(START), (X, LABELS), ORDER, WEIGHTS, slow["rate"] * (1 - momentum), slow["pull"],
                           momentum=momentum)  # fmt: skip
    assert not same(got, mean, ADDITIONS / (1 - momentum))


@pytest.mark.parametrize(("steps", "points"), [(300, 16), (7, 30), (1, 2), (5000, 12)])
def test_marks(steps, points):
    found = training.marks(steps, points)
    assert found[0] == 0
    assert found[1] == 1
    assert found[-1] == steps
    assert list(found) == sorted(set(found))
    assert len(found) <= points + 1
    exact = np.array([steps ** (i / (points - 1)) for i in range(points)])
    for step in found[1:]:
        assert abs(exact - step).min() <= 0.5 + bound() * steps
    for value in exact:
        assert min(abs(step - value) for step in found) <= 0.5 + bound() * steps


# ------------------------------------------------------------------------------------------- the weights


def test_weight_zero_is_a_row_without_effect():
    out = RNG.permutation(ROWS)[:7]
    kept = np.setdiff1d(np.arange(ROWS), out)
    weights = WEIGHTS.copy()
    weights[out] = 0.0
    other, labels = X.copy(), LABELS.copy()
    other[out], labels[out] = 5 * RNG.standard_normal((7, INPUTS)), (labels[out] + 1) % CLASSES
    got = trained(member(weights))
    assert same(got, trained(member(weights), rows=(other, labels)))
    # A mean over all n: without the rows the same step needs the rate times their share.
    fewer = np.arange(len(kept)).reshape(1, -1).repeat(len(FULL), axis=0)
    alone = lambda rate: trained(member(weights[kept], rate), fewer, (X[kept], LABELS[kept]))
    full = trained(member(weights), FULL)
    assert same(full, alone(RATE * len(kept) / ROWS))
    assert not same(full, alone(RATE))


@pytest.mark.parametrize("factor", [0.5, 0.1, 3.0])
def test_scaled_weights_are_a_scaled_rate(factor):
    assert same(trained(member(factor * WEIGHTS, RATE)), trained(member(WEIGHTS, factor * RATE)))
    pulled = lambda c, rate, pull: trained(member(c * WEIGHTS, rate, pull))
    assert same(pulled(factor, 0.1, factor * 0.2), pulled(1.0, factor * 0.1, 0.2))
    assert not same(pulled(factor, 0.1, 0.2), pulled(1.0, factor * 0.1, 0.2))


def test_the_pull_draws_to_the_start():
    away = [np.linalg.norm(trunks(trained(member(pull=pull))) - trunks(START)) for pull in (0, 0.1, 0.5, 1.5)]
    assert away == sorted(away, reverse=True)
    assert len(set(away)) == len(away)
    assert away[0] > 0
    # From anywhere but the start, without a loss, each step leaves 1 − 2ηλ of the way.
    other = NET.initial(jax.random.key(9), jnp.float64)
    got = trained(member(np.zeros(ROWS), RATE, 0.5), trainable=other)
    left = (1 - 2 * RATE * 0.5) ** len(ORDER)
    assert near(trunks(got), trunks(START) + left * (trunks(other) - trunks(START)), ADDITIONS)
    np.testing.assert_array_equal(got.head.weight, other.head.weight)  # the head is not drawn anywhere


def test_a_head_alone_on_features_is_a_network_with_a_frozen_trunk():
    """Trained on what the trunk makes of the rows, once, it is what it would be on the rows themselves."""
    got = head_trained(member(pull=0.1))
    whole_way = literal.descend(leaves(START), (X, LABELS), ORDER, WEIGHTS, RATE, trunk=0.0)
    assert same(got, whole_way)
    shuffled = head_trained(member(), NET.features(START.trunk, X[::-1]))
    assert not same(shuffled, whole_way)
    for mine, before in zip(leaves(got.trunk), leaves(START.trunk), strict=True):
        np.testing.assert_array_equal(mine, before)
    assert all((a != b).any() for a, b in zip(leaves(got.head), leaves(START.head), strict=True))


# -------------------------------------------------------------------------------------------------- LoRA

LOW = Loop(NET.logits, adapted, curve_of_nothing)


def test_lora_starts_at_the_base_network():
    begin = adapter(START, RANK, jax.random.key(3))
    for mine, base in zip(leaves(adapted(begin, START)), leaves(START), strict=True):
        np.testing.assert_array_equal(mine, base)
    assert [(a.shape, b.shape) for a, b in begin.factors] == [
        ((WIDTH, RANK), (RANK, INPUTS)),
        ((WIDTH, RANK), (RANK, WIDTH)),
    ]
    assert all(np.all(np.asarray(right) != 0) for _, right in begin.factors)  # else nothing could ever move
    assert not np.array_equal(begin.factors[0][1][:, :WIDTH], begin.factors[1][1])


def test_lora_is_the_one_written_by_hand():
    begin = adapter(START, RANK, jax.random.key(3))
    factors = [(np.asarray(a), np.asarray(b)) for a, b in begin.factors]
    got = trained(member(), loop=LOW, trainable=begin)
    want = literal.descend_low_rank(leaves(START), factors, (X, LABELS), ORDER, WEIGHTS, RATE)
    assert same(got, want)


def test_lora_moves_the_matrices_by_its_rank_and_no_bias():
    got = trained(member(), loop=LOW, trainable=adapter(START, RANK, jax.random.key(3)))
    for mine, base in zip(leaves(got.trunk), leaves(START.trunk), strict=True):
        if base.ndim == 1:
            np.testing.assert_array_equal(mine, base)
            continue
        size = np.linalg.svd(mine - base, compute_uv=False)
        rounding = bound(WIDTH) * np.linalg.norm(base)
        assert np.all(size[RANK:] <= rounding)
        assert np.all(size[:RANK] > rounding)
    assert (got.head.bias != START.head.bias).any()


# ------------------------------------------------------------------------- averages, accuracy, batches


def test_mixed_shares():
    other = NET.initial(jax.random.key(7), jnp.float64)
    for mine, one, two in zip(*map(leaves, (mixed(START, other, 1.0), START, other)), strict=True):
        np.testing.assert_array_equal(mine, one)
        assert (one != two).any()
    for mine, two in zip(*map(leaves, (mixed(START, other, 0.0), other)), strict=True):
        np.testing.assert_array_equal(mine, two)
    quarter = [0.25 * a + 0.75 * b for a, b in zip(*map(leaves, (START, other)), strict=True)]
    assert same(mixed(START, other, 0.25), quarter)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_accuracy_is_nan_where_the_network_left_the_floats(bad):
    z = RNG.standard_normal((8, CLASSES))
    labels = z.argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % CLASSES
    assert float(accuracy(jnp.asarray(z), jnp.asarray(labels))) == 5 / 8
    assert float(accuracy(jnp.asarray(z), jnp.asarray(labels, jnp.int32))) == 5 / 8
    z[-1, 0] = bad
    assert np.isnan(float(accuracy(jnp.asarray(z), jnp.asarray(labels))))


@pytest.mark.parametrize(("rows", "size"), [(20, 5), (23, 5), (7, 7)])
def test_each_epoch_is_a_permutation(rows, size):
    order = batches(np.random.default_rng(4), rows, size, 6)
    assert order.shape == (6 * (rows // size), size)
    flat = order.reshape(6, -1)
    for epoch in flat:
        assert len(set(epoch)) == len(epoch) == size * (rows // size)
        assert set(epoch) <= set(range(rows))
    assert all((flat[i] != flat[j]).any() for i in range(6) for j in range(i))
    # Which rows an incomplete last batch leaves out is another each time.
    assert (len(set(flat.ravel())) == rows) or rows % size == 0


def test_the_batches_of_a_seed_are_the_same_however_many_epochs_follow():
    few = batches(np.random.default_rng(4), 23, 5, 2)
    np.testing.assert_array_equal(few, batches(np.random.default_rng(4), 23, 5, 9)[: len(few)])
    assert (few != batches(np.random.default_rng(5), 23, 5, 2)).any()


def test_an_architecture_starts_anew_for_each_key_and_in_the_precision_asked_for():
    one, again, other = (NET.initial(jax.random.key(k)) for k in (1, 1, 2))
    assert {leaf.dtype for leaf in leaves(one)} == {np.dtype(np.float32)}
    assert {leaf.dtype for leaf in leaves(START)} == {np.dtype(np.float64)}
    assert all((a == b).all() for a, b in zip(leaves(one), leaves(again), strict=True))
    assert all((a != b).any() for a, b in zip(leaves(one), leaves(other), strict=True))
    assert networks.Network._fields == ("trunk", "head")

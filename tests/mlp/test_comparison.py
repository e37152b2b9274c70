"""The comparison of methods: what each trains on, what its seeds share, what its numbers say."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

import linear_theory as lt
from linear_theory.testing.tolerances import SAFETY, VACUOUS, near
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import comparison, digits, methods
from paper_reproduction.mlp.comparison import RECIPE, Task
from paper_reproduction.mlp.methods import (
    AVERAGED,
    LAST_STEP,
    METHODS,
    PULLS,
    SHARE,
    SHARES,
    TEMPERATURES,
    TRAINED,
)
from paper_reproduction.mlp.protocol import MEMORISED, PLACES, Ready, scoring
from paper_reproduction.mlp.training import head_alone

SETTINGS = Settings(seed=3, quick=True)
TASK = Task(noise=0.2)
EPS32 = 2.0**-23  # spacing of float32 at 1: the networks are float32
SMOOTH = (
    1.0  # below this rate rounding stays rounding; above it the descent is chaotic and forgets its last bits
)
GRID = np.array([0.02, 0.1, 0.4])


# A few epochs show everything that is asked here.
FEW = dataclasses.replace(RECIPE, pretrain_epochs=4, epochs=4, probe_epochs=6, points=5)


def tuned(ready: Ready, name: str, grid=GRID):
    """The networks of one method."""
    return methods.tune(SETTINGS, ready, TRAINED[name], grid)[0]


@pytest.fixture(scope="module")
def two() -> Ready:
    return TASK.ready(SETTINGS, 2, FEW)


@pytest.fixture(scope="module")
def three() -> Ready:
    return TASK.ready(SETTINGS, 3, FEW)


@pytest.fixture(scope="module")
def compared(two) -> xr.Dataset:
    return comparison.compare(SETTINGS, two, (*METHODS, *TEMPERATURES))


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def flat(networks, seed: int, rate: int) -> np.ndarray:
    return np.concatenate([leaf[seed, rate].ravel() for leaf in leaves(networks)]).astype(float)


def amplification(ready: Ready, name: str, seed: int) -> np.ndarray:
    """By how much a step of one unit in the last place at the start has grown at the end, for each of GRID."""
    up = lambda leaf: np.nextafter(np.asarray(leaf), np.float32(np.inf))
    moved = dataclasses.replace(ready, probed=jax.tree.map(up, ready.probed))
    ends = [tuned(one, name) for one in (ready, moved)]
    begins = [np.concatenate([x[seed].ravel() for x in leaves(one.probed)]) for one in (ready, moved)]
    first = np.linalg.norm(begins[1].astype(float) - begins[0])
    grown = [np.linalg.norm(flat(ends[1], seed, k) - flat(ends[0], seed, k)) for k in range(len(GRID))]
    return np.maximum(1.0, np.array(grown) / first)


def as_rounded(one, other, ready: Ready, name: str, seed: int) -> bool:
    """‖one − other‖ ≤ SAFETY · κ · ε₃₂ · ‖one‖, κ the measured amplification, at every rate."""
    allowed = SAFETY * EPS32 * amplification(ready, name, seed)
    assert np.all(allowed < VACUOUS)
    gaps = [np.linalg.norm(flat(one, seed, k) - flat(other, seed, k)) for k in range(len(GRID))]
    return all(
        gap <= a * np.linalg.norm(flat(one, seed, k))
        for k, (gap, a) in enumerate(zip(gaps, allowed, strict=True))
    )


# -------------------------------------------------------------------------- what seeds share between calls


def test_data_and_batches_of_a_seed_do_not_depend_on_how_many_there_are(two, three):
    for one, other in ((two.old, three.old), (two.new, three.new)):
        for name, part in one.items():
            for mine, theirs in zip(part, other[name], strict=True):
                np.testing.assert_array_equal(mine, theirs[:2])
                assert (mine[0] != mine[1]).any()
    np.testing.assert_array_equal(two.orders, three.orders[:2])
    assert (two.orders[0] != two.orders[1]).any()
    assert jax.random.key_data(two.key).tolist() == jax.random.key_data(three.key).tolist()
    for mine, theirs in ((two.losses, three.losses), (two.weights, three.weights)):
        # Computed by the float32 network: SAFETY times the rounding error (ε of float32) of the largest.
        assert np.abs(mine - theirs[:2]).max() <= SAFETY * EPS32 * mine.max()


@pytest.mark.parametrize("name", ["standard", "lora", "permuted"])
def test_networks_of_a_seed_do_not_depend_on_how_many_there_are(two, three, name):
    few, many = (tuned(ready, name) for ready in (two, three))
    for seed in range(2):
        assert as_rounded(few, many, two, name, seed)
    assert np.abs(flat(few, 0, 1) - flat(few, 1, 1)).max() > VACUOUS


def test_numbers_of_a_seed_do_not_depend_on_how_many_there_are(compared):
    more = comparison.compare(SETTINGS, TASK.ready(SETTINGS, 3, FEW), (*METHODS, *TEMPERATURES))
    more = more.isel(seed=slice(0, 2))
    smooth = compared.sel(rate=compared.rate < SMOOTH)
    assert smooth.sizes["rate"] == 5
    more = more.sel(rate=smooth.rate)
    # One row of the smallest set may sit on the border of two classes, to float32.
    row = 1 / digits.SIZES["validation"]
    known = [place for place in PLACES if place != MEMORISED]  # of few wrong labels one is a larger share
    assert float(abs(smooth.curve - more.curve).sel(place=known).max()) <= row * (1 + EPS32)
    smooth, more = smooth.sel(place=known), more.sel(place=known)
    assert float(abs(smooth.accuracy - more.accuracy).max()) <= row * (1 + EPS32)
    assert float(abs(smooth.wise_path - more.wise_path).max()) <= row * (1 + EPS32)
    for name in ("temperature", "mean_weight", "effective", "idle", "test_loss", "before"):
        gap = np.abs(smooth[name].values - more[name].values).max()
        assert gap <= max(
            SAFETY * EPS32 * np.abs(more[name].values).max(), row * (name in ("idle", "before"))
        )


# -------------------------------------------------------------------------------- what a method trains on


@pytest.fixture
def seen(monkeypatch, two) -> dict:
    """What every method hands to the training loop."""
    calls = {}
    for name, method in (TRAINED | TEMPERATURES).items():
        took = lambda *args, name=name: calls.update({name: args}) or ([0], np.zeros(1))
        monkeypatch.setattr(methods, "train", took)
        methods.tune(SETTINGS, two, method, GRID)
    return calls


def test_every_method_trains_on_the_same_rows_batches_and_rates(seen, two):
    for name, (loop, _, start, rows, order, marks, judged, member) in seen.items():
        head = name == "probe"
        assert loop.build is (head_alone if head else methods.adapted if "lora" in name else methods.whole)
        assert loop.measure is scoring(comparison.NET)
        assert loop.momentum == 0
        assert start is two.probed
        if head:
            for s in range(2):
                trunk = jax.tree.map(lambda leaf, s=s: leaf[s], two.probed.trunk)
                want = comparison.NET.features(trunk, two.new["train"].images[s])
                np.testing.assert_allclose(
                    rows[0][s], want, rtol=0, atol=SAFETY * EPS32
                )  # of tanh: at most 1
        else:
            assert rows[0] is two.new["train"].images
        assert rows[1] is two.new["train"].labels
        assert order is two.orders
        assert marks[-1] == order.shape[1]
        assert judged[0] is two.pretrained.head
        assert np.array_equal(member.rate, np.tile(np.float32(GRID), (2, 1)))
        pull = {"l2": PULLS[0], "l2-strong": PULLS[1], "flow-l2": PULLS[0]}.get(name, 0.0)
        assert np.all(np.asarray(member.pull) == np.float32(pull))


def test_the_weights_of_every_method(seen, two):
    w, n = two.weights, digits.SIZES["train"]
    mean = w.mean(axis=1, keepdims=True)
    want = dict.fromkeys(("standard", "l2", "l2-strong", "probe", "lora"), np.ones_like(w))
    want |= {"flow": w, "flow-l2": w, "flow-lora": w}
    want |= {f"flow-{c:g}": np.exp(-two.losses / (c * np.median(two.losses, axis=1, keepdims=True)))
             for c in (0.1, 0.3, 3, 10)}  # fmt: skip
    want |= {"standard-same-mean-step": np.ones_like(w) * mean, "flow-same-mean-step": w / mean}
    for name, weights in want.items():
        got = np.asarray(seen[name][-1].weights)
        assert got.shape == (2, len(GRID), n)
        wanted = np.broadcast_to(np.float32(weights)[:, None], got.shape)
        np.testing.assert_allclose(got, wanted, rtol=SAFETY * EPS32, atol=0)
    permuted = np.asarray(seen["permuted"][-1].weights)
    for seed in range(2):
        np.testing.assert_array_equal(np.sort(permuted[seed, 0]), np.sort(np.float32(w[seed])))
        assert (permuted[seed, 0] != np.float32(w[seed])).mean() > 0.5
        np.testing.assert_array_equal(permuted[seed, 0], permuted[seed, -1])
    moves = [np.argsort(permuted[s, 0]) for s in range(2)]
    assert (moves[0] != moves[1]).any()


def test_the_weights_are_those_of_the_probed_losses(two):
    for losses, weights in zip(two.losses, two.weights, strict=True):
        assert near(weights, np.exp(-losses / np.median(losses)), condition=1)


@pytest.mark.parametrize(
    ("one", "other", "power"),
    [("standard-same-mean-step", "standard", 1), ("flow-same-mean-step", "flow", -1)],
)
def test_the_same_mean_step_is_the_other_at_another_rate(two, one, other, power):
    for seed in range(2):
        factor = two.weights[seed].mean() ** power
        got, want = tuned(two, one), tuned(two, other, GRID * factor)
        assert as_rounded(got, want, two, one, seed)
        assert not as_rounded(got, tuned(two, other), two, one, seed)


def test_a_shared_head_is_not_probed():
    ready = Task(shared=True, again=True, change=digits.inverted).ready(SETTINGS, 1, FEW)
    assert ready.probed is ready.pretrained
    assert ready.judged[0] is None
    np.testing.assert_array_equal(np.unique(ready.new["train"].truth), np.arange(digits.CLASSES))
    np.testing.assert_array_equal(ready.new["test"].images, 1 - ready.old["test"].images)


def test_the_last_step_moves_the_head_alone(two):
    """From FLOW's networks, as the probe from the pre-trained one: each network's trunk stays as it is."""
    flow = tuned(two, "flow")
    ended = methods.last_step(SETTINGS, two, flow)
    for mine, before in zip(leaves(ended.trunk), leaves(flow.trunk), strict=True):
        np.testing.assert_array_equal(mine, before)

    def losses(nets, s: int, k: int) -> float:
        one = jax.tree.map(lambda leaf: leaf[s, k][None], nets)
        return float(
            np.mean(comparison.sample_losses(comparison.NET, one, *(part[s][None] for part in two.rows)))
        )

    for s in range(2):
        for k in range(len(GRID)):
            assert losses(ended, s, k) < losses(flow, s, k)


def test_probing_moves_the_head_alone(two):
    for mine, star in zip(leaves(two.probed.trunk), leaves(two.pretrained.trunk), strict=True):
        np.testing.assert_array_equal(mine, star)
    for mine, star in zip(leaves(two.probed.head), leaves(two.pretrained.head), strict=True):
        assert (mine != star).any()


# -------------------------------------------------------------------------------- what the numbers say


def test_the_places_of_the_comparison_agree_with_one_another(compared):
    d, smooth = compared, compared.rate < SMOOTH
    for source in d.source.values:
        path = d.wise_path.sel(source=source).transpose("share", "rate", "seed", "place")
        np.testing.assert_array_equal(path.isel(share=0), d.accuracy.sel(run=source))
        finite = path.sel(share=1.0, rate=smooth)
        np.testing.assert_array_equal(finite, np.broadcast_to(d.before.values, finite.shape))
    half = int(np.flatnonzero(np.isclose(SHARES, SHARE))[0])
    for name, (source, _) in AVERAGED.items():
        path = d.wise_path.sel(source=source).isel(share=half).transpose("rate", "seed", "place")
        np.testing.assert_array_equal(d.accuracy.sel(run=name), path)
    probe = d.accuracy.sel(run="probe", place="pretrain")
    np.testing.assert_array_equal(probe, np.broadcast_to(d.before.values[:, 0], probe.shape))
    # A curve begins with the probed model and ends with the network that is judged.
    for run in d.trained.values:
        curve = d.curve.sel(trained=run)
        np.testing.assert_array_equal(curve.isel(mark=-1), d.accuracy.sel(run=run))
        begun = curve.isel(mark=0)
        np.testing.assert_array_equal(begun, np.broadcast_to(d.before.values, begun.shape))
    assert set(d.run.values) - set(d.trained.values) == {*AVERAGED, LAST_STEP}


def test_what_is_learned_by_heart_is_counted(two, compared):
    """The share of the wrong training labels that the network gives back, row by row."""
    images, labels = two.rows
    truth = two.new["train"].truth
    for s in range(2):
        network = jax.tree.map(lambda leaf, s=s: leaf[s], two.probed)
        said = np.asarray(comparison.NET.logits(network, images[s])).argmax(axis=1)
        wrong = np.flatnonzero(labels[s] != truth[s])
        assert len(wrong) == round(TASK.noise * len(labels[s]))
        count = sum(int(said[row] == labels[s][row]) for row in wrong)
        assert abs(float(compared.before.sel(place=MEMORISED)[s]) - count / len(wrong)) <= EPS32


def test_tenths_add_up_to_the_whole_and_get_harder(compared):
    d = compared.sel(rate=compared.rate < SMOOTH)
    rows = sum(digits.SIZES.values())
    rows = np.isin(digits.load_digits(return_X_y=True)[1], range(5, 10)).sum() - rows
    sizes = np.bincount(np.arange(rows) * comparison.DECILES // rows)
    whole = (d.by_decile * xr.DataArray(sizes, dims="decile")).sum("decile") / rows
    got = d.accuracy.sel(place="target")
    assert float(abs(whole - got).max()) <= SAFETY * EPS32
    assert np.all(np.diff(d.test_loss, axis=1) >= 0)


def test_a_network_that_left_the_floats_classifies_nothing(two):
    one = jax.tree.map(lambda leaf: leaf[:, None].repeat(2, axis=1), two.probed)
    broken = one._replace(head=jax.tree.map(lambda leaf: leaf.at[0, 1].set(np.nan), one.head))
    test = two.new["test"]
    hits = np.asarray(comparison.right(comparison.NET, broken, test.images, test.truth))
    scores = two.scores(broken)
    np.testing.assert_array_equal(np.isnan(hits).any(axis=-1), [[False, True], [False, False]])
    np.testing.assert_array_equal(np.isnan(hits).any(axis=-1), np.isnan(hits).all(axis=-1))
    np.testing.assert_array_equal(np.isnan(scores[..., 1]), np.isnan(hits).any(axis=-1))
    assert np.abs(hits[1].mean(axis=-1) - scores[1, :, 1]).max() <= SAFETY * EPS32


def test_weight_facts():
    losses = np.random.default_rng(0).exponential(size=(2, 50))
    losses[0] *= 5
    weights = np.stack([lt.flow_weights(one) for one in losses])
    weights[:, :10] = 0.009
    facts = comparison.weight_facts(losses, weights)
    assert near(facts.temperature, [np.median(one) for one in losses])
    assert near(facts.mean_weight, [one.mean() for one in weights])
    assert near(facts.effective, [one.sum() ** 2 / (one**2).sum() / 50 for one in weights], condition=50)
    assert near(facts.idle, [(one < 0.01).sum() / 50 for one in weights])
    assert np.all(facts.idle >= 0.2)

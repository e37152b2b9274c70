"""Every fine-tuning method: which weights, how strong a pull, what is trained. Same seeds, same batches for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp.networks import Network, mixed
from paper_reproduction.mlp.protocol import Ready, features, members, orders, probe
from paper_reproduction.mlp.training import Loop, adapted, adapter, train, whole

RANK, SHARE = 4, 0.5  # of LoRA; of the pre-trained weights in WiSE-FT, as in the paper
PULLS = (0.01, 0.1)
SHARES = np.linspace(0.0, 1.0, 11)


@dataclass(frozen=True)
class Method:
    """What one method trains on and what of the network it trains."""

    label: str
    weights: str = "one"  # one, FLOW's, their mean, FLOW's over their mean, or FLOW's in random order
    pull: float = 0.0
    trained: str = "whole"  # or the head alone, or an adapter of low rank
    temperature: float = 1.0  # τ over the median loss


# Not the paper's are the three comparisons. Standard fine-tuning's loss times the mean weight takes steps as long, on
# average, as FLOW's; FLOW's weights over their mean take steps as long as those of standard fine-tuning.
TRAINED = {
    "standard": Method("standard"),
    "flow": Method("FLOW", "flow"),
    "l2": Method(f"ℓ2 to θ*, λ = {PULLS[0]:g}", pull=PULLS[0]),
    "l2-strong": Method(f"ℓ2 to θ*, λ = {PULLS[1]:g}", pull=PULLS[1]),
    "lora": Method(f"LoRA, rank {RANK}", trained="low rank"),
    "probe": Method("linear probe", trained="head"),
    "flow-l2": Method(f"FLOW + ℓ2, λ = {PULLS[0]:g}", "flow", pull=PULLS[0]),
    "flow-lora": Method(f"FLOW + LoRA, rank {RANK}", "flow", trained="low rank"),
    "standard-same-mean-step": Method("standard, same mean step", "mean"),
    "flow-same-mean-step": Method("FLOW, same mean step", "over mean"),
    "permuted": Method("FLOW, weights shuffled", "shuffled"),
}
TEMPERATURES = {
    f"flow-{factor:g}": Method(f"FLOW, τ × {factor:g}", "flow", temperature=factor)
    for factor in (0.1, 0.3, 3.0, 10.0)
}
AVERAGED = {"wise": ("standard", "WiSE-FT"), "flow-wise": ("flow", "FLOW + WiSE")}
LAST_STEP = "flow-head"
METHODS = {name: method.label for name, method in TRAINED.items()}
METHODS |= {name: label for name, (_, label) in AVERAGED.items()}
METHODS |= {LAST_STEP: "FLOW, then the head alone"}

STANDARD, FLOW, SAME, SHUFFLED = "standard", "flow", "standard-same-mean-step", "permuted"
CONTROLS = (SAME, SHUFFLED)
"""What a statement about FLOW's weights is held against: each replaced by their mean, and in random order."""
COMPARED = (STANDARD, FLOW, *CONTROLS)


def weighed(settings: Settings, ready: Ready, method: Method) -> np.ndarray:
    """(seeds, n): the weights that a method trains with."""
    w = ready.weights
    if method.temperature != 1.0:
        w = np.stack(
            [lt.flow_weights(one, method.temperature * lt.median_temperature(one)) for one in ready.losses]
        )
    mean = w.mean(axis=1, keepdims=True)
    return {
        "one": lambda: np.ones_like(w),
        "flow": lambda: w,
        "mean": lambda: np.ones_like(w) * mean,
        "over mean": lambda: w / mean,
        "shuffled": lambda: np.stack(
            [settings.rng(f"shuffle {s}").permutation(one) for s, one in enumerate(w)]
        ),
    }[method.weights]()


def tune(settings: Settings, ready: Ready, method: Method, grid: np.ndarray) -> tuple[Network, np.ndarray]:
    """The networks of one method, (seeds, rates, …), and their curves, (seeds, rates, marks, places)."""
    chosen = members(weighed(settings, ready, method), grid, method.pull)
    loop, trainable, rows = _parametrised(ready, method)
    seen = np.array(ready.marks)
    networks, curve = train(loop, trainable, ready.probed, rows, ready.orders, seen, ready.judged, chosen)
    return networks, np.asarray(curve)


def _parametrised(ready: Ready, method: Method) -> tuple[Loop, Any, tuple[Any, Any]]:
    """The loop of a method, what it trains, from where, and the rows as this wants them."""
    recipe, probed, (images, labels) = ready.recipe, ready.probed, ready.rows
    match method.trained:
        case "head":
            return recipe.reading(), probed.head, (features(recipe.net, probed.trunk, images), labels)
        case "low rank":
            keys = jnp.stack([jax.random.fold_in(ready.key, s) for s in range(ready.seeds)])
            factors = jax.vmap(lambda network, key: adapter(network, RANK, key))(probed, keys)
            return recipe.fine_tuning(adapted, ready.shared), factors, ready.rows
        case _:
            return recipe.fine_tuning(whole, ready.shared), probed, ready.rows


def averaged(ready: Ready, networks: Network, share: float = SHARE) -> Network:
    """WiSE-FT: parameters between the probed network and each of these."""
    of_seed = lambda one, many: jax.vmap(lambda network: mixed(one, network, float(share)))(many)
    return jax.vmap(of_seed)(ready.probed, networks)


def last_step(settings: Settings, ready: Ready, networks: Network) -> Network:
    """The head of each of these networks (seeds, members, …) trained alone on the unweighted loss, as at the probe."""
    recipe, (images, labels) = ready.recipe, ready.rows
    seeds, count = labels.shape
    many = jax.tree.leaves(networks)[0].shape[1]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), networks)
    repeated = lambda array: np.repeat(np.asarray(array), many, axis=0)
    order = orders(settings, "last step", seeds, count, recipe, recipe.probe_epochs)
    ended = probe(recipe, flat, (repeated(images), repeated(labels)), repeated(order))
    return jax.tree.map(lambda leaf: leaf.reshape(seeds, many, *leaf.shape[1:]), ended)


def path(ready: Ready, networks: Network) -> np.ndarray:
    """(shares, seeds, members, places): along the average of before and after, from after (0) to before (1)."""
    return np.stack([ready.scores(averaged(ready, networks, share)) for share in SHARES])


def label_of(name: str) -> str:
    """How a run is called."""
    return METHODS[name] if name in METHODS else TEMPERATURES[name].label


def trained(name: str) -> Any:
    """The method of this name, if it is one that is trained and not made from another's networks."""
    return TRAINED.get(name) or TEMPERATURES.get(name)

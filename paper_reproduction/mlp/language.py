"""A small language model of docstring prose: pre-trained once a seed, stored, and trained further on code.

The models of the first :data:`STORED` seeds lie beside the results, so that fine-tuning starts from the same
parameters everywhere. To make them again (the texts are those of the installed packages)::

    python -m paper_reproduction.mlp.language

A seed decides the split of the texts, the initial parameters and the batches.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from paper_reproduction.claim import Settings
from paper_reproduction.mlp import corpus
from paper_reproduction.mlp.networks import Array
from paper_reproduction.mlp.transformer import Transformer

NET = Transformer()
WIDE = Transformer(width=160, heads=8, layers=7)  # ten times as many parameters, where there is a GPU
STORED = 5
PRETRAINING = {NET: (1500, 32), WIDE: (3000, 128)}  # steps, windows a step
PEAK = 3e-3  # of the learning rate in pre-training
WARM = 100  # steps to it
MODELS = Path(__file__).with_name("results") / "language"
BITS = 1 / float(np.log(2))  # in a nat


class Adam(NamedTuple):
    """Kingma and Ba's, in the precision of the parameters whatever jax_enable_x64 says (optax's hangs on it)."""

    decay: float = 0.9
    slow: float = 0.98
    floor: float = 1e-8

    def init(self, parameters: Any) -> tuple[Any, ...]:
        """Steps taken, mean of the gradients, mean of their squares."""
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return jnp.float32(0.0), zeros, zeros

    def update(self, gradient: Any, state: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """The direction to subtract, and what the state is then."""
        count, mean, square = state[0] + 1, *state[1:]
        mean = jax.tree.map(lambda m, g: self.decay * m + (1 - self.decay) * g, mean, gradient)
        square = jax.tree.map(lambda v, g: self.slow * v + (1 - self.slow) * g**2, square, gradient)
        # Both means begin at 0 and are this share of what they stand for.
        share, slow_share = (1 - jnp.float32(rate) ** count for rate in (self.decay, self.slow))
        direction = lambda m, v: m / share / (jnp.sqrt(v / slow_share) + self.floor)
        return jax.tree.map(direction, mean, square), (count, mean, square)


ADAM = Adam()


class Tuning(NamedTuple):
    """What a run of training is about, beside the parameters."""

    rows: Array  # (n, context + 1): windows of a text
    weights: Array  # (n, context): of each letter that is guessed
    order: Array  # (steps, batch): which rows each step sees
    rates: Array  # (steps,)
    start: Any  # θ*
    pull: Array  # λ of λ‖θ − θ*‖²


@partial(jax.jit, static_argnums=0)
def advance(
    net: Transformer, carry: tuple[Any, Any], tuning: Tuning, first: int, last: int
) -> tuple[Any, Any]:
    """Parameters and Adam's state after the steps ``first`` to ``last`` − 1 on the weighted loss."""

    def loss(parameters: Any, place: Array) -> Array:
        gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), parameters, tuning.start)
        fit = jnp.mean(tuning.weights[place] * net.losses(parameters, tuning.rows[place]))
        return fit + tuning.pull * sum(jax.tree.leaves(gaps))

    def step(number: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        parameters, state = carry
        updates, state = ADAM.update(jax.grad(loss)(parameters, tuning.order[number]), state)
        move = lambda one, update: one - tuning.rates[number] * update
        return jax.tree.map(move, parameters, updates), state

    return jax.lax.fori_loop(first, last, step, carry)


@partial(jax.jit, static_argnums=0)
def token_losses(net: Transformer, parameters: Any, rows: Array) -> Array:
    """(n, context): the loss of each letter, in nats; a few rows at a time."""
    return jax.lax.map(lambda row: net.losses(parameters, row[None])[0], rows, batch_size=64)


def bits(net: Transformer, parameters: Any, rows: Array) -> float:
    """Bits a byte, the mean over windows."""
    return float(jnp.mean(token_losses(net, parameters, rows))) * BITS


def count(net: Transformer) -> int:
    """Parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.initial, jax.random.key(0))))


# --------------------------------------------------------------------------------------------- pre-training


def pretrained(seed: int, net: Transformer = NET) -> Any:
    """Trained on the prose of this seed's training part, from this seed's initial parameters."""
    settings = Settings(seed)
    prose, _ = corpus.languages(seed)
    steps, batch = PRETRAINING[net]
    rows = corpus.windows(prose.parts["train"], net.context, steps * batch, settings.rng("pre-training"))
    start = net.initial(jax.random.key(int(settings.rng("initial parameters").integers(2**31))))
    order = np.arange(steps * batch, dtype=np.int32).reshape(steps, batch)
    ones = jnp.ones((steps * batch, net.context), jnp.float32)
    cosine = optax.warmup_cosine_decay_schedule(0.0, PEAK, WARM, steps, PEAK / 10)
    rates = jnp.asarray(cosine(jnp.arange(steps, dtype=jnp.float32)), jnp.float32)
    tuning = Tuning(jnp.asarray(rows), ones, jnp.asarray(order), rates, start, jnp.float32(0.0))
    trained, _ = advance(net, (start, ADAM.init(start)), tuning, 0, steps)
    return trained


def path(seed: int) -> Path:
    """Where the model of this seed lies, if it does."""
    return MODELS / f"{seed}.npz"


def store(seed: int, parameters: Any) -> None:
    """Write them in half precision, with the texts that they were trained on."""
    prose, _ = corpus.languages(seed)
    about = {"seed": seed, "prose": prose.digest, **corpus.versions()}
    leaves: dict[str, Any] = {name: np.asarray(leaf, np.float16) for name, leaf in _named(parameters)}
    MODELS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path(seed), about=np.array(json.dumps(about)), **leaves)


def stored(seed: int) -> Any:
    """The parameters of :data:`NET` after pre-training, as every machine reads them."""
    blank = jax.eval_shape(NET.initial, jax.random.key(0))
    with np.load(path(seed)) as file:
        leaves = [jnp.asarray(file[name], jnp.float32) for name, _ in _named(blank)]
    return jax.tree.unflatten(jax.tree.structure(blank), leaves)


def start(seed: int, net: Transformer) -> Any:
    """θ*: the stored model of this seed and size, or else one that is trained now."""
    return stored(seed) if net == NET and path(seed).exists() else pretrained(seed, net)


def about(seed: int) -> dict[str, Any]:
    """What the stored model of this seed was trained on."""
    with np.load(path(seed)) as file:
        return json.loads(str(file["about"]))


def digest(parameters: Any) -> str:
    """Of all numbers of a model, as they are stored."""
    leaves = (np.asarray(leaf, np.float16).tobytes() for _, leaf in _named(parameters))
    return hashlib.sha256(b"".join(leaves)).hexdigest()


def _named(parameters: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(name), leaf) for name, leaf in jax.tree.leaves_with_path(parameters)]


def main() -> None:
    """Pre-train and store all models."""
    for seed in range(STORED):
        parameters = pretrained(seed)
        store(seed, parameters)
        prose, code = corpus.languages(seed)
        rng = Settings(seed).rng("held out")
        told = [
            f"{bits(NET, stored(seed), jnp.asarray(corpus.windows(text, NET.context, 512, rng))):.3f}"
            for text in (prose.parts["test"], code.parts["test"])
        ]
        print(f"seed {seed}: {told[0]} bits a byte of prose, {told[1]} of code")


if __name__ == "__main__":
    main()

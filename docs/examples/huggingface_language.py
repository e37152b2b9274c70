"""FLOW in the Hugging Face Trainer on a model that was really pre-trained: from the prose of docstrings to code.

    python docs/examples/huggingface_language.py

The model is the one of the experiment `language`, stored in this repository: a transformer of some 209 000 parameters
that has learned the sentences of NumPy's, SciPy's and scikit-learn's docstrings to less than two bits a byte. Adam
divides a common factor of the loss out, so that what stands beside FLOW is FLOW with its weights in random order.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from huggingface_trainer import FlowTrainer, targets, trained, with_weights
from torch.nn import functional
from transformers.modeling_outputs import CausalLMOutput

from paper_reproduction.mlp import corpus, language

STEPS, BATCH, RATE = 40, 16, 1e-3
ADAM = {"optim": "adamw_torch", "adam_beta2": language.ADAM.slow, "per_device_train_batch_size": BATCH}


class ByteModel(torch.nn.Module):
    """The transformer of paper_reproduction/mlp/transformer.py, with its stored parameters."""

    def __init__(self, parameters: dict, heads: int = language.NET.heads) -> None:
        super().__init__()
        tensor = lambda leaf: torch.nn.Parameter(torch.tensor(np.asarray(leaf)))
        self.heads = heads
        self.symbols, self.places, self.last = (
            tensor(parameters[name]) for name in ("symbols", "places", "last")
        )
        each = [{name: tensor(leaf) for name, leaf in layer.items()} for layer in parameters["layers"]]
        self.layers = torch.nn.ModuleList(map(torch.nn.ParameterDict, each))

    def forward(self, input_ids, attention_mask=None, labels=None) -> CausalLMOutput:
        """All sequences are of one length, so that there is nothing to mask; labels stand here for Trainer to see."""
        stream = self.symbols[input_ids] + self.places[: input_ids.shape[1]]
        for layer in self.layers:
            stream = stream + self.attention(layer, normalised(stream, layer["before_attention"]))
            hidden = normalised(stream, layer["before_perceptron"]) @ layer["up"]
            stream = stream + functional.gelu(hidden, approximate="tanh") @ layer["down"]
        return CausalLMOutput(logits=normalised(stream, self.last) @ self.symbols.T)

    def attention(self, layer: torch.nn.ParameterDict, stream: torch.Tensor) -> torch.Tensor:
        n, length, width = stream.shape
        seen = (stream @ layer["attend"]).reshape(n, length, 3 * self.heads, -1).transpose(1, 2)
        shared = functional.scaled_dot_product_attention(*seen.chunk(3, dim=1), is_causal=True)
        return shared.transpose(1, 2).reshape(n, length, width) @ layer["gather"]


def normalised(stream: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return scale * stream * (stream.square().mean(-1, keepdim=True) + 1e-6).rsqrt()


def windows(text: np.ndarray, count: int, seed: int) -> list[dict]:
    """Sequences of as many bytes as the model sees."""
    rows = corpus.windows(text, language.NET.context - 1, count, np.random.default_rng(seed))
    return [{"input_ids": one, "labels": one, "weights": torch.ones(1)} for one in torch.tensor(rows).long()]


def shuffled(sequences: list[dict], seed: int = 0) -> list[dict]:
    """The weights of all targets in random order."""
    found = [targets(s["labels"]) for s in sequences]
    weights = torch.cat([s["weights"][here] for s, here in zip(sequences, found, strict=True)])
    order = torch.randperm(len(weights), generator=torch.Generator().manual_seed(seed))
    parts = weights[order].split([int(here.sum()) for here in found])
    moved = [torch.zeros(len(f)).masked_scatter(f, part) for f, part in zip(found, parts, strict=True)]
    return [{**s, "weights": w} for s, w in zip(sequences, moved, strict=True)]


def main(steps: int = STEPS) -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)
    prose, code = corpus.languages(0)
    model = ByteModel(language.stored(0))
    rows = windows(code.parts["train"], steps * BATCH, seed=1)
    data = {
        "prose": windows(prose.parts["test"], 64, seed=2),
        "code": windows(code.parts["test"], 64, seed=3),
    }
    by_byte = with_weights(model, rows, "token")
    runs = {
        "pre-trained": (rows, 0),
        "standard": (rows, 1),
        "FLOW by byte": (by_byte, 1),
        "the same, weights shuffled": (shuffled(by_byte), 1),
        "FLOW by sequence": (with_weights(model, rows, "sequence"), 1),
    }
    table = {}
    print(f"{'bits a byte':30}{'prose':>10}{'code':>10}")
    for name, (sequences, epochs) in runs.items():
        trainer = trained(model, sequences, RATE, epochs, FlowTrainer, **ADAM)
        table[name] = {
            text: trainer.evaluate(held_out)["eval_loss"] / math.log(2) for text, held_out in data.items()
        }
        print(f"{name:30}{table[name]['prose']:10.2f}{table[name]['code']:10.2f}")
    return table


if __name__ == "__main__":
    main()

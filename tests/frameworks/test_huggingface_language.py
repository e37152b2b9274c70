"""The stored language model in the Trainer: the one of the experiment, and FLOW does there what it does here."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paper_reproduction.mlp import corpus, language
from tests.frameworks.loops import example, told
from tests.processes import ROOT

torch = pytest.importorskip("torch", reason="PyTorch is the extra [torch]")
pytest.importorskip("transformers", reason="transformers is the extra [huggingface]")
pytest.importorskip("accelerate", reason="accelerate is the extra [huggingface]")
hf = example("huggingface_language")

ROUNDING = {"rtol": 1e-3, "atol": 1e-4}
"""float32 through four layers, summed in another order; logits are of size 10."""


@pytest.fixture(scope="module")
def stored():
    return language.stored(0)


@pytest.fixture(scope="module")
def rows():
    _, code = corpus.languages(0)
    return corpus.windows(code.parts["test"], language.NET.context - 1, 8, np.random.default_rng(0))


def logits(parameters, rows, **changes):
    model = hf.ByteModel(parameters, **changes)
    with torch.no_grad():
        return model(torch.tensor(rows).long()).logits.numpy()


def test_the_model_is_the_one_of_the_experiment(stored, rows):
    want = np.asarray(language.NET.logits(stored, rows))
    np.testing.assert_allclose(logits(stored, rows), want, **ROUNDING)
    assert not np.allclose(logits(stored, rows, heads=2), want, **ROUNDING)
    louder = {**stored, "last": 1.01 * stored["last"]}
    assert not np.allclose(logits(louder, rows), want, **ROUNDING)


def test_the_loss_of_a_byte_stands_in_its_place(stored, rows):
    model = hf.ByteModel(stored)
    sequences = [{"input_ids": one, "labels": one} for one in torch.tensor(rows).long()]
    weighted = hf.with_weights(model, sequences, "token")
    weights = np.stack([s["weights"].numpy() for s in weighted])
    losses = np.asarray(language.NET.losses(stored, rows))
    assert not weights[:, 0].any()
    np.testing.assert_allclose(weights[:, 1:], np.exp(-losses / np.median(losses)), **ROUNDING)


def test_weights_in_random_order_are_the_same_weights(stored, rows):
    sequences = [{"input_ids": one, "labels": one} for one in torch.tensor(rows).long()]
    weighted = hf.with_weights(hf.ByteModel(stored), sequences, "token")
    moved = hf.shuffled(weighted)
    every = lambda all_of: np.sort(torch.cat([s["weights"][1:] for s in all_of]).numpy())
    np.testing.assert_array_equal(every(moved), every(weighted))
    assert any((a["weights"] != b["weights"]).any() for a, b in zip(moved, weighted, strict=True))
    assert not any(float(s["weights"][0]) for s in moved)


def test_the_example_keeps_prose_by_its_weights_and_not_by_their_size(capsys):
    table = hf.main()
    printed = told(capsys, table, ("prose", "code"), 2)
    assert printed.startswith("bits a byte")
    page = (ROOT / "docs" / "howto" / "your_training_loop.md").read_text(encoding="utf-8")
    for name, bits in table.items():
        shown = re.search(rf"^{name} +([\d.]+) +([\d.]+)$", page, flags=re.MULTILINE)
        # Another processor trains on from other last digits.
        assert shown is not None
        assert np.allclose([float(one) for one in shown.groups()], [bits["prose"], bits["code"]], atol=0.1)
    of = lambda text: {name: bits[text] for name, bits in table.items()}
    prose, code = of("prose"), of("code")
    assert prose["pre-trained"] < 2.2  # of held-out text, as the experiment says of these models
    assert min(prose.values()) == prose["pre-trained"]
    assert prose["FLOW by byte"] < prose["the same, weights shuffled"]
    assert code["standard"] < code["FLOW by byte"] < code["pre-trained"]

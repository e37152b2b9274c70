"""The Trainer: its gradient against one worked out sequence by sequence, whatever the padding and the accumulation."""

from __future__ import annotations

import pytest

import linear_theory as lt
from tests.frameworks.loops import example, told
from tests.processes import launched, paired

torch = pytest.importorskip("torch", reason="PyTorch is the extra [torch]")
transformers = pytest.importorskip("transformers", reason="transformers is the extra [huggingface]")
pytest.importorskip("accelerate", reason="accelerate is the extra [huggingface]")
hf = example("huggingface_trainer")

ROUNDING = {"rtol": 1e-4, "atol": 1e-6}
"""float32, summed in another order: some hundred times 6e-8, and gradients of size 1."""

WAYS = ("sequence", "token")


@pytest.fixture(scope="module")
def model():
    return hf.tiny_model(seed=1)


@pytest.fixture(scope="module")
def plain():
    """Lengths from 6 to 15, the first two tokens a prompt."""
    found = hf.language([1, 2, 5], n=5, seed=0)
    assert len({len(s["labels"]) for s in found}) > 2
    return found


@pytest.fixture(scope="module", params=WAYS)
def weighted(request, model, plain):
    return hf.with_weights(model, plain, request.param)


@pytest.fixture(scope="module")
def trainer(model, plain):
    return hf.trained(model, plain, 0.1, epochs=0)


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def sequence_losses(model, s):
    """The cross-entropies of the tokens after the prompt, one sequence alone, from the definition."""
    log_probabilities = model(input_ids=s["input_ids"][None]).logits[0].log_softmax(-1)
    return -torch.stack([log_probabilities[t - 1, s["labels"][t]] for t in range(2, len(s["labels"]))])


def by_hand(model, sequences):
    """(1/n) Σ meanₜ(w · loss) over n sequences."""
    means = [
        (s["weights"].expand(len(s["labels"]))[2:] * sequence_losses(model, s)).mean() for s in sequences
    ]
    return torch.stack(means).mean()


def of_trainer(trainer, sequences, **other):
    """The loss that the trainer forms of one batch in training, and its gradient."""
    batch = {**hf.collate(sequences), **other}
    model = trainer.model.train()
    loss = trainer.compute_loss(model, batch, num_items_in_batch=len(sequences))
    return loss.detach(), gradient(model, loss)


def alike(found, expected):
    return all(torch.allclose(a, b, **ROUNDING) for a, b in zip(found, expected, strict=True))


def hand(trainer, sequences):
    loss = by_hand(trainer.model.train(), sequences)
    return loss.detach(), gradient(trainer.model, loss)


def test_loss_and_gradient_are_those_worked_out_by_hand(trainer, weighted):
    assert alike(of_trainer(trainer, weighted), hand(trainer, weighted))


def variant(trainer, sequences, combine):
    """Another way to make one loss of all weights and token losses."""
    model = trainer.model.train()
    weights = [s["weights"].expand(len(s["labels"]))[2:] for s in sequences]
    loss = combine(weights, [sequence_losses(model, s) for s in sequences])
    return loss.detach(), gradient(model, loss)


VARIANTS = {
    "a mean over all tokens": lambda w, f: (torch.cat(w) * torch.cat(f)).mean(),
    "over the sum of the weights": lambda w, f: (torch.cat(w) * torch.cat(f)).sum() / torch.cat(w).sum(),
    "sums instead of means": lambda w, f: torch.stack(
        [(a * b).sum() for a, b in zip(w, f, strict=True)]
    ).mean(),
    "weights one token late": lambda w, f: torch.stack(
        [(a.roll(1) * b).mean() for a, b in zip(w, f, strict=True)]
    ).mean(),
    "weights of another sequence": lambda w, f: torch.stack(
        [(a.mean() * b).mean() for a, b in zip(w[1:] + w[:1], f, strict=True)]
    ).mean(),
    "unweighted": lambda w, f: torch.stack([b.mean() for b in f]).mean(),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_comparison_rejects(trainer, weighted, name):
    if name == "weights one token late" and len(weighted[0]["weights"]) == 1:
        pytest.skip("a weight of a sequence is at every token")
    assert not alike(of_trainer(trainer, weighted), variant(trainer, weighted, VARIANTS[name]))


def padded(s, more):
    """A sequence with padding of its own, as a tokenizer leaves it."""
    pad = lambda row, value: torch.nn.functional.pad(row, (0, more), value=value)
    weights = s["weights"] if len(s["weights"]) == 1 else pad(s["weights"], 7.0)
    return {"input_ids": pad(s["input_ids"], 3), "labels": pad(s["labels"], hf.IGNORED), "weights": weights}


def test_padding_more_changes_nothing(trainer, weighted):
    longer = [padded(s, 9) for s in weighted]
    assert alike(of_trainer(trainer, longer), of_trainer(trainer, weighted))


def test_a_prompt_is_read_but_not_learned(trainer, weighted):
    """Neither its weights nor the first token's label can matter."""
    labels = hf.collate(weighted)["labels"]
    assert (labels[:, :2] == hf.IGNORED).all()
    first = labels.clone()
    first[:, 0] = 1
    assert alike(of_trainer(trainer, weighted, labels=first), of_trainer(trainer, weighted))
    second = labels.clone()
    second[:, 1] = 1
    assert not alike(of_trainer(trainer, weighted, labels=second), of_trainer(trainer, weighted))


# ------------------------------------------------------------------------------------------------ the weights


def test_weights_are_those_of_the_definition(model, plain):
    with torch.no_grad():
        losses = [sequence_losses(model.eval(), s).double() for s in plain]
    means = torch.stack([loss.mean() for loss in losses])
    expected = torch.exp(-means / lt.median_temperature(means)).float()
    found = torch.cat([s["weights"] for s in hf.with_weights(model, plain, "sequence")])
    torch.testing.assert_close(found, expected, **ROUNDING)

    tau = lt.median_temperature(torch.cat(losses))
    for s, loss in zip(hf.with_weights(model, plain, "token"), losses, strict=True):
        assert (s["weights"][:2] == 0).all()
        torch.testing.assert_close(s["weights"][2:], torch.exp(-loss / tau).float(), **ROUNDING)


@pytest.mark.parametrize("by", WAYS)
def test_padding_enters_neither_weights_nor_median(model, plain, by):
    for s, alone in zip(
        hf.with_weights(model, [padded(s, 9) for s in plain], by),
        hf.with_weights(model, plain, by),
        strict=True,
    ):
        length = len(alone["weights"])
        torch.testing.assert_close(s["weights"][:length], alone["weights"], **ROUNDING)
        assert (s["weights"][length:] == 0).all()


EMPTY = {
    "prompt alone": lambda s: {**s, "labels": torch.full_like(s["labels"], hf.IGNORED)},
    "one token": lambda s: {name: value[:1] for name, value in s.items()},
    "no token": lambda s: s | {name: s[name][:0] for name in ("input_ids", "labels")},
}


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("kind", EMPTY)
def test_a_sequence_without_a_target_is_named(model, plain, kind, by):
    """It has no loss; in a mean over sequences NaN or 0 would stand for it."""
    nothing = EMPTY[kind](plain[0])
    with pytest.raises(ValueError, match=r"sequences \[2, 4\] of the data \(from 0, 2 of 5\) have no target"):
        hf.with_weights(model, [*plain[:2], nothing, plain[2], nothing], by)
    with pytest.raises(ValueError, match=r"sequences \[1\] of a batch \(from 0, 1 of 2\) have no target"):
        hf.collate([plain[1], nothing])


SMOOTHING = 0.3


def smoothed_losses(model, s):
    """(1 − ε) · loss of the label + ε · mean loss over all symbols, of the tokens after the prompt."""
    log_probabilities = model(input_ids=s["input_ids"][None]).logits[0].log_softmax(-1)[1:-1]
    of_label = -torch.stack(
        [row[label] for row, label in zip(log_probabilities, s["labels"][2:], strict=True)]
    )
    return (1 - SMOOTHING) * of_label - SMOOTHING * log_probabilities.mean(-1)


@pytest.fixture
def smooth(model, plain):
    return hf.trained(model, plain, 0.1, epochs=0, label_smoothing_factor=SMOOTHING)


def test_label_smoothing_is_honoured(smooth, trainer, weighted):
    means = [
        (s["weights"].expand(len(s["labels"]))[2:] * smoothed_losses(smooth.model.train(), s)).mean()
        for s in weighted
    ]
    loss = torch.stack(means).mean()
    expected = loss.detach(), gradient(smooth.model, loss)
    assert alike(of_trainer(smooth, weighted), expected)
    assert not alike(of_trainer(trainer, weighted), expected)  # as if there were none


def test_weights_may_be_those_of_the_smoothed_losses(model, plain):
    with torch.no_grad():
        means = torch.stack([smoothed_losses(model.eval(), s).mean() for s in plain]).double()
    expected = torch.exp(-means / lt.median_temperature(means)).float()
    found = torch.cat([s["weights"] for s in hf.with_weights(model, plain, "sequence", SMOOTHING)])
    torch.testing.assert_close(found, expected, **ROUNDING)
    assert not torch.allclose(
        torch.cat([s["weights"] for s in hf.with_weights(model, plain, "sequence")]), expected
    )


def test_smoothed_and_unweighted_the_token_mean_is_the_trainers_own_loss(model, plain):
    how = {"label_smoothing_factor": SMOOTHING}
    own = one_step(model, plain, 5, 1, Unaware, **how)
    torch.testing.assert_close(one_step(model, plain, 5, 1, hf.TokenMeanTrainer, **how), own, **ROUNDING)
    assert not torch.allclose(one_step(model, plain, 5, 1, hf.TokenMeanTrainer), own, **ROUNDING)
    judged = [
        hf.trained(model, plain, 0.1, 0, kind, **how).evaluate(plain)
        for kind in (Unaware, hf.TokenMeanTrainer)
    ]
    assert judged[0]["eval_loss"] == pytest.approx(judged[1]["eval_loss"], rel=1e-5)


def test_a_loss_function_that_would_not_be_called_is_refused(model, plain):
    class Other(hf.FlowTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, compute_loss_func=lambda *_, **__: 0)

    with pytest.raises(ValueError, match="compute_loss_func would not be called"):
        hf.trained(model, plain, 0.1, 0, Other)


def test_the_mean_weight_is_the_step_that_is_left(trainer, weighted):
    """Loss of the weights at token losses of 1: what multiplies the rate of the run with the same mean step."""
    of_sequence = [s["weights"].expand(len(s["labels"]))[2:].mean() for s in weighted]
    assert hf.mean_weight(weighted) == pytest.approx(float(sum(of_sequence)) / len(weighted), rel=1e-6)
    assert 0 < hf.mean_weight(weighted) < 1


# ------------------------------------------------------------------------------------------- what the Trainer does


def one_step(model, sequences, batch, accumulated, kind=hf.FlowTrainer, **settings):
    """The change of all parameters by one step on all sequences."""
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}
    moved = hf.trained(model, sequences, 1.0, 1, kind, **sizes, **settings)
    assert moved.state.global_step == 1
    return torch.cat(
        [(a - b).flatten() for a, b in zip(moved.model.parameters(), model.parameters(), strict=True)]
    )


class OwnMean(hf.FlowTrainer):
    """The usual mistake: a mean over each batch, then a mean over batches, of however many sequences."""

    loss_is_scaled_for_ga = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs, self.shares(inputs["labels"]).sum())


@pytest.mark.parametrize("kind", [hf.FlowTrainer, hf.TokenMeanTrainer])
def test_a_step_is_the_same_however_it_is_accumulated(model, weighted, kind):
    whole = one_step(model, weighted, 5, 1, kind)
    for batch, accumulated in ((2, 3), (1, 5)):  # two, two and one
        torch.testing.assert_close(one_step(model, weighted, batch, accumulated, kind), whole, **ROUNDING)


def test_comparison_of_accumulations_rejects_means_of_means(model, weighted):
    whole = one_step(model, weighted, 5, 1, OwnMean)
    assert torch.allclose(whole, one_step(model, weighted, 5, 1), **ROUNDING)
    assert not torch.allclose(one_step(model, weighted, 2, 3, OwnMean), whole, **ROUNDING)


HALF = """
import os, sys

port, rank, file, kind, by = sys.argv[1:]
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}

import torch

torch.set_num_threads(1)

from tests.frameworks.test_huggingface_trainer import hf, one_step

model = hf.tiny_model(seed=1)
weighted = hf.with_weights(model, hf.language([1, 2, 5], n=8, seed=0), by)
step = one_step(model, weighted, 2, 2, getattr(hf, kind), ddp_backend="gloo")
if rank == "0":
    torch.save(step, file)
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize(("kind", "by"), [("FlowTrainer", "token"), ("TokenMeanTrainer", "sequence")])
def test_a_step_is_the_same_on_two_processes(model, tmp_path, kind, by):
    def half(port, rank):
        command = ["-W", "ignore", "-c", HALF, port, rank, tmp_path / "step.pt", kind, by]
        return launched(tmp_path / f"{rank}.log", command)

    well, said = paired(half)
    assert well, said
    weighted = hf.with_weights(model, hf.language([1, 2, 5], n=8, seed=0), by)
    whole = one_step(model, weighted, 8, 1, getattr(hf, kind))
    torch.testing.assert_close(torch.load(tmp_path / "step.pt"), whole.detach(), **ROUNDING)


def test_a_step_of_the_trainer_is_the_gradient_by_hand(model, weighted, trainer):
    _, slope = hand(trainer, weighted)
    torch.testing.assert_close(one_step(model, weighted, 2, 3), -slope, **ROUNDING)


class Unaware(transformers.Trainer):
    """The Trainer as it comes: it has no use for weights."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        return super().compute_loss(
            model, {k: v for k, v in inputs.items() if k != "weights"}, *args, **kwargs
        )


def test_unweighted_the_token_mean_is_the_trainers_own_loss(model, plain):
    own = one_step(model, plain, 2, 3, Unaware)
    torch.testing.assert_close(one_step(model, plain, 2, 3, hf.TokenMeanTrainer), own, **ROUNDING)
    assert not torch.allclose(one_step(model, plain, 2, 3), own, **ROUNDING)


def test_evaluation_is_unweighted_and_a_mean_over_sequences(model, plain, weighted):
    with torch.no_grad():
        expected = float(torch.stack([sequence_losses(model.eval(), s).mean() for s in plain]).mean())
    for sequences in (plain, weighted):
        for batch in (2, 5):
            judge = hf.trained(model, sequences, 0.1, 0, per_device_eval_batch_size=batch)
            assert judge.evaluate(sequences)["eval_loss"] == pytest.approx(expected, rel=1e-5)


def test_weights_that_the_trainer_drops_are_missed(model, weighted):
    """``remove_unused_columns`` is on by default and looks at the model's arguments."""
    with pytest.raises(KeyError, match="weights"):
        hf.trained(model, weighted, 0.1, 1, remove_unused_columns=True)


def test_the_example_shows_the_same_mean_step(capsys):
    table = hf.main()
    told(capsys, table)
    assert list(table) == [
        "pre-trained",
        "standard",
        "same mean step as by sequence",
        "FLOW by sequence",
        "same mean step as by token",
        "FLOW by token",
    ]
    assert table["pre-trained"]["old"] < 0.1
    for by in WAYS:
        flow, same_mean_step = table[f"FLOW by {by}"], table[f"same mean step as by {by}"]
        assert flow["old"] < same_mean_step["old"] < table["standard"]["old"]
        assert flow["new"] < 0.2 * table["pre-trained"]["new"]

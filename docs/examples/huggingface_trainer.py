"""FLOW in the Hugging Face Trainer: a tiny causal language model moves to a new language; weights by sequence or token.

    python docs/examples/huggingface_trainer.py

A loss belongs to each target: a token that has one before it and a label other than −100. The loss f of a sequence is
the mean over its targets, and training minimises (1/n) Σ w · f over n sequences (w inside the mean, if by token).
"""

from __future__ import annotations

import copy
import tempfile

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel, PrinterCallback, Trainer, TrainingArguments

import linear_theory as lt

SYMBOLS, IGNORED = 16, -100


def targets(labels: torch.Tensor) -> torch.Tensor:
    """Where there is something to predict, (..., length): not at padding, prompts, or the first token."""
    found = labels != IGNORED
    found[..., :1] = False
    return found


def with_targets(sequences: list[dict], of: str) -> list[dict]:
    """The sequences, if each has a target: one without has no loss, and so no weight and no share in a mean."""
    empty = [k for k, s in enumerate(sequences) if not targets(s["labels"]).any()]
    if empty:
        wrong = f"sequences {empty[:8]} of {of} (from 0, {len(empty)} of {len(sequences)})"
        raise ValueError(
            f"{wrong} have no target, a token after the first with a label but {IGNORED}; leave them out"
        )
    return sequences


def token_losses(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of each token given those before it, in its own place, (batch, length); 0 off the targets."""
    ahead = logits[:, :-1].float().transpose(1, 2)  # what position t says is about token t + 1
    how = {"ignore_index": IGNORED, "reduction": "none", "label_smoothing": smoothing}
    return torch.nn.functional.pad(torch.nn.functional.cross_entropy(ahead, labels[:, 1:], **how), (1, 0))


@torch.no_grad()
def with_weights(
    model: torch.nn.Module, sequences: list[dict], by: str, smoothing: float = 0.0
) -> list[dict]:
    """The data with a column of weights, one a sequence or one a token, from the pre-trained model. Once."""
    model.eval()
    found = [targets(s["labels"]) for s in with_targets(sequences, "the data")]
    losses = []
    for s, here in zip(sequences, found, strict=True):  # one by one: nothing is padded
        logits = model(input_ids=s["input_ids"][None]).logits
        losses.append(token_losses(logits, s["labels"][None], smoothing)[0, here])
    if by == "sequence":
        weights = lt.flow_weights(torch.stack([loss.mean() for loss in losses])).split(1)
    else:
        of_targets = lt.flow_weights(torch.cat(losses)).split([len(loss) for loss in losses])
        weights = [torch.zeros(len(f)).masked_scatter(f, w) for f, w in zip(found, of_targets, strict=True)]
    return [{**s, "weights": w} for s, w in zip(sequences, weights, strict=True)]


def collate(sequences: list[dict]) -> dict[str, torch.Tensor]:
    """One batch, padded on the right: tokens, labels, and weights of the same length or of length 1."""
    padding = {"input_ids": 0, "attention_mask": 0, "labels": IGNORED, "weights": 0.0}
    rows = [
        {**s, "attention_mask": torch.ones_like(s["input_ids"])} for s in with_targets(sequences, "a batch")
    ]
    return {
        name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=value)
        for name, value in padding.items()
    }


class FlowTrainer(Trainer):
    """A Trainer whose training loss is (1/n) Σ w · f; evaluation is unweighted."""

    loss_is_scaled_for_ga = True  # by get_batch_samples, over all batches of one step

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.compute_loss_func is not None:
            raise ValueError(
                "compute_loss_func would not be called: this trainer forms the loss; change compute_loss"
            )

    def shares(self, labels: torch.Tensor) -> torch.Tensor:
        """Each token's share, (batch, length): sequences count alike, and so do the targets within one."""
        found = targets(labels).float()
        return found / found.sum(1, keepdim=True).clamp(min=1)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels, weights = inputs.pop("labels"), inputs.pop("weights")
        outputs, shares = model(**inputs), self.shares(labels)
        n = num_items_in_batch if model.training else shares.sum()
        weighted = weights * shares if model.training else shares
        losses = token_losses(outputs.logits, labels, self.args.label_smoothing_factor)
        loss = (weighted * losses).sum() / n
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args):
        """The batches of one step, and n: how many sequences they hold: the mean over processes, as of the gradient."""
        batches, _ = super().get_batch_samples(*args)
        count = sum(self.shares(batch["labels"]).sum() for batch in batches)
        return batches, self.accelerator.reduce(torch.as_tensor(count, device=self.args.device), "mean")


class TokenMeanTrainer(FlowTrainer):
    """As Trainer itself, and the authors' code, count: n is the number of targets, long sequences count for more."""

    def shares(self, labels):
        return targets(labels).float()


def mean_weight(sequences: list[dict]) -> float:
    """What the weights shrink a step by: their mean over the targets of a sequence, then over sequences."""
    of_sequence = [s["weights"].expand(s["labels"].shape)[targets(s["labels"])].mean() for s in sequences]
    return float(torch.stack(of_sequence).mean())


def language(strides: list[int], n: int, seed: int) -> list[dict]:
    """Sequences of 6 to 15 symbols that go on by one of the strides; the first two symbols are a prompt."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda low, high: int(torch.randint(low, high, (), generator=random))
    sequences = []
    for _ in range(n):
        tokens = (draw(0, SYMBOLS) + strides[draw(0, len(strides))] * torch.arange(draw(6, 16))) % SYMBOLS
        labels = tokens.where(torch.arange(len(tokens)) > 1, IGNORED)
        sequences.append({"input_ids": tokens, "labels": labels, "weights": torch.ones(1)})
    return sequences


def tiny_model(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 32, "vocab_size": SYMBOLS}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=None, eos_token_id=None))


def trained(model, sequences, rate, epochs, kind=FlowTrainer, **settings) -> Trainer:
    """A trainer that has trained a copy of the model."""
    quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    sizes = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 64, "use_cpu": True}
    keep = {"remove_unused_columns": False}  # or the Trainer drops the weights
    # Adam and clipping would undo what the weights do to the size of a step.
    sgd = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        every = {**quiet, **sizes, **keep, **sgd, **settings}
        arguments = TrainingArguments(folder, learning_rate=rate, num_train_epochs=epochs, **every)
        trainer = kind(copy.deepcopy(model), arguments, data_collator=collate, train_dataset=sequences)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer


def main() -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)  # the fastest for a model as small as this
    pretrained = trained(tiny_model(), language([1, 2, 3], 1000, seed=0), 3e-3, 6, optim="adamw_torch").model
    unweighted = language([3, 4, 5], 500, seed=1)
    data = {"old": language([1, 2, 3], 300, seed=2), "new": language([3, 4, 5], 300, seed=3)}
    rate, epochs = 0.03, 4
    runs = {"pre-trained": (unweighted, rate, 0), "standard": (unweighted, rate, epochs)}
    for by in ("sequence", "token"):
        weighted = with_weights(pretrained, unweighted, by)
        runs[f"same mean step as by {by}"] = (unweighted, rate * mean_weight(weighted), epochs)
        runs[f"FLOW by {by}"] = (weighted, rate, epochs)
    table = {}
    print(f"{'cross-entropy':30}{'old task':>10}{'new task':>10}")
    for name, run in runs.items():
        trainer = trained(pretrained, *run)
        table[name] = {task: trainer.evaluate(sequences)["eval_loss"] for task, sequences in data.items()}
        print(f"{name:30}{table[name]['old']:10.3f}{table[name]['new']:10.3f}")
    return table


if __name__ == "__main__":
    main()

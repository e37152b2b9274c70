"""docs/howto/your_training_loop.md: all its blocks in turn, those that need PyTorch and optax as well.

What a block asserts is that one step equals the step on the whole batch, which NumPy takes without a framework; what it
prints is how far the usual mistakes are from it.
"""

from __future__ import annotations

import re

import jax
import pytest

from tests.processes import ROOT
from tests.test_pages import run

pytest.importorskip("torch", reason="PyTorch is the extra [torch]")

PAGE = (ROOT / "docs" / "howto" / "your_training_loop.md").read_text(encoding="utf-8")
ALL = re.sub(r"^<!-- run: \w+ -->\n", "", PAGE, flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def as_a_reader_has_it():
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def test_every_block_runs_and_prints_what_is_shown():
    assert "<!-- run: torch -->" in PAGE
    assert "<!-- run: optax -->" in PAGE
    run("your_training_loop.md", ALL)


MUTANTS = {
    "a mean of each part": ("weighted.sum() / n)", "weighted.mean() / len(parts))"),
    "the mean of MultiSteps left in": ("4 / 100 * weighted.sum()", "1 / 100 * weighted.sum()"),
    "each batch over its own size": ("slope / 32", "slope / len(w)"),
    "seams": (".masked_fill(seam, 0.0)", ""),
    "a mean over the row": ("(torch.bincount(owner) - 1)", "torch.full((4,), 18 / 4)"),
    "no smoothing": ('reduction="none", label_smoothing=smoothing)', 'reduction="none")'),
    "weights of other rows": ("w.float() * each", "w.float().flip(0) * each"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_step_is_rejected_by_its_block(name):
    right, wrong = MUTANTS[name]
    assert right in ALL
    with pytest.raises(AssertionError):
        run(name, ALL.replace(right, wrong, 1))

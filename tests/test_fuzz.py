"""Files that nobody would write are refused in one sentence, or understood. See ``benchmarks/fuzz.py``."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz import GOOD
from benchmarks.sections import written


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_good_files_are_read(kind, tmp_path):
    assert fuzz.tried(bytes([fuzz.KINDS.index(kind)]) + GOOD[kind], tmp_path) == "read"


@pytest.mark.parametrize("kind", fuzz.KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_changed_files_are_read_or_refused(kind, seed, tmp_path):
    """Bytes changed, left out, put in, or taken from elsewhere in the file."""
    rng, content = np.random.default_rng(seed), bytearray(GOOD[kind])
    for _ in range(rng.integers(1, 6)):
        place, other = (int(rng.integers(0, len(content) + 1)) for _ in range(2))
        length = int(rng.integers(0, 9))
        piece = bytes(content[other : other + length]) if rng.random() < 0.5 else rng.bytes(length)
        content[place : place + int(rng.integers(0, 9))] = piece
    assert fuzz.tried(bytes([fuzz.KINDS.index(kind)]) + bytes(content), tmp_path) in {"read", "refused"}


@pytest.mark.parametrize(("kind", "content"), [("sigma.csv", b"\r" * 9)])
def test_files_that_were_found(kind, content, tmp_path):
    """Each was once answered with an error of NumPy's."""
    assert fuzz.tried(bytes([fuzz.KINDS.index(kind)]) + content, tmp_path) == "refused"


def test_what_is_neither_is_noticed(tmp_path, monkeypatch):
    from linear_theory.command import inputs

    broken = lambda path, names: np.array([np.nan, 1.0])
    monkeypatch.setattr(inputs, "read_start", broken)
    with pytest.raises(AssertionError, match="not finite"):
        fuzz.tried(bytes([fuzz.KINDS.index("start.npy")]) + GOOD["start.npy"], tmp_path)


def test_the_page_says_what_was_tried():
    page = fuzz.TRUST.read_text(encoding="utf-8")
    assert written(page, {"fuzz": fuzz.lines(fuzz.kept())}) == page

"""Datasets that several tests judge: computed once in a run of the tests, by whichever worker is first."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from paper_reproduction.claim import Settings

FOLDER: list[Path] = []
"""Of this run of the tests, shared by its workers; set where the run begins (conftest.py)."""


def quick(compute: Callable[[Settings], xr.Dataset]) -> xr.Dataset:
    """What a claim's ``compute`` gives in a quick run with seed 0; what one worker has computed the others read."""
    file = FOLDER[0] / f"{compute.__module__}.pickle"
    if not file.exists():
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(pickle.dumps(compute(Settings(seed=0, quick=True))))
        draft.replace(file)
    return pickle.loads(file.read_bytes())

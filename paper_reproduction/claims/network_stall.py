"""The bridge to the networks page, small enough for every run: a tanh network stalls as its linearization does."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from paper_reproduction.claim import Settings, Table, Verdict
from paper_reproduction.mlp.experiments import teacher_student_stall as full

CLAIM = replace(full.CLAIM, name="network-stall", seconds=30, quick_seconds=20, order=120)


def compute(settings: Settings) -> xr.Dataset:
    """The quick run of the network experiment, also in a full run of the claims."""
    return full.compute(replace(settings, quick=True))


def verdict(dataset: xr.Dataset) -> Verdict:
    """As of the experiment."""
    return full.verdict(dataset)


def tables(dataset: xr.Dataset) -> tuple[Table, ...]:
    """As of the experiment."""
    return full.tables(dataset)

"""The network results that lie in the repository, one directory for each kind of device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from paper_reproduction.registry import Entry
from paper_reproduction.store import Store, atomic

RESULTS = Path(__file__).with_name("mlp") / "results"
_TEXT = "OUST"  # kinds of arrays that HDF5 does not deflate


def path(entry: Entry, backend: str) -> Path:
    """Where the result of an experiment on "cpu" or "gpu" lies, if it does."""
    return RESULTS / backend / f"{entry.name}.nc"


def read(entry: Entry, backend: str) -> xr.Dataset | None:
    """That result, wholly in memory; None where there is none. OSError or ValueError where it is damaged."""
    file = path(entry, backend)
    return xr.load_dataset(file, engine="h5netcdf").drop_encoding() if file.is_file() else None


def publish(entry: Entry, store: Store, backend: str) -> Path:
    """Copy what a run has in its store to where the repository keeps it, deflated."""
    dataset = store.load(entry).drop_encoding()
    target = path(entry, backend)
    target.parent.mkdir(parents=True, exist_ok=True)
    deflated = {
        name: {"zlib": True, "complevel": 9}
        for name, array in dataset.variables.items()
        if array.ndim and np.asarray(array).dtype.kind not in _TEXT
    }
    with atomic(target) as draft:
        dataset.to_netcdf(draft, engine="h5netcdf", encoding=deflated)
    return target

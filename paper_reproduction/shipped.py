"""The results that lie in the repository, one directory for each kind of device.

What is shown is a CPU's result, which everybody can repeat; where there is none, a GPU's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from paper_reproduction import netcdf
from paper_reproduction.netcdf import Unusable
from paper_reproduction.registry import Entry
from paper_reproduction.store import Store
from paper_reproduction.writing import drop_drafts, put

_TEXT = "OUST"  # kinds of arrays that HDF5 does not deflate


def path(entry: Entry, backend: str) -> Path:
    """Where the result of a claim on "cpu" or "gpu" lies, if it does."""
    if entry.results is None:
        raise ValueError(f"results of {entry.name!r} are not stored: its chapter is computed by every run")
    return entry.results / backend / f"{entry.name}.nc"


def shown(entry: Entry) -> Path | None:
    """Where the result that is shown lies; None where there is none."""
    files = (path(entry, backend) for backend in ("cpu", "gpu"))
    return next((file for file in files if file.is_file()), None)


def stored(entry: Entry) -> xr.Dataset | None:
    """The result that is shown, wholly in memory. OSError or ValueError where it is damaged."""
    file = shown(entry)
    return None if file is None else _loaded(file)


def read(entry: Entry, backend: str) -> xr.Dataset | None:
    """That result, wholly in memory; None where there is none. OSError or ValueError where it is damaged."""
    file = path(entry, backend)
    return _loaded(file) if file.is_file() else None


def _loaded(file: Path) -> xr.Dataset:
    return netcdf.read(file, sealed=False).dataset.drop_encoding()


def publish(entry: Entry, store: Store, backend: str) -> Path:
    """Copy what this run has in its store to where the repository keeps it, deflated.

    OSError, or :class:`~paper_reproduction.netcdf.Unusable` where something else lies in the store by now.
    """
    found = store.finished(entry)
    if found is None:
        raise Unusable("is there no longer")
    dataset, target = found.dataset.drop_encoding(), path(entry, backend)
    drop_drafts(target.parent)
    deflated = {
        name: {"zlib": True, "complevel": 9}
        for name, array in dataset.variables.items()
        if array.ndim and np.asarray(array).dtype.kind not in _TEXT
    }
    put(target, netcdf.encoded(dataset, deflated))
    return target

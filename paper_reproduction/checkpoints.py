"""Checkpoints of the network experiments: every cell is on disk as soon as it is done.

A cell is one setting of an experiment, such as one noise level: a label and a function that returns a dataset.
Its result goes to ``cells/<claim>/<label>.nc``, stamped with everything that decides it, and is read back from
there, so that a resumed run has the very numbers of an uninterrupted one.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from paper_reproduction.registry import Entry
from paper_reproduction.store import Store, atomic

Cell = Callable[[], xr.Dataset]
# Told before the first cell and after each: claim, cells done, cells known of, seconds of the cells computed.
Watch = Callable[[str, int, int, tuple[float, ...]], None]


class Cells:
    """The ``Settings.each`` of one experiment in one run of the command."""

    def __init__(self, entry: Entry, store: Store, resume: bool, watch: Watch) -> None:
        self.name = entry.name
        self.directory = store.directory / "cells" / entry.name
        self.resume = resume
        self.watch = watch
        self.saved = 0.0  # seconds that the cells reused once took
        self._spent: tuple[float, ...] = ()
        self._done: set[str] = set()
        self._known = 0
        settings = store.settings
        self._stamps: dict[str, Any] = {
            "claim": entry.name,
            "seed": settings.seed,
            "quick": int(settings.quick),
            "seeds": settings.seeds or 0,  # 0: the claim's own number
            "fingerprint": entry.fingerprint,
            "device": store.stamp.device,
        }

    def __call__(self, cells: Mapping[str, Cell]) -> dict[str, xr.Dataset]:
        """The results in order, each computed or reused; ValueError where a label was used before."""
        if twice := sorted(self._done & set(cells)):
            raise ValueError(f"cells of this experiment are computed twice: {', '.join(twice)}")
        self._known += len(cells)
        self._tell()
        found = {}
        for label, cell in cells.items():
            found[label] = self._result(label, cell)
            self._done.add(label)
            self._tell()
        return found

    def _tell(self) -> None:
        self.watch(self.name, len(self._done), self._known, self._spent)

    def _result(self, label: str, cell: Cell) -> xr.Dataset:
        dataset = self._load(label) if self.resume else None
        if dataset is not None:
            self.saved += float(dataset.attrs["seconds"])
            return dataset
        clock = time.perf_counter()
        computed = cell()
        if not isinstance(computed, xr.Dataset):
            raise TypeError(f"cell {label!r} returned {type(computed).__name__}, not an xarray.Dataset")
        seconds = time.perf_counter() - clock
        self._save(label, computed, seconds)
        self._spent = (*self._spent, seconds)
        dataset = self._load(label)
        if dataset is None:
            raise OSError(f"cell {label!r} cannot be read back from {self._path(label).name}")
        return dataset

    def _path(self, label: str) -> Path:
        return self.directory / f"{slug(label)}.nc"

    def _save(self, label: str, dataset: xr.Dataset, seconds: float) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        stamped = dataset.assign_attrs(self._stamps | {"label": label, "seconds": seconds})
        with atomic(self._path(label)) as draft:
            stamped.to_netcdf(draft, engine="h5netcdf")

    def _load(self, label: str) -> xr.Dataset | None:
        """The stored result where all its stamps agree; the stamps themselves are taken off, but seconds."""
        wanted = self._stamps | {"label": label}
        try:
            dataset = xr.load_dataset(self._path(label), engine="h5netcdf").drop_encoding()
        except (OSError, ValueError, KeyError):  # missing, not ours, or damaged
            return None
        attributes = dataset.attrs
        if "seconds" not in attributes or any(attributes.get(key) != wanted[key] for key in wanted):
            return None
        dataset.attrs = {key: value for key, value in attributes.items() if key not in wanted}
        return dataset


def slug(label: str) -> str:
    """A file name for a label; where the label cannot be one itself, a checksum keeps two labels apart."""
    safe = re.sub(r"[^a-z0-9+=_.-]+", "-", label.lower())[:60].strip("-.") or "cell"
    return safe if safe == label else f"{safe}-{zlib.crc32(label.encode()):08x}"

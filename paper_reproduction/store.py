"""The output directory. A file appears whole or not at all: it is written beside its place, then moved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5netcdf  # noqa: F401
import h5py  # noqa: F401 - xarray writes with both: missed now, not when a claim has been computed
import xarray as xr

from paper_reproduction import outcome, provenance
from paper_reproduction.claim import Settings
from paper_reproduction.outcome import Outcome
from paper_reproduction.provenance import Stamp
from paper_reproduction.registry import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Where all of these agree, a stored dataset is what this run would compute again.
_IDENTITY = ("name", "seed", "quick", "fingerprint", "command", "device", "origin")
# No dates and no program versions: the same arrays give the same bytes.
_PICTURES: dict[str, dict[str, Any]] = {
    "png": {
        "metadata": {"Software": None},
        "pil_kwargs": {"compress_level": 3},
    },  # half the time, a tenth larger
    "pdf": {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}},
}
PIXELS = 1920
"""Across a picture for the screen: sharp where it fills a slide."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A place to write to that becomes ``path`` when the block ends well, and vanishes when it does not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class Store:
    """One ``--out`` directory during one run: the datasets, the pictures, and the records of all claims."""

    def __init__(
        self, directory: Path, entries: Iterable[Entry], settings: Settings, stamp: Stamp | None = None
    ) -> None:
        self.directory = directory
        self.entries = tuple(entries)
        self.settings = settings
        self.stamp = stamp or Stamp()
        self.records: dict[str, Outcome] = self._earlier()
        self.settled: set[str] = set()  # names of the claims recorded by this run

    def of(self, entry: Entry) -> Store:
        """The same as far as one claim is concerned: what another process needs, and no other claim's code."""
        alone = copy(self)
        alone.entries = (entry,)
        alone.records = {name: record for name, record in self.records.items() if name == entry.name}
        return alone

    def open(self) -> None:
        """Create the directory and make sure that it can be written to; OSError says why not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        probe = self.directory / ".probe"
        with atomic(probe) as draft:
            draft.touch()
        probe.unlink()

    def path(self, entry: Entry, suffix: str) -> Path:
        """Where a claim's file of that kind lies."""
        return self.directory / f"{entry.name}.{suffix}"

    # datasets -------------------------------------------------------------------------------------

    def save(self, entry: Entry, dataset: xr.Dataset, seconds: float) -> None:
        """Write the arrays, with all that is needed to know where they come from."""
        stamped = dataset.assign_attrs(self._attributes(entry, seconds))
        if self.stamp.repeats:
            stamped.attrs.setdefault("seeds", self.settings.repetitions())  # a claim may know better
        self._write(entry, stamped)

    def adopt(self, entry: Entry, dataset: xr.Dataset, origin: str) -> None:
        """Write arrays that were computed elsewhere, as they are; ``origin`` says where."""
        self._write(entry, dataset.assign_attrs(origin=origin))

    def _write(self, entry: Entry, dataset: xr.Dataset) -> None:
        with atomic(self.path(entry, "nc")) as draft:
            dataset.to_netcdf(draft, engine="h5netcdf")

    def load(self, entry: Entry) -> xr.Dataset:
        """The arrays as they lie on disk, wholly in memory."""
        return xr.load_dataset(self.path(entry, "nc"), engine="h5netcdf")

    def present(self, entry: Entry) -> xr.Dataset | None:
        """The arrays on disk where they can be read and are this claim's, of whatever run."""
        try:
            dataset = self.load(entry) if self.path(entry, "nc").is_file() else None
        except (OSError, ValueError, KeyError):  # not ours, or damaged
            return None
        return dataset if dataset is not None and dataset.attrs.get("name") == entry.name else None

    def finished(self, entry: Entry) -> xr.Dataset | None:
        """The stored arrays, if this run would compute the very same ones again."""
        dataset = self.present(entry)
        wanted = self._attributes(entry, 0.0)
        same = dataset is not None and all(dataset.attrs.get(key) == wanted.get(key) for key in _IDENTITY)
        return dataset if same else None

    def _attributes(self, entry: Entry, seconds: float) -> dict[str, Any]:
        commit, dirty = provenance.commit()
        attributes = {
            "name": entry.name,
            "quick": int(self.settings.quick),  # netCDF has no booleans
            "seed": self.settings.seed,
            "command": self.stamp.command(entry.name, self.settings),
            "device": self.stamp.device,
            "commit": commit,
            "dirty": int(dirty),
            "fingerprint": entry.fingerprint,
            "seconds": seconds,
        }
        return attributes | {f"version_{name}": value for name, value in self.stamp.versions().items()}

    # pictures -------------------------------------------------------------------------------------

    def save_picture(self, entry: Entry, figure: Figure) -> None:
        """Write the picture for the screen and for the press."""
        sharp = PIXELS / figure.get_size_inches()[0]
        for suffix, options in _PICTURES.items():
            with atomic(self.path(entry, suffix)) as draft:
                figure.savefig(draft, format=suffix, dpi=sharp, **options)

    def has_picture(self, entry: Entry) -> bool:
        """Whether the pictures on disk are what the present figure would draw."""
        record = self.records.get(entry.name)
        if record is None or record.stale or record.figure_fingerprint != entry.figure_fingerprint:
            return False
        return all(self.path(entry, suffix).is_file() for suffix in _PICTURES)

    def drop_picture(self, entry: Entry) -> None:
        """Take away a picture that belongs to no result any more."""
        for suffix in _PICTURES:
            self.path(entry, suffix).unlink(missing_ok=True)

    def drop_drafts(self, entry: Entry) -> None:
        """Take away what a process that was ended has left half written."""
        for draft in self.directory.glob(f".{entry.name}.*.part"):
            draft.unlink(missing_ok=True)

    # records --------------------------------------------------------------------------------------

    def record(self, result: Outcome) -> None:
        """Remember one claim and rewrite ``claims.json``."""
        self.records[result.name] = result
        self.settled.add(result.name)
        text = json.dumps(self._summary(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic(self.directory / "claims.json") as draft:
            draft.write_text(text + "\n", encoding="utf-8")

    def _summary(self) -> dict[str, Any]:
        commit, dirty = provenance.commit()
        return {
            "run": {
                "seed": self.settings.seed,
                "quick": self.settings.quick,
                "commit": commit,
                "dirty": dirty,
                "device": self.stamp.device,
                "versions": self.stamp.versions(),
            },
            "claims": [self.records[e.name].as_json(e) for e in self.entries if e.name in self.records],
            "not_run": [entry.name for entry in self.entries if entry.name not in self.records],
        }

    def _earlier(self) -> dict[str, Outcome]:
        """The records of earlier runs in this directory, marked where they do not belong beside this one."""
        try:
            claims = json.loads((self.directory / "claims.json").read_text(encoding="utf-8"))["claims"]
            found = {item["name"]: outcome.from_json(item) for item in claims}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        known = [entry for entry in self.entries if entry.name in found]
        return {entry.name: found[entry.name].beside(entry, self.settings) for entry in known}

"""The output directory: the datasets, the pictures and the records of a run, also where several runs share it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from paper_reproduction import netcdf, outcome, provenance
from paper_reproduction.claim import Settings
from paper_reproduction.netcdf import Stored, Unusable
from paper_reproduction.outcome import Outcome
from paper_reproduction.provenance import Stamp
from paper_reproduction.registry import Entry
from paper_reproduction.writing import alone, drop_drafts, put

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
LARGEST_RECORDS = 2**26
"""Bytes of a ``claims.json`` at most; all claims of all chapters leave a few hundred thousand."""


def records_in(directory: Path) -> list[Any]:
    """What a directory's ``claims.json`` lists, unchecked; nothing where there is none, or it is damaged."""
    path = directory / "claims.json"
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_RECORDS:  # a pipe would keep us waiting
            return []
        return list(json.loads(path.read_text(encoding="utf-8"))["claims"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


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
        probe = self.directory / ".probe"
        put(probe, b"1")
        probe.unlink(missing_ok=True)  # another run may have been quicker
        self.drop_drafts()

    def path(self, entry: Entry, suffix: str) -> Path:
        """Where a claim's file of that kind lies."""
        return self.directory / f"{entry.name}.{suffix}"

    # datasets -------------------------------------------------------------------------------------

    def save(self, entry: Entry, dataset: xr.Dataset, seconds: float) -> Stored:
        """Write the arrays, with all that is needed to know where they come from; as they will be read."""
        stamped = dataset.assign_attrs(self._attributes(entry, seconds))
        if self.stamp.repeats:
            stamped.attrs.setdefault("seeds", self.settings.repetitions())  # a claim may know better
        return self._write(entry, stamped)

    def adopt(self, entry: Entry, dataset: xr.Dataset, origin: str) -> Stored:
        """Write arrays that were computed elsewhere, as they are; ``origin`` says where."""
        return self._write(entry, dataset.assign_attrs(origin=origin))

    def _write(self, entry: Entry, dataset: xr.Dataset) -> Stored:
        """What is given back is read from the bytes: from the file it might be what another run has put there."""
        data = netcdf.encoded(dataset)
        put(self.path(entry, "nc"), data)
        return netcdf.decoded(data)

    def present(self, entry: Entry) -> Stored | None:
        """The arrays on disk, of whatever run; None where nothing lies there.

        Raises :class:`Unusable` where something does that is damaged, or not of this claim.
        """
        path = self.path(entry, "nc")
        try:
            if not path.exists():
                return None
            if not path.is_file():  # a pipe would keep us waiting
                raise Unusable("is no file")
            stored = netcdf.read(path)
        except OSError as error:
            raise Unusable(f"cannot be read: {error.strerror or error}") from None
        if stored.dataset.attrs.get("name") != entry.name:
            raise Unusable(f"holds the arrays of {stored.dataset.attrs.get('name')!r}")
        return stored

    def finished(self, entry: Entry) -> Stored | None:
        """The stored arrays, if this run would compute the very same ones again.

        Raises :class:`Unusable` where what lies there is another's, or of another run.
        """
        stored = self.present(entry)
        if stored is None or stored.dataset.attrs.get("origin"):  # put there to be shown, by no run
            return None
        found, wanted = stored.dataset.attrs, self._attributes(entry, 0.0)
        other = [key for key in _IDENTITY if found.get(key) != wanted.get(key)]
        if other:
            raise Unusable(f"is of another run, by its {', '.join(other)}")
        return stored

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

    def save_picture(self, entry: Entry, figure: Figure) -> dict[str, str]:
        """Write the picture for the screen and for the press; the hash of each."""
        sharp = PIXELS / figure.get_size_inches()[0]
        hashes = {}
        for suffix, options in _PICTURES.items():
            drawn = io.BytesIO()
            figure.savefig(drawn, format=suffix, dpi=sharp, **options)
            # All stands where it shall now; for the next kind it need not be found out again.
            figure.set_layout_engine("none")
            put(self.path(entry, suffix), drawn.getvalue())
            hashes[suffix] = _hash(drawn.getvalue())
        return hashes

    def has_picture(self, entry: Entry, seal: str) -> bool:
        """Whether the pictures on disk are what the present figure would draw of the arrays with this seal."""
        record = self.records.get(entry.name)
        if record is None or record.stale or record.figure_fingerprint != entry.figure_fingerprint:
            return False
        drawn = all(self.picture(entry, record, suffix) is not None for suffix in _PICTURES)
        return drawn and record.arrays == seal

    def picture(self, entry: Entry, record: Outcome, suffix: str) -> bytes | None:
        """The picture that was drawn for a record; None where another one lies there, or none."""
        path = self.path(entry, suffix)
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError:
            return None
        return data if data and _hash(data) == record.pictures.get(suffix) else None

    def drop_picture(self, entry: Entry) -> None:
        """Take away a picture that belongs to no result any more."""
        for suffix in _PICTURES:
            with suppress(OSError):  # no record vouches for it, so that it is not shown
                self.path(entry, suffix).unlink(missing_ok=True)

    def drop_drafts(self) -> None:
        """Take away what processes that were ended have left half written."""
        drop_drafts(self.directory)

    # records --------------------------------------------------------------------------------------

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other run writes records or pages here, and with what others have recorded until now."""
        with alone(self.directory):
            others = {name: one for name, one in self._earlier().items() if name not in self.settled}
            self.records |= others
            yield

    def record(self, result: Outcome) -> None:
        """Remember one claim and rewrite ``claims.json``; see :meth:`alone`."""
        self.records[result.name] = result
        self.settled.add(result.name)
        text = json.dumps(self._summary(), indent=2, ensure_ascii=False, allow_nan=False)
        put(self.directory / "claims.json", (text + "\n").encode("utf-8", errors="replace"))

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
        found = {}
        for item in records_in(self.directory):
            with suppress(
                ValueError, KeyError, TypeError, AttributeError
            ):  # one that is damaged costs no other
                found[str(item["name"])] = outcome.from_json(item)
        known = [entry for entry in self.entries if entry.name in found]
        return {entry.name: found[entry.name].beside(entry, self.settings) for entry in known}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

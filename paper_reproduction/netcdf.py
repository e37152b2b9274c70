"""NetCDF files: made in memory, sealed by a hash, and read again only where seal, contents and sizes are in order.

The library below hands a full disk on as a crash and trusts what it reads. So it never writes to a disk here, and it is
given no byte that was changed after it was written, no array larger than :data:`LARGEST`, and nothing that leads out of
the file.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

LARGEST = 2**30
"""Bytes of a file, and of all its arrays together, at most. The largest that is stored here has 4 MB."""

_SEAL = re.compile(rb"\nsha256:([0-9a-f]{64})\n\Z")
_SEAL_LENGTH = len("\nsha256:\n") + 64
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


class Unusable(ValueError):
    """Why a file's arrays cannot be used, in words that go on from its name."""


class Stored(NamedTuple):
    """A dataset as it lies in a file, wholly in memory, and the file's seal, empty where it has none."""

    dataset: xr.Dataset
    seal: str


def encoded(dataset: xr.Dataset, encoding: Mapping[Any, Any] | None = None) -> bytes:
    """The file of a dataset: NetCDF 4, and behind it, where no reader of such files looks, a line with its hash."""
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        dataset.dump_to_store(H5NetCDFStore(file), encoding=encoding)
    data = buffer.getvalue()
    return data + f"\nsha256:{hashlib.sha256(data).hexdigest()}\n".encode()


def read(path: Path, sealed: bool = True) -> Stored:
    """What lies in a file; ``sealed`` refuses one without a seal, which is not from here.

    Raises :class:`Unusable`, and OSError where the file cannot be read at all.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise Unusable(f"has {size} bytes, more than {LARGEST}")
    return decoded(path.read_bytes(), sealed)


def decoded(data: bytes, sealed: bool = True) -> Stored:
    """The dataset in the bytes of a file; raises :class:`Unusable`."""
    seal = _seal(data)
    if sealed and not seal:
        raise Unusable("is damaged, or no file of this command: it does not end in a seal")
    return Stored(_dataset(data).copy(), seal)


@functools.lru_cache(maxsize=64)  # pages read again and again what lies in the same few files
def _dataset(data: bytes) -> xr.Dataset:
    """What is read from these bytes; nobody can write into its arrays, as all readers share them."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check(file)
        dataset = xr.load_dataset(io.BytesIO(data), engine="h5netcdf")
    except Unusable:
        raise
    except Exception as error:  # whatever libraries make of bytes that are no NetCDF
        raise Unusable(f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())}") from None
    for array in dataset.variables.values():
        array.values.flags.writeable = False
    return dataset


def _seal(data: bytes) -> str:
    """The hash at the end of the bytes, if it is that of all before it; empty where there is none."""
    found = _SEAL.search(data, max(0, len(data) - _SEAL_LENGTH))
    if found is None:
        return ""
    seal = found.group(1).decode()
    if hashlib.sha256(data[: found.start()]).hexdigest() != seal:
        raise Unusable("is damaged: it was changed after it was written")
    return seal


def _check(file: h5py.File) -> None:
    """Refuse what is larger than any array of ours, and what would be read from elsewhere or by foreign code."""
    size = 0
    for name in file:
        item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise Unusable(f"holds {name!r}, which is no array in this file")
        made = item.id.get_create_plist()
        if not {made.get_filter(i)[0] for i in range(made.get_nfilters())} <= _FILTERS:
            raise Unusable(f"holds {name!r}, packed in a way that is not used here")
        size += int(np.prod(item.shape or (), dtype=object)) * item.dtype.itemsize
    if size > LARGEST:
        raise Unusable(f"declares arrays of {size} bytes, more than {LARGEST}")

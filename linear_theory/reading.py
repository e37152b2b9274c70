"""The one door through which every array argument comes: what an argument is as an array, with nothing lost.

A masked entry, a missing one, a gradient, a column that is no number: each would vanish in ``numpy.asarray`` or
end in an error of somebody else's. Here each is an error of ours that names the argument and the remedy. What holds
numbers is read, wherever it comes from: NumPy, JAX, tensors, data frames, xarray, dask, and sequences of them.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from .errors import InvalidTypeError, InvalidValueError
from .interchange import UNREADABLE, framework, from_framework

__all__ = ["from_table", "is_table", "read", "same_labels", "same_rows", "whole"]

_PLAIN = (int, float, complex, str, bytes, np.generic, type(None))
_BUFFERS = (str, bytes, bytearray, memoryview, array.array, range)
"""Sequences that NumPy reads at once, and text, each letter of which is a sequence again."""

_RAGGED = "must be a rectangular array of numbers"


def read(name: str, value: Any, dtype: Any = None) -> Any:
    """``value`` as an array of NumPy or JAX, of whatever it holds: whether these are numbers is not asked yet.

    ``dtype`` is how lists are to be read: ``object`` keeps Python's integers, which may be of any size.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For masked or missing entries, rows of different lengths, a data frame's column that holds no numbers, an
        iterator, a sparse matrix, and what its own library does not hand out.
    """
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, Sequence) and not isinstance(value, _BUFFERS):
        return _stacked(name, value, dtype)
    if isinstance(value, Iterator):
        raise InvalidTypeError(
            name, value, "must be an array, not an iterator, which is gone once read; list(…) of it"
        )
    if type(value).__module__.startswith("scipy.sparse"):
        raise InvalidTypeError(name, value, "must be dense; pass .toarray() of the sparse matrix")
    if framework(value):
        return from_framework(name, value)
    foreign: Any = value
    try:
        if (
            hasattr(foreign, "__dask_graph__") and foreign.__dask_graph__() is not None
        ):  # else computed already
            return read(name, foreign.compute())
        if is_table(value):
            return from_table(name, value)
        # As it comes out of ``__array__``: there a mask would be lost, too.
        return _unmasked(name, np.asanyarray(value))
    except (InvalidValueError, InvalidTypeError):
        raise
    except UNREADABLE as refused:
        remedy = f"must be an array of numbers; it cannot be read as one ({str(refused).rstrip('.')})"
        raise InvalidTypeError(name, value, remedy) from None


def _stacked(name: str, values: Sequence[Any], dtype: Any) -> Any:
    """A sequence: of plain numbers at once, of anything else entry by entry."""
    try:
        if all(issubclass(kind, _PLAIN) for kind in set(map(type, values))):
            return np.array(values, dtype=dtype)
        parts = [read(name, value, dtype) for value in values]
        odd = next((k for k, part in enumerate(parts) if part.shape != parts[0].shape), None)
        if odd is not None:
            shapes = f"entry {odd} has the shape {parts[odd].shape}, entry 0 {parts[0].shape}"
            why = next((f"entry {k} is None" for k, value in enumerate(values) if value is None), shapes)
            raise InvalidValueError(name, values, f"{_RAGGED}, and {why}")
        if any(isinstance(part, jax.Array) for part in parts):
            kind = _common_dtype(name, values, parts)
            with np.errstate(over="ignore"):  # 1e300 in float32 is inf, as everywhere in that precision
                return jnp.stack([part.astype(kind) for part in parts])
        return np.array([part[()] for part in parts], dtype=dtype)
    except (InvalidValueError, InvalidTypeError):
        raise
    except ValueError:
        raise InvalidValueError(name, values, _RAGGED) from None
    except TypeError:  # a random key of JAX beside numbers
        raise InvalidTypeError(name, values, "must hold real numbers in each of its entries") from None


def _common_dtype(name: str, values: Sequence[Any], parts: list[Any]) -> Any:
    """What JAX makes of these entries together, of which all that are not its own count as Python's numbers.

    So one float makes floats of all, and their precision is that of JAX's, as that of arguments side by side is.
    """
    kinds = []
    for place, part in enumerate(parts):
        if not isinstance(part, jax.Array):
            kinds.append(next((kind for kind, holds in _NUMBERS.items() if holds(part)), None))
            if kinds[-1] is None:
                what = "None" if values[place] is None else f"{part.dtype}"
                raise InvalidTypeError(name, values, f"must hold real numbers, and entry {place} is {what}")
        else:
            kinds.append(part.dtype)
    with jax.numpy_dtype_promotion("standard"):
        common = jnp.result_type(*kinds)
    if jnp.issubdtype(common, np.integer):
        for part in parts:
            whole(name, values, part, common)
    return common


_NUMBERS: dict[type, Callable[[np.ndarray], bool]] = {
    bool: lambda part: part.dtype == np.bool_,
    int: lambda part: jnp.issubdtype(part.dtype, np.integer) or all(type(one) is int for one in part.flat),
    float: lambda part: jnp.issubdtype(part.dtype, np.floating),
    complex: lambda part: jnp.issubdtype(part.dtype, np.complexfloating),
}


def whole(name: str, value: object, integers: Any, dtype: Any) -> None:
    """Refuse integers that JAX would wrap around in silence, because ``dtype`` does not hold them."""
    if isinstance(integers, jax.Array) or integers.size == 0:
        return
    limits = jnp.iinfo(dtype)
    for one in (int(integers.min()), int(integers.max())):
        if not limits.min <= one <= limits.max:
            remedy = f"holds {one}, which is no {dtype}; use smaller ones, or let JAX have 64 bits (jax_enable_x64)"
            raise InvalidValueError(name, value, remedy)


def _unmasked(name: str, value: np.ndarray) -> np.ndarray:
    """A plain array, if no entry is masked."""
    mask = None if type(value) is np.ndarray else getattr(value, "mask", None)
    hidden = 0 if mask is None or value.dtype.names else int(np.count_nonzero(mask))
    if hidden:
        many = "1 masked entry" if hidden == 1 else f"{hidden} masked entries"
        remedy = f"has {many}, and a mask would be lost here; remove those rows, or fill them in (.filled)"
        raise InvalidValueError(name, value, remedy)
    return np.asarray(value)


_BOOLEAN = "pass it .astype(float) if 0 and 1 are meant"
_OTHER = "encode it as numbers, or leave it out"


def is_table(value: object) -> bool:
    """Whether ``value`` is a data frame, or a column or index of one."""
    return _is_pandas(value) or _columns(value) is not None or hasattr(value, "null_count")


def from_table(name: str, value: Any) -> np.ndarray:
    """Its numbers in NumPy; InvalidTypeError for a column of anything else, InvalidValueError for a missing one."""
    if _is_pandas(value):
        return _from_pandas(name, value)
    columns = _columns(value)
    if columns is None:
        return _from_column(name, getattr(value, "name", None), value)
    read = [_from_column(name, label, column) for label, column in columns]
    return np.column_stack(read) if read else np.empty((len(value), 0))


def _is_pandas(value: object) -> bool:
    """Also of what offers the same: ``isna`` and ``to_numpy``, with ``dtypes`` of columns or one ``dtype``."""
    return all(hasattr(value, part) for part in ("isna", "to_numpy")) and (
        hasattr(value, "dtypes") or hasattr(value, "dtype")
    )


def _columns(value: Any) -> list[tuple[Any, Any]] | None:
    """Names and columns of a polars frame or an Arrow table."""
    if hasattr(value, "get_columns"):
        return [(column.name, column) for column in value.get_columns()]
    if hasattr(value, "schema") and hasattr(value, "column") and hasattr(value.schema, "names"):
        return [(name, value.column(k)) for k, name in enumerate(value.schema.names)]
    return None


def _from_pandas(name: str, value: Any) -> np.ndarray:
    frame = hasattr(value, "columns")
    dtypes = list(value.dtypes) if frame else [value.dtype]
    labels = list(value.columns) if frame else [getattr(value, "name", None)]
    for label, dtype in zip(labels, dtypes, strict=True):
        kind = getattr(dtype, "kind", "O")
        if kind not in "iuf":
            _refuse_kind(name, value, label, str(dtype), kind == "b")
    missing = np.asarray(value.isna(), dtype=bool).reshape(len(value), len(labels))
    for label, holes in zip(labels, missing.T, strict=True):
        if holes.any():
            _refuse_missing(name, value, label, holes)
    if all(isinstance(dtype, np.dtype) and dtype == dtypes[0] for dtype in dtypes):
        return np.asarray(value.to_numpy())
    whole = not frame and dtypes[0].kind in "iu"
    return value.to_numpy(dtype=f"{dtypes[0].kind}8" if whole else float)


def _from_column(name: str, label: Any, column: Any) -> np.ndarray:
    """Of polars or Arrow."""
    kind = str(column.type if hasattr(column, "type") else column.dtype)
    found = np.asarray(column) if len(column) else np.empty(0)
    nulls = column.null_count() if callable(column.null_count) else column.null_count
    if nulls:
        empty = column.is_null()
        holes = empty.to_pylist() if hasattr(empty, "to_pylist") else empty.to_list()
        _refuse_missing(name, column, label, np.array(holes))
    if kind.startswith(("dictionary", "Categorical", "Enum")) or found.dtype.kind not in "iuf":
        _refuse_kind(name, column, label, kind, found.dtype.kind == "b")
    return found


def _refuse_kind(name: str, value: Any, label: Any, kind: str, boolean: bool) -> NoReturn:
    where = "" if label is None else f" in column {label!r}"
    raise InvalidTypeError(
        name, value, f"must hold real numbers, not {kind}{where}; {_BOOLEAN if boolean else _OTHER}"
    )


def _refuse_missing(name: str, value: Any, label: Any, missing: np.ndarray) -> NoReturn:
    where = "" if label is None else f" in column {label!r}"
    count = int(missing.sum())
    many = "a missing value" if count == 1 else f"{count} missing values"
    row = f"{'' if count == 1 else 'the first '}in row {int(missing.argmax())} (from 0)"
    raise InvalidValueError(name, value, f"has {many}{where}, {row}; drop such rows, or fill them in")


def _labels(value: Any, axis: int) -> Any:
    """The labels along an axis, or None: pandas' and xarray's, and the columns of any frame."""
    if _is_pandas(value):
        return getattr(value, ("index", "columns")[axis], None)
    if hasattr(value, "indexes") and hasattr(value, "dims"):
        return value.indexes.get(value.dims[axis]) if axis < len(value.dims) else None
    columns = _columns(value) if axis == 1 else None
    return None if columns is None else [label for label, _ in columns]


def same_rows(**arguments: object) -> None:
    """Refuse arguments whose first axes are labelled differently."""
    remedy = "align them (.loc or .reindex), or pass .to_numpy() to pair rows by their position"
    _same("rows", {name: (value, 0) for name, value in arguments.items()}, remedy)


def same_labels(what: str, **arguments: Any) -> None:
    """The same of axes that are parameters or outputs, each as (value, axis, …); labels 0, 1, … are no names there."""
    _same(what, arguments, "put them into one order (.loc or .reindex), or pass .to_numpy()", positions=True)


def _same(what: str, arguments: dict[str, Any], remedy: str, positions: bool = False) -> None:
    found = [(name, _labels(value, axis)) for name, (value, *axes) in arguments.items() for axis in axes]
    labelled = [(name, labels) for name, labels in found if labels is not None]
    for (first, one), (name, other) in combinations(labelled, 2):
        if len(one) != len(other) or _equal(one, other):  # another length is a wrong shape, seen elsewhere
            continue
        default = [*range(len(one))] in ([*one], [*other])
        if not (positions and default and {*one} != {*other}):
            others = "its other axis" if first == name else first
            remedy = f"has its {what} under other labels than {others}, or in another order; {remedy}"
            raise InvalidValueError(name, arguments[name][0], remedy)


def _equal(one: Any, other: Any) -> bool:
    return (
        bool(one.equals(other)) if hasattr(one, "equals") and hasattr(other, "equals") else [*one] == [*other]
    )

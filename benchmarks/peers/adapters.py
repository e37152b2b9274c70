"""``lt.solve`` in the dress of each peer's own solver: the same arguments in, the same kind of answer out.

Only the minimiser and the rank are ours. What we do not compute (singular values, covariances, the checks of the
arguments) stays the peer's.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import linear_theory as lt

Array = Any


class Solver:
    """‖Ax − b‖² + penalty·‖x − start‖², minimised by ``lt.solve``; counts its calls.

    ``error`` makes every answer wrong on purpose, x·(1 + error): what a test suite is worth shows in whether it
    notices.
    """

    def __init__(self, error: float = 0.0) -> None:
        self.error = error
        self.calls = 0

    def __call__(
        self, A: Array, b: Array, penalty: float = 0.0, start: Array | None = None
    ) -> tuple[Array, int]:
        """x (d,) or (d, m) and the rank of A. A peer reads truth values as 0 and 1, which ours refuses by name."""
        A, b = (value.astype(float) if value.dtype == bool else value for value in map(np.asarray, (A, b)))
        start = np.zeros((A.shape[1], *b.shape[1:])) if start is None else np.asarray(start)
        if any(np.iscomplexobj(value) for value in (A, b, start)):
            both, rank = self(
                np.block([[A.real, -A.imag], [A.imag, A.real]]), _stacked(b), penalty, _stacked(start)
            )
            real, imaginary = np.split(both, 2)
            return real + 1j * imaginary, rank // 2
        self.calls += 1
        found = lt.solve(A, b, start, ridge=penalty / len(A))
        return found.theta * (1 + self.error), int(found.rank)

    def columns(self, A: Array, b: Array, penalties: Array) -> Array:
        """One penalty a column of b: x (d, m)."""
        found = [self(A, column, penalty)[0] for column, penalty in zip(b.T, penalties, strict=True)]
        return np.stack(found, axis=1)


def _stacked(values: Array) -> Array:
    return np.concatenate([values.real, values.imag])


class Replacement(NamedTuple):
    """``module.name`` becomes ``adapt(solver, what it was)``."""

    module: str
    name: str
    adapt: Callable[[Solver, Any], Any]

    def put_in(self, solver: Solver) -> None:
        module = import_module(self.module)
        setattr(module, self.name, self.adapt(solver, getattr(module, self.name)))


def namespace(module: Any, **others: Any) -> SimpleNamespace:
    """What a peer imported as a module, with some of its names replaced for this peer alone."""
    return SimpleNamespace(**(vars(module) | others))


# ------------------------------------------------------------------------------------------------------- SciPy


def lstsq(solver: Solver, theirs: Any) -> Any:
    """``scipy.linalg.lstsq``: (x, residues, rank, singular values)."""

    def ours(a: Array, b: Array, *args: Any, **kwargs: Any) -> Any:
        A, right = np.array(a), np.array(b)
        x, residues, rank, sizes = theirs(a, b, *args, **kwargs)
        if not x.size or not A.size or A.ndim > 2:
            return x, residues, rank, sizes
        found, rank = solver(A, right)
        if residues.size:
            residues = np.asarray((np.abs(right - A @ found) ** 2).sum(axis=0), dtype=residues.dtype)
        return found.astype(x.dtype), residues, rank, sizes

    return ours


def _as_rows(A: Any, b: Any, x0: Any) -> tuple[Array, Array, Array | None]:
    from scipy.sparse.linalg import aslinearoperator

    operator = aslinearoperator(A)
    rows = np.stack([operator.matvec(unit) for unit in np.eye(operator.shape[1])], axis=1)
    return rows, np.atleast_1d(np.squeeze(b)), None if x0 is None else np.atleast_1d(np.squeeze(x0))


STOP = {"at the start": 0, "fits b": 1, "least squares": 2}
"""SciPy's numbers for why an iteration ended."""


def _why(residual: float, scale: float, btol: float, x: Array, start: Array | None) -> int:
    if np.array_equal(x, np.zeros_like(x) if start is None else start):
        return STOP["at the start"]
    return STOP["fits b"] if residual <= btol * scale else STOP["least squares"]


def lsqr(solver: Solver, theirs: Any) -> Any:
    """``scipy.sparse.linalg.lsqr``; a direct method's one step counts as one iteration."""

    def ours(
        A: Any,
        b: Any,
        damp: float = 0.0,
        atol: float = 1e-6,
        btol: float = 1e-6,
        x0: Any = None,
        **others: Any,
    ) -> Any:
        rows, right, start = _as_rows(A, b, x0)
        x, _ = solver(rows, right, damp**2, start)
        residual = right - rows @ x
        r1, xnorm, scale = (float(np.linalg.norm(value)) for value in (residual, x, right))
        moved = x if start is None else x - start
        r2 = np.hypot(r1, damp * np.linalg.norm(moved))
        arnorm = np.linalg.norm(rows.conj().T @ residual - damp**2 * moved)
        anorm, acond = np.linalg.norm(rows), np.linalg.cond(rows)
        return x, _why(r1, scale, btol, x, start), 1, r1, r2, anorm, acond, arnorm, xnorm, np.zeros_like(x)

    return ours


def lsmr(solver: Solver, theirs: Any) -> Any:
    """``scipy.sparse.linalg.lsmr``."""
    in_ten = lsqr(solver, theirs)

    def ours(A: Any, b: Any, damp: float = 0.0, **options: Any) -> Any:
        x, stop, steps, r1, _, anorm, acond, arnorm, xnorm, _ = in_ten(A, b, damp, **options)
        return x, stop, steps, r1, arnorm, anorm, acond, xnorm

    return ours


# ------------------------------------------------------------------------------------------------ scikit-learn


def linalg_of_regression(solver: Solver, theirs: Any) -> Any:
    """``scipy.linalg`` as LinearRegression sees it: the tests compare it with the untouched one."""
    return namespace(theirs, lstsq=lstsq(solver, theirs.lstsq))


def ridge_direct(solver: Solver, theirs: Any) -> Any:
    """``_solve_cholesky(X, y, alpha)`` and ``_solve_svd``: (targets, features)."""

    def ours(X: Any, y: Array, alpha: Array, *args: Any) -> Array:
        if not _numpy_rows(X):
            return theirs(X, y, alpha, *args)
        rows = _dense(X)
        return solver.columns(rows, y, alpha).T.astype(rows.dtype)

    return ours


def ridge_dual(solver: Solver, theirs: Any) -> Any:
    """``_solve_cholesky_kernel(K, y, alpha)``: (K + alpha·I) c = y, as wide rows are solved."""

    def ours(K: Array, y: Array, alpha: Array, sample_weight: Any = None, copy: bool = False) -> Array:
        if sample_weight is not None:
            return theirs(K, y, alpha, sample_weight, copy)
        unit = np.eye(len(K))
        found = [
            solver(K + each * unit, column)[0]
            for each, column in zip(np.broadcast_to(alpha, y.shape[1]), y.T, strict=True)
        ]
        return np.stack(found, axis=1).astype(K.dtype)

    return ours


def ridge_iterative(solver: Solver, theirs: Any) -> Any:
    """``_solve_sparse_cg``: sparse rows whose centring is kept apart from them."""

    def ours(
        X: Any,
        y: Array,
        alpha: Array,
        X_offset: Array | None = None,
        X_scale: Array | None = None,
        sample_weight_sqrt: Array | None = None,
        **_: Any,
    ) -> Array:
        rows = _dense(X)
        if X_offset is not None and X_scale is not None:
            root = np.ones(len(rows)) if sample_weight_sqrt is None else sample_weight_sqrt
            rows = rows - np.outer(root, X_offset / X_scale)
        return solver.columns(rows, y, alpha).T.astype(X.dtype)

    return ours


def ridge_lsqr(solver: Solver, theirs: Any) -> Any:
    """``_solve_lsqr``: the same with the number of iterations."""
    solve = ridge_iterative(solver, theirs)

    def ours(
        X: Any, y: Array, *, fit_intercept: bool = True, X_offset: Array | None = None, **options: Any
    ) -> tuple[Array, Array]:
        apart = X_offset if not isinstance(X, np.ndarray) and fit_intercept else None
        return solve(X, y, X_offset=apart, **options), np.ones(y.shape[1], dtype=np.int32)

    return ours


def _numpy_rows(X: Any) -> bool:
    return isinstance(X, np.ndarray) or hasattr(X, "toarray")


def _dense(X: Any) -> Array:
    return X if isinstance(X, np.ndarray) else X.toarray()


# ------------------------------------------------------------------------------------------------- statsmodels


class Pseudoinverse(np.ndarray):
    """X⁺ as statsmodels made it, for its covariances; its product with one vector y is ``lt.solve`` on (X, y)."""

    minimiser: Callable[[Array], Array] | None

    def __array_finalize__(self, made_from: Any) -> None:
        self.minimiser = None  # its transpose and its parts are plain matrices

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.dot and args[0] is self and self.minimiser is not None and np.ndim(args[1]) == 1:
            return self.minimiser(np.asarray(args[1]))
        return super().__array_function__(func, types, args, kwargs)


def pseudoinverse(solver: Solver, theirs: Any) -> Any:
    """``pinv_extended(X)``: (X⁺, singular values)."""

    def ours(x: Array, *args: Any, **kwargs: Any) -> tuple[Array, Array]:
        inverse, sizes = theirs(x, *args, **kwargs)
        design = np.array(x)
        found = np.asarray(inverse).view(Pseudoinverse)
        if design.size:
            found.minimiser = lambda y: solver(design, y)[0]
        return found, sizes

    return ours


def numpy_of_rolling(solver: Solver, theirs: Any) -> Any:
    """``numpy`` as the rolling and the small models see it: ``np.linalg.lstsq`` is ours."""

    def ours(a: Array, b: Array, *args: Any, **kwargs: Any) -> Any:
        x, residues, rank, sizes = theirs.linalg.lstsq(a, b, *args, **kwargs)
        if not np.size(a):
            return x, residues, rank, sizes
        found, rank = solver(a, b)
        return found, residues, rank, sizes

    return namespace(theirs, linalg=namespace(theirs.linalg, lstsq=ours))

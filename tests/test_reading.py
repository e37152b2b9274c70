"""What comes in: every array argument of every public callable through one door, where nothing is lost in silence."""

from __future__ import annotations

import array
import decimal
import fractions
import inspect
import sys

import dask.array
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import linear_theory as lt
import linear_theory.reading
from linear_theory.arrays import namespace, numeric
from linear_theory.covariance import Operator
from linear_theory.testing.tolerances import EPS
from linear_theory.testing.tolerances import near as close
from tests.doors import ARRAYS, CALLS, START, X, Y, label
from tests.test_weights_frameworks import imported, near, refusing  # noqa: F401 (imported is a fixture)

DOORS = pytest.mark.parametrize("door", ARRAYS, ids=map(label, ARRAYS))

ROBUST = {"Cauchy", "Clipped", "Focal", "HardSamples", "Huber", "Power", "Tukey"}
NO_ARRAYS = {
    "covariance": {"Covariance", "RankOneDowndate", "Operator", "total"},
    "experts": {"Family", "Logistic", "Poisson"},
    "descent": {"Objective", "Path", "Solver"},
    "sequences": {"ExpectedTasks"},
    "high_dimension": {"Expected"},
    "streaming": {"Chunks", "MedianLoss", "Solution", "from_npy", "from_parquet"},
    "weights": {"WeightRule"},
}
"""Protocols, results, what is made of checked arrays, and readers of files."""


def test_every_public_callable_is_a_door():
    known = {function.__qualname__.rpartition(".")[2] for function, _ in CALLS}
    for name in lt.__all__:
        if inspect.isfunction(getattr(lt, name)):
            assert name in known, name
    rules = {"Flow", "KLDRO", "HardThreshold", "Uniform", *ROBUST}  # by their log_weights
    inside = {"losses", "checked_covariance"}  # behind a lambda or a function of the table
    for space, without in NO_ARRAYS.items():
        module = getattr(lt, space)
        assert set(module.__all__) - without - rules - inside <= known, space
    assert rules <= {function.__qualname__.partition(".")[0] for function, _ in CALLS}


BY_PARTS = {"params"}
"""Trees, of which each leaf is read."""
READ_AGAIN = {
    "flow_weights",
    "log_weights",
    "population_effective_sample_size",
    "sgd_error",
    "sgd_errors",
    "sgd_stability_limit",
}
READ_AGAIN |= {
    "best_flow",
    "best_temperature",
    "checkpoint_weights",
    "diagnose",
    "ridge_optimum",
    "sampled",
    "standard_errors",
    "undo_averaging",
}
"""What asks other public functions, weights of a rule for instance, each of which reads its own."""

ASKS_A_FAMILY = {lt.experts.iterate, lt.experts.mean_weight, lt.experts.curvature}
"""The same of the public methods of a family, to which the temperature is passed on as a number."""


@pytest.mark.parametrize(("function", "call"), CALLS, ids=[function.__qualname__ for function, _ in CALLS])
def test_each_argument_is_read_once(function, call, monkeypatch):
    """Behind the door nothing is checked or converted again. (A column_scale asks a stream for a pass of its own.)"""
    if function in ASKS_A_FAMILY or function.__qualname__.rpartition(".")[2] in READ_AGAIN:
        pytest.skip("asks other public functions")
    if function.__qualname__.startswith("streaming."):
        call = {name: value for name, value in call.items() if name != "column_scale"}
    names, read = [], linear_theory.reading.read

    def counted(name, value, dtype=None):
        names.append(name)
        return read(name, value, dtype)

    for module in [m for name, m in sys.modules.items() if name.startswith("linear_theory.")]:
        if getattr(module, "read", None) is read:
            monkeypatch.setattr(module, "read", counted)
    function(**call)
    assert {name: names.count(name) for name in call if name not in BY_PARTS and names.count(name) > 1} == {}


def refused(door, value, match):
    function, call, name = door
    with pytest.raises(lt.LinearTheoryError, match=match) as caught:
        function(**call | {name: value})
    assert caught.value.argument in {name, "matrix", "covariance", "log_weights"}, caught.value


@DOORS
def test_a_mask_is_refused_by_name(door):
    """In an array, in a list of numbers, and deep in a nested one."""
    _, call, name = door
    whole = np.asarray(call[name])
    masked = np.ma.masked_array(whole, mask=np.arange(whole.size).reshape(whole.shape) == whole.size - 1)
    refused(door, masked, "1 masked entry")
    if whole.ndim:
        refused(door, list(masked), "masked entr")
        refused(door, [*whole.tolist()[:-1], np.ma.masked], "masked entry")
    else:
        refused(door, np.ma.masked, "masked entry")


def _typed(numpy_kind):
    return {"i": "int64", "f": "double"}[numpy_kind] + "[pyarrow]"


def framed(values, dtype=None):
    make = {1: pd.Series, 2: pd.DataFrame}.get(values.ndim)
    return make and make(values, dtype=dtype)


def arrow(values):
    if values.ndim == 2:
        return pa.table({str(k): column for k, column in enumerate(values.T)})
    return pa.array(values) if values.ndim == 1 else None


HOLDERS = {
    "pandas": framed,
    "pandas, nullable": lambda v: framed(v, {"i": "Int64", "f": "Float64"}[v.dtype.kind]),
    "pandas, of Arrow": lambda v: framed(v, _typed(v.dtype.kind)),
    "Arrow": arrow,
    "xarray": xr.DataArray,
    "dask": dask.array.from_array,
    "lists": lambda v: v.tolist(),
    "a tuple of arrays": lambda v: tuple(v) if v.ndim else None,
    "nothing masked": np.ma.masked_array,
    "a tensor": near,
}


def floats(result):
    return [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(result) if not callable(leaf)]


@DOORS
def test_what_holds_numbers_is_read(door):
    """To the last bit what the same numbers give in NumPy."""
    function, call, name = door
    if function.__qualname__ == "from_arrays":
        return
    values = np.asarray(call[name])
    want = floats(function(**call))
    for holder, make in HOLDERS.items():
        held = make(values)
        answers_in_kind = holder == "a tensor" and function.__qualname__.rpartition(".")[2] in (
            "flow_weights", "log_weights"
        )  # fmt: skip
        if held is None or answers_in_kind:
            continue
        got = floats(function(**call | {name: held}))
        assert len(got) == len(want), holder
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(got, want, strict=True)), holder


NUMPY_ONLY = ("streaming.", "from_arrays", "optimum", "path", "sampled")
SETTINGS = ("GradientDescent", "HeavyBall", "Nesterov", "ConjugateGradient", "StochasticGradient")
"""Solver objects answer nothing: each of their numbers stays what it was."""


@DOORS
def test_any_jax_array_in_jax_out(door):
    """Each argument in turn, every other one NumPy: the answer is JAX's, in that precision."""
    function, call, name = door
    if function.__qualname__.startswith(NUMPY_ONLY) or function.__qualname__ in SETTINGS:
        return
    values = np.asarray(call[name])
    dtype = jnp.float32 if values.dtype.kind == "f" else None
    result = function(**call | {name: jnp.asarray(values, dtype)})
    for leaf in jax.tree.leaves(result):
        if isinstance(leaf, int):  # a count, known before any number is
            continue
        assert isinstance(leaf, jax.Array), type(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert leaf.dtype == (dtype or jnp.float64)


IN_KIND = {
    "median_temperature",
    "flow_weights",
    "effective_sample_size",
    "log_weights",
    "Flow",
    "KLDRO",
    "HardThreshold",
    *ROBUST,
}
"""What a training loop asks of losses; all else factorises, and refuses."""


@DOORS
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_refused_by_name_or_answered_in_kind(door, dtype):
    function, call, name = door
    values = np.asarray(call[name])
    if values.dtype.kind != "f" or function.__qualname__.startswith(NUMPY_ONLY):
        return
    short = jnp.asarray(values, dtype)
    if function.__qualname__.rpartition(".")[2] in IN_KIND:
        leaves = jax.tree.leaves(function(**call | {name: short}))
        assert leaves
        assert all(leaf.dtype == dtype for leaf in leaves)
    else:
        refused(door, short, f"must be float32 or float64, not {jnp.dtype(dtype)}")


# ------------------------------------------------------------------------------------------ what is no number

NOT_READ = {
    "timedelta": (np.array([1, 2], "m8[s]"), "must hold real numbers, not timedelta64"),
    "datetime": (np.array(["2020"], "M8[D]"), "must hold real numbers, not datetime64"),
    "text": (["1", "2"], "must hold real numbers, not text"),
    "complex": (np.array([1j]), "must hold real numbers, not complex128"),
    "bool": (np.array([True]), r"not bool; pass it \.astype\(float\)"),
    "Decimal": ([decimal.Decimal(1)], r"not Decimal; pass numpy\.asarray"),
    "Fraction": (np.array([fractions.Fraction(1, 2)]), "not Fraction; pass numpy"),
    "an integer beyond 64 bits": ([10**30], "not int; pass numpy"),
    "records": (np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]), "must hold real numbers, not"),
    "a generator": ((k for k in range(3)), "not an iterator"),
    "sparse": (scipy.sparse.csr_array(np.eye(2)), r"must be dense; pass \.toarray"),
    "a random key": (jax.random.key(0), "must hold real numbers, not key"),
    "a dataset": (xr.Dataset({"a": ("x", [1.0])}), "cannot be read as one"),
    "rows of two lengths": ([[1.0], [1.0, 2.0]], "rectangular"),
    "None in a list": ([1.0, None], r"not NoneType at \[1\], .*drop what is missing"),
    "None in a nested list": ([[1, 2], [3, None]], r"not NoneType at \[1, 1\]"),
    "None among rows": ([np.ones(2), None], "rectangular .* entry 1 is None"),
    "text among numbers": (np.array([1.0, "a"], dtype=object), r"not str at \[1\]"),
    "dates beside numbers": ([np.array(["2020", "2021"], "M8[D]"), np.ones(2)], r"not date at \[0, 0\]"),
    "a random key beside a number": ([jax.random.key(0), 1.0], "real numbers in each of its entries"),
    "None": (None, "must hold real numbers, not NoneType"),
    "NA": (pd.NA, "must hold real numbers, not NAType"),
    "a tensor with a gradient": (refusing([1.0, 2.0]), "cannot be read .*detach"),
    "a tensor in a list": ([refusing(1.0), 2.0], "cannot be read .*detach"),
    "masked in dask": (dask.array.ma.masked_array(np.ones(2), mask=[True, False]), "1 masked entry"),
    "category": (pd.Series([1, 2], dtype="category", name="c"), "not category in column 'c'"),
    "booleans": (pd.Series([True, None], dtype="boolean", name="b"), r"not boolean in column 'b'; .*astype"),
    "strings": (pd.DataFrame({"a": [1], "s": ["x"]}), "not str in column 's'; encode"),
    "objects": (pd.DataFrame({"a": [1], "o": [decimal.Decimal(1)]}), "not object in column 'o'"),
    "dates": (pd.DataFrame({"t": pd.to_datetime(["2020"])}), "not datetime64.* in column 't'"),
    "two levels": (pd.DataFrame({("a", 1): [1.0], ("b", 2): [True]}), r"not bool in column \('b', 2\)"),
    "NA in Int64": (pd.Series([1, 2, None], dtype="Int64", name="q"), "missing value in column 'q', in row 2"),
    "NaN in a frame": (pd.DataFrame({"a": [1, 2], "b": [None, 1.0]}), "missing value in column 'b', in row 0"),
    "one of two of a name": (pd.DataFrame([[1, None], [2, None]], columns=["a", "a"], dtype=float),
                             "2 missing values in column 'a', the first in row 0"),
    "null in Arrow": (pa.table({"a": [1, 2], "b": [1.0, None]}), "missing value in column 'b', in row 1"),
    "text in Arrow": (pa.table({"a": [1], "s": ["x"]}), "not string in column 's'"),
    "codes in Arrow": (pa.array([1, 2]).dictionary_encode(), "not dictionary"),
    "booleans in Arrow": (pa.array([True]), r"not bool; pass it \.astype"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "match"), NOT_READ.values(), ids=NOT_READ.keys())
def test_what_is_no_number_is_one_error_of_ours(value, match):
    with pytest.raises(lt.LinearTheoryError, match=match) as caught:
        numeric(namespace(value), "x", value, ndim=(0, 1, 2))
    assert caught.value.argument == "x"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [lt.solve, lt.descend, lt.diagnose, lt.NormalEquations.of])
def test_columns_are_named_by_whoever_takes_rows(function):
    frame = pd.DataFrame(X, columns=["dose", "age"])
    for bad, match in (
        (frame.assign(age=[True, False, True]), "not bool in column 'age'"),
        (frame.assign(dose=frame.dose.where(frame.dose > 0.6)), "missing value in column 'dose', in row 1"),
    ):
        with pytest.raises(lt.LinearTheoryError, match=match) as caught:
            function(bad, Y, START)
        assert caught.value.argument == "X"


@given(hnp.arrays(st.sampled_from([np.longdouble, np.uint64, np.float16]), 3, elements={"min_value": 0}))
def test_other_widths_are_rounded_to_float64(values):
    assert np.array_equal(
        numeric(namespace(), "x", values, 1), values.astype(np.float64), equal_nan=True
    ) or (not np.isfinite(values).all())


def test_buffers_and_lists_of_jax_arrays_are_read():
    for value in (memoryview(np.ones(2)), array.array("d", [1, 1]), range(1, 2), pd.Index([1.0])):
        assert numeric(namespace(value), "x", value, 1).max() == 1
    mixed = [jnp.float32(1.0), 2.0]
    found = numeric(namespace(mixed), "x", mixed, 1)
    assert isinstance(found, jax.Array)
    assert found.dtype == jnp.float32
    assert jax.jit(lambda v: numeric(namespace(v), "x", [v, 2.0], 1).sum())(1.0) == 3
    for several in ([jnp.array(1), jnp.array(2.5)], [jnp.array(2.5), jnp.array(1)]):  # whichever comes first
        with jax.numpy_dtype_promotion("standard"):
            assert lt.median_temperature(several) == 1.75


MIXED = st.one_of(
    st.integers(-100, 100),
    st.floats(-100, 100, width=32),
    st.integers(-100, 100).map(np.int64),
    st.floats(-100, 100, width=32).map(np.float64),
    st.floats(-100, 100, width=32).map(np.float32),
    st.integers(-100, 100).map(jnp.int32),
    st.integers(0, 100).map(jnp.uint8),
    st.floats(-100, 100, width=32).map(jnp.float32),
)
"""Numbers that float32 holds, of whatever kind."""


@pytest.mark.parametrize("wide", [True, False])
@given(st.lists(MIXED, min_size=2, max_size=6), st.sampled_from([list, tuple, lambda v: [v[:1], v[1:2]]]))
def test_a_sequence_holds_each_of_its_numbers(wide, numbers, gather):
    """Whatever kinds stand beside each other, and in the precision of JAX's if there are any."""
    with jax.enable_x64(wide):
        held = gather(numbers)
        found = numeric(namespace(held), "x", held, (1, 2))
        want = np.array([float(number) for number in numbers])[: found.size]
        assert np.array_equal(np.asarray(found, dtype=float).ravel(), want)
        assert isinstance(found, jax.Array) == any(isinstance(v, jax.Array) for v in jax.tree.leaves(held))


NOT_BESIDE_JAX = {
    "None": (None, "entry 1 is None"),
    "text": ("a", "entry 1 is <U1"),
    "a date": (np.datetime64("2020"), "entry 1 is datetime64"),
    "complex": (1j, "not complex"),
    "Decimal": (decimal.Decimal(1), "entry 1 is object"),
    "too large an integer": (2**40, "holds 1099511627776, which is no int32"),
    "too large an integer of NumPy": (np.int64(2**40), "holds 1099511627776, which is no int32"),
    "too small an integer": (-(10**30), "which is no int32"),
    "a row": ([1, 2], r"entry 1 has the shape \(2,\), entry 0 \(\)"),
}


@pytest.mark.parametrize(("value", "match"), NOT_BESIDE_JAX.values(), ids=NOT_BESIDE_JAX.keys())
def test_beside_a_jax_integer_nothing_is_wrapped_or_left_out(value, match):
    held = [jnp.int32(1), value]
    with pytest.raises(lt.LinearTheoryError, match=match) as caught:
        numeric(namespace(held), "x", held, (0, 1, 2))
    assert caught.value.argument == "x"


def test_what_an_operators_function_gives_is_read_too():
    for image, match in (
        (np.ma.masked_array(np.ones(2), mask=[True, False]), "masked"),
        (np.array([1j, 1.0]), "not complex"),
        (np.array([True, False]), "not bool"),
    ):
        with pytest.raises(lt.LinearTheoryError, match=match) as caught:
            Operator(lambda v, image=image: image, 2)
        assert caught.value.argument == "product"


# ------------------------------------------------------------------------------------------------- labels

FRAME = pd.DataFrame(X, columns=["dose", "age"], index=[7, 8, 9])
SHUFFLED = pd.Series(Y, index=[9, 7, 8])
SIGMA = pd.DataFrame(np.diag([1.0, 2.0]), index=["dose", "age"], columns=["dose", "age"])
TAKES_ROWS = [lt.solve, lt.descend, lt.diagnose, lt.NormalEquations.of]


@pytest.mark.parametrize("function", TAKES_ROWS)
def test_rows_and_parameters_under_other_labels_are_refused(function):
    aligned = SHUFFLED.loc[FRAME.index]
    start = pd.Series([0.5, -1.0], index=["dose", "age"])
    want = floats(function(X, aligned.to_numpy(), start.to_numpy()))
    for good in ((FRAME, aligned, start), (FRAME, aligned, start.to_numpy()), (FRAME, aligned.to_numpy(), start),
                 (FRAME, aligned, pd.Series(start.to_numpy())), (X, aligned, start)):  # fmt: skip
        got = floats(function(*good))
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    for rows, argument in (
        ((FRAME, SHUFFLED, start), "y"),
        ((FRAME, aligned.reset_index(drop=True), start), "y"),
        ((xr.DataArray(X, coords={"i": [7, 8, 9]}, dims=["i", "j"]), SHUFFLED, start), "y"),
        ((FRAME, aligned, start[::-1]), "start"),
        ((pa.table({"dose": X[:, 0], "age": X[:, 1]}), Y, start[::-1]), "start"),
        ((FRAME.set_axis([1, 0], axis=1), aligned, pd.Series([0.5, -1.0])), "start"),
    ):
        with pytest.raises(
            lt.InvalidValueError, match=r"other labels than X, or in another order; .*to_numpy"
        ) as caught:
            function(*rows)
        assert caught.value.argument == argument


@pytest.mark.parametrize("function", [lt.solve, lt.NormalEquations.of])
def test_outputs_under_other_labels_are_refused(function):
    """Each column of y belongs to the column of the start of its name."""
    y = pd.DataFrame(np.stack([Y, 2 * Y], axis=1), columns=["a", "b"])
    start = pd.DataFrame([[0.5, 1.0], [-1.0, 2.0]], columns=["a", "b"])
    assert all(np.isfinite(leaf).all() for leaf in floats(function(X, y, start)))
    with pytest.raises(lt.InvalidValueError, match="its outputs under other labels than y") as caught:
        function(X, y, start[["b", "a"]])
    assert caught.value.argument == "start"


def test_weights_streams_and_covariances_too():
    with pytest.raises(lt.InvalidValueError, match=r"weights = .*other labels than X"):
        lt.solve(FRAME, Y, START, pd.Series(np.ones(3), index=[8, 7, 9]))
    with pytest.raises(lt.InvalidValueError, match=r"pretrain_covariance = .*other labels than X"):
        lt.diagnose(FRAME, Y, START, pretrain_covariance=SIGMA.iloc[::-1, ::-1])
    lt.diagnose(FRAME, Y, START, pretrain_covariance=SIGMA)
    with pytest.raises(lt.InvalidValueError, match=r"y = .*other labels than X"):
        lt.streaming.from_arrays(FRAME, SHUFFLED)
    with pytest.raises(lt.InvalidValueError, match=r"y = .*other labels than X.*chunk 0"):
        lt.streaming.solve([(FRAME, SHUFFLED)], START)
    theta = pd.Series([1.0, 0.0], index=["dose", "age"])
    chunks = [(FRAME, Y), (FRAME[["age", "dose"]], Y)]
    for function in (lt.streaming.solve, lt.streaming.normal_equations, lt.streaming.median_loss):
        with pytest.raises(lt.InvalidValueError, match=r"X = .*other labels than start.*chunk 1"):
            function(chunks, theta)
    lt.streaming.solve(chunks[:1], theta)
    with pytest.raises(lt.InvalidValueError, match=r"column_scale = .*other labels than start"):
        lt.streaming.solve(chunks[:1], theta, column_scale=theta[::-1])
    with pytest.raises(lt.InvalidValueError, match=r"target = .*other labels than pretrained"):
        lt.FineTuningProblem(theta, theta[::-1], SIGMA)
    with pytest.raises(lt.InvalidValueError, match=r"target_covariance = .*its other axis"):
        lt.FineTuningProblem([1.0, 0.0], [0.0, 0.0], SIGMA.iloc[::-1])
    assert lt.FineTuningProblem(theta, [0.0, 0.0], SIGMA).dim == 2


# -------------------------------------------------------------------------------------------- low precision

HALVES = st.sampled_from([jnp.float16, jnp.bfloat16])


def half(values, dtype):
    return jnp.asarray(np.asarray(values), dtype=dtype)


def rounded_once(found, exact, dtype):
    """Within one unit in the last place of that precision of what NumPy computes from the same numbers."""
    assert found.dtype == dtype
    return close(np.asarray(found, dtype=float), exact, 2 * float(jnp.finfo(dtype).eps) / EPS)


MEDIAN = jax.jit(lt.median_temperature)  # compiled once for each number of losses


@given(hnp.arrays(np.float64, st.sampled_from([1, 2, 3, 8, 40]), elements=st.floats(0.1, 6e4)), HALVES)
def test_half_precision_is_numpys_rounded_once(losses, dtype):
    """Also where two losses in the middle add up to more than the largest float16."""
    short = half(losses, dtype)
    exact = np.asarray(short, dtype=float)
    assert rounded_once(lt.median_temperature(short), np.median(exact), dtype)
    assert rounded_once(lt.effective_sample_size(short), lt.effective_sample_size(exact), dtype)
    tau = np.asarray(half(exact.max(), dtype), dtype=float)
    for temperature in (float(tau), half(tau, dtype)):
        assert rounded_once(lt.flow_weights(short, temperature), np.exp(-exact / tau), dtype)
        logarithms = lt.weights.Flow(temperature).log_weights(short)
        assert rounded_once(logarithms, -exact / tau, dtype)
    assert rounded_once(MEDIAN(short), np.median(exact), dtype)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_comparison_rejects_what_computes_in_half_precision(dtype):
    losses = half(np.linspace(3e4, 6e4, 10), dtype)
    exact = np.asarray(losses, dtype=float)
    in_half = (losses[4] + losses[5]) / 2  # infinite in float16, and right by chance in bfloat16
    assert rounded_once(in_half, np.median(exact), dtype) == (dtype == jnp.bfloat16)
    many = jnp.ones(60_000, dtype)
    total = jax.lax.reduce(many, jnp.zeros((), dtype), jax.lax.add, (0,))
    assert not rounded_once(total * total / total, 60_000, dtype) or dtype == jnp.bfloat16
    assert rounded_once(lt.effective_sample_size(many), 60_000, dtype)


def test_an_answer_that_its_precision_cannot_hold_is_an_error():
    many = jnp.ones(100_000, jnp.float16)
    with pytest.raises(lt.InvalidValueError, match="beyond the largest float16; pass a higher precision"):
        lt.effective_sample_size(many)
    assert jnp.isnan(jax.jit(lt.effective_sample_size)(many))
    assert rounded_once(lt.effective_sample_size(many.astype(jnp.bfloat16)), 100_000, jnp.bfloat16)
    with pytest.raises(lt.InvalidValueError, match="underflows to 0 in float16, all of it"):
        lt.flow_weights(half([20.0, 30.0], jnp.float16), 1.0)
    assert not lt.flow_weights(half([1.0, 20.0], jnp.float16), 1.0)[1]  # one that counts is enough


def test_weights_of_half_precision_serve_rows_of_a_higher_one():
    weights = lt.flow_weights(half([0.5, 1.0, 2.0], jnp.bfloat16))
    found = lt.solve(jnp.asarray(X, jnp.float32), Y, START, weights.astype(jnp.float32))
    assert found.theta.dtype == jnp.float32


@given(st.integers(2, 9), st.floats(0.5, 1.0), st.integers(0, 99))
def test_near_the_largest_float(n, share, seed):
    """Sums of two overflow there; the mean of the middle two does not."""
    rng = np.random.default_rng(seed)
    top = np.finfo(float).max
    losses = top * np.maximum(share, rng.random(n))
    low, high = np.sort(losses)[(n - 1) // 2], np.sort(losses)[n // 2]
    want = low / 2 + high / 2
    assert lt.median_temperature(losses) == want
    assert close(lt.median_temperature(jnp.asarray(losses)), want, 2)
    assert close(lt.flow_weights(losses), np.exp(-losses / want), 4)
    chunks = lt.streaming.from_arrays(np.ones((n, 1)), np.sqrt(losses), rows=2)
    assert close(lt.streaming.median_loss(chunks, [0.0]).value, want, 8)
    assert close(lt.effective_sample_size(losses), lt.effective_sample_size(losses / top), 8)


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.float16, jnp.bfloat16])
def test_no_weight_at_all_is_said_or_refused(dtype):
    """A weight of 0 has the logarithm −∞, which the floats that have no infinity would call NaN."""
    rule, losses = lt.weights.HardThreshold(1.0), jnp.array([0.5, 2.0]).astype(dtype)
    if jnp.isnan(jnp.array(-jnp.inf).astype(dtype)):
        with pytest.raises(lt.InvalidValueError, match="pass a higher precision"):
            rule.log_weights(losses)
    else:
        assert np.asarray(rule.log_weights(losses), dtype=float).tolist() == [0.0, -np.inf]

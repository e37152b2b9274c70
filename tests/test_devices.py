"""Sharded rows give the answer of one device, on 4 devices and on 2 hosts, and never travel.

In processes of their own, all at once: the number of devices is settled when JAX starts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import linear_theory as lt
from linear_theory.testing.tolerances import SAFETY, near
from tests import device_script as script
from tests.processes import finished, launched, paired


def condition(name):
    """Of the least-squares problem (Wedin), squared where its Gram matrix is all there is, twice: both round.

    Each side adds N products in an order of its own, which costs up to N roundings of all that is added.
    """
    weighted = script.columns(name) * np.sqrt(script.WEIGHTS)[:, None]
    sizes = np.linalg.svd(weighted, compute_uv=False)
    kappa = sizes[0] / sizes[sizes > 1e-8].min()
    label = np.linalg.norm(script.Y) + np.linalg.norm(script.START)
    theta = np.linalg.norm(lt.solve(script.columns(name), script.Y, script.START, script.WEIGHTS).theta)
    return 2 * script.N / SAFETY * kappa**2 * (1 + label / (sizes[0] * theta))


@pytest.fixture(scope="module")
def one_device():
    """Every call where all rows are on one device, in this process."""
    results = {}
    for name, call in script.CALLS.items():
        arrays = (script.columns(name), script.Y, script.START, script.WEIGHTS)
        results[name] = jax.tree.leaves(jax.jit(call)(*map(jnp.asarray, arrays)))
    return {name: [np.asarray(value) for value in values] for name, values in results.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the 4 devices found, for each kind of mesh, and what each of the two hosts did."""
    folder = tmp_path_factory.mktemp("devices")

    def run(devices, name, *arguments):
        command = "-m", "tests.device_script", arguments[0], folder / f"{name}.npz", *arguments[1:]
        return launched(folder / f"{name}.log", command, devices=devices)

    meshes = [run(4, axes, "devices", axes) for axes in ("Auto", "Explicit")]
    hosts = paired(lambda port, number: run(2, f"host{number}", "host", port, number))
    for well, said in (finished(meshes), hosts):
        assert well, said
    found = {}
    for path in folder.glob("*.npz"):
        with np.load(path) as arrays:
            found[path.stem] = dict(arrays)
    return found


AXES = pytest.mark.parametrize("axes", ["Auto", "Explicit"])
NAMES = pytest.mark.parametrize("name", script.CALLS)


@AXES
@NAMES
def test_sharded_rows_give_the_answer_of_one_device(measured, one_device, axes, name):
    for way in ("compiled", "as it is")[: 1 + (axes == "Explicit" and name in script.AS_IT_IS)]:
        for i, want in enumerate(one_device[name]):
            assert near(measured[axes][f"{name}/{way}/{i}"], want, condition(name)), (way, i)


@AXES
@NAMES
def test_rows_stay_where_they_are(measured, axes, name):
    """Sums travel, and triangles of d + 1 rows; of what is as long as the data only losses, to be sorted."""
    travels = int(measured[axes][f"{name}/travels"])
    assert travels == script.N if name in script.SORTED else travels < script.N


def test_a_call_that_gathers_is_found_out(measured):
    assert measured["Auto"]["gathers/travels"] >= script.N * script.D


def test_without_the_sum_over_devices_the_answer_is_another(measured, one_device):
    want = one_device["solve"][0]
    assert measured["Auto"]["wrong"].shape == want.shape
    assert not near(measured["Auto"]["wrong"], want, condition("solve"))


@AXES
def test_results_lie_on_the_callers_mesh(measured, axes):
    """With explicit axes JAX refuses to combine arrays of two meshes."""
    left = script.Y - script.X @ lt.solve(script.X, script.Y, script.START, script.WEIGHTS).theta
    assert near(measured[axes]["meets"], left * lt.flow_weights(left**2), condition("solve"))


def test_what_has_the_shape_of_an_argument_lies_as_that_does():
    """On explicit axes, as it is and under ``jit``; all else lies on every device."""
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Explicit,))
    lies = lambda value: jax.typeof(value).sharding.spec
    with jax.set_mesh(mesh):
        losses = jax.device_put(np.array([1.0, 2.0, 4.0]), NamedSharding(mesh, PartitionSpec("rows")))
        specs = []
        inside = jax.jit(lambda f: specs.append(lies(lt.flow_weights(f, 2.0))) or lt.flow_weights(f, 2.0))
        for weights in (lt.flow_weights(losses, 2.0), inside(losses)):
            assert lies(weights) == PartitionSpec("rows")
        assert specs == [PartitionSpec("rows")]
        assert lies(lt.effective_sample_size(losses)) == PartitionSpec()


@pytest.mark.parametrize("name", script.HOSTED)
def test_two_hosts_give_the_answer_of_one_process(measured, one_device, name):
    for number in (0, 1):
        found = measured[f"host{number}"]
        assert (found["devices"], found["local devices"]) == (4, 2)
        half = slice(number * script.N // 2, (number + 1) * script.N // 2)
        for i, want in enumerate(one_device[name]):
            own = want[half] if name == "flow weights" else want
            assert near(found[f"{name}/{i}"], own, condition(name)), (number, i)


def test_one_host_alone_would_not(one_device):
    half = slice(script.N // 2)
    alone = lt.solve(script.X[half], script.Y[half], script.START, script.WEIGHTS[half]).theta
    assert not near(alone, one_device["solve"][0], condition("solve"))

"""docs/howto/large_data.md keeps its word: every Python block runs, and gives the answer of rows that do fit.

In processes of their own: devices, hosts and Dask's workers are all settled when a process starts.
"""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

import linear_theory as lt
from linear_theory.testing.tolerances import SAFETY, near
from tests.processes import ROOT, finished, launched, paired
from tests.strategies import Data, orthogonal, random_data

PAGE = (ROOT / "docs" / "howto" / "large_data.md").read_text(encoding="utf-8")
MARKED = re.findall(r"^<!-- run: (\w+) -->\n```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
CODE = {name: "\n".join(code for other, code in MARKED if other == name) for name, _ in MARKED}
N, D, CONDITION = 6000, 4, 10.0

ENDS = {
    "chunks": """
np.savez("chunks.npz", tau=tau, theta=solution.theta, table=from_table.theta, same=same.theta, once=once.theta,
         summed=equations.solve().theta)
""",
    "devices": """
assert jax.device_count() == 4
np.savez("devices.npz", weights=weights, theta=solution.theta, summed=summed.theta, path=path.theta)
""",
    "hosts": """
assert (jax.process_count(), jax.device_count()) == (2, 4)
np.savez(f"host{number}.npz", theta=theta)
jax.distributed.shutdown()
""",
    "dask": """
np.savez("dask.npz", tau=tau, flat=flat, theta=solution.theta, count=total(tau, start).count, refined=refined.theta)
""",
    "ray": """
np.savez("ray.npz", tau=tau, theta=solution.theta)
ray.shutdown()
""",
    "spark": """
np.savez("spark.npz", tau=tau, theta=solution.theta)
spark.stop()
""",
}

HOST = """
import functools, jax
jax.distributed.initialize = functools.partial(jax.distributed.initialize, "127.0.0.1:{}", 2, {})
"""

DASK = """
import os
from pathlib import Path
from dask.distributed import Client, LocalCluster

if __name__ == "__main__":
    local = dict(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        exec(compile(Path("dask.txt").read_text(), "large_data.md", "exec"), globals())
        assert len(set(client.run(os.getpid).values()) - {os.getpid()}) == 2
"""


RAY = """
import ray
ray.init(num_cpus=2, _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
"""

SPARK = """
import os, sys
from pyspark.sql import SparkSession
os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
local = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
local = local.config("spark.files.maxPartitionBytes", "65536").config("spark.sql.files.openCostInBytes", "0")
local.config("spark.sql.files.maxPartitionBytes", "65536").getOrCreate()
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The files that the page reads, in a folder of their own, and what is in them."""
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(11)
    X = rng.standard_normal((N, D)) * CONDITION ** -np.linspace(0, 1, D) @ orthogonal(D, rng)
    y = X @ rng.standard_normal(D) + rng.standard_normal(N)
    data = Data(X, y, rng.standard_normal(D), None)
    for name in ("X", "y", "start"):
        np.save(folder / f"{name}.npy", getattr(data, name))
    table = {f"x{j}": column for j, column in enumerate(data.X.T)} | {"y": data.y}
    parquet.write_table(pyarrow.table(table), folder / "rows.parquet")
    return folder, data


@pytest.fixture(scope="module")
def expected(rows):
    """In memory, on one device: τ, the weights and θ."""
    _, data = rows
    found = (data.y - data.X @ data.start) ** 2
    tau, weights = lt.median_temperature(found), lt.flow_weights(found)
    return tau, weights, lt.solve(data.X, data.y, data.start, weights).theta


def condition(data, theta, weights):
    """Twice Wedin's, for normal equations, whose sums of n products may cost n roundings of all that is added."""
    sizes = np.linalg.svd(data.X * np.sqrt(weights)[:, None], compute_uv=False)
    label = np.linalg.norm(data.y) + np.linalg.norm(data.start)
    kappa = sizes[0] / sizes[-1]
    return 2 * N / SAFETY * kappa**2 * (1 + label / (sizes[0] * np.linalg.norm(theta)))


def script(folder, name, text, devices=1):
    """The block with what it lacks, in a process of its own."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return launched(folder / f"{name}.log", [path], folder, devices)


def results(file):
    """What a block saved."""
    with np.load(file) as arrays:
        return dict(arrays)


def ran(folder, name, text, devices=1):
    """What the block saved, once it is done."""
    well, said = finished([script(folder, f"run_{name}", text, devices)])
    assert well, said
    return results(folder / f"{name}.npz")


def test_every_python_block_is_run():
    assert len(MARKED) == PAGE.count("```python")
    assert set(CODE) == set(ENDS)


def test_chunks(rows, expected):
    folder, data = rows
    tau, weights, theta = expected
    found = ran(folder, "chunks", CODE["chunks"] + ENDS["chunks"])
    assert near(found["tau"], tau, N)
    for name in ("theta", "table", "same", "once", "summed"):
        assert near(found[name], theta, condition(data, theta, weights)), name


def test_devices(rows, expected):
    folder, data = rows
    _, weights, theta = expected
    found = ran(folder, "devices", CODE["devices"] + ENDS["devices"], devices=4)
    kappa = condition(data, theta, weights)
    assert near(found["weights"], weights, N)
    assert near(found["theta"], theta, kappa)
    assert near(found["summed"], theta, kappa)
    path = lt.descend(data.X, data.y, data.start, weights, lt.descent.ConjugateGradient(), 3)
    assert near(found["path"], path.theta, kappa)


def test_hosts(rows, expected):
    folder, data = rows
    _, weights, theta = expected
    text = lambda port, number: HOST.format(port, number) + CODE["hosts"] + ENDS["hosts"]
    well, said = paired(
        lambda port, number: script(folder, f"run_host{number}", text(port, number), devices=2)
    )
    assert well, said
    for number in (0, 1):
        found = results(folder / f"host{number}.npz")
        assert near(found["theta"], theta, condition(data, theta, weights))


def test_dask(rows, expected):
    """On a cluster of two worker processes; the parts are dealt out, not sliced."""
    folder, data = rows
    tau, weights, theta = expected
    (folder / "dask.txt").write_text(CODE["dask"] + ENDS["dask"], encoding="utf-8")
    found = ran(folder, "dask", DASK)
    kappa = condition(data, theta, weights)
    assert found["count"] == N
    assert near(found["tau"], tau, N)
    assert near(found["flat"], tau, N)
    assert near(found["theta"], theta, kappa)
    assert near(found["refined"], theta, kappa)
    # A temperature of each part's own, or a mean over parts of their answers, is another problem.
    deal = [(data.X[k::6], data.y[k::6]) for k in range(6)]
    own = lambda X, y: lt.NormalEquations.of(X, y, data.start, lt.flow_weights((y - X @ data.start) ** 2))
    apart = sum((own(*part) for part in deal), lt.NormalEquations.empty(data.start)).solve().theta
    assert not near(apart, theta, kappa)
    assert not near(np.mean([own(*part).solve().theta for part in deal], axis=0), theta, kappa)


@pytest.mark.parametrize(("name", "before"), [("ray", RAY), ("spark", SPARK)])
def test_clusters(name, before, rows, expected):
    """On two workers of each; what they add up is the one weighted problem."""
    pytest.importorskip({"spark": "pyspark"}.get(name, name), reason="is the extra [clusters]")
    if name == "spark" and shutil.which("java") is None:
        pytest.skip("Spark needs a Java virtual machine")
    folder, data = rows
    tau, weights, theta = expected
    found = ran(folder, name, before + CODE[name] + ENDS[name])
    assert near(found["tau"], tau, N)
    assert near(found["theta"], theta, condition(data, theta, weights))


def test_a_second_round_brings_back_what_squaring_the_condition_number_took():
    """What the page says about κ: far from the answer of `solve` at first, near it after another round."""
    data = random_data(400, D, D, condition=1e5, seed=5, noise=1e-6)
    theta = lt.solve(data.X, data.y, data.start).theta
    once = lt.NormalEquations.of(data.X, data.y, data.start).solve().theta
    again = lt.NormalEquations.of(data.X, data.y, once).solve().theta
    sizes = np.linalg.svd(data.X, compute_uv=False)
    left, reach = np.linalg.norm(data.y - data.X @ theta), np.linalg.norm(theta - data.start)
    kappa = sizes[0] / sizes[-1]
    honest = 2 * kappa * (1 + np.linalg.norm(data.y) / reach + kappa * left / reach)
    assert not near(once, theta, honest)
    assert near(again, theta, honest)

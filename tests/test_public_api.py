"""The public face: names, signatures, docstrings, and what importing costs."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import jax
import numpy as np
import pytest

import linear_theory as lt

SIGNATURES = {
    "FineTuningProblem": "(pretrained, target, target_covariance, pretrain_covariance=None, noise_variance=0.0)",
    "paper_problem": "(rho, shift_norm=1.0, dim=2, pretrain_covariance=None, noise_variance=0.0)",
    "median_temperature": "(losses)",
    "population_median_temperature": "(problem)",
    "flow_weights": "(losses, temperature=None)",
    "weight_mass": "(problem, temperature)",
    "weighted_covariance": "(problem, temperature)",
    "iterate": "(problem, steps, learning_rate=None, temperature=inf)",
    "stable_learning_rate": "(problem, temperature=inf)",
    "gradient_flow": "(problem, time, temperature=inf)",
    "fixed_point": "(problem, temperature)",
    "checkpoint_weights": "(problem, steps, learning_rate=None, temperature=inf)",
    "sgd_error": "(problem, steps, learning_rate, temperature=inf)",
    "sgd_errors": "(problem, steps, learning_rate, temperature=inf)",
    "sgd_stability_limit": "(problem, temperature=inf)",
    "stall": "(problem, temperature)",
    "best_early_stop": "(problem)",
    "best_flow": "(problem)",
    "best_temperature": "(problem, steps=None, learning_rate=None)",
    "ridge_optimum": "(problem, ridge, temperature=inf, metric=None)",
    "displacement": "(problem, temperature)",
    "population_effective_sample_size": "(problem, temperature)",
    "residual_tilt": "(temperature, variance)",
    "model_average_weight": "(beta, rho, steps)",
    "stall_parameter": "(temperature, rho, shift_norm=1.0)",
    "stall_temperature": "(beta, rho, shift_norm=1.0)",
    "stall_spectrum": "(beta, rho)",
    "closed_form": "(beta, rho, steps)",
    "pretrain_error": "(problem, theta)",
    "target_error": "(problem, theta)",
    "total_error": "(problem, theta)",
    "model_average": "(problem, omega)",
    "best_model_average": "(problem)",
    "joint_optimum": "(problem)",
    "hard_sample_error": "(problem, theta, fraction)",
    "solve": "(X, y, start, weights=None, ridge=0.0, *, column_scale=None)",
    "temperature_path": "(X, y, start, temperatures, ridge=0.0, *, accuracy=1e-08, column_scale=None)",
    "standard_errors": "(X, y, start, temperature=None)",
    "undo_averaging": "(X, y, start, theta, temperature=None)",
    "linearize": "(predict, params, X, y)",
    "diagnose": "(X, y, start, temperature=None, pretrain_covariance=None, *, pretrain_rows=None, "
    "sample_weight=None, column_scale=None)",
    "sequences.flow": "(optima, temperatures, noise_variances, start=None)",
    "sequences.harmonic_temperatures": "(noise_variances)",
    "sequences.plain": "(optima, covariances, start=None)",
    "sequences.ridge": "(optima, covariances, strength, start=None)",
    "sequences.plain_distance": "(optima, reference, rows, noise_variance=0.0, *, start=None)",
    "sequences.sampled": "(optima, ratio, noise_variances=0.0, *, temperatures=inf, ridge=0.0, covariances=None, "
    "start=None)",
    "sequences.task_errors": "(path, optima, covariances=None)",
    "experts.fixed_point": "(pretrained, target, temperature)",
    "experts.undo": "(fitted, pretrained, temperature)",
    "experts.sharpening": "(temperature)",
    "experts.iterate": "(problem, family, steps, learning_rate, temperature=inf)",
    "experts.mean_weight": "(problem, family, temperature)",
    "experts.curvature": "(problem, family, theta, direction, temperature=inf)",
    "high_dimension.optimum": "(problem, ratio, ridge=0.0, temperature=inf)",
    "high_dimension.path": "(problem, ratio, time=None, steps=None, learning_rate=None, temperature=inf)",
    "streaming.solve": "(source, start, temperature=inf, ridge=0.0, *, column_scale=None)",
    "streaming.normal_equations": "(source, start, temperature=inf, *, column_scale=None)",
    "NormalEquations.of": "(X, y, start, weights=None, *, column_scale=None)",
}
"""The list of DESIGN.md, word for word, and what has joined it."""

THEORY = (Path(__file__).parent.parent / "docs" / "theory.md").read_text(encoding="utf-8")
SOURCE = re.compile(r"\(\d+\)|\bT\d+\b|(?:Proposition|Theorem|Lemma|Remark) [F\d.]+\d|\b[Ss]ection \d")
"""A number of the paper, or of this project in docs/theory.md."""

SHAPES = (
    "(d,)",
    "(n,)",
    "(d, d)",
    "(m,)",
    "(T, d)",
    "(…",
    "float",
    "Broadcasts",
    "broadcast",
    "array",
    "number",
    "scalar",
)


def bare(signature):
    """The signature without its annotations."""
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def named(path):
    found = lt
    for part in path.split("."):
        found = getattr(found, part)
    return found


def code(name):
    return inspect.isfunction(getattr(lt, name)) or inspect.isclass(getattr(lt, name))


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_designed_names_have_their_designed_signature(name, signature):
    assert bare(inspect.signature(named(name))) == signature


def test_descend_takes_a_solver_and_steps():
    parameters = list(inspect.signature(lt.descend).parameters)
    assert parameters == ["X", "y", "start", "weights", "solver", "steps", "column_scale"]


def public_callables():
    """Functions, classes and their public methods, by name."""
    for prefix, space in [("", lt), *((f"{name}.", getattr(lt, name)) for name in NAMESPACES)]:
        for name in space.__all__:
            thing = getattr(space, name)
            if inspect.isfunction(thing):
                yield prefix + name, thing
            elif inspect.isclass(thing) and not issubclass(thing, Exception):
                yield prefix + name, thing
                for method, function in inspect.getmembers(thing, callable):
                    if not method.startswith("_"):
                        yield f"{prefix}{name}.{method}", function


NAMESPACES = ("covariance", "descent", "experts", "high_dimension", "sequences", "streaming", "weights")
POSITIONAL = {
    parameter.name
    for name in [*SIGNATURES, "descend"]
    for parameter in inspect.signature(named(name)).parameters.values()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
}
"""What has a place of its own in DESIGN's order."""
PLACED_TOO = {
    "Diagnosis.report": {"names"},
    "covariance.Dense": {"cutoff"},
    "covariance.IdentityPlusLowRank": {"scale"},
    "covariance.IdentityPlusLowRank.plus": {"scale"},
}


@pytest.mark.parametrize(("name", "function"), list(public_callables()))
def test_optional_arguments_are_given_by_name(name, function):
    """All but the first, and those that DESIGN gives a place: as in SciPy, nobody counts commas."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    placed = {
        p.name
        for p in parameters[1:]
        if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty and p.name not in POSITIONAL
    }
    assert placed <= PLACED_TOO.get(name, set())


def test_all_is_complete_and_sorted():
    """Every public object that the package itself defines, plus its namespaces, and nothing else."""
    assert lt.__all__ == sorted(lt.__all__)
    assert len(set(lt.__all__)) == len(lt.__all__)
    own = {
        name
        for name, value in vars(lt).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("linear_theory.")
    }
    assert set(lt.__all__) == own | set(NAMESPACES)
    assert {name.split(".")[0] for name in SIGNATURES} <= set(lt.__all__)


@pytest.mark.parametrize(
    "module",
    sorted(Path(lt.__file__).parent.rglob("*.py")),
    ids=lambda path: path.relative_to(Path(lt.__file__).parent).as_posix(),
)
def test_every_module_says_what_it_is_and_stays_small(module):
    """About 500 lines of code, docstrings and comments not counted: one idea."""
    text = module.read_text()
    assert text.startswith('"""')
    assert code_lines(text) <= 500


def code_lines(text):
    """Lines of the program as it is without docstrings, comments and blank lines."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return len(ast.unparse(tree).splitlines())


@pytest.mark.parametrize("name", [name for name in lt.__all__ if code(name)])
def test_every_name_states_its_meaning(name):
    thing = getattr(lt, name)
    assert inspect.getdoc(thing), name
    assert thing.__doc__, f"{name} inherits its docstring"
    if issubclass(type(thing), type) and issubclass(thing, Exception):
        return
    text = thing.__doc__
    assert SOURCE.search(text), (
        f"{name}: no source, such as (4), Lemma F.1, section 4 or T7 of docs/theory.md"
    )
    assert set(re.findall(r"\bT\d+\b", text)) <= set(re.findall(r"\bT\d+\b", THEORY))
    assert any(shape in text for shape in SHAPES), f"{name}: no shape"


@pytest.mark.parametrize("rule", lt.weights.__all__)
def test_rules_are_documented(rule):
    assert getattr(lt.weights, rule).__doc__


METHODS = sorted(
    {name for base in lt.Linearization.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
    - set(lt.Linearization.__dataclass_fields__)
)


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_a_linearization_state_their_meaning(name):
    text = getattr(lt.Linearization, name).__doc__
    assert text
    assert name in ("within", "count", "dim") or any(
        shape in text for shape in ("(P,)", "(n,)", "*outputs", "(m,", "(count,")
    )


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        (space, name)
        for space in (lt.covariance, lt.descent, lt.experts, lt.high_dimension, lt.sequences, lt.streaming)
        for name in space.__all__
        if inspect.isfunction(getattr(space, name)) or inspect.isclass(getattr(space, name))
    ],
)
def test_names_of_the_namespaces_are_documented(namespace, name):
    assert getattr(namespace, name).__doc__


def in_a_fresh_interpreter(code):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_costs_nothing_but_the_mathematics():
    foreign = (
        "matplotlib",
        "xarray",
        "rich",
        "typer",
        "jinja2",
        "sklearn",
        "pandas",
        "h5netcdf",
        "mpmath",
        "pyarrow",
        "dask",
        "distributed",
        "scipy.stats",  # as long to import as JAX
    )
    check = (
        f"import sys, linear_theory; linear_theory.solve; print([m for m in {foreign!r} if m in sys.modules])"
    )
    assert in_a_fresh_interpreter(check) == "[]"


def test_importing_leaves_the_settings_of_jax_alone():
    check = (
        "import jax; names = ['jax_enable_x64', 'jax_numpy_dtype_promotion', 'jax_debug_nans', 'jax_platforms'];"
        "before = [getattr(jax.config, n) for n in names];"
        "import linear_theory as lt; lt.iterate(lt.paper_problem(.5), 3);"
        "lt.weight_mass(lt.paper_problem(jax.numpy.asarray(.5)), 1.0);"
        "print(before == [getattr(jax.config, n) for n in names], jax.config.jax_enable_x64)"
    )
    assert in_a_fresh_interpreter(check) == "True False"


def test_without_x64_jax_answers_in_float32_and_numpy_in_float64():
    check = (
        "import jax, numpy as np, linear_theory as lt;"
        "p = lt.paper_problem(jax.numpy.asarray(0.5), pretrain_covariance=np.eye(2), noise_variance=0.1);"
        "q = lt.paper_problem(0.5);"
        "print(lt.iterate(p, 10**12, temperature=1.0).dtype,"
        "lt.solve(jax.numpy.eye(2), np.ones(2), np.zeros(2)).theta.dtype,"
        "lt.iterate(q, 10**12, temperature=1.0).dtype, lt.iterate(q, 3, temperature=jax.numpy.asarray(1.0)).dtype)"
    )
    assert in_a_fresh_interpreter(check) == "float32 float32 float64 float32"


@pytest.mark.parametrize("steps", [10**12, 10**12 + 1, 10**400])
def test_the_number_of_steps_costs_nothing(steps):
    """A loop over K would not come back."""
    assert lt.iterate(lt.paper_problem(0.6), steps, temperature=1e-9).shape == (2,)
    assert 0 <= lt.closed_form(1e-9, 0.6, steps)[0] < 1
    assert 0 <= lt.stall_approximation(1e-9, 0.6, steps)[0] < 1


def shown():
    """Results of every kind, with long and short arrays, deep and odd ones."""
    rng = np.random.default_rng(0)
    X, e = rng.standard_normal((30, 8)) * 1e-300, rng.standard_normal(8) * 1e-301
    yield lt.paper_problem(0.6)
    yield lt.FineTuningProblem(e * 1e301, np.zeros(8), lt.covariance.Operator(lambda v: v, 8))
    yield lt.paper_problem(0.6, dim=1000)
    yield lt.stall(lt.paper_problem(0.6, dim=8), 0.1)
    yield lt.best_early_stop(lt.paper_problem(0.6, dim=8))
    yield lt.best_flow(lt.paper_problem(0.6, dim=8))
    yield lt.best_temperature(lt.paper_problem(0.6, dim=8), 3)
    yield lt.solve(X * 1e300, X[:, 0] * 1e300, e)
    yield lt.NormalEquations.of(X * 1e300, X[:, 0] * 1e300, e)
    yield lt.descend(X * 1e300, X[:, 0] * 1e300, e)
    yield lt.temperature_path(X * 1e300, X[:, 0] * 1e300, np.ones(8), np.ones(9))
    yield jax.tree.map(np.shape, lt.paper_problem(0.6))
    yield lt.weights.Flow(0.123456789)


@pytest.mark.parametrize("result", list(shown()), ids=lambda result: type(result).__name__)
def test_an_echo_fits_a_screen(result):
    lines = repr(result).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_an_echo_is_exact_for_numbers_and_does_not_fail():
    assert repr(lt.weights.Flow(0.123456789)) == "Flow(temperature=0.123456789)"
    rows = {d: repr(lt.FineTuningProblem(np.zeros(d), np.ones(d), np.eye(d))) for d in (8, 9)}
    assert "pretrained=[0., 0., 0., 0., 0., 0., 0., 0.]" in rows[8]
    assert "pretrained=array of shape (9,)" in rows[9]
    assert "pretrained=(2,)" in repr(jax.tree.map(np.shape, lt.paper_problem(0.6)))
    gone = jax.numpy.ones(2)
    problem = lt.FineTuningProblem(gone, np.zeros(2), np.eye(2))
    for leaf in jax.tree.leaves(problem):
        leaf.delete()
    assert "FineTuningProblem" in repr(problem)
    assert "FineTuningProblem" in repr(object.__new__(lt.FineTuningProblem))


# the names are imported when the first of them is used ------------------------------------------------------------

USES = {
    "an attribute": "lt.solve",
    "a namespace": "lt.weights.Flow",
    "a module that is no public name": "lt.errors.LinearTheoryError",
    "from": "from linear_theory import solve",
    "from a namespace": "from linear_theory.weights import Flow",
    "star": "from linear_theory import *; solve, weights",
    "dir": "assert {'solve', 'weights', '__version__'} <= set(dir(lt))",
    "all": "assert all(hasattr(lt, name) for name in lt.__all__)",
    "help": "import pydoc; assert 'temperature_path' in pydoc.render_doc(lt)",
    "inspect": "import inspect; assert 'solve' in dict(inspect.getmembers(lt, inspect.isfunction))",
    "a pickle": "import pickle; pickle.loads(PICKLE).shift",
    "reload": "import importlib; lt.solve; importlib.reload(lt).solve",
    "threads": "from threading import Thread; found = []\n"
    "ways = [Thread(target=lambda: found.append(lt.solve)) for _ in range(8)]\n"
    "[way.start() for way in ways]; [way.join() for way in ways]; assert len(found) == 8 and len(set(found)) == 1",
}


ALIKE = {"a namespace", "from a namespace", "dir", "all", "help"}
"""What asks as another does: for a name, for all of them, for their list."""


@pytest.mark.parametrize(
    "use",
    [pytest.param(u, id=name, marks=pytest.mark.deep if name in ALIKE else ()) for name, u in USES.items()],
)
def test_any_first_use_of_the_package_finds_its_names(use):
    code = use.replace("PICKLE", repr(pickle.dumps(lt.paper_problem(0.5))))
    before = "import sys, linear_theory as lt; assert not {'jax', 'numpy', 'scipy'} & set(sys.modules), 'too early'\n"
    assert in_a_fresh_interpreter(before + code) == ""


def test_a_name_that_is_not_there_is_an_attribute_error_and_nothing_is_put_over_what_a_test_has_set(
    monkeypatch,
):
    monkeypatch.setattr(lt, "solve", None)
    with pytest.raises(AttributeError, match="module 'linear_theory' has no attribute 'sovle'"):
        attrgetter("sovle")(lt)
    with pytest.raises(ImportError, match="cannot import name 'sovle'"):
        exec("from linear_theory import sovle")
    assert lt.solve is None
    assert not hasattr(lt, "__wrapped__")

"""Every example in a docstring runs and prints what it says, and every public name has one."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import warnings

import jax
import pytest

import linear_theory as lt

MODULES = ["linear_theory", *(found.name for found in pkgutil.walk_packages(lt.__path__, "linear_theory."))]
NAMESPACES = (
    lt.covariance,
    lt.descent,
    lt.experts,
    lt.high_dimension,
    lt.sequences,
    lt.streaming,
    lt.weights,
)
CLASSES = (lt.Linearization, lt.Solution, lt.Path, lt.NormalEquations, lt.Diagnosis, lt.TemperaturePath)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def examples(module):
    """A doctest for every docstring in the module's source: no decorator hides one, as it would from an import."""
    imported = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(imported))
    found = []
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        if text and ">>>" in text:
            name = f"{module}.{getattr(node, 'name', '__doc__')}"
            line = node.body[0].lineno - 1
            found.append(doctest.DocTestParser().get_doctest(text, {}, name, imported.__file__, line))
    return found


def failures(test):
    """What the runner says of a doctest that prints anything but what it shows, raises or warns."""
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


def public():
    """Every public function and class but the errors, and every method and property of the result classes."""
    for space in (lt, *NAMESPACES):
        for name in space.__all__:
            thing = getattr(space, name)
            error = inspect.isclass(thing) and issubclass(thing, Exception)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and not error:
                yield f"{space.__name__}.{name}", thing
    for owner in CLASSES:
        fields = getattr(owner, "__dataclass_fields__", {})
        for name in dir(owner):
            if not name.startswith("_") and name not in fields:
                member = inspect.getattr_static(owner, name)
                yield f"{owner.__name__}.{name}", getattr(member, "__func__", member)


PUBLIC = dict(public())


@pytest.fixture
def quiet_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SETTINGS = ("float32, as a reader has it", "float64 and strict, as the tests have it")


@pytest.fixture(params=SETTINGS)
def jax_settings(request):
    with (
        jax.enable_x64("64" in request.param),
        jax.numpy_dtype_promotion("strict" if "strict" in request.param else "standard"),
    ):
        yield


def slow(module, setting):
    """A derivation that is checked takes as long as all other examples; in float64 it is, by day, too."""
    return module == "linear_theory.testing.derivation" and setting == SETTINGS[0]


@pytest.mark.parametrize(
    ("jax_settings", "module"),
    [
        pytest.param(setting, module, marks=pytest.mark.deep if slow(module, setting) else ())
        for setting in SETTINGS
        for module in MODULES
        if examples(module)
    ],
    indirect=["jax_settings"],
)
@pytest.mark.usefixtures("quiet_folder")
def test_examples_print_what_they_say(jax_settings, module):
    said = "".join(map(failures, examples(module)))
    assert not said, said


def test_the_examples_are_those_of_the_public_names():
    """None is lost between the source and the object that a reader asks for help about."""
    run = {test.docstring for module in MODULES for test in examples(module)}
    missing = [name for name, thing in PUBLIC.items() if inspect.cleandoc(thing.__doc__ or "") not in run]
    assert not missing
    assert len(PUBLIC) > 90
    assert {"linear_theory.solve", "Diagnosis.paths", "NormalEquations.of", "Path.status"} <= set(PUBLIC)
    assert PUBLIC.keys() & {"linear_theory.DivergenceError", "Solution.theta"} == set()


def only(name):
    return next(test for module in MODULES for test in examples(module) if test.name.endswith(f".{name}"))


def changed(test, old, new):
    text = f"{test.docstring}\n".replace(old, new)
    assert text != f"{test.docstring}\n"
    return doctest.DocTestParser().get_doctest(text, {}, test.name, test.filename, test.lineno)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[1.   0.75 3.  ]", "[1.   0.76 3.  ]", "Expected:\n    [1.   0.76 3.  ]"),
        ("[1.   0.75 3.  ]\n", "", "Expected nothing"),
        ("lt.best_model_average(", "lt.best_average(", "AttributeError"),
        ("import numpy as np", "import math", "NameError"),
        ("import numpy as np", "import numpy as np; np.log(np.zeros(1))", "RuntimeWarning"),
    ],
)
def test_a_broken_example_is_seen(old, new, complaint):
    whole = only("best_model_average")
    assert not failures(whole)
    assert complaint in failures(changed(whole, old, new))


@pytest.mark.parametrize("module", MODULES)
def test_what_is_printed_depends_neither_on_versions_nor_on_the_last_digit(module):
    """No np.float64(…), no negative zero, no more digits than are meant."""
    for test in examples(module):
        for example in test.examples:
            found = re.search(r"\bnp\.|-0\.0*(?![0-9])|\.[0-9]{7}", example.want)
            assert not found, f"{test.name}: {example.want}"

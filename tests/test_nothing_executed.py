"""Nothing is executed from data: by the sources of all that users run, and by the templates of all that they open."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("linear_theory", "paper_reproduction", "figures", "docs/_ext", "docs/examples")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TEMPLATES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.j2"))

MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"),
    *("yaml", "code", "codeop", "runpy", "pty", "ctypes", "xmlrpc", "imp"),
}
"""What reads objects, or runs what it reads."""
BUILTINS = {"eval", "exec", "compile", "__import__", "execfile", "input", "breakpoint"}
ATTRIBUTES = {
    *(
        "system",
        "popen",
        "read_pickle",
        "to_pickle",
        "unsafe_load",
        "full_load",
        "from_string",
        "load_module",
    ),
    *("exec_module", "getoutput", "getstatusoutput", "create_subprocess_shell"),
}
OF_OS = re.compile(r"exec[lv]\w*|spawn[lv]\w*|posix_spawnp?|startfile")
IMPORTS_BY_NAME = {
    *("linear_theory/__init__.py", "paper_reproduction/registry.py", "paper_reproduction/mlp/corpus.py")
}
"""These import modules that lie in the packages of claims, or that a constant of theirs names."""
STARTS_PROCESSES = {"paper_reproduction/provenance.py"}
"""This asks git for the commit."""


def found_in(source: str, name: str = "") -> Iterator[str]:
    """What in a source could run something that it has read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            relative = isinstance(node, ast.ImportFrom) and node.level
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            )
            for module in () if relative else modules:
                if module.partition(".")[0] in MODULES or (
                    module == "subprocess" and name not in STARTS_PROCESSES
                ):
                    yield f"import {module}"
        elif isinstance(node, ast.Call):
            yield from _found_in_call(node, name)


def _found_in_call(node: ast.Call, name: str) -> Iterator[str]:
    given = {word.arg: word.value for word in node.keywords}
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if called in BUILTINS or attribute in ATTRIBUTES or (owner == "os" and OF_OS.fullmatch(attribute)):
        yield called or attribute
    if "import_module" in (called, attribute) and name not in IMPORTS_BY_NAME:
        yield "import_module"
    if owner == "torch" and attribute == "load":
        yield "torch.load"
    for argument, right in (("allow_pickle", False), ("shell", False), ("autoescape", True)):
        if argument in given and not _is(given[argument], right):
            yield argument
    if "Environment" in (called, attribute) and "autoescape" not in given:
        yield "autoescape"


def _is(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_that_users_run_could_run_what_it_reads() -> None:
    assert len(SOURCES) > 100
    found = {}
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if strange := list(found_in(path.read_text(encoding="utf-8"), name)):
            found[name] = strange
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import yaml", "from os import path; import subprocess",
        "eval(text)", "exec(open('x').read())", "compile(text, '', 'exec')", "import os; os.system(name)",
        "os.execv(name, ())", "numpy.load(path, allow_pickle=True)", "np.load(path, allow_pickle=trusted)",
        "run(line, shell=True)",
        "importlib.import_module(name)", "import_module(name)", "torch.load(path)", "pandas.read_pickle(path)",
        "jinja2.Environment(loader=loader)", "Environment(autoescape=False)", "Environment().from_string(text)",
        "__import__(name)", "import importlib.util; spec.loader.exec_module(module)",
    ],
)  # fmt: skip
def test_what_could_would_be_found(source: str) -> None:
    assert list(found_in(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re; re.compile(text)", "function.lower(x).compile()", "model.eval()",
        "np.load(path, allow_pickle=False)", "from .code import x", "ast.parse(text)",
        "Environment(loader=loader, autoescape=True)", "json.loads(text)",
    ],
)  # fmt: skip
def test_what_could_not_is_left_alone(source: str) -> None:
    assert list(found_in(source)) == []


UNESCAPED = re.compile(r"[\w.]+\s*\|\s*safe\b|autoescape\s+false")
"""Of a variable; what stands in quotes before the bar is the template's own."""


def test_templates_escape_all_that_they_are_given() -> None:
    """But for the names of typefaces, which are constants."""
    found = {text for path in TEMPLATES for text in UNESCAPED.findall(path.read_text(encoding="utf-8"))}
    assert len(TEMPLATES) >= 6
    assert found == {"fonts.SANS|safe", "fonts.MONOSPACE|safe", "fonts.MATH|safe"}
    assert UNESCAPED.search("<b>{{ name | safe }}</b>")
    assert UNESCAPED.search("{% autoescape false %}")

"""The mutants of a file, a function or the whole package: where, what, and the source that results."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider

from .operators import changes

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "linear_theory"
SPARED = ("testing",)
"""Rooms of the package that are no part of what it computes."""


@dataclass(frozen=True)
class Mutant:
    """One change in one file: characters ``start`` to ``stop`` of its text give way to ``text``.

    ``was`` and ``now`` are the lines concerned, before and after, without their margins; together with the file, the
    function and a number where the same change can be made twice in it, they are the mutant's name, which stays the
    same when other lines move.
    """

    path: Path
    function: str
    line: int
    start: int
    stop: int
    text: str
    was: str
    now: str
    again: int = 0

    @property
    def file(self) -> str:
        """The path within the project."""
        return self.path.relative_to(ROOT).as_posix() if self.path.is_relative_to(ROOT) else str(self.path)

    @cached_property
    def name(self) -> str:
        """Short, and the same in every run."""
        said = "\n".join((self.file, self.function, self.was, self.now, str(self.again)))
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def source(self) -> str:
        """The whole file with the change made."""
        text = self.path.read_text(encoding="utf-8")
        return text[: self.start] + self.text + text[self.stop :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}\n    - {self.was}\n    + {self.now}"


def files(package: Path = PACKAGE) -> list[Path]:
    """Every module of the package but those that are spared."""
    inside = (path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in SPARED)
    return sorted(inside)


@cache
def mutants(path: Path, function: str | None = None) -> tuple[Mutant, ...]:
    """Every mutant of a file, or of one function or class in it (``"Class.method"``), from its first line to its last.

    Nothing is changed in annotations, docstrings, ``__all__``, imports, the text of an error, and branches for type
    checkers.
    """
    text = path.read_text(encoding="utf-8")
    seen: dict[tuple[str, str, str], int] = {}
    found = []
    for where, start, stop, new in _edits(text):
        if not within(where, function):
            continue
        was, now = _lines(text, start, stop, new)
        again = seen[where, was, now] = seen.get((where, was, now), -1) + 1
        line = text.count("\n", 0, start) + 1
        found.append(Mutant(path, where, line, start, stop, new, was, now, again))
    return tuple(found)


def drawn(every: list[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """So many of them at random, or all: more of the same seed are these and others, and those that stay are drawn
    again when the code changes elsewhere.
    """
    place = lambda mutant: hashlib.sha256(f"{seed} {mutant.name}".encode()).hexdigest()
    return sorted(every, key=place)[:size]


def within(where: str, function: str | None) -> bool:
    """Whether a place is that function or class, or inside of it; ``None`` has every place inside."""
    return function is None or f"{where}.".startswith(f"{function}.")


def _edits(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Function, beginning, end and new text of each change that is still Python and not made before it."""
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    places = wrapper.resolve(WhitespaceInclusivePositionProvider)
    lines = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]
    offset = lambda place: lines[place.line - 1] + place.column
    for statement in wrapper.module.body:
        begin, end = offset(places[statement].start), offset(places[statement].end)
        made = set()
        for where, node, new in _Changes.of(statement):
            start, stop = offset(places[node].start), offset(places[node].end)
            code = wrapper.module.code_for_node(new)
            changed = text[begin:start] + code + text[stop:end]
            if changed != text[begin:end] and changed not in made and _compiles(changed):
                made.add(changed)
                first, last = _apart(text[start:stop], code)
                yield where, start + first, stop - last, code[first : len(code) - last]


def _compiles(code: str) -> bool:
    try:
        compile(code, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _apart(old: str, new: str) -> tuple[int, int]:
    """How many characters two texts share at their beginning, and at the end of what is left."""
    short = min(len(old), len(new))
    first = next((i for i in range(short) if old[i] != new[i]), short)
    left = short - first
    return first, next((i for i in range(left) if old[-1 - i] != new[-1 - i]), left)


def _lines(text: str, start: int, stop: int, new: str) -> tuple[str, str]:
    """The lines in which a change falls, before and after."""
    begin = text.rfind("\n", 0, start) + 1
    end = text.find("\n", stop)
    end = len(text) if end < 0 else end
    tidy = lambda lines: "\n".join(line.strip() for line in lines.splitlines())
    return tidy(text[begin:end]), tidy(text[begin:start] + new + text[stop:end])


class _Changes(cst.CSTVisitor):
    """Collects ``(function, node, what stands there instead)``."""

    def __init__(self) -> None:
        super().__init__()
        self.scope: list[str] = []
        self.found: list[tuple[str, cst.CSTNode, cst.CSTNode]] = []

    @classmethod
    def of(cls, statement: cst.CSTNode) -> list[tuple[str, cst.CSTNode, cst.CSTNode]]:
        statement.visit(visitor := cls())
        return visitor.found

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _spared(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.scope.append(node.name.value)
        where = ".".join(self.scope)
        self.found += [(where, node, new) for new in changes(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self.scope.pop()


def _spared(node: cst.CSTNode) -> bool:
    """Whether nothing in here is an expression whose value counts."""
    if isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom | cst.TypeAlias | cst.Raise):
        return True
    if isinstance(node, cst.If):
        return "TYPE_CHECKING" in cst.Module([]).code_for_node(node.test)
    if isinstance(node, cst.Assign):
        return any(isinstance(t.target, cst.Name) and t.target.value == "__all__" for t in node.targets)
    return False


@cache
def spans(path: Path) -> dict[str, tuple[int, int]]:
    """First and last line of every function and class of a file, by its qualified name; the last of that name."""
    found: dict[str, tuple[int, int]] = {}
    waiting: list[tuple[str, ast.AST]] = [("", ast.parse(path.read_text(encoding="utf-8")))]
    while waiting:
        where, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}" if where else child.name
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                found[inside] = first, child.end_lineno or first
            waiting.append((inside, child))
    return found

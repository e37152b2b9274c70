"""Two languages that every installation has: the prose of docstrings, and the Python that they stand in.

The old language is what NumPy, SciPy and scikit-learn say about themselves in whole sentences: letters and spaces,
no paragraph twice. The new one is their code without docstrings, no file twice. Both are cut into training, validation
and test parts, prose by paragraph and code by file, and a text's part is decided by the text alone (and the seed): a
paragraph that two versions of a package share lies in the same part in both, so that a model pre-trained on the one
was not trained on what is held out of the other. :attr:`Language.digest` says which texts a result is about.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import itertools
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

PACKAGES = {"numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn"}  # as installed and as imported
SYMBOLS = 128  # ASCII; what is not is left out
SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
SHORTEST = 100  # letters of a paragraph
LETTERS = (
    0.97  # of a paragraph, with spaces and the marks of a sentence, at least: the rest is a formula or code
)

_SENTENCES = re.compile(r"[A-Z].*\.")
_SAID = re.compile(r"[^\W\d_]|[ ,.'-]")
_OTHER = re.compile(r"[^A-Za-z]+")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Language(NamedTuple):
    """The letters of each part, and a digest of all texts that does not depend on how they were cut."""

    parts: dict[str, np.ndarray]
    digest: str


def languages(seed: int = 0, packages: tuple[str, ...] = tuple(PACKAGES)) -> tuple[Language, Language]:
    """(prose, code), cut as the seed decides."""
    prose, code = texts(packages)
    return cut(prose, "\n", seed), cut(code, "\n\n", seed)


def versions() -> dict[str, str]:
    """Of the packages whose texts these are."""
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def windows(text: np.ndarray, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, length + 1) of the text: what is read, and one letter more to be guessed."""
    if len(text) <= length:
        raise ValueError(f"a text of {len(text)} letters has no window of {length + 1}")
    starts = rng.integers(len(text) - length, size=count)
    return text[starts[:, None] + np.arange(length + 1)]


_ONE_AT_A_TIME = threading.Lock()  # Python's parser fails where two threads call it


def texts(packages: tuple[str, ...] = tuple(PACKAGES)) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All paragraphs of prose, all files of code; none twice, in the order in which they are met."""
    with _ONE_AT_A_TIME:
        return _texts(packages)


@functools.cache
def _texts(packages: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    prose: dict[str, None] = {}
    code: dict[str, None] = {}
    for path in _files(packages):
        source = path.read_text(encoding="utf-8")
        found = documented(ast.parse(source))
        for node in found:
            prose.update(dict.fromkeys(paragraphs(ast.get_docstring(node) or "")))
        left = without(source, [node.body[0] for node in found])
        if left.strip():
            code[left] = None
    return tuple(prose), tuple(code)


def _files(packages: tuple[str, ...]) -> Iterator[Path]:
    """The modules of these packages, tests left out, in an order that hangs on no file system."""
    for package in packages:
        root = Path(str(importlib.import_module(PACKAGES[package]).__file__)).parent
        yield from (
            path
            for path in sorted(root.rglob("*.py"), key=Path.as_posix)
            if "tests" not in path.relative_to(root).parts
        )


def documented(tree: ast.Module) -> list[Documented]:
    """The module, its classes and its functions, as far as they have a docstring."""
    found = (node for node in _statements(tree) if isinstance(node, Documented))
    return [node for node in found if ast.get_docstring(node)]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All that is in a tree but its expressions, which are most of it and hold no docstring."""
    yield node
    for name in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            yield from _statements(child)


def paragraphs(docstring: str) -> Iterator[str]:
    """Those that are sentences, as letters and single spaces."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        flat = " ".join(paragraph.split())
        sentences = len(flat) >= SHORTEST and _SENTENCES.fullmatch(flat)
        if sentences and len(_SAID.findall(flat)) >= LETTERS * len(flat):
            yield _OTHER.sub(" ", flat).strip()


def without(source: str, statements: Iterable[ast.stmt]) -> str:
    """The source without the lines of these statements."""
    lines = source.splitlines()
    gone = {line for one in statements for line in range(one.lineno - 1, one.end_lineno or one.lineno)}
    return "\n".join(line for place, line in enumerate(lines) if place not in gone)


def part(text: str, seed: int) -> str:
    """Which part a text belongs to: a hash of both decides, so that no other text has a say in it."""
    place = int.from_bytes(_hashed(text, seed)[:8], "big") / 2**64
    ends = itertools.accumulate(SHARES.values())
    inside = (name for name, end in zip(SHARES, ends, strict=True) if place < end)
    return next(inside, "test")  # the shares add to 1 up to a rounding


def cut(found: Iterable[str], between: str, seed: int) -> Language:
    """The texts in the order of their hashes, each in its part."""
    ordered = sorted(found, key=lambda text: _hashed(text, seed))
    parts = {name: between.join(text for text in ordered if part(text, seed) == name) for name in SHARES}
    letters = {
        name: np.frombuffer(text.encode("ascii", "ignore"), np.uint8).astype(np.int32)
        for name, text in parts.items()
    }
    return Language(letters, digest(ordered))


def digest(found: Iterable[str]) -> str:
    """Of a set of texts, in whatever order."""
    each = sorted(hashlib.sha256(text.encode()).digest() for text in found)
    return hashlib.sha256(b"".join(each)).hexdigest()


def _hashed(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode()).digest()

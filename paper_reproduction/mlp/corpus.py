"""Two languages that every installation has: the prose of docstrings, and the Python that they stand in.

The old language is what NumPy, SciPy and scikit-learn say about themselves in whole sentences: letters and spaces,
no paragraph twice. The new one is their code without docstrings. Both are cut into training, validation and test
parts, prose by paragraph and code by file, so that nothing that is tested on was trained on. Other versions of the three
packages are other languages: :attr:`Language.digest` says which one a result is about.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

PACKAGES = ("numpy", "scipy", "sklearn")
SYMBOLS = 128  # ASCII; what is not is left out
SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
SHORTEST = 100  # letters of a paragraph
LETTERS = 0.97  # of a paragraph, with spaces and the marks of a sentence, at least: the rest is a formula or code

_SENTENCES = re.compile(r"[A-Z].*\.")
_OTHER = re.compile(r"[^A-Za-z]+")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Language(NamedTuple):
    """The bytes of each part, and a digest of all of them."""

    parts: dict[str, np.ndarray]
    digest: str


def languages(seed: int = 0) -> tuple[Language, Language]:
    """(prose, code), in an order that the seed decides: another seed is another split."""
    prose, code = _texts()
    return _language(prose, "\n", seed), _language(code, "\n\n", seed + 1)


def windows(text: np.ndarray, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, length + 1) of the text: what is read, and one letter more to be guessed."""
    if len(text) <= length:
        raise ValueError(f"a text of {len(text)} letters has no window of {length + 1}")
    starts = rng.integers(len(text) - length, size=count)
    return text[starts[:, None] + np.arange(length + 1)]


@functools.cache
def _texts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All paragraphs of prose, all files of code."""
    prose: dict[str, None] = {}
    code = []
    for path in _files():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        documented = [node for node in ast.walk(tree) if isinstance(node, _DOCUMENTED) and ast.get_docstring(node)]
        for node in documented:
            prose.update(dict.fromkeys(_paragraphs(ast.get_docstring(node) or "")))
        code.append(_without(source, [node.body[0] for node in documented]))
    return tuple(prose), tuple(code)


def _files() -> Iterator[Path]:
    """The modules of the three packages, tests left out, in an order that hangs on no file system."""
    for package in PACKAGES:
        root = Path(str(importlib.import_module(package).__file__)).parent
        yield from (
            path for path in sorted(root.rglob("*.py"), key=Path.as_posix) if "tests" not in path.relative_to(root).parts
        )


def _paragraphs(docstring: str) -> Iterator[str]:
    """Those that are sentences, as letters and single spaces."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        flat = " ".join(paragraph.split())
        if len(flat) >= SHORTEST and _SENTENCES.fullmatch(flat):
            said = sum(letter.isalpha() or letter in " ,.'-" for letter in flat)
            if said >= LETTERS * len(flat):
                yield _OTHER.sub(" ", flat).strip()


def _without(source: str, statements: list[ast.stmt]) -> str:
    """The source without the lines of these statements."""
    lines = source.splitlines()
    gone = {line for one in statements for line in range(one.lineno - 1, one.end_lineno or one.lineno)}
    return "\n".join(line for place, line in enumerate(lines) if place not in gone)


def _language(texts: tuple[str, ...], between: str, seed: int) -> Language:
    """The texts in random order, cut into parts by their number."""
    order = np.random.default_rng(seed).permutation(len(texts))
    ends = np.round(np.cumsum([0.0, *SHARES.values()]) * len(texts)).astype(int)
    parts = {}
    for name, a, b in zip(SHARES, ends[:-1], ends[1:], strict=True):
        joined = between.join(texts[i] for i in order[a:b]).encode("ascii", "ignore")
        parts[name] = np.frombuffer(joined, np.uint8).astype(np.int32)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts.values())).hexdigest()
    return Language(parts, digest)

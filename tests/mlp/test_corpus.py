"""The two languages: what they are made of, and that a text's part hangs on nothing but the text and the seed."""

from __future__ import annotations

import ast
import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_reproduction.mlp import corpus

TEXTS = st.lists(st.text("abcdefg xyz", min_size=1), unique=True, max_size=30)
SEEDS = st.integers(0, 99)
MANY = [f"the {number} th of many paragraphs" for number in range(4000)]


def read(language: corpus.Language, part: str) -> str:
    return bytes(language.parts[part].astype(np.uint8)).decode("ascii")


# ------------------------------------------------------------------------------------------ the cut


@given(TEXTS, SEEDS)
def test_every_text_is_in_one_part_and_whole(texts, seed):
    parts = corpus.cut(texts, "\n", seed).parts
    lines = [
        line
        for letters in parts.values()
        if len(letters)
        for line in bytes(list(letters)).decode().split("\n")
    ]
    assert sorted(lines) == sorted(texts)


@given(TEXTS, TEXTS, SEEDS)
def test_another_text_more_moves_none(old, new, seed):
    """As where a package has another version: what both have lies in the same part in both."""
    both = list(dict.fromkeys([*old, *new]))
    before, after = corpus.cut(old, "\n", seed), corpus.cut(both, "\n", seed)
    for name in corpus.SHARES:
        kept = [line for line in read(before, name).split("\n") if line]
        assert set(kept) <= set(read(after, name).split("\n"))
        # In the same order, too.
        assert [line for line in read(after, name).split("\n") if line in kept] == kept


@given(st.permutations(MANY[:20]), SEEDS)
def test_the_order_in_which_they_are_met_does_not_matter(texts, seed):
    one, other = corpus.cut(texts, "\n", seed), corpus.cut(MANY[:20], "\n", seed)
    assert one.digest == other.digest
    assert all(np.array_equal(one.parts[name], other.parts[name]) for name in corpus.SHARES)


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_have_their_shares(seed):
    """Within five standard deviations of so many draws; another seed is another split."""
    inside = {name: sum(corpus.part(text, seed) == name for text in MANY) for name in corpus.SHARES}
    for name, share in corpus.SHARES.items():
        assert abs(inside[name] - share * len(MANY)) <= 5 * np.sqrt(share * (1 - share) * len(MANY))
    both = sum(corpus.part(text, seed) == corpus.part(text, seed + 1) == "test" for text in MANY)
    share = corpus.SHARES["test"] ** 2
    assert abs(both - share * len(MANY)) <= 5 * np.sqrt(share * len(MANY))


@given(TEXTS, st.text("abcdefg xyz", min_size=1))
def test_the_digest_is_that_of_the_texts(texts, more):
    digest = corpus.digest(texts)
    assert corpus.digest(reversed(texts)) == digest
    assert corpus.cut(texts, "\n", 7).digest == digest
    if more not in texts:
        assert corpus.digest([*texts, more]) != digest
    if texts:
        assert corpus.digest(texts[1:]) != digest
        assert corpus.digest([texts[0] + "!", *texts[1:]]) != digest


def test_the_digest_sees_where_a_text_ends():
    assert corpus.digest(["ab", "c"]) != corpus.digest(["a", "bc"])


# --------------------------------------------------------------------------------------- prose and code

SENTENCE = (
    "Compute the mean of each row, and then, where it is finite, of the whole of the array that was given."
)
PARAGRAPHS = {
    "sentences": (SENTENCE, True),
    "over two lines": (SENTENCE.replace(", and", ",\n    and"), True),
    "too short": ("Compute the mean.", False),
    "no end": (SENTENCE[:-1], False),
    "begins small": (SENTENCE[0].lower() + SENTENCE[1:], False),
    "a formula": (SENTENCE[:-1] + " x = (a + b) * [c - d] / {e ** 2} - 3.0 * f.", False),
    "an example": (">>> " + SENTENCE, False),
}


@pytest.mark.parametrize(("text", "taken"), PARAGRAPHS.values(), ids=PARAGRAPHS)
def test_paragraphs_of_prose(text, taken):
    found = list(corpus.paragraphs(f"Title\n\n{text}\n\nx : float"))
    plain = "".join(letter if letter.isalpha() else " " for letter in SENTENCE)
    assert found == ([" ".join(plain.split())] if taken else [])


SOURCE = '''"""Of the module."""
import os
class A:
    """Of the class,

    on several lines.
    """
    x = "kept"
    def f(self):
        """Of a method."""
        def inner():
            "Of a function in it."
            return """kept too"""
        return inner
if os:
    async def g():
        """Of a coroutine."""
        await g()
else:
    try:
        pass
    except ValueError:
        def h():
            """In a handler."""
            return 1
    finally:
        match os:
            case None:
                def k():
                    """In a case."""
                    return 2
for x in ():
    with os:
        class B:
            """Of a class in a loop."""
            y = lambda: 0
'''


def documented(source: str) -> list[ast.AST]:
    """By walking over everything."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds) and ast.get_docstring(node)
    ]


def stripped(source: str) -> str:
    first = [node.body[0] for node in corpus.documented(ast.parse(source))]
    return corpus.without(source, first)


def test_code_loses_its_docstrings_and_nothing_else():
    left = stripped(SOURCE)
    assert "Of " not in left
    assert "In a" not in left
    assert documented(left) == []
    lines = left.split("\n")
    assert [line for line in SOURCE.splitlines() if line in lines] == lines
    assert len(documented(SOURCE)) == 8


FILES = sorted((Path(str(importlib.import_module("sklearn.linear_model").__file__)).parent).glob("*.py"))


@pytest.mark.parametrize("path", FILES[:12], ids=lambda path: path.stem)
def test_every_docstring_of_a_real_file_is_found(path):
    source = path.read_text(encoding="utf-8")
    place = lambda nodes: sorted(node.body[0].lineno for node in nodes)
    assert place(corpus.documented(ast.parse(source))) == place(documented(source))


# ------------------------------------------------------------------------------------ what is installed


def test_the_installed_prose_is_letters_and_spaces():
    prose, _ = corpus.texts()
    assert len(set(prose)) == len(prose) > 1000
    assert set().union(*prose) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    assert not any("  " in text or text != text.strip() for text in prose)


def test_the_installed_code_is_code():
    _, code = corpus.texts()
    assert len(set(code)) == len(code) > 500
    assert all(text.strip() for text in code)
    assert sum("def " in text for text in code) > len(code) / 2


@pytest.mark.parametrize("seed", [0, 3])
def test_nothing_that_is_tested_on_was_trained_on(seed):
    prose, _ = corpus.languages(seed)
    lines = {name: set(read(prose, name).split("\n")) for name in corpus.SHARES}
    assert all(lines.values())
    for one, other in itertools.combinations(lines.values(), 2):
        assert not one & other
    assert set.union(*lines.values()) == set(corpus.texts()[0])


def test_windows_are_pieces_of_the_text():
    text = np.arange(100, dtype=np.int32)
    found = corpus.windows(text, 7, 50, np.random.default_rng(0))
    assert found.shape == (50, 8)
    assert found.dtype == np.int32
    assert (np.diff(found, axis=1) == 1).all()
    assert (
        len(set(corpus.windows(text, 7, 2000, np.random.default_rng(0))[:, 0].tolist())) == 93
    )  # each place
    with pytest.raises(ValueError, match="no window of 101"):
        corpus.windows(text, 100, 1, np.random.default_rng(0))

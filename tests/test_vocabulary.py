"""One word for one thing, wherever people read: the old words are not met again.

Each old word stands in ``OLD`` with the better one. ``ROOTS`` are the rooms that keep to it; a room is added by its
name. Where an old word is right (a file's name, a key of stored arrays or of the palette, a quotation), it stands in
``RIGHT``, which is taken out before one looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOTS = (
    "README.md",
    "docs",
    "paper_reproduction/notebooks",
    "paper_reproduction/explorer",
    "figures/lessons.py",
)
KINDS = {".md", ".py", ".ipynb", ".js", ".j2", ".css"}
ELSEWHERE = (  # written by other hands of the same project, or copied when the site is built
    "docs/architecture.md", "docs/speed.md", "docs/project", "docs/notebooks/0", "docs/_static/house.svg",
)  # fmt: skip

OLD = {  # the old word: the better one
    r"vanilla": "standard fine-tuning",
    r"\b[Pp]lain (fine-tuning|training|descent|gradient|SGD|GD|loss|Trainer)\b": "standard fine-tuning",
    r"\bGD\b": "standard fine-tuning",
    r"\bno weights\b": "standard fine-tuning",
    r"step-?matched": "same mean step",
    r"\bmatched\b": "same mean step",
    r"\b(the|its|a) controls?\b": "standard fine-tuning with the same mean step",
    r"\bcontrol without\b": "standard fine-tuning with the same mean step",
    r"small-step": "same mean step, or same first step",
    r"loss × (the )?mean weight": "same mean step",
    r"[\"'*]smaller step\b": "same first step, or same mean step",
    r"oracle": "best for both (the joint optimum)",
    r"\(B\d*\)|\bTHEORY \d": "beyond the paper",
    r"\bless (standard|the control|the formula|the same)": "minus; points more, points fewer",
    r"roundings\b": "in units of rounding error (ε)",
    r"easy samples remind|refuses? its neighbours|\bbears out\b": "what is meant, in plain words",
    r"what it exercises": "the functions that it uses",
}
RIGHT = (
    r"vanilla[-_]iterates",  # a claim's name, and the files named after it
    r"(COLOURS|tone)(\.|\[)[\"']?(vanilla|oracle)[\"']?\]?",  # a key of the palette
    r"\bvanilla: \"#|\boracle: \"#",  # the same by night
    r"\"(vanilla|oracle)\"",  # a key, handed on to the palette
    r"[\"'](standard-|flow-)?matched[\"']",  # a run of the stored results
    r"the control with the same (mean|first) step",
    r"The first run is the control:",  # of a mutation test, where it is the usual word
    r"beyond the paper, the oracle \|",  # README, until its table is renamed
    r"# no weights, but FLOW's first step",  # README, which says with it what the row is
)


def prose(path: Path) -> str:
    """What of a file people read: a notebook without its pictures."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    found = []
    for cell in json.loads(text)["cells"]:
        found.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            found.append("".join(output.get("text", [])))
            found.append("".join(output.get("data", {}).get("text/plain", [])))
    return "\n".join(found)


def files() -> Iterator[Path]:
    for root in ROOTS:
        place = ROOT / root
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in KINDS and not name.startswith(ELSEWHERE):
                yield path


def old_words(text: str) -> list[str]:
    """Each old word in a text, as it stands there, with the better one."""
    for right in RIGHT:
        text = re.sub(right, "", text)
    text = re.sub(r"\s*\n\s*(# |// )?", " ", text)  # a word may be broken over two lines
    return [
        f"{text[max(0, found.start() - 30) : found.end() + 30]!r}: say {better}"
        for old, better in OLD.items()
        for found in re.finditer(old, text, 0 if re.search("[A-Z]", old) else re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", [*files()], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_old_word_is_met(path: Path) -> None:
    assert old_words(prose(path)) == []


def test_every_room_is_searched() -> None:
    found = [path.relative_to(ROOT).as_posix() for path in files()]
    assert all(any(name.startswith(root) for name in found) for root in ROOTS)
    assert len(found) > 50


@pytest.mark.parametrize(
    "text",
    [
        "Vanilla fine-tuning", "a step-matched\ncontrol", "the matched rate", "no\n# weights", "plain SGD", "GD wins",
        "than the oracle", "the control keeps more", "loss × mean weight", 'a row "smaller step"', "proved in (B3)",
        "THEORY 7", "FLOW less standard", "12 roundings × condition", "easy samples remind", "refuses its neighbours",
    ],
)  # fmt: skip
def test_an_old_word_is_noticed(text: str) -> None:
    assert old_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "standard fine-tuning with the same mean step", "`vanilla-iterates`", 'COLOURS["vanilla"]', "in plain words",
        "the best for both (the joint optimum)", "a smaller step learns less", "7.2 (8)", "Gradient descent",
    ],
)  # fmt: skip
def test_a_good_word_is_left_alone(text: str) -> None:
    assert old_words(text) == []

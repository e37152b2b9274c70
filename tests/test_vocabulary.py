"""One word for one thing, wherever people read: the old words are not met again, in prose or in a name.

Each old word stands in ``OLD`` with the better one. ``ROOTS`` are the rooms that keep to it; a room is added by its
name. Where an old word is right (a run of stored arrays, the usual word of another field), it stands in ``RIGHT``,
which is taken out before one looks. Names are read as their words: ``flow_matched`` is "flow matched".
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
    "CONTRIBUTING.md",
    "docs",
    "linear_theory",
    "paper_reproduction",
    "figures",
    "benchmarks",
    "tests",
)
KINDS = {".md", ".py", ".ipynb", ".js", ".j2", ".css"}
ELSEWHERE = (  # copied when the site is built, or made of old words
    "docs/project", "docs/notebooks/0", "docs/notebooks/1", "tests/test_vocabulary.py",
)  # fmt: skip

OLD = {  # the old word: the better one
    r"vanilla": "standard fine-tuning",
    r"\bplain (fine-tuning|training|descent|gradient|SGD|GD|loss|Trainer)\b": "standard fine-tuning",
    r"(?<![a-z])(?-i:GD)(?![a-z])": "standard fine-tuning",
    r"\bno weights\b": "standard fine-tuning",
    r"\b(step|flow|standard)[- ]?matched\b": "same mean step",
    r"\b(a|the|its|with|without|of) matched\b|\bmatched (step|rate|control|run|FLOW|standard)": "same mean step",
    r"[\"'`]matched[\"'`]": "same mean step",
    # A control is either of two: the same mean step, and shuffled weights.
    r"\b(the|its) controls?\b": "standard fine-tuning with the same mean step",
    r"\bcontrol without\b|\b(and|shown|with) controls\b": "standard fine-tuning with the same mean step",
    r"small-step|\bsmall step (error|run|rate|control)": "same mean step, or same first step",
    r"loss × (the )?mean weight": "same mean step",
    r"[\"'*]smaller step\b": "same first step, or same mean step",
    r"oracle": "best for both (the joint optimum)",
    r"(?-i:(?<![\w)\]])\(B\d*\)|\bTHEORY \d)": "beyond the paper",
    r"\bless (standard|theory|the control|the formula|the same|its)\b": "minus; points more, points fewer",
    r"\broundings ×|\b(in|to|within|few|hundred|\d+) roundings\b": "in units of rounding error (ε)",
    r"\brounding bounds?\b": "in units of the bound on rounding errors",
    r"easy samples remind|refuses? its neighbours|\bbears out\b": "what is meant, in plain words",
    r"what it exercises|functions? exercised|<dt>exercises": "the functions that it uses",
}
RIGHT = (
    r"The first run is the control:",  # of a mutation test, where it is the usual word
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
    text = text.replace("_", " ")  # a name is its words
    text = re.sub(r"\s*\n\s*(# |// )?", " ", text)  # a word may be broken over two lines
    return [
        f"{text[max(0, found.start() - 30) : found.end() + 30]!r}: say {better}"
        for old, better in OLD.items()
        for found in re.finditer(old, text, re.IGNORECASE)
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
        "def vanilla_distance(beta):", "Plain SGD", "Matched step",
        "GD_STEPS = 40", "test_nobody_beats_the_oracle", "small_step_error",
        'd.sel(run="flow_matched")', "FLOW with matched step", "sampled less theory", "in roundings, relative",
        "to a few roundings", "64 roundings", "in rounding bounds", "test_a_claim_says_what_it_exercises", "plain_loss",
        "with its step-matched controls",
    ],
)  # fmt: skip
def test_an_old_word_is_noticed(text: str) -> None:
    assert old_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "standard fine-tuning with the same mean step", "in plain words", "plain numbers", "a plain loop over steps",
        "the best for both (the joint optimum)", "a smaller step learns less", "7.2 (8)", "Gradient descent",
        "columns are matched by name", "matched = re.match(pattern, text)", "SGD", "eigh(B)", "many Gaussian rows",
        "log₂ K roundings of a sum", "path.roundings[-1]", "eight lessons with exercises", "less than its bound",
        "the limit of small steps", "ROUNDINGS = 16",
    ],
)  # fmt: skip
def test_a_good_word_is_left_alone(text: str) -> None:
    assert old_words(text) == []

"""The house: imports without a circle, a picture that is current, and a page on which everything named exists."""

from __future__ import annotations

import importlib
import re
import sys
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
house = importlib.import_module("house")
sys.path.pop(0)

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def circles(graph):
    """Modules from which a way leads back to themselves."""

    def reached(start):
        seen, ahead = set(), [start]
        while ahead:
            new = graph.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    return [module for module in graph if module in reached(module)]


def test_no_module_is_in_a_circle():
    """The package itself, which imports everything, is imported by nobody inside it."""
    graph = house.imports()
    assert len(graph) > 50
    assert circles(graph) == []


def test_a_circle_would_be_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_the_picture_is_drawn_from_the_imports_as_they_are():
    assert house.PICTURE.read_text(encoding="utf-8") == house.draw(), "run python docs/_ext/house.py"


def test_every_room_has_a_floor_and_is_named_on_the_page():
    rooms = [room for floor in house.floors() for room in floor]
    assert sorted(rooms) == sorted({house.room(module) for module in house.modules()} - {""})
    for room in set(rooms) - {"__main__"}:
        assert re.search(rf"`{room}/?`", PAGE), room


NAMED = sorted(set(re.findall(r"^\|[^|]*\|(.*)\|$", PAGE, re.M)))


@pytest.mark.parametrize(
    "name", sorted({n for row in NAMED for n in re.findall(r"`([a-z_]+(?:\.\w+)+)`", row)})
)
def test_what_the_page_points_at_is_there(name):
    """A module, or something defined in the very module that the page names."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(["linear_theory", *parts[:length]])
        if module in house.modules():
            break
    found = reduce(getattr, parts[length:], importlib.import_module(module))
    assert getattr(found, "__module__", module) == module

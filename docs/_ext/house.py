"""The house of the package, drawn from its imports: ``python docs/_ext/house.py`` writes ``docs/_static/house.svg``.

Floors are those that import-linter holds (``pyproject.toml``). A line leads from a room to a room below that it asks;
one that follows from two others is left out.
"""

from __future__ import annotations

import ast
import html
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs" / "_static" / "house.svg"
PACKAGE = "linear_theory"

WIDTH, ROOM, GAP, FLOOR, TOP = 1120, 24, 64, 62, 26


def floors() -> list[list[str]]:
    """The rooms of each floor, the highest first."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c.get("containers") == [PACKAGE])
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in known else source)
    return found - {name}


def imports() -> dict[str, set[str]]:
    """Who imports whom, module by module."""
    known = modules()
    return {name: imported(name, path, known) for name, path in known.items()}


def room(module: str) -> str:
    """The folder or file directly in the package that a module is, or lies in."""
    return module.split(".")[1] if "." in module else ""


def rooms() -> dict[str, set[str]]:
    """Who asks whom, room by room."""
    found: dict[str, set[str]] = {}
    for name, others in imports().items():
        here = room(name)
        found.setdefault(here, set()).update(room(other) for other in others if room(other) != here)
    found.pop("", None)
    return {here: {there for there in others if there} for here, others in found.items()}


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph without the lines that follow from two others."""

    def below(here: str) -> set[str]:
        return {there for nearer in graph.get(here, ()) for there in {nearer, *below(nearer)}}

    return {here: others - {far for near in others for far in below(near)} for here, others in graph.items()}


def first_sentence(path: Path) -> str:
    """What a module says it is."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def draw() -> str:
    """The picture, the same for the same imports to the last byte."""
    layers, known, lines = floors(), modules(), reduced(rooms())
    place: dict[str, tuple[float, float, float]] = {}
    for number, layer in enumerate(layers):
        widths = [9.2 * len(name) + 26 for name in layer]
        x = (WIDTH - sum(widths) - GAP * (len(layer) - 1)) / 2
        for name, width in zip(layer, widths, strict=True):
            place[name] = (x, TOP + number * FLOOR, width)
            x += width + GAP
    height = TOP + len(layers) * FLOOR
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="Rooms of {PACKAGE} by floor, with lines to the rooms that each one asks"'
        ' font-family="ui-monospace, monospace" font-size="15">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for here in sorted(lines):
        for there in sorted(lines[here]):
            (x, y, w), (u, v, t) = place[here], place[there]
            start, end = x + w / 2, u + t / 2
            bend = (v - y - ROOM) / 2
            top, low, high = y + ROOM, y + ROOM + bend, v - bend
            curve = f"M{start:.1f} {top:.1f} C{start:.1f} {low:.1f} {end:.1f} {high:.1f} {end:.1f} {v:.1f}"
            parts.append(f'<path d="{curve}" fill="none" stroke="#8a9bb0" stroke-width="1.2"/>')
    for name in sorted(place):
        x, y, width = place[name]
        path = known[f"{PACKAGE}.{name}"]
        folder = path.name == "__init__.py"
        fill, label = ("#dbe7f5", f"{name}/") if folder else ("#f4f6f9", name)
        parts += [
            f"<g><title>{html.escape(first_sentence(path))}</title>",
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROOM}" rx="5" fill="{fill}" stroke="#43536b"/>',
            f'<text x="{x + width / 2:.1f}" y="{y + 17}" text-anchor="middle" fill="#1c2733">{label}</text></g>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

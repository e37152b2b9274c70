"""Puts the page together: template, style, scripts, the colours of the house, and plotly.js from its Python package."""

from __future__ import annotations

from pathlib import Path

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import linear_theory
from figures.style import COLOURS, ink
from paper_reproduction.policy import hashed
from paper_reproduction.writing import put

HERE = Path(__file__).parent
SCRIPTS = "theory.js", "settings.js", "labels.js", "plots.js", "view.js"  # each uses those before it


def part(name: str) -> Markup:
    """One of our own files, as it stands."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def library() -> Markup:
    """plotly.js, with its licence at its head, safe inside a script element."""
    return Markup(get_plotlyjs().replace("</script", "<\\/script"))


def build() -> str:
    """The whole page as text. It asks for nothing else, from the disk or from a network."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    letters = {colour: ink(colour) for colour in COLOURS.values()}
    constants = Markup("const COLOURS = {}, LETTERS = {};").format(
        *map(htmlsafe_json_dumps, (COLOURS, letters))
    )
    scripts = [library(), constants, *(part(name) for name in SCRIPTS)]
    return environment.get_template("page.html.j2").render(
        colours=COLOURS,
        style=part("style.css"),
        scripts=scripts,
        allowed=Markup(" ").join(Markup("'{}'").format(hashed(script)) for script in scripts),
        version=linear_theory.__version__,
    )


def write(path: Path) -> Path:
    """Write the page to ``path``, whole or not at all."""
    put(path, build().encode())
    return path

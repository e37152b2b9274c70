"""The site: ``python -m sphinx -W --keep-going docs out/site``. Offline, and with every warning an error."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing here is worth waking a GPU

from lessons import copied  # noqa: E402

import linear_theory  # noqa: E402
from figures.style import COLOURS  # noqa: E402
from paper_reproduction import explorer, fonts  # noqa: E402

LESSONS = ROOT / "paper_reproduction" / "notebooks"

project = "linear-theory"
author = "The linear-theory developers"
copyright = f"2026, {author}"
version = release = linear_theory.__version__
extensions = [
    "claims",
    "lessons",
    "mathml_renderer",
    "myst_nb",
    "policy",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_ext", "_static", "_templates", "examples"]
needs_sphinx = "8.1"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the lessons bring their outputs; the tests run them
nb_merge_streams = True
suppress_warnings = ["myst.header"]  # lessons start at their own level

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units stand in the docstrings
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_display_short_literal_types = True

html_title = "linear-theory"
html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("copy.js", {"defer": "defer"})]
html_show_sourcelink = False
# Every public module has its page under "Reference": an index of modules would say the same, less well.
html_domain_indices = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": COLOURS["flow"],
        "color-brand-content": COLOURS["flow"],
        "font-stack": fonts.SANS,
        "font-stack--monospace": fonts.MONOSPACE,
        "font-stack--math": fonts.MATH,
    },
    "dark_css_variables": {
        "color-brand-primary": COLOURS["pretrained"],
        "color-brand-content": COLOURS["pretrained"],
    },
    "navigation_with_keys": True,
}


def put(path: Path, text: str) -> None:
    """Write, unless it says so already: an unchanged page is not built again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def fetch() -> None:
    """What lies elsewhere, for Sphinx reads below its own folder only: lessons, project pages, parts of the README.

    Links from the latter to files that have no page here become the names of these files.
    """
    lessons = {path.name: path for path in LESSONS.glob("*.ipynb")}
    for copy in (HERE / "notebooks").glob("*.ipynb"):
        if copy.name not in lessons:
            copy.unlink()
    for name, path in lessons.items():
        put(HERE / "notebooks" / name, copied(path))
    readme = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text(encoding="utf-8"))
    for name, begin, end in (
        ("opening", "Fine-tune a trained model", "!["),
        ("caption", "Each dot is one step", "## When to use it"),
        ("when", "## When to use it", "**The theorem"),
        ("numbers", "```python", "## Two commands"),
    ):
        first = readme.index(begin)
        put(
            HERE / "project" / f"{name}.txt",
            readme[first : readme.index(end, first)].removeprefix("## When to use it"),
        )
    for name in ("contributing", "changelog"):
        text = (ROOT / f"{name.upper()}.md").read_text(encoding="utf-8")
        put(HERE / "project" / f"{name}.md", re.sub(r"\[[^\]]+\]\((?!https?:)([^)]+)\)", r"`\1`", text))


def write_explorer(app, exception) -> None:
    """One file of its own, in a folder of its own: ``explorer.html`` beside the pages is the page about it."""
    if exception is None and app.builder.format == "html":
        page = Path(app.outdir) / "explorer" / "explorer.html"
        page.parent.mkdir(exist_ok=True)
        explorer.write(page)


fetch()


def setup(app) -> None:
    app.connect("build-finished", write_explorer)

"""Formulas as MathML, set by the browser itself: no script, no font, no network. They carry no numbers or labels."""

from __future__ import annotations

from docutils import nodes
from sphinx.util import logging

from paper_reproduction import mathml

logger = logging.getLogger(__name__)


def _formula(node: nodes.Node, display: str) -> str:
    try:
        return mathml.formula(node.astext().strip(), display)
    except mathml.FormulaError as error:
        logger.warning("%s", error, location=node)
        return mathml.formula_or_source(node.astext(), display)


def inline(translator, node: nodes.math) -> None:
    translator.body.append(_formula(node, "inline"))
    raise nodes.SkipNode


def block(translator, node: nodes.math_block) -> None:
    if node.get("label"):
        logger.warning("formulas have no numbers here: drop the label %r", node["label"], location=node)
    translator.body.append(f'<div class="formula">{_formula(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Formulas as MathML, set by the browser itself: no script, no font, no network. They carry no numbers or labels."""

from __future__ import annotations

from collections.abc import Callable

from docutils import nodes
from sphinx.transforms.post_transforms import ReferencesResolver, SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import clean_astext

from paper_reproduction import mathml

logger = logging.getLogger(__name__)


def _set(node: nodes.Node, formula: Callable[[str], str], source: Callable[[str], str]) -> str:
    try:
        return formula(node.astext().strip())
    except mathml.FormulaError as error:
        logger.warning("%s", error, location=node)
        return source(node.astext())


def inline(translator, node: nodes.math) -> None:
    translator.body.append(_set(node, mathml.inline, mathml.inline_or_source))
    raise nodes.SkipNode


def block(translator, node: nodes.math_block) -> None:
    if node.get("label"):
        logger.warning("formulas have no numbers here: drop the label %r", node["label"], location=node)
    translator.body.append(_set(node, mathml.displayed, mathml.displayed_or_source) + "\n")
    raise nodes.SkipNode


class TitlesWithFormulas(SphinxPostTransform):
    """A link that says the title of a page says its formulas, too, and not their LaTeX."""

    default_priority = ReferencesResolver.default_priority + 1

    def run(self, **kwargs) -> None:
        titles = [title for title in self.env.titles.values() if any(title.findall(nodes.math))]
        known = {clean_astext(title): title for title in titles}
        for link in self.document.findall(nodes.inline):
            if "doc" in link["classes"] and (title := known.get(link.astext())):
                link[:] = [child.deepcopy() for child in title]


def setup(app) -> dict[str, bool]:
    app.add_post_transform(TitlesWithFormulas)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""LaTeX to MathML, which every browser sets by itself: no script, no font and no network."""

from __future__ import annotations

import functools
import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup, escape

_INLINE = re.compile(r"\$([^$]+)\$")
# The converter leaves spacing to the browser, which takes words, norm bars and slashes for infix operators
# and a leading minus for a binary one. These patterns put the spaces where TeX has them.
_WORD = re.compile(r"<mo>([A-Za-z]{2,})</mo>")
_BAR = re.compile(r"<mo(?: fence=\"false\" stretchy=\"false\")?>&#x(02016|0007C|02225);</mo>")
_SLASH = re.compile(r"<mo>(?:/|&#x0002F;)</mo>")
_SIGN = re.compile(
    r"(<mo[^>]*>&#x(?:00028|0003D|0002C|02264|02265|0003C|0003E|0005B);</mo>)<mo>(&#x02212;)</mo>"
)
_FUNCTION = re.compile(
    r"(<mi>(?:ln|log|exp|min|max|sup|inf|arg|cos|sin|tr|det)</mi>)(?!<mo[^>]*>&#x0002[89];|</m)"
)
# Presentation MathML and nothing else may come out: no markup smuggled in through \text{…}.
_TAG = re.compile(
    r"math|m(i|n|o|row|text|space|frac|sqrt|root|style|padded|phantom|enclose|table|tr|td)|m(sub|sup)+"
    r"|m(under|over)+|mmultiscripts|mprescripts|none"
)
_OVERBAR = '<mo stretchy="true">&#x000AF;</mo>'


class FormulaError(ValueError):
    """A formula that the converter does not understand."""


@functools.cache
def formula(latex: str, display: str = "inline") -> Markup:
    """One formula as a ``<math>`` element; raises :class:`FormulaError` where a command is not understood."""
    source = latex.replace("{aligned}", "{align*}")
    try:
        text = convert(source, display=display)
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
    except Exception as error:  # the converter has many ways to fail, all of them the author's formula
        raise FormulaError(f"cannot set {latex!r}: {error}") from error
    if strange := sorted(tag for tag in tags if not _TAG.fullmatch(tag)):
        raise FormulaError(f"cannot set {latex!r}: it holds {', '.join(strange)}")
    if "\\" in text:
        unknown = re.findall(r"\\[A-Za-z]+", text)
        raise FormulaError(f"cannot set {latex!r}: unknown {', '.join(unknown) or 'backslash'}")
    text = _WORD.sub(r"<mi>\1</mi>", text)
    text = _BAR.sub(r'<mo stretchy="false" lspace="0.05em" rspace="0.05em">&#x\1;</mo>', text)
    text = _SLASH.sub('<mo lspace="0" rspace="0">/</mo>', text)
    text = _SIGN.sub(r'\1<mo form="prefix" lspace="0" rspace="0.05em">\2</mo>', text)
    text = _FUNCTION.sub(r'\1<mspace width="0.167em" />', text)
    return Markup(text.replace(_OVERBAR, '<mo stretchy="false">&#x000AF;</mo>'))


def formula_or_source(latex: str, display: str = "inline") -> Markup:
    """The same, but shows the LaTeX itself where it cannot be set: a report is never lost to a formula."""
    try:
        return formula(latex, display)
    except FormulaError:
        return Markup("<code>{}</code>").format(latex)


def prose(text: str) -> Markup:
    """Escaped text in which every ``$…$`` is set as a formula."""
    parts = _INLINE.split(text)
    return Markup("").join(formula_or_source(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def formulas_in(text: str) -> list[str]:
    """The LaTeX of every inline formula of a text."""
    return _INLINE.findall(text)

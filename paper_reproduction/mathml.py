"""LaTeX to MathML, which every browser sets by itself: no script, no font and no network."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markupsafe import Markup, escape

from paper_reproduction import numbers

_INLINE = re.compile(r"\$([^$]+)\$")
# Presentation MathML and nothing else may come out: no markup smuggled in through \text{…}.
_TAG = re.compile(
    r"math|m(i|n|o|row|text|space|frac|sqrt|root|style|padded|phantom|enclose|table|tr|td)|m(sub|sup)+"
    r"|m(under|over)+|mmultiscripts|mprescripts|none"
)
# No link and no style: the converter makes them of \href and \style.
_ATTRIBUTES = re.compile(
    r"display(style)?|scriptlevel|math(variant|color|background|size)|form|fence|separator|accent(under)?|movablelimits"
    r"|stretchy|symmetric|(min|max)size|largeop|[lr]space|width|height|depth|voffset|linethickness|notation"
    r"|(column|row)(align|lines|spacing)|frame"
)


class FormulaError(ValueError):
    """A formula that the converter does not understand."""


def prose(text: str) -> Markup:
    """Escaped text in which every ``$…$`` is set as a formula, and so is what Python wrote: 1e+12, [[1, 2], [3, 4]]."""
    parts = _INLINE.split(numbers.spelled(text))
    return Markup("").join(inline_or_source(p) if i % 2 else escape(_held(p)) for i, p in enumerate(parts))


def _held(text: str) -> str:
    """The same text, no line of which ends before or after a ±, or before a %."""
    return re.sub(r" (?=[±%])|(?<=±) ", "\N{NO-BREAK SPACE}", text)


def formulas_in(text: str) -> list[str]:
    """The LaTeX of every inline formula of a text."""
    return _INLINE.findall(text)


@functools.cache
def formula(latex: str, display: str = "inline") -> Markup:
    """One formula as a ``<math>`` element; raises :class:`FormulaError` where a command is not understood."""
    source = latex.replace("{aligned}", "{align*}")
    try:
        root = ElementTree.fromstring(convert(source, display=display))
    except Exception as error:  # the converter has many ways to fail, all of them the author's formula
        raise FormulaError(f"cannot set {latex!r}: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if strange := sorted({element.tag for element in root.iter() if not _TAG.fullmatch(element.tag)}):
        raise FormulaError(f"cannot set {latex!r}: it holds {', '.join(strange)}")
    named = {name for element in root.iter() for name in element.attrib}
    if strange := sorted(name for name in named if not _ATTRIBUTES.fullmatch(name)):
        raise FormulaError(f"cannot set {latex!r}: it sets {', '.join(strange)}")
    if "\\" in (text := "".join(root.itertext())):
        unknown = re.findall(r"\\[A-Za-z]+", text)
        raise FormulaError(f"cannot set {latex!r}: unknown {', '.join(unknown) or 'backslash'}")
    for element in list(root.iter()):
        _set_words(element)
    for element in list(root.iter()):
        _set_operators(element)
        _set_functions(element)
        if display == "block":
            _set_below(element)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _set_words(element: Element) -> None:
    """Letters that the converter sets one by one, as in err, become one word, and words are no operators."""
    children: list[Element] = []
    for child in element:
        last = children[-1] if children else None
        if last is not None and _is_upright(last) and _is_upright(child):
            last.text = (last.text or "") + (child.text or "")
        else:
            children.append(child)
    element[:] = children
    if element.tag == "mrow" and len(element) == 1 and _is_upright(element[0]):
        word = element[0]  # which is itself the base of an index, and not a row around it
        element.tag, element.text, element.attrib, element[:] = "mi", word.text, dict(word.attrib), []
    if element.tag == "mo" and len(element.text or "") > 1 and (element.text or "").isalpha():
        element.tag, element.attrib = "mi", {}


def _is_upright(element: Element) -> bool:
    return element.tag == "mi" and element.get("mathvariant") == "normal" and (element.text or "").isalpha()


_AFTER_THESE_A_SIGN = set("(=,≤≥<>[")


def _set_operators(element: Element) -> None:
    """Spaces where TeX has them: browsers take norm bars and slashes for infix operators, a sign for a difference."""
    before = None
    for child in element:
        if child.tag == "mo":
            unstretched = child.get("stretchy") != "true" and child.get("fence") != "true"
            if child.text in {"‖", "|", "∥"} and unstretched:
                child.attrib = {"stretchy": "false", "lspace": "0.05em", "rspace": "0.05em"}
            elif child.text == "/":
                child.attrib = {"lspace": "0", "rspace": "0"}
            elif child.text == "−" and before in _AFTER_THESE_A_SIGN:
                child.attrib = {"form": "prefix", "lspace": "0", "rspace": "0.05em"}
            elif child.text == "*":  # a type's own asterisk stands high already
                child.text = "∗"
            elif child.text == "¯":
                child.attrib = {"stretchy": "false"}
        before = child.text if child.tag == "mo" else None


_FUNCTIONS = {
    "ln",
    "log",
    "exp",
    "min",
    "max",
    "sup",
    "inf",
    "lim",
    "arg",
    "argmin",
    "argmax",
    "cos",
    "sin",
    "tr",
    "det",
}
_OVER_A_SET = {"min", "max", "sup", "inf", "lim", "argmin", "argmax"}


def _set_below(element: Element) -> None:
    """What a minimum runs over stands below it in a formula on a line of its own."""
    if element.tag == "msub" and element[0].text in _OVER_A_SET:
        element.tag = "munder"


def _set_functions(element: Element) -> None:
    """Thin spaces around the name of a function, except beside brackets, signs and commas."""
    if element.tag not in {"math", "mrow", "mtd", "mstyle"}:  # elsewhere the number of children has a meaning
        return
    children = list(element)
    spaced: list[Element] = []
    for child, after in itertools.zip_longest(children, children[1:]):
        spaced.append(child)
        if after is not None and (
            (_is_function(child) and after.text not in {"(", "[", ")", "]", ","})
            or (_is_function(after) and (child.tag not in {"mo", "mspace"} or child.text in {")", "]"}))
        ):
            spaced.append(Element("mspace", width="0.167em"))
    element[:] = spaced


def _is_function(element: Element) -> bool:
    indexed = element.tag in {"msub", "msup", "msubsup", "munder"}
    return (element[0].text if indexed else element.text) in _FUNCTIONS


# where a line is too short ----------------------------------------------------------------------------------

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING = {"{", "(", "[", r"\left", r"\begin", r"\{"}
_CLOSING = {"}", ")", "]", r"\right", r"\end", r"\}"}
_RELATIONS = {"=", "<", ">", r"\le", r"\leq", r"\ge", r"\geq", r"\approx", r"\propto", r"\equiv"}
_LONG = 45
"""Characters of LaTeX from which on a formula in a text may break."""


def inline(latex: str) -> Markup:
    """A formula in a text; a long one breaks at its relations. Raises :class:`FormulaError` as :func:`formula` does."""
    whole = formula(latex)
    clauses = list(_clauses(latex))
    if len(latex) < _LONG or len(clauses) > 1:
        return whole
    return _WBR.join(formula(part) for part in clauses[0])


def displayed(latex: str) -> Markup:
    """A formula on a line of its own, which breaks between its clauses and at relations.

    Raises :class:`FormulaError` as :func:`formula` does.
    """
    formula(latex, "block")  # says what is wrong with the whole, not with a part of it
    set_ = [_WBR.join(formula(part, "block") for part in parts) for parts in _clauses(latex)]
    return Markup('<div class="formula">{}</div>').format(
        Markup(" ").join(Markup('<span class="clause">{}</span>').format(one) for one in set_)
    )


def inline_or_source(latex: str) -> Markup:
    """The same as :func:`inline`, but the LaTeX itself where it cannot be set: a report is never lost to a formula."""
    try:
        return inline(latex)
    except FormulaError:
        return Markup("<code>{}</code>").format(latex)


def displayed_or_source(latex: str) -> Markup:
    """The same as :func:`displayed`, but the LaTeX itself where it cannot be set."""
    try:
        return displayed(latex)
    except FormulaError:
        return Markup('<div class="formula"><code>{}</code></div>').format(latex)


_WBR = Markup("<wbr>")


def _clauses(latex: str) -> Iterator[list[str]]:
    """What stands between wide spaces, each cut before its relations, outside all brackets."""
    clause, depth, before = [""], 0, ""
    for token in _TOKEN.findall(latex):
        depth = max(0, depth + (token in _OPENING) - (token in _CLOSING))
        if depth == 0 and (token in {r"\quad", r"\qquad"} or (token == r"\;" and before == ",")):
            yield clause
            clause = [""]
        elif depth == 0 and token in _RELATIONS and before not in {r"\not", ":"} and clause[-1].strip():
            clause.append(token)
        else:
            clause[-1] += token
        before = token if token.strip() else before
    yield clause

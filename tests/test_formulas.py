"""LaTeX to MathML, and numbers and matrices to LaTeX: by themselves, without a page."""

from __future__ import annotations

import re
from decimal import Decimal
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_reproduction import mathml, numbers, registry
from tests.formulas_on_pages import unset

ENTRIES = [entry for chapter in registry.chapters() for entry in chapter.discover()]
FORMULAS = sorted({
    *(entry.claim.formula for entry in ENTRIES),
    *(one for entry in ENTRIES for one in mathml.formulas_in(entry.claim.statement)),
})  # fmt: skip
CHILDREN = {
    "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3, "mfrac": 2, "mroot": 2,
}  # fmt: skip
"""How many arguments an element takes; a browser sets it as a plain row where it has more."""


def tree(latex: str, display: str = "inline") -> ElementTree.Element:
    return ElementTree.fromstring(mathml.formula(latex, display))


def misshapen(root: ElementTree.Element) -> list[str]:
    return [one.tag for one in root.iter() if one.tag in CHILDREN and len(one) != CHILDREN[one.tag]]


@pytest.mark.parametrize("display", ["inline", "block"])
def test_every_element_has_its_arguments_and_no_more(display):
    names = (r"\min", r"\max", r"\sup", r"\inf", r"\ln", r"\exp", r"\mathrm{argmin}", r"\mathrm{err}")
    made = [f"{name}{index} x" for name in names for index in ("", "_K", "^2", "_K^2", "_{i=1}")]
    for latex in (*FORMULAS, *made, r"\frac{\ln x}{\max_K y}", r"\sqrt{\min_i a}"):
        assert misshapen(tree(latex, display)) == [], latex


def test_a_space_among_the_arguments_would_be_seen():
    assert misshapen(ElementTree.fromstring("<math><msub><mi>a</mi><mspace/><mi>b</mi></msub></math>"))


@pytest.mark.parametrize("name", [r"\min", r"\max", r"\sup", r"\inf", r"\mathrm{argmin}", r"\mathrm{argmax}"])
def test_what_it_runs_over_stands_below_in_a_formula_of_its_own_line(name):
    latex = name + r"_{i \in I} x_i"
    below, beside = tree(latex, "block").find(".//munder"), tree(latex).find(".//msub")
    for found in (below, beside):
        assert found is not None
        assert "".join(found[0].itertext()) in name
        assert "".join(found[1].itertext()) == "i∈I"
    assert tree(latex).find(".//munder") is None


def test_a_word_is_one_word_and_an_asterisk_has_one_height():
    (word,) = tree(r"\mathrm{err}_1").iter("msub")
    assert (word[0].tag, word[0].text) == ("mi", "err")
    assert "*" not in "".join(tree(r"\theta^* \theta_* \tilde\theta^\ast").itertext())


@pytest.mark.parametrize(
    ("latex", "spaced"),
    [
        (r"2\ln 2", "2_ln_2"), (r"-\ln\lambda", "−ln_λ"), (r"\exp(x)", "exp(x)"), (r"f(x)\ln y", "f(x)_ln_y"),
        (r"\pi_i\ln\pi_i", "πi_ln_πi"), (r"a = \max_K b", "a=maxK_b"), (r"\ln", "ln"), (r"a, \ln", "a,ln"),
    ],
)  # fmt: skip
def test_a_function_has_thin_spaces_where_tex_has_them(latex, spaced):
    words = ("_" if one.tag == "mspace" else one.text or "" for one in tree(latex).iter())
    assert "".join(words) == spaced


@pytest.mark.parametrize("latex", FORMULAS)
def test_cut_where_a_line_may_break_it_is_the_same_formula(latex):
    """Nothing is lost or doubled, and each part can be set by itself."""
    letters = lambda text: re.sub(
        r"\s", "", "".join(ElementTree.fromstring(f"<p>{text}</p>".replace("<wbr>", "")).itertext())
    )
    whole = mathml.formula(latex, "block")
    assert letters(mathml.displayed(latex)) == letters(whole)
    assert letters(mathml.inline(latex)) == letters(whole)


@pytest.mark.parametrize(
    ("latex", "parts"),
    [
        ("a = b < c", [["a", "= b", "< c"]]),
        (r"a \approx b, \qquad c = d", [["a", r"\approx b,"], ["c", "= d"]]),
        (r"f(x = 1) = \left[y \le 2\right]", [["f(x = 1)", r"= \left[y \le 2\right]"]]),
        (r"\sum_{i = 1}^n i = \frac{a = b}{c}", [[r"\sum_{i = 1}^n i", r"= \frac{a = b}{c}"]]),
        (r"\begin{pmatrix} a = b \\ c \end{pmatrix} \quad d", [[r"\begin{pmatrix} a = b \\ c \end{pmatrix}"], ["d"]]),
        (r"= a", [["= a"]]), (r"a \not= b := c", [[r"a \not= b := c"]]), (r"\{x < 1\}", [[r"\{x < 1\}"]]),
    ],
)  # fmt: skip
def test_it_breaks_between_clauses_and_at_relations_outside_brackets(latex, parts):
    clauses = [[part.strip() for part in clause] for clause in mathml._clauses(latex)]
    assert clauses == parts
    assert mathml.displayed(latex).count("<math") == sum(map(len, parts))


def test_only_long_formulas_break_in_a_text():
    assert mathml.inline(r"\tau < 1").count("<math") == 1
    assert mathml.inline(r"\theta_K - \tilde\theta^* = (I - 2\eta\Sigma)^K e").count("<math") == 2


FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: "e" in f"{abs(x):g}")


@given(
    FLOATS, st.sampled_from([".0e", ".2e", "g", ".3g", "r"]), st.sampled_from(["{}", "1 ± {}", "(to {}, so)"])
)
def test_a_number_is_spelled_as_print_has_it_and_is_the_same(value, style, sentence):
    written = repr(value) if style == "r" else f"{value:{style}}"
    spelled = numbers.spelled(sentence.format(written))
    assert unset(re.sub(r"\$[^$]+\$", "", spelled)) == []
    assert unset(mathml.prose(sentence.format(written))) == []
    found = re.search(r"(-?)\$(?:([\d.]+) \\times )?10\^\{(-?\d+)\}\$", spelled)
    assert found is not None
    sign, mantissa, power = found.groups()
    assert Decimal(f"{sign}{mantissa or 1}").scaleb(int(power)) == Decimal(written)


@given(st.lists(st.lists(st.integers(-99, 99), min_size=2, max_size=2), min_size=2, max_size=4))
def test_a_matrix_is_set_as_one(rows):
    page = mathml.prose(f"with Σ = {rows}, early")
    assert unset(page) == []
    cells = re.findall(r"<mtd>(.*?)</mtd>", page)
    read = [int(re.sub(r"<[^>]+>", "", cell).replace("−", "-")) for cell in cells]
    assert read == [cell for row in rows for cell in row]


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("K up to 10^12 against", "K up to $10^{12}$ against"),
        ("$K = 1e+12$ steps", "$K = 10^{12}$ steps"),
        ("commit 0e12ab and 1e2f", "commit 0e12ab and 1e2f"),
        ("in [0, 1] and x_2e5", "in [0, 1] and x_2e5"),
        ("$e^{-2}$ and $[[a]]$", "$e^{-2}$ and $[[a]]$"),
    ],
)
def test_what_is_spelled_and_what_is_left(text, spelled):
    assert numbers.spelled(text) == spelled

"""Formulas and numbers as people meet them on a page: set, and not cut off."""

from __future__ import annotations

import re
from html.parser import HTMLParser

UNSET = re.compile(
    r"\\[A-Za-z]+"  # a command of LaTeX
    r"|\$[^$\s][^$]*\$"  # a formula between dollars
    r"|[\w)\]][\^_]\{|\w\^[-−\d]"  # a raised or lowered part
    r"|(?<![\w.])\d+(?:\.\d+)?e[+−-]?\d+(?!\w)"  # a number as Python writes it
    r"|\[\["  # a matrix as Python writes it
)
_NOT_READ = {"script", "style", "svg"}
_VERBATIM = {"code", "pre"}


class Words(HTMLParser):
    """What is read on a page, by eye or by ear: text and the attributes that are spoken; without code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _NOT_READ | _VERBATIM:
            self.inside.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("alt", "aria-label", "title")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            self.inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.found.append(data)


def unset(page: str) -> list[str]:
    """Where a page shows LaTeX, or a number or matrix as Python writes it, with some words around."""
    found_in_formulas = re.findall(r"<mn>[\d.]+</mn><mi>e</mi><mo[^>]*>[+−]</mo><mn>\d+</mn>", page)
    return found_in_formulas + [
        text[max(0, found.start() - 30) : found.end() + 30]
        for text in (re.sub(r"commit [0-9a-f]+", "", text) for text in Words(page).found)
        for found in UNSET.finditer(text)
    ]


CUT_OFF = """() => {
  const cue = box => getComputedStyle(box).overflowX === "auto" && box.tabIndex === 0 &&
    (getComputedStyle(box).backgroundImage.match(/linear-gradient/g) ?? []).length === 4;
  const wide = [...document.querySelectorAll(".formula, .scroll")]
    .filter(box => box.scrollWidth > box.clientWidth && !cue(box));
  const inText = [...document.querySelectorAll("math")].filter(one => {
    let box = one.parentElement;
    while (getComputedStyle(box).display.startsWith("inline")) box = box.parentElement;
    const { left, right } = box.getBoundingClientRect(), mine = one.getBoundingClientRect();
    const outside = mine.width > 0 && (mine.right > right + 1 || mine.left < left - 1);
    return outside && !one.closest(".formula, .scroll") && !cue(box);
  });
  return [...wide, ...inText].map(one => one.textContent.slice(0, 80));
}"""
"""In a browser: formulas and tables of which a part is out of sight and nothing says so."""

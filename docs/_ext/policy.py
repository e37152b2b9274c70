"""Gives every page of the site a policy: it loads what lies beside it, and runs no script that is written into it.

But for one, with which the theme puts on the colours that the reader has chosen before anything is seen.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.util import logging

from paper_reproduction.policy import hashed

HEAD = '<meta charset="utf-8"'
POLICY = '<meta http-equiv="Content-Security-Policy"'
# The search of the site reads its pages; form-action and base-uri are not among the defaults.
ALLOWED = (
    "default-src 'none'; script-src 'self'{theme}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
THEME = re.compile(r'\s*document\.body\.dataset\.theme = localStorage\.getItem\("theme"\) \|\| "auto";\s*')


def with_policy(page: str) -> str:
    """The page, its policy the first thing in its head; as it is where it has one."""
    if POLICY in page:
        return page
    theme = "".join(f" '{hashed(text)}'" for text in INLINE.findall(page) if THEME.fullmatch(text))
    return page.replace(HEAD, f'{POLICY} content="{ALLOWED.format(theme=theme)}">{HEAD}', 1)


def write(app, exception) -> None:
    """All pages that have been written; those that have not changed have theirs."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (given := with_policy(page)) != page:
            path.write_text(given, encoding="utf-8")
        elif POLICY not in page:
            logging.getLogger(__name__).warning("%s has no place for a policy", path)


def setup(app) -> dict[str, bool]:
    app.connect("build-finished", write, priority=900)  # after the explorer, which brings its own
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The site builds without a warning, offline, and holds what it promises."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sphinx.ext import napoleon
from sphinx.ext.napoleon.docstring import NumpyDocstring

import linear_theory as lt
from paper_reproduction import registry
from paper_reproduction.policy import hashed
from tests.browser import needs_browser, one_at_a_time, started
from tests.formulas_on_pages import CUT_OFF, unset

ROOT = Path(__file__).parent.parent
CLAIMS = [entry.claim for entry in registry.PAPER.discover()]
# Elements of which a browser fetches these attributes by itself, without a click.
FETCHED = {
    "img": ("src", "srcset"),
    "script": ("src",),
    "iframe": ("src",),
    "source": ("src",),
    "video": ("src",),
}


def built(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / ".doctrees")]
    return subprocess.run(
        [*command, str(source), str(out)], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The pages, built once, by the README's command."""
    out = tmp_path_factory.mktemp("site")
    done = built(ROOT / "docs", out)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


class Fetches(HTMLParser):
    """What a browser would load for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        names = FETCHED.get(tag, ())
        if tag == "link" and (given.get("rel") or "") in ("stylesheet", "preload", "icon", "shortcut icon"):
            names = ("href",)
        self.found += [value for name in names if (value := given.get(name))]


def test_nothing_is_fetched_from_anywhere_else(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        fetched = Fetches(page.read_text(encoding="utf-8")).found
        assert [link for link in fetched if re.match(r"(\w+:)?//", link)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(\w+:)?//|@import", style.read_text(encoding="utf-8")), style


def test_what_would_be_fetched_is_seen():
    page = '<script src="https://x.test/a.js"></script><img src="b.png"><a href="https://x.test">c</a>'
    assert Fetches(page).found == ["https://x.test/a.js", "b.png"]


def test_every_page_runs_no_script_that_is_written_into_it(site):
    """But the theme's, which sets the colours, and those of the explorer, which has a policy of its own."""
    for path in sorted(site.rglob("*.html")):
        page = path.read_text(encoding="utf-8")
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy"\s+content="([^"]*)"', page)
        assert page.index("Content-Security-Policy") < page.index("<script")
        assert policy.startswith("default-src 'none'; script-src ")
        inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        assert set(re.findall(r"'(sha256-[^']*)'", policy)) == {hashed(script) for script in inline}, path
        assert "explorer" in path.parts or [script.split() for script in inline] == [
            ["document.body.dataset.theme", "=", 'localStorage.getItem("theme")', "||", '"auto";']
        ]
        assert not re.search(r"script-src[^;]*unsafe", policy)


@needs_browser
@one_at_a_time
def test_a_script_that_is_written_into_a_page_is_not_run(site):
    page = (site / "trust.html").read_text(encoding="utf-8")
    script = "<script>document.documentElement.id = 'foreign'</script>"
    foreign = page.replace("</body>", f"{script}</body>")
    without = re.sub(r"<meta http-equiv=[^>]*>", "", foreign)
    with started() as browser:
        for text, ran in ((foreign, False), (without, True)):
            (site / "foreign.html").write_text(text, encoding="utf-8")
            opened = browser.new_page()
            opened.goto((site / "foreign.html").as_uri())
            assert (opened.evaluate("document.documentElement.id") == "foreign") is ran
            assert opened.evaluate("document.body.dataset.theme") == "auto"  # the theme's own script has run
            opened.close()
    (site / "foreign.html").unlink()


def test_every_file_that_a_page_loads_is_there(site):
    for page in site.rglob("*.html"):
        for link in Fetches(page.read_text(encoding="utf-8")).found:
            path = link.partition("?")[0].partition("#")[0]
            if path and not path.startswith("data:"):
                assert (page.parent / path).exists(), (page.name, link)


def test_every_public_name_is_documented(site):
    pages = [page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html")]
    documented = {name for page in pages for name in re.findall(r'<dt [^>]*id="(linear_theory[\w.]+)"', page)}
    code = lambda space, name: callable(getattr(space, name)) and not inspect.ismodule(getattr(space, name))
    wanted = {f"linear_theory.{name}" for name in lt.__all__ if code(lt, name)}
    for space in (
        lt.covariance,
        lt.descent,
        lt.experts,
        lt.high_dimension,
        lt.sequences,
        lt.streaming,
        lt.weights,
    ):
        short = space.__name__.rpartition(".")[2]
        names = [name for name in space.__all__ if not hasattr(lt, name) or name == "Solution"]
        wanted |= {f"linear_theory.{short}.{name}" for name in names if code(space, name)}
    assert len(wanted) > 60
    assert sorted(wanted - documented) == []


def misread(docstring: str) -> list[str]:
    """What a numpy-style docstring would list as a parameter, an attribute or an error although it is prose."""
    style = napoleon.Config(napoleon_google_docstring=False, napoleon_use_rtype=False, napoleon_use_ivar=True)
    fields = re.findall(
        r"^:(?:param|ivar|raises) ([^:]*):", str(NumpyDocstring(docstring, style)), re.MULTILINE
    )
    return [field for field in fields if not re.fullmatch(r"[\w.\\*]+(, [\w.\\*]+)*", field.strip())]


def test_docstrings_list_names_and_not_prose():
    spaces = (
        lt,
        lt.covariance,
        lt.descent,
        lt.experts,
        lt.high_dimension,
        lt.sequences,
        lt.streaming,
        lt.weights,
    )
    found = {getattr(space, name) for space in spaces for name in space.__all__}
    found |= {
        part for item in found if inspect.isclass(item) for part in vars(item).values() if callable(part)
    }
    docstrings = {repr(item): inspect.getdoc(item) or "" for item in found if callable(item)}
    assert len(docstrings) > 100
    assert {name: prose for name, text in docstrings.items() if (prose := misread(text))} == {}


def test_prose_among_the_parameters_is_seen():
    good = "Sum.\n\nParameters\n----------\nx, y : float\n    Added.\n"
    assert misread(good) == []
    assert misread(good + "Where they are large, the sum is.\n") != []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_theorem_has_statement_function_picture_test_and_derivation(site, claim):
    page = (site / "theorems" / f"{claim.name}.html").read_text(encoding="utf-8")
    assert page.count("<math") > 3
    assert f"_images/{claim.name}.png" in page
    for name in claim.functions:
        place = rf"\w+\.html#linear_theory\.{name}" if callable(getattr(lt, name)) else f"{name}.html"
        assert re.search(rf'href="\.\./api/{place}"', page), name
    assert f"paper_reproduction/claims/{claim.module}.py" in page
    assert re.search(r"tests/(claims/)?test_\w+\.py", page)
    assert "Derivation" in page


def test_the_gallery_shows_every_claim(site):
    page = (site / "theorems" / "index.html").read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert f"_images/{claim.name}.png" in page
        assert f'href="{claim.name}.html"' in page
    assert "](" not in page  # a title's own bracket must not end its link
    listed = re.findall(r'toctree-l2[^>]*><a[^>]*href="([\w-]+)\.html"', page)
    assert listed[: len(CLAIMS)] == [claim.name for claim in CLAIMS]


def test_network_experiments_are_shown_with_their_verdicts(site):
    page = (site / "theorems" / "networks.html").read_text(encoding="utf-8")
    for entry in registry.NETWORKS.discover():
        assert f'id="{entry.name}"' in page
        assert f"_images/{entry.name}.png" in page
    assert len(re.findall(r"\d+ of \d+ checks hold", page)) == len(registry.NETWORKS.discover())


def test_lessons_come_with_their_pictures(site):
    lessons = sorted((ROOT / "paper_reproduction" / "notebooks").glob("*.ipynb"))
    assert len(lessons) == 10
    for lesson in lessons:
        page = (site / "notebooks" / f"{lesson.stem}.html").read_text(encoding="utf-8")
        assert page.count("<img") >= 3
        assert "cell_output" in page


def test_every_lesson_has_a_picture_in_the_list(site):
    page = (site / "notebooks" / "index.html").read_text(encoding="utf-8")
    for lesson in sorted((ROOT / "paper_reproduction" / "notebooks").glob("*.ipynb")):
        assert f"_images/{lesson.stem}.png" in page
        assert f'href="{lesson.stem}.html"' in page


class Pictures(HTMLParser):
    """The alt texts of a page's pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.alts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")


def test_every_picture_says_what_is_seen(site):
    """Words, no file name, no markup; and not the title of a claim, which says what follows from the picture."""
    titles = {entry.claim.title for chapter in registry.chapters() for entry in chapter.discover()}
    found = [alt for page in site.rglob("*.html") for alt in Pictures(page.read_text(encoding="utf-8")).alts]
    assert len(found) > 60
    for alt in found:
        assert len(alt.split()) > 4, alt
        assert not re.search(r"\.png|\$|\\\\|``", alt), alt
        assert alt not in titles


HAND_WRITTEN = ("api", "project", "_modules", "explorer", "notebooks")
"""Rooms where numbers and names stand as the code writes them."""


def test_no_latex_is_left_on_the_pages_of_the_theory(site):
    found = {
        page.name: left
        for page in site.rglob("*.html")
        if page.relative_to(site).parts[0] not in HAND_WRITTEN
        and (
            left := [
                one for one in unset(page.read_text(encoding="utf-8")) if re.search(r"[\\$^{]|e\+|\[\[", one)
            ]
        )
    }
    assert found == {}


@needs_browser
@one_at_a_time
@pytest.mark.parametrize("width", [390, 1280])
def test_no_formula_is_cut_off(site, width):
    with started() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        for path in [site / "theory.html", *sorted((site / "theorems").glob("*.html"))]:
            page.goto(path.as_uri())
            assert page.evaluate(CUT_OFF) == [], path.name
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_code_can_be_copied_on_every_page(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if 'class="highlight"' in text and "explorer/" not in page.relative_to(site).as_posix():
            assert "_static/copy.js" in text, page


def test_the_explorer_lies_beside_the_pages(site):
    """And does not take the place of the page that tells of it, from which the link leads to it."""
    page = (site / "explorer.html").read_text(encoding="utf-8")
    assert "For a class" in page
    links = set(re.findall(r'href="(explorer/[^"]+)"', page))
    assert links == {"explorer/explorer.html"}
    assert (site / "explorer" / "explorer.html").stat().st_size > 1_000_000


def test_a_formula_that_cannot_be_set_breaks_the_build(tmp_path):
    """The builder really does stop at a warning."""
    source = tmp_path / "docs"
    source.mkdir()
    conf = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'docs' / '_ext')!r}]\n"
    conf += "extensions = ['mathml_renderer', 'myst_parser']\nmyst_enable_extensions = ['dollarmath']\n"
    conf += "html_math_renderer = 'mathml'\n"
    (source / "conf.py").write_text(conf, encoding="utf-8")
    for number, (formula, warned) in enumerate(
        ((r"$$\frac{1}{2}$$", ""), (r"$$\nonsense{1}$$", "unknown"), ("$$x$$ (one)", "no numbers"))
    ):
        (source / "index.md").write_text(f"# A page\n\n{formula}\n", encoding="utf-8")
        done = built(source, tmp_path / f"out{number}")
        assert (done.returncode == 0) is (not warned), done.stderr
        assert warned in done.stderr

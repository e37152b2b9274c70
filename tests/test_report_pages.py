"""Both reports as they are built, read and opened in a browser: words, formulas, pictures, slides, sheets of paper."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page
from typer.testing import CliRunner

from paper_reproduction import registry
from paper_reproduction.command import app
from tests import kept, pictures
from tests.browser import needs_browser, one_at_a_time, started
from tests.formulas_on_pages import CUT_OFF, unset
from tests.workshop import Page as Parsed

CHAPTERS = {
    "report.html": registry.PAPER,
    "beyond/report.html": registry.BEYOND,
    "mlp/report.html": registry.NETWORKS,
}
PAGES = tuple(CHAPTERS)
SHEETS = dict(zip(PAGES, (15, 15, 30), strict=True))  # eleven network experiments with their tables
SCREENS = [(1920, 1080), (1280, 720)]

pytestmark = one_at_a_time


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """What the plain command writes, with --quick, of datasets that other tests judge."""
    folder, found = tmp_path_factory.mktemp("out"), registry.discover
    once = lambda entry: replace(entry, compute=lambda _: kept.quick(entry.compute))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "discover", lambda *where: tuple(map(once, found(*where))))
        done = CliRunner().invoke(app, ["--quick", "--jobs", "1", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def browser():
    with started() as opened:
        yield opened


@pytest.fixture
def opened(browser, out):
    """Opens a page; at the end it must have asked for itself alone, and complained of nothing."""
    pages, requests, complaints = [], [], []

    def open_(name: str, width: int = 1280, height: int = 720, **options) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((out / name).as_uri())
        pages.append(page)
        return page

    yield open_
    allowed = {(out / name).as_uri() for name in PAGES}
    assert [url for url in requests if url not in allowed and not url.startswith("data:")] == []
    assert complaints == []
    for page in pages:
        page.close()


each_page = pytest.mark.parametrize("name", PAGES)


# what is read -------------------------------------------------------------------------------------------


@each_page
def test_nothing_is_left_as_latex_or_python_writes_it(out, name):
    assert unset((out / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        r"<p>grows like \delta</p>", "<p>falls like n^{-1/2}</p>", "<p>$x$</p>", "<p>at K = 1e+12 it</p>",
        "<p>Σ = [[13, -37], [-37, 160]]</p>", r'<img alt="like \delta">', '<a title="10^12">b</a>', "<p>2e-05</p>",
        "<td>1.5e3</td>", "<p>θ_{K}</p>", "<title>$n$</title>",
        "<math><mn>2</mn><mi>e</mi><mo>−</mo><mn>05</mn></math>",
    ],
)  # fmt: skip
def test_what_is_left_would_be_noticed(text):
    assert unset(text)


@pytest.mark.parametrize(
    "text",
    [
        "<p>10<sup>12</sup> and 10¹²</p>", r"<code>1e-3 \delta</code>", "<script>a[[1]] $x$</script>",
        "<p>[0, 1] and $5</p>", "<math><mn>2</mn><mi>e</mi><mo>−</mo><mi>x</mi></math>",
        "<p>commit 1234e5678901</p>", "<p>lemma e3, 2e, snake_case, (1, 2)^T</p>",
    ],
)  # fmt: skip
def test_what_is_set_is_left_alone(text):
    assert unset(text) == []


@each_page
def test_alt_texts_say_what_is_seen(out, name):
    entries = CHAPTERS[name].discover()
    opening, *alts = Parsed((out / name).read_text(encoding="utf-8")).alts
    assert opening
    assert alts == [entry.seen for entry in entries]
    for entry in entries:
        assert len(entry.seen.split()) > 4
        assert entry.seen != entry.claim.title


@each_page
def test_the_one_script_is_the_one_that_the_page_allows(out, name):
    page = (out / name).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    )
    assert not re.search(r"<[^>]+ on\w+=", page)


# what is seen -------------------------------------------------------------------------------------------


@needs_browser
@each_page
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_no_formula_or_table_is_cut_off(opened, name, width):
    page = opened(name, width=width)
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width >= 1280:
        assert page.evaluate(
            "[...document.querySelectorAll('.formula')].every(one => one.scrollWidth <= one.clientWidth)"
        )


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_edge_behind_which_there_is_more_has_a_shadow(opened, scheme):
    """A pixel at each edge beside the ground: seen where more is out of sight, and there alone."""
    page = opened(PAGES[0], color_scheme=scheme)
    page.evaluate(
        "document.querySelector('.formula').style.cssText = 'width: 120px; height: 60px; font-size: 30px'"
    )
    page.evaluate(
        "document.querySelectorAll('.formula math').forEach(one => one.style.visibility = 'hidden')"
    )
    box = page.locator(".formula").first
    assert (
        page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.formula'))") > 50
    )
    edges = lambda: shades(box.screenshot(), page)
    left, middle, right = edges()
    assert abs(right - middle) > 20
    assert abs(left - middle) < 3
    page.evaluate("(box => { box.scrollLeft = box.scrollWidth; })(document.querySelector('.formula'))")
    left, middle, right = edges()
    assert abs(left - middle) > 20
    assert abs(right - middle) < 3


def shades(png: bytes, page: Page) -> tuple[float, float, float]:
    """How light a picture is at its left edge, in its middle and at its right edge, from 0 to 255."""
    import io

    from matplotlib.image import imread

    pixels = 255 * imread(io.BytesIO(png))[5, :, :3].mean(axis=-1)
    return float(pixels[1]), float(pixels[len(pixels) // 2]), float(pixels[-2])


@needs_browser
@each_page
def test_every_picture_fills_the_window(opened, name):
    page = opened(name)
    links = page.locator("a.picture")
    for k in range(links.count()):
        link = links.nth(k)
        link.focus()
        page.keyboard.press("Enter")
        shown = page.evaluate(
            "(one => [one.open, one.querySelector('img').alt])(document.querySelector('dialog'))"
        )
        assert shown == [True, link.locator("img").get_attribute("alt")]
        box = page.locator("dialog img").bounding_box()
        assert (box["width"], box["height"]) == (1280, 720)
        page.keyboard.press("Escape")
        assert not page.evaluate("document.querySelector('dialog').open")
        assert link.evaluate("one => one === document.activeElement")
    links.first.click()
    assert page.evaluate("document.querySelector('dialog').open")
    page.locator("dialog").click(position={"x": 40, "y": 40})
    assert not page.evaluate("document.querySelector('dialog').open")


@needs_browser
@each_page
def test_without_a_script_the_page_is_whole_and_its_links_do_no_harm(browser, out, name):
    page = browser.new_page(java_script_enabled=False)
    page.goto((out / name).as_uri())
    assert not page.locator("#to-slides").is_visible()
    page.locator("a.picture").first.click()
    assert page.url.endswith(f"{name}#picture-opening")
    assert page.locator("article").first.is_visible()
    page.close()


SMALLEST = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const box = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && box.checkVisibility() && box.getClientRects().length)
      found.push([parseFloat(getComputedStyle(box).fontSize), walker.currentNode.data.trim()]);
  }
  return found.sort((one, other) => one[0] - other[0])[0];
}"""
OUTSIDE = """() => [...document.querySelectorAll(".now *, #place")].filter(one => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  return right > left && (left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1);
}).map(one => one.outerHTML.slice(0, 80))"""
PICTURE = """() => {
  const image = document.querySelector(".now img"), { width, height } = image.getBoundingClientRect();
  const aspect = image.naturalWidth / image.naturalHeight;
  return [Math.min(width, aspect * height), aspect, image.naturalWidth];
}"""


@needs_browser
@each_page
@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_last_row_can_read_every_slide(opened, name, width, height):
    """Letters, and pictures as large as :mod:`tests.pictures` takes them to be when it measures theirs."""
    page = opened(name, width=width, height=height)
    page.keyboard.press("s")
    entries = CHAPTERS[name].discover()
    for identity in ("opening", *(entry.name for entry in entries)):
        assert page.evaluate("document.querySelector('.now').id") == identity
        size, text = page.evaluate(SMALLEST)
        assert size >= pictures.SMALLEST_LETTER * height, (identity, text, size / height)
        assert page.evaluate(OUTSIDE) == []
        shown, aspect, pixels = page.evaluate(PICTURE)
        assert pixels >= 1500  # else its letters are a blur
        assert shown >= min(width, pictures.FOR_PICTURE * height * aspect) - 1, identity
        assert page.locator(".now").get_by_text("✓").count() == (identity != "opening")
        page.keyboard.press("ArrowRight")


@needs_browser
@each_page
def test_slides_are_turned_by_keys(opened, name):
    page = opened(name)
    count = page.locator(".slide").count()
    here = lambda: page.locator("#place span").inner_text()
    page.get_by_role("button", name="Slides").click()
    for key, number in (
        ("ArrowRight", 2), ("PageDown", 3), ("ArrowLeft", 2), ("PageUp", 1), ("PageUp", 1), ("End", count),
        ("ArrowRight", count), ("Home", 1), ("ArrowDown", 2), (" ", 3), ("ArrowUp", 2),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert here() == f"{number} / {count}"
    shown = page.evaluate("document.querySelector('.now').id")
    assert page.url.endswith(f"#{shown}")
    page.keyboard.press("Control+ArrowRight")
    assert here() == f"2 / {count}"
    page.keyboard.press("Escape")
    assert not page.locator("#place").is_visible()
    assert page.url.endswith(f"#{shown}")
    assert 0 <= page.locator(f"#{shown}").bounding_box()["y"] < 40
    page.keyboard.press("s")
    assert here() == f"2 / {count}"
    page.locator(".now img").click()
    assert here() == f"3 / {count}"
    page.get_by_role("button", name="Leave the slides").click()
    assert not page.locator("#place").is_visible()
    assert page.locator("#to-slides").is_visible()


@needs_browser
@each_page
def test_the_page_fits_on_few_sheets(opened, name):
    sheets = len(re.findall(rb"/Type /Page\b", opened(name).pdf(prefer_css_page_size=True)))
    assert 3 < sheets <= SHEETS[name]


@needs_browser
@each_page
def test_wide_windows_are_used(opened, name):
    """At least nine tenths of a laptop's width, and three quarters of a wide screen's."""
    for width, least in ((1280, 0.9), (1920, 0.75)):
        page = opened(name, width=width)
        figure = page.locator("article figure").first.bounding_box()
        assert figure["width"] >= least * width

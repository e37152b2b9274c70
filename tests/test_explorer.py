"""The explorer in a real browser: it computes what the package computes, asks for nothing, and can be handled.

Its mathematics is a second implementation: closed forms of a 2 × 2 matrix in JavaScript, against eigenbases of any
problem in NumPy. Numbers are compared in units of the shift, and relatively where they are larger than 1.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import linear_theory as lt
from figures.style import COLOURS
from paper_reproduction import explorer
from paper_reproduction.command import app
from paper_reproduction.policy import hashed
from tests.browser import needs_browser, one_at_a_time, started
from tests.explorer_page import Seen, computed, random_settings, stated, worst

ROOT = Path(__file__).parent.parent
NEAR = 1e-10
SLIDERS = ("rho", "tau", "K", "eta", "a", "b", "lean", "noise")

WIDTHS = pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.deep), 1920])

pytestmark = [needs_browser, one_at_a_time]


@pytest.fixture(scope="module")
def browser():
    with started() as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return explorer.write(tmp_path_factory.mktemp("explorer") / "explorer.html")


@pytest.fixture
def opened(browser, file):
    """Opens the page; at the end it must have asked for itself alone, and complained of nothing."""
    pages: list[Seen] = []

    def open_(*args, **kwargs) -> Seen:
        pages.append(Seen(browser, file, *args, **kwargs))
        return pages[-1]

    yield open_
    for seen in pages:
        assert {url.partition("#")[0] for url in seen.requests} == {file.as_uri()}
        assert seen.complaints == []
        seen.page.close()


# ------------------------------------------------------------------------------------------------ the numbers


def test_the_page_computes_what_the_package_computes(opened):
    drawn = random_settings(200)
    largest = worst(drawn, computed(opened().page, drawn))
    assert {name: apart for name, apart in largest.items() if not apart < NEAR} == {}
    assert {"λ₁, λ₂", "half-life", "flow beyond the floats", "sameMeanStep θ", "early total"} < set(largest)
    for key, value in (("tau", math.inf), ("rho", 0.0), ("eta", None), ("K", 0), ("K", 10**6)):
        assert sum(state[key] == value for state in drawn) > 5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("const rate = 2 * eta * mass", "const rate = eta * mass"),  # the ½ that the loss does not have
        ("return 1 / Math.sqrt(1 + 2 * residualV", "return 1 / (1 + 2 * residualV"),  # μ² for μ
        ("kept + (1 - rho * rho) * g", "kept"),  # ρ²: the shift alone would be stalled
        ("K % 2 ? -1 : 1", "1"),  # the parity of a negative eigenvalue
        ("(tau + 2 * noise)", "tau"),  # noise is a temperature
        ("1 - kappa + kappa * along", "along"),  # with noise it ends at θ* − κe
        ("Infinity, eta * mass)", "Infinity, eta)"),  # the same mean step as FLOW
        ("[a / (a + 1), 0]", "[a / (a + 2), 0]"),
        ("high = low + width", "high = high - width"),  # early stopping not at its best
        ("c >= rho * a ||", "c >= 0 ||"),  # the new task leans, too
        (">= (x - y) ** k0", ">= (x - y)"),  # the hull, and not the triangle above its border
    ],
)
def test_wrong_mathematics_is_rejected(browser, right, wrong):
    text = str(explorer.part("theory.js"))
    assert text.count(right) == 1
    page, states = browser.new_page(), random_settings(30)
    page.add_script_tag(content=text.replace(right, wrong))
    assert max(worst(states, computed(page, states, "theory.compute")).values()) > 1e5 * NEAR
    page.close()


def test_the_curves_are_those_of_the_package(opened):
    """What is drawn, read back from the plots."""
    seen = opened("#rho=0.6&tau=0.3&a=2&b=2&lean=0.9&K=20")
    problem = lt.paper_problem(0.6, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])
    read = "id => document.getElementById(id).data.map(({ name, x, y, line }) => ({ name, x, y, line }))"
    flow = [curve for curve in seen.page.evaluate(read, "errors") if curve["name"] == "FLOW"]
    for curve, error in zip(flow, (lt.pretrain_error, lt.target_error, lt.total_error), strict=True):
        theta = lt.iterate(problem, np.array(curve["x"], dtype=int), temperature=0.3)
        np.testing.assert_allclose(curve["y"], error(problem, theta), rtol=0, atol=NEAR)
    plane = seen.page.evaluate(read, "plane")
    (path,) = [curve for curve in plane if curve["name"] == "FLOW"]
    theta = lt.iterate(problem, np.arange(21), temperature=0.3)
    np.testing.assert_allclose(np.transpose([path["x"], path["y"]]), theta, rtol=0, atol=NEAR)
    assert path["line"]["color"] == COLOURS["flow"]
    rings = [curve for curve in plane if len(curve["x"]) == 181]
    least = lt.total_error(problem, lt.joint_optimum(problem))
    excess = [lt.total_error(problem, np.transpose([ring["x"], ring["y"]])) - least for ring in rings]
    assert len(rings) == 10
    np.testing.assert_allclose(
        excess, np.repeat(0.05 * 2.0 ** np.arange(10), 181).reshape(10, 181), rtol=NEAR
    )


# ----------------------------------------------------------------------------------------------- the handling


def test_each_slider_moves_by_keyboard_and_all_follow(opened):
    seen = opened()
    for name in SLIDERS:
        before, drawn, said = seen.state(), seen.drawn(), seen.page.inner_text(f"#{name}-value")
        slider = seen.page.locator(f"#{name}")
        slider.press("ArrowLeft" if name == "lean" else "ArrowRight")
        seen.settle()
        after = seen.state()
        assert {key for key in before if after[key] != before[key]} == {name}
        assert computed(seen.page, [after]) != computed(seen.page, [before])
        assert seen.drawn() != drawn, name
        assert seen.page.inner_text(f"#{name}-value") != said
        assert slider.get_attribute("aria-valuetext") == seen.page.inner_text(f"#{name}-value")
        for key in ("End", "Home"):
            slider.press(key)
            seen.settle()
        assert seen.page.url.endswith(seen.page.evaluate("explorer.address(explorer.state)"))
        seen.page.click("#reset")
        seen.settle()
        assert seen.state() == before


def test_the_address_is_the_state(opened):
    seen = opened()
    start = seen.state()
    for name in SLIDERS:
        seen.page.locator(f"#{name}").press("ArrowRight" if name != "lean" else "ArrowLeft")
    seen.settle()
    again = opened("#" + seen.page.url.partition("#")[2])
    assert again.state() == seen.state() != start
    again.visit("#tau=inf&K=7&eta=0.25")
    assert again.page.evaluate("explorer.state.tau === Infinity && explorer.state.eta === 0.25")
    again.visit("#tau=0.5")
    assert again.page.evaluate("explorer.state.tau === 0.5 && explorer.state.eta === null")
    again.page.go_back()
    again.until("explorer.state.tau === Infinity && explorer.state.K === 7")


def test_an_address_that_makes_no_sense_is_said(opened):
    wrong = ("rho=1.5", "K=-3", "colour=red", "a=", "tau=auto", "toString=1")
    seen = opened()
    start = seen.state()
    seen.visit("#" + "&".join([*wrong, "noise=0.2"]))
    notice = seen.page.inner_text("#notice")
    assert all(part in notice for part in wrong)
    assert seen.state() == {**start, "noise": 0.2}


def test_divergence_is_said(opened):
    seen = opened()
    assert seen.page.inner_text("#notice") == ""
    seen.visit("#eta=1.2&K=500")
    limit = float(lt.stable_learning_rate(lt.paper_problem(0.6)))
    said = f"too large for standard, same η (its η is 1.200, the limit {limit:.3f})"
    assert said in seen.page.inner_text("#notice")
    assert "diverged" in seen.visit("#eta=30&K=100000").page.inner_text("table")


def test_the_same_mean_step_has_a_line_of_its_own_where_it_is_another(opened):
    """At η = 1/(2μ) standard fine-tuning with η = ½ already has the same mean step."""
    label = "standard, same mean step"
    own = opened()
    numbers = computed(own.page, [own.state()])[0]
    assert numbers["table"]["sameMeanStep"] == numbers["table"]["standard"]
    assert own.page.inner_text("#legend").count("standard") == 1
    seen = own.visit("#eta=0.4")
    assert "standard, same η" in seen.page.inner_text("#legend")
    assert label in seen.page.inner_text("#legend")
    assert label in seen.page.inner_text("table")


def test_play_and_pause_by_the_space_bar(opened):
    seen = opened()
    start = seen.state()
    assert not seen.page.evaluate("explorer.playing")  # nothing moves before one asks
    seen.page.keyboard.press("Space")
    seen.until(f"explorer.state.K > {start['K'] + 2}")
    assert seen.page.get_attribute("#play", "aria-pressed") == "true"
    assert seen.page.get_attribute("#numbers", "aria-live") == "off"
    seen.page.keyboard.press("Space")
    stopped = seen.page.evaluate("explorer.state.K")
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("explorer.state.K") == stopped
    assert seen.page.get_attribute("#numbers", "aria-live") == "polite"
    assert f"K={stopped}" in seen.page.url
    seen.page.select_option("#through", "tau")
    seen.page.click("#play")
    seen.until(f"explorer.state.tau > {1.3 * start['tau']}")
    seen.page.click("#reset")
    seen.settle()
    assert seen.state() == start


def test_calm_for_those_who_ask_for_it(opened):
    """Few and slow pictures where motion is to be reduced."""
    seen = opened(reduced_motion="reduce")
    first = seen.state()["K"]
    seen.page.click("#play")
    seen.page.wait_for_timeout(600)
    assert seen.state()["K"] == first
    seen.until(f"explorer.state.K >= {first + 10}")
    seen.page.click("#play")


def best_of_flow(problem: lt.FineTuningProblem) -> float:
    """FLOW's smallest total error at η = 1/(2μ) over the temperatures of the slider, and steps."""
    steps = np.unique(np.round(np.logspace(0, 4, 200))).astype(int)
    paths = (lt.iterate(problem, steps, temperature=10**place) for place in np.arange(-3, 3.01, 0.05))
    return min(float(lt.total_error(problem, path).min()) for path in paths)


def test_the_six_covariances_show_flow_at_its_best_and_its_defeat(opened):
    seen = opened()
    buttons = seen.page.locator("#cases button")
    names = buttons.all_inner_texts()
    totals = {}
    for k, name in enumerate(names):
        buttons.nth(k).click()
        seen.settle()
        state = seen.state()
        totals[name] = {key: row["total"] for key, row in computed(seen.page, [state])[0]["table"].items()}
        assert totals[name]["flow"] <= best_of_flow(stated(state)) + 1e-4
    assert len(names) == 6
    meets, averages = totals["Meets the best for both"], totals["Can only average"]
    assert meets["flow"] - meets["joint"] < 1e-3 < min(meets["average"], meets["early"]) - meets["joint"]
    assert 0 < averages["flow"] - averages["average"] < 1e-3 < averages["early"] - averages["average"]
    loses = totals["Loses to early stopping"]
    assert loses["early"] + 0.01 < loses["flow"] < loses["average"]


def test_every_suggestion_opens_what_it_says(opened):
    seen = opened()
    links = seen.page.locator("#tries a")
    assert links.count() == 4
    for k in range(4):
        links.nth(k).click()
        seen.until("location.hash === explorer.address(explorer.state)")
        seen.settle()
        text, now = links.nth(k).inner_text(), computed(seen.page, [seen.state()])[0]
        if text.startswith("Noise"):
            assert abs(now["table"]["flow"]["theta"][1]) < NEAR < now["table"]["flow"]["theta"][0]
        if text.startswith("Too large"):
            assert now["standard"]["diverges"]
            assert not now["flow"]["diverges"]


def test_it_fits_every_screen(opened):
    seen = opened()
    plots = "['plane', 'errors', 'spectrum'].map(id => document.getElementById(id))"
    for width in (1920, 1280, 800, 390, 360):
        seen.page.set_viewport_size({"width": width, "height": 844})
        seen.until(f"{plots}.every(plot => plot.querySelector('svg').clientWidth === plot.clientWidth)")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert min(seen.page.evaluate(f"{plots}.map(plot => plot.clientWidth)")) > 0.85 * min(width, 330)


def test_numbers_are_above_the_fold(opened):
    seen = opened()
    seen.page.set_viewport_size({"width": 1280, "height": 720})
    seen.settle()
    assert seen.page.evaluate("document.querySelector('table').getBoundingClientRect().bottom") <= 720


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_show_on_their_ground(opened, scheme):
    """By day and by night: 4.5 to 1, as WCAG asks, for what is written in ink and in FLOW's colour."""
    seen = opened(color_scheme=scheme)
    colour = "(of, what) => getComputedStyle(document.querySelector(of))[what].match(/[0-9.]+/g).map(Number)"
    read = lambda of, what: seen.page.evaluate(f"([of, what]) => ({colour})(of, what)", [of, what])[:3]
    ground = luminance(read("body", "backgroundColor"))
    assert (ground < 0.5) is (scheme == "dark")
    for place in ("body", "tr.flow td", "thead th", "h2 small", "footer p", "#notice"):
        low, high = sorted((ground, luminance(read(place, "color"))))
        assert (high + 0.05) / (low + 0.05) >= 4.5, place
    paper = seen.page.evaluate("document.getElementById('plane')._fullLayout.paper_bgcolor").lstrip("#")
    assert luminance([int(paper[k : k + 2], 16) for k in (0, 2, 4)]) == pytest.approx(ground)


def luminance(rgb) -> float:
    """Relative luminance of sRGB 0 … 255, by WCAG's definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in rgb)]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_one_step_is_singular_and_the_stall_has_its_name(opened):
    seen = opened("#K=1")
    assert "After 1 step:" in seen.page.inner_text("caption")
    assert "After 2 steps:" in seen.visit("#K=2").page.inner_text("caption")
    named = "document.getElementById('spectrum').layout.annotations.map(one => [one.text, one.x])"
    ((text, place),) = seen.page.evaluate(named)
    assert text == "the stall"
    assert place == max(computed(seen.page, [seen.state()])[0]["flow"]["eigenvalues"])


def test_a_table_says_what_each_number_is(opened):
    """A heading for every column and every row, and a caption: what a screen reader says with each number."""
    page = opened().page
    columns = page.evaluate(
        "[...document.querySelectorAll('thead tr > *')].map(c => [c.tagName, c.scope, c.innerText])"
    )
    assert all(tag == "TH" and scope == "col" and text for tag, scope, text in columns)
    rows = page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(r => [r.cells[0].scope, r.cells.length])"
    )
    assert {tuple(row) for row in rows} == {("row", len(columns))}


WORDS_IN_THE_PLANE = """() => { const plot = document.getElementById('plane'), { xaxis, yaxis } = plot._fullLayout;
  const home = plot.getBoundingClientRect(), left = home.left + xaxis._offset, top = home.top + yaxis._offset;
  const place = (x, y) => [left + xaxis.l2p(x), top + yaxis.l2p(y)], edges = b => [b.left, b.right, b.top, b.bottom];
  const places = ({ x, y }) => x.map((u, i) => place(u, y[i]));
  const words = [...plot.querySelectorAll('.annotation')].map((drawn, i) => { const one = plot.layout.annotations[i];
    return { text: drawn.textContent, ring: one.name === 'ring', mark: place(one.x, one.y),
      box: edges(drawn.querySelector('.annotation-text').getBoundingClientRect()),
      lead: drawn.querySelector('.annotation-arrow-g path:not([opacity="0"])') !== null }; });
  return { words, frame: [left, left + xaxis._length, top, top + yaxis._length],
    marks: places(plot.data.find(({ mode }) => mode === 'markers')),
    lines: plot.data.filter(({ mode, line }) => mode.startsWith('lines') && line.width > 2).map(places) }; }"""
"""In pixels of the page: the labels and the numbers of the contours as they are drawn, and what they must not meet."""

SETTINGS = (
    "",
    "#rho=0&K=3",
    "#rho=0.98&tau=0.05&K=200",
    "#K=0",
    "#K=1000000&tau=inf",
    "#noise=4&tau=2&K=1000000",
    "#eta=0.1&K=30",
    "#eta=1&K=8",
    "#eta=0.61&K=500",
    "#a=50&b=2&lean=-1&tau=0.02&K=40",
    "#a=1&b=100&lean=0&K=12&rho=0.8",
)


def address(state: dict) -> str:
    """The link to a setting."""
    return "#" + "&".join(f"{key}={'auto' if value is None else value}" for key, value in state.items())


def apart(point, box) -> float:
    """From a point to a box [left, right, top, bottom]."""
    (x, y), (left, right, top, bottom) = point, box
    return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


def meet(one, other, by: float = 2.0) -> bool:
    """Whether two boxes overlap by more than the blank edge of their letters."""
    return all(
        min(one[k + 1], other[k + 1]) - max(one[k], other[k]) > edge for k, edge in ((0, by), (2, 2 * by))
    )


def on_a_line(box, lines) -> bool:
    """Whether one of the lines enters the letters of a box; sampled every half pixel and cut to the box's window."""
    left, right, top, bottom = np.add(box, (1, -1, 3, -3))
    for line in lines:
        for start, end in itertools.pairwise(np.array(line)):
            low, high = np.minimum(start, end), np.maximum(start, end)
            if low[0] > right or high[0] < left or low[1] > bottom or high[1] < top:
                continue
            share = np.linspace(0, 1, 2 + int(2 * min(np.hypot(*(end - start)), 1e5)))[:, None]
            x, y = (start + share * (end - start)).T
            if np.any((x > left) & (x < right) & (y > top) & (y < bottom)):
                return True
    return False


def faults(seen: dict) -> list[str]:
    """Every label and number that lies where it misleads, with the reason."""
    found = []
    labels = [word for word in seen["words"] if not word["ring"]]
    for word in labels:
        own = apart(word["mark"], word["box"])
        rivals = [
            mark for mark in seen["marks"] if math.dist(mark, word["mark"]) > 9
        ]  # those not under its own
        nearest = min(apart(mark, word["box"]) for mark in rivals)
        if not word["lead"] and own > 25:
            found.append(f"{word['text']} is {own:.0f} px away, without a line")
        if not word["lead"] and nearest < own:
            found.append(f"{word['text']} is {nearest:.0f} px from another mark, {own:.0f} px from its own")
        middle = (np.add(*word["box"][:2]) / 2, np.add(*word["box"][2:]) / 2)
        between = np.linspace(word["mark"], middle, 200)
        if word["lead"] and any(np.hypot(*(between - mark).T).min() < 6 for mark in rivals):
            found.append(f"the line to {word['text']} crosses another mark")
        if on_a_line(word["box"], seen["lines"]):
            found.append(f"{word['text']} lies on a line")
        if any(mark != word["mark"] and apart(mark, word["box"]) < 2 for mark in seen["marks"]):
            found.append(f"{word['text']} lies on a mark")
    for word in seen["words"]:
        left, right, top, bottom = word["box"]
        if left < seen["frame"][0] - 1 or right > seen["frame"][1] + 1:
            found.append(f"{word['text']} leaves the picture")
        if top < seen["frame"][2] - 1 or bottom > seen["frame"][3] + 1:
            found.append(f"{word['text']} leaves the picture")
        if word["ring"] and (
            on_a_line(word["box"], seen["lines"])
            or any(apart(mark, word["box"]) < 6 for mark in seen["marks"])
        ):
            found.append(f"the contour's {word['text']} is crossed")
    for one, other in itertools.combinations(seen["words"], 2):
        if meet(one["box"], other["box"]):
            found.append(f"{one['text']} lies on {other['text']}")
    return found


@WIDTHS
def test_every_label_stands_by_its_own_mark(opened, width):
    """The mark that is nearest to a label is its own, or a line leads to it; and no word lies on anything drawn.

    In every case and suggestion, in settings from the ends of the sliders, and in random ones.
    """
    seen = opened(width=width)
    found = {}
    for place in ("#cases button", "#tries a"):
        for button in seen.page.locator(place).all():
            button.click()
            seen.settle()
            found[button.inner_text()] = faults(seen.page.evaluate(WORDS_IN_THE_PLANE))
    for setting in (*SETTINGS, *map(address, random_settings(20))):
        seen.visit(setting)
        found[setting] = faults(seen.page.evaluate(WORDS_IN_THE_PLANE))
    assert {setting: words for setting, words in found.items() if words} == {}


def test_labels_beside_the_wrong_mark_are_noticed(opened):
    """Two labels exchanged, lines taken away, and a number of a contour moved onto a path."""
    seen = opened().page.evaluate(WORDS_IN_THE_PLANE)
    assert faults(seen) == []
    labels = {word["text"]: word for word in seen["words"]}
    without = [{**word, "lead": False} for word in seen["words"]]
    assert any("another mark" in fault for fault in faults({**seen, "words": without}))
    here, there = labels["early stopping"], labels["θ*"]
    swapped = [{**here, "mark": there["mark"]}, {**there, "mark": here["mark"]}]
    assert len(faults({**seen, "words": swapped})) >= 2
    number = next(word for word in seen["words"] if word["ring"])
    x, y = seen["lines"][0][0]
    crossed = {**number, "box": [x - 13, x + 13, y - 8, y + 8]}
    assert any("crossed" in fault for fault in faults({**seen, "words": [crossed]}))


@WIDTHS
def test_the_stall_is_named_outside_the_red_zones(opened, width):
    seen = opened(width=width)
    name = """() => { const plot = document.getElementById('spectrum'), { xaxis } = plot._fullLayout;
      const edge = x => plot.getBoundingClientRect().left + xaxis._offset + xaxis.l2p(x);
      return [...plot.querySelectorAll('.annotation-text')].map(one => one.getBoundingClientRect())
        .map(({ left, right }) => [left - edge(-1), edge(1) - right]); }"""
    named = 0
    for setting in (
        "",
        "#tau=0.01",
        "#tau=0.001&K=1023",
        "#eta=0.01",
        "#rho=0.9&tau=1",
        "#eta=3.6&tau=0.158",
    ):
        room = seen.visit(setting).page.evaluate(name)
        named += len(room)
        assert np.all(np.array(room) >= 0), setting
    assert named >= 5


def test_everything_has_a_name_for_those_who_listen(opened):
    """Each slider, choice and button has a label, each plot a title, and no identifier stands twice."""
    nameless = """[...document.querySelectorAll('input, select, button, [role=img]')].filter(one =>
        !(one.labels?.length || one.textContent.trim() && one.tagName === 'BUTTON' ||
          document.getElementById(one.getAttribute('aria-labelledby')))).map(one => one.outerHTML)"""
    seen = opened()
    assert seen.page.evaluate(nameless) == []
    ids = seen.page.evaluate("[...document.querySelectorAll('body > :not(script) [id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_everything_is_in_the_file(file):
    page = explorer.build()
    assert file.read_text(encoding="utf-8") == page
    own = page.replace(str(explorer.library()), "")
    assert "http" not in own.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "plotly.js v" in page
    assert all(colour in own for colour in COLOURS.values())


def test_no_script_runs_but_those_of_the_page(browser, file, tmp_path):
    page = file.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = " ".join(f"'{hashed(script)}'" for script in scripts)
    assert f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:" in page
    foreign = tmp_path / "foreign.html"
    foreign.write_text(page.replace("</body>", "<script>document.title = 'foreign'</script></body>"), "utf-8")
    seen = Seen(browser, foreign)
    assert seen.page.title() == "Fine-tuning in the plane"
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)
    seen.page.close()


def test_the_command_writes_it(file, tmp_path):
    done = CliRunner().invoke(app, ["explorer", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert "explorer.html" in done.output
    assert (tmp_path / "new" / "explorer.html").read_bytes() == file.read_bytes()
    (tmp_path / "taken").touch()
    assert CliRunner().invoke(app, ["explorer", "--out", str(tmp_path / "taken")]).exit_code == 2


@pytest.mark.skipif(
    "EXPLORER_SCREENSHOT" not in os.environ, reason="only to renew figures/gallery/explorer.png"
)
def test_screenshot(opened):
    seen = opened()
    bottom = seen.page.evaluate("Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)")
    seen.page.set_viewport_size({"width": 1280, "height": bottom + 12})
    seen.settle()
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("document.querySelector('footer').getBoundingClientRect().top") >= bottom
    seen.page.screenshot(path=ROOT / "figures" / "gallery" / "explorer.png")

"""The explorer in a real browser: it computes what the package computes, asks for nothing, and can be handled.

Its mathematics is a second implementation: closed forms of a 2 × 2 matrix in JavaScript, against eigenbases of any
problem in NumPy.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from typer.testing import CliRunner

import linear_theory as lt
from paper_reproduction import explorer
from paper_reproduction.command import app

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
NEAR = 1e-10
METHODS = ("pretrained", "vanilla", "control", "flow", "average", "oracle", "target")

pytestmark = [
    pytest.mark.skipif(BROWSER is None and "CI" not in os.environ, reason="no Chromium here"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser():
    assert BROWSER is not None, "continuous integration must have Chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return explorer.write(tmp_path_factory.mktemp("explorer") / "explorer.html")


class Seen:
    """A page, with all that it asked for and all that it complained of."""

    def __init__(self, browser, file: Path, address: str = "", width: int = 1280, height: int = 900) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri() + address)
        self.settle()

    def settle(self) -> None:
        """Wait until what is drawn is the present state."""
        self.until("document.body.dataset.drawn === explorer.address(explorer.state)")

    def until(self, condition: str) -> None:
        """Wait until a condition holds; asked from here, for the page itself forbids ``eval``."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never: {condition}")

    def now(self) -> dict:
        return numbers(self.page, self.page.evaluate("explorer.state"))

    def drawn(self) -> str:
        """What stands on the page: plots and table, without the controls."""
        parts = ("#plane", "#errors", "#spectrum", "table")
        return "".join(self.page.inner_html(part, timeout=2000) for part in parts)


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

PICK = """state => {
    const now = explorer.compute({ ...state, tau: state.tau ?? Infinity });
    const ways = Object.fromEntries(["vanilla", "control", "flow"].map(key =>
        [key, (({ mass, eta, stable, halfLife, diverges, eigenvalues }) => (
            { mass, eta, stable, halfLife, diverges, eigenvalues }))(now[key])]));
    return JSON.stringify({ c: now.c, beta: now.beta, table: now.table, ...ways },
        (key, value) => typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
}"""
"""All digits of all numbers, and infinity as a word."""


def numbers(page, state: dict) -> dict:
    """What the page computes of a setting."""
    sent = {key: None if value == math.inf else value for key, value in state.items()}
    real = lambda value: float(value) if value in ("Infinity", "-Infinity", "NaN") else value
    walk = lambda value: (
        {key: walk(one) for key, one in value.items()}
        if isinstance(value, dict)
        else [walk(one) for one in value]
        if isinstance(value, list)
        else real(value)
    )
    return walk(json.loads(page.evaluate(PICK, sent)))


def expected(state: dict) -> dict:
    """The same from the package."""
    c = state["lean"] * math.sqrt((state["a"] - 1) * (state["b"] - 1))
    problem = lt.paper_problem(
        state["rho"], pretrain_covariance=[[state["a"], c], [c, state["b"]]], noise_variance=state["noise"]
    )
    tau, K = state["tau"], state["K"]
    mass = float(lt.weight_mass(problem, tau))
    rates = {"flow": state["eta"] or 1 / (2 * mass), "vanilla": state["eta"] or 0.5}
    temperatures = {"flow": tau, "vanilla": math.inf, "control": math.inf}
    first = lt.iterate(problem, 1, learning_rate=rates["flow"], temperature=tau)
    rates["control"] = (1 - float(first[0])) / 2  # a standard step moves by 2ηΣ̃e, which is 2η along e
    stable = {name: float(lt.stable_learning_rate(problem, t)) for name, t in temperatures.items()}
    thetas = {
        "pretrained": problem.pretrained,
        "average": lt.best_model_average(problem),
        "oracle": lt.joint_optimum(problem),
        "target": problem.target,
    }
    for name, t in temperatures.items():
        try:
            thetas[name] = lt.iterate(problem, K, learning_rate=rates[name], temperature=t)
        except lt.DivergenceError:  # beyond the floats
            thetas[name] = None
    return {
        "problem": problem,
        "c": c,
        "mass": mass,
        "rates": rates,
        "stable": stable,
        "thetas": thetas,
        "beta": float(lt.stall_parameter(tau + 2 * state["noise"], state["rho"])),
    }


def disagreements(page, state: dict) -> dict[str, float]:
    """How far page and package are apart, in units of the shift, relative to what is larger than that."""
    here, there = numbers(page, state), expected(state)
    problem = there["problem"]
    gap = lambda one, other: 0.0 if one == other else abs(one - other) / max(1.0, abs(other))
    found = {
        "c": gap(here["c"], there["c"]),
        "beta": gap(here["beta"], there["beta"]),
        "mass": gap(here["flow"]["mass"], there["mass"]) + gap(here["vanilla"]["mass"], 1.0),
    }
    for name, stable in there["stable"].items():
        found[f"{name} stable"] = gap(here[name]["stable"], stable)
        found[f"{name} rate"] = gap(here[name]["eta"], there["rates"][name])
    for name in METHODS:
        theta, row = there["thetas"][name], here["table"][name]
        if theta is None:
            found[f"{name} beyond the floats"] = math.inf if all(map(math.isfinite, row["theta"])) else 0.0
            continue
        if np.abs(theta).max() > 1e100:  # its square would leave the floats
            theta, row = theta / 1e100, {"theta": np.divide(row["theta"], 1e100)}
        found[f"{name} θ"] = float(
            np.max(np.abs(np.subtract(row["theta"], theta)) / np.maximum(1.0, np.abs(theta)))
        )
        for key, error in (
            ("forgot", lt.pretrain_error),
            ("left", lt.target_error),
            ("total", lt.total_error),
        ):
            if key in row:
                found[f"{name} {key}"] = gap(row[key], float(error(problem, theta)))
    if state["eta"] is None and state["tau"] < math.inf and state["rho"] > 0:
        beta = lt.stall_parameter(state["tau"] + 2 * state["noise"], state["rho"])
        for k, value in enumerate(sorted(here["flow"]["eigenvalues"], reverse=True)):
            found[f"λ{k + 1}"] = gap(value, float(lt.stall_spectrum(beta, state["rho"])[k]))
        life = float(lt.half_life(beta, state["rho"]))
        found["half-life"] = abs(here["flow"]["halfLife"] / life - 1)
    return found


def settings(count: int) -> list[dict]:
    """Random settings over the sliders' ranges and their ends, seeded."""
    rng = np.random.default_rng(20250)
    pick = lambda *options: options[rng.integers(len(options))]

    def one() -> dict:
        state = {
            "rho": pick(0.0, 0.98, *rng.uniform(0, 0.98, 4)),
            "tau": pick(1e-3, 1e3, math.inf, *10 ** rng.uniform(-3, 3, 6)),
            "eta": pick(None, None, float(10 ** rng.uniform(-2, 1))),
            "K": int(pick(0, 1, 2, 3, 10**6, *np.round(10 ** rng.uniform(0, 6, 6)))),
            "a": pick(1.0, *10 ** rng.uniform(0, 2.3, 4)),
            "b": pick(1.0, *10 ** rng.uniform(0, 2.3, 4)),
            "lean": pick(-1.0, 1.0, *rng.uniform(-1, 1, 4)),
            "noise": pick(0.0, 0.0, rng.uniform(0, 4)),
        }
        return {
            key: float(value) if isinstance(value, np.floating) else value for key, value in state.items()
        }

    return [one() for _ in range(count)]


def test_the_page_computes_what_the_package_computes(opened):
    seen = opened()
    drawn = settings(200)
    worst: dict[str, float] = {}
    for state in drawn:
        for name, gap in disagreements(seen.page, state).items():
            worst[name] = max(worst.get(name, 0.0), gap)
    assert max(worst.values()) < NEAR, {name: gap for name, gap in worst.items() if not gap < NEAR}
    assert len(worst) > 30
    assert sum(state["tau"] == math.inf for state in drawn) > 5
    assert sum(state["rho"] == 0 for state in drawn) > 5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("2 * eta * mass * value", "eta * mass * value"),  # the ½ that the loss does not have
        ("1 / Math.sqrt(spread)", "1 / spread"),  # μ² for μ
        ("a / (a + 1)", "a / (a + 2)"),  # another average
        ("K % 2 ? -1 : 1", "1"),  # the parity of a negative eigenvalue
        ("flat + (1 - rho * rho) * g", "flat"),  # Q's corner
    ],
)
def test_wrong_mathematics_is_rejected(browser, tmp_path, file, right, wrong):
    text = file.read_text(encoding="utf-8")
    assert text.count(right) == 1
    broken = tmp_path / "wrong.html"
    broken.write_text(text.replace(right, wrong), encoding="utf-8")
    page = browser.new_page()
    page.goto(broken.as_uri())
    assert max(max(disagreements(page, state).values()) for state in settings(30)) > 1e6 * NEAR
    page.close()


def test_the_curves_are_those_of_the_package(opened):
    """What is drawn against the step, read back from the plot."""
    seen = opened("#rho=0.6&tau=0.3&a=2&b=2&lean=0.9")
    there = lt.paper_problem(0.6, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])
    curves = seen.page.evaluate(
        "document.getElementById('errors').data.map(t => ({ name: t.name, x: t.x, y: t.y }))"
    )
    flow = [curve for curve in curves if curve["name"] == "FLOW"]
    for curve, error in zip(flow, (lt.pretrain_error, lt.target_error, lt.total_error), strict=True):
        theta = lt.iterate(there, np.array(curve["x"], dtype=int), temperature=0.3)
        np.testing.assert_allclose(curve["y"], error(there, theta), rtol=0, atol=NEAR)


# ----------------------------------------------------------------------------------------------- the handling

SLIDERS = ("rho", "tau", "K", "eta", "a", "b", "lean", "noise")


@pytest.mark.parametrize("name", SLIDERS)
def test_each_slider_moves_by_keyboard_and_all_follow(opened, name):
    seen = opened()
    slider = seen.page.locator(f"#{name}")
    before, page_before, said = seen.now(), seen.drawn(), seen.page.inner_text(f"#{name}-value")
    slider.focus()
    slider.press("ArrowLeft" if name == "lean" else "ArrowRight")
    seen.settle()
    assert seen.now() != before
    assert seen.drawn() != page_before
    assert seen.page.inner_text(f"#{name}-value") != said
    assert slider.get_attribute("aria-valuetext") == seen.page.inner_text(f"#{name}-value")
    for key in ("End", "Home"):
        slider.press(key)
        seen.settle()
    assert f"{name}=" in seen.page.url


def test_the_address_is_the_state(opened):
    seen = opened()
    for name in SLIDERS:
        seen.page.locator(f"#{name}").press("ArrowRight" if name != "lean" else "ArrowLeft")
    seen.settle()
    state = seen.page.evaluate("explorer.address(explorer.state)")
    again = opened("#" + seen.page.url.partition("#")[2])
    assert again.page.evaluate("explorer.address(explorer.state)") == state
    assert again.now() == seen.now()
    infinite = opened("#tau=inf&K=7&eta=0.25")
    assert infinite.page.evaluate("explorer.state.tau === Infinity && explorer.state.eta === 0.25")
    infinite.page.evaluate("location.hash = '#tau=0.5'")
    infinite.until("explorer.state.tau === 0.5 && explorer.state.eta === null")


def test_an_address_that_makes_no_sense_is_said(opened):
    seen = opened("#rho=1.5&K=-3&colour=red&tau=0.2")
    notice = seen.page.inner_text("#notice")
    assert all(part in notice for part in ("rho=1.5", "K=-3", "colour=red"))
    assert seen.page.evaluate("[explorer.state.rho, explorer.state.K, explorer.state.tau]") == [0.6, 8, 0.2]


def test_divergence_is_said(opened):
    seen = opened("#eta=1.2&K=500")
    assert "Too large a step for standard" in seen.page.inner_text("#notice")
    assert "diverged" in opened("#eta=9&K=100000").page.inner_text("table")
    assert opened().page.inner_text("#notice") == ""


def test_play_and_pause_by_the_space_bar(opened):
    seen = opened()
    seen.page.keyboard.press("Space")
    seen.until("explorer.state.K > 11")
    assert seen.page.get_attribute("#play", "aria-pressed") == "true"
    seen.page.keyboard.press("Space")
    stopped = seen.page.evaluate("explorer.state.K")
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("explorer.state.K") == stopped
    assert f"K={stopped}" in seen.page.url
    seen.page.select_option("#through", "tau")
    seen.page.click("#play")
    seen.until("explorer.state.tau > 0.15")
    seen.page.click("#reset")
    seen.settle()
    assert seen.page.evaluate("[explorer.state.K, explorer.state.tau]") == [8, 0.1]


def test_every_suggestion_opens_what_it_says(opened):
    seen = opened()
    links = seen.page.locator("#tries a")
    assert links.count() >= 4
    for k in range(links.count()):
        links.nth(k).click()
        seen.until("decodeURI(location.hash) === decodeURI(explorer.address(explorer.state))")
        seen.settle()
        text = links.nth(k).inner_text()
        now = {name: row["total"] for name, row in seen.now()["table"].items()}
        if "smaller step beats" in text:
            assert now["control"] < now["flow"]
        if "meets the oracle" in text:
            assert now["flow"] - now["oracle"] < 1e-3 < now["average"] - now["oracle"]
        if "an average" in text:
            assert abs(seen.now()["table"]["flow"]["theta"][1]) < NEAR


@pytest.mark.parametrize("width", [360, 390, 800, 1280, 1920])
def test_it_fits_every_screen(opened, width):
    seen = opened(width=width, height=844)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    plots = seen.page.evaluate(
        "['plane', 'errors', 'spectrum'].map(id => document.getElementById(id).clientWidth)"
    )
    assert min(plots) > 0.85 * min(width, 330)


def test_the_command_writes_it(tmp_path, file):
    done = CliRunner().invoke(app, ["explorer", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert (tmp_path / "new" / "explorer.html").read_bytes() == file.read_bytes()
    (tmp_path / "taken").touch()
    refused = CliRunner().invoke(app, ["explorer", "--out", str(tmp_path / "taken")])
    assert refused.exit_code == 2
    assert "cannot write to --out" in refused.output


def test_everything_is_in_the_file(file):
    page = explorer.build()
    assert file.read_text(encoding="utf-8") == page
    own = page.replace(str(explorer.library()), "")
    assert "http" not in own.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "plotly.js v" in page


@pytest.mark.skipif(
    "EXPLORER_SCREENSHOT" not in os.environ, reason="only to renew figures/gallery/explorer.png"
)
def test_screenshot(opened):
    seen = opened(width=1400, height=1010)
    seen.page.wait_for_timeout(300)
    seen.page.screenshot(path=ROOT / "figures" / "gallery" / "explorer.png")

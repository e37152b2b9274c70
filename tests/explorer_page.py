"""The explorer's page in a browser: what it shows, what it computes, and how far that is from the package."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

import linear_theory as lt

WORDS = "(key, value) => typeof value === 'number' && !Number.isFinite(value) ? String(value) : value"
"""JSON knows no infinity."""


def spoken(table: dict) -> dict:
    """The numbers that came as words."""
    number = lambda value: float(value) if value in ("Infinity", "-Infinity", "NaN") else value
    several = lambda value: [number(one) for one in value] if isinstance(value, list) else number(value)
    return {key: several(value) for key, value in table.items()}


class Seen:
    """A page, with all that it asked for and all that it complained of."""

    def __init__(self, browser, file: Path, address: str = "", width: int = 1280, **options) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri() + address)
        self.settle()

    def settle(self) -> None:
        """Wait until what is drawn is the present state."""
        self.until("document.body.dataset.drawn === explorer.address(explorer.state)")

    def visit(self, address: str) -> Seen:
        """Follow a link within the page, which loads nothing."""
        self.page.evaluate("address => { location.hash = address; }", address)
        self.until(
            "explorer.address(explorer.read(location.hash).state) === explorer.address(explorer.state)"
        )
        self.settle()
        return self

    def until(self, condition: str) -> None:
        """Wait until a condition holds; asked from here, for the page itself forbids ``eval``."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never: {condition}")

    def state(self) -> dict:
        """The setting that is shown."""
        return json.loads(self.page.evaluate(f"JSON.stringify(explorer.state, {WORDS})"), object_hook=spoken)

    def drawn(self) -> str:
        """What stands on the page: plots and table, without the sliders."""
        parts = "['#plane svg', '#errors svg', '#spectrum svg', 'table']"
        return self.page.evaluate(f"{parts}.map(part => document.querySelector(part).innerHTML).join()")


def computed(page, states: list[dict], compute: str = "explorer.compute") -> list[dict]:
    """All digits of all that the page computes of these settings."""
    sent = [{**state, "tau": None if state["tau"] == math.inf else state["tau"]} for state in states]
    return json.loads(
        page.evaluate(
            f"""states => JSON.stringify(
                states.map(state => {compute}({{ ...state, tau: state.tau ?? Infinity }})), {WORDS})""",
            sent,
        ),
        object_hook=spoken,
    )


def stated(state: dict) -> lt.FineTuningProblem:
    """The problem of a setting."""
    a, b = state["a"], state["b"]
    c = state["lean"] * math.sqrt((a - 1) * (b - 1))
    covariance = [[a, c], [c, b]]
    return lt.paper_problem(state["rho"], pretrain_covariance=covariance, noise_variance=state["noise"])


def gap(one, other) -> float:
    """How far apart, relative to what is larger than 1."""
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return float(np.max(np.where(one == other, 0.0, abs(one - other) / np.maximum(1.0, abs(other)))))


def disagreements(state: dict, here: dict) -> dict[str, float]:
    """How far what the page computed of a setting is from what the package says."""
    problem, tau = stated(state), state["tau"]
    mass = float(lt.weight_mass(problem, tau))
    eta = 1 / (2 * mass) if state["eta"] is None else state["eta"]
    ways = {  # temperature and learning rate
        "flow": (tau, eta),
        "standard": (math.inf, 0.5 if state["eta"] is None else eta),
        "sameMeanStep": (math.inf, eta * mass),
    }
    points = {
        "pretrained": problem.pretrained,
        "target": problem.target,
        "average": lt.best_model_average(problem),
        "joint": lt.joint_optimum(problem),
        "early": lt.gradient_flow(problem, here["stop"]),
    }
    found = {"c": gap(here["problem"]["c"], problem.pretrain_covariance[0, 1])}
    for name, (temperature, rate) in ways.items():
        way = here[name]
        found[f"{name} mass"] = gap(way["mass"], lt.weight_mass(problem, temperature))
        found[f"{name} rate"] = gap(way["eta"], rate)
        found[f"{name} stable"] = gap(way["stable"], lt.stable_learning_rate(problem, temperature))
        if state["rho"] > 0:  # else the path meets one eigenvector only
            matrix = np.eye(2) - 2 * rate * lt.weighted_covariance(problem, temperature)
            found[f"{name} λ"] = gap(sorted(way["eigenvalues"]), np.linalg.eigvalsh(matrix))
        try:
            points[name] = lt.iterate(problem, state["K"], learning_rate=rate, temperature=temperature)
        except lt.DivergenceError:
            lost = not all(map(math.isfinite, here["table"][name]["theta"]))
            found[f"{name} beyond the floats"] = 0.0 if lost else math.inf
    for name, theta in points.items():
        row = here["table"][name]
        found[f"{name} θ"] = gap(row["theta"], theta)
        if abs(theta).max() < 1e100:  # the squares of others would leave the floats
            found[f"{name} forgotten"] = gap(row["forgot"], lt.pretrain_error(problem, theta))
            found[f"{name} to learn"] = gap(row["left"], lt.target_error(problem, theta))
            found[f"{name} total"] = gap(row["total"], lt.total_error(problem, theta))
    best = lt.total_error(problem, lt.gradient_flow(problem, np.exp(np.linspace(-10, 10, 2001)))).min()
    winner = {"average": "averaging", "joint": "joint optimum", "early": "early stopping"}[
        here["best"]["winner"]
    ]
    exact = lt.best_flow(problem)
    found["FLOW's best"] = gap(here["best"]["total"], exact.total_error)
    found["who wins"] = (
        0.0 if winner == exact.winner or state["rho"] == 0 else math.inf
    )  # on a line all are one
    found["early stopping is the best"] = max(0.0, here["table"]["early"]["total"] - float(best))
    if state["rho"] > 0 or tau < math.inf:
        beta = lt.stall_parameter(tau + 2 * state["noise"], state["rho"])
        found["β"] = gap(here["beta"], beta)
    if state["eta"] is None and state["rho"] > 0:
        found["λ₁, λ₂"] = gap(
            sorted(here["flow"]["eigenvalues"])[::-1], lt.stall_spectrum(beta, state["rho"])
        )
    if state["eta"] is None and tau < math.inf:
        found["half-life"] = abs(here["flow"]["halfLife"] / float(lt.half_life(beta, state["rho"])) - 1)
    return found


def worst(states: list[dict], numbers: list[dict]) -> dict[str, float]:
    """Of each number the largest disagreement in these settings."""
    largest: dict[str, float] = {}
    for state, here in zip(states, numbers, strict=True):
        for name, apart in disagreements(state, here).items():
            largest[name] = max(largest.get(name, 0.0), apart if apart == apart else math.inf)
    return largest


def random_settings(count: int) -> list[dict]:
    """Settings over the sliders' ranges and at their ends, seeded."""
    rng = np.random.default_rng(20250)
    pick = lambda *options: options[rng.integers(len(options))]
    return [
        {
            "rho": float(pick(0.0, 0.98, *rng.uniform(0, 0.98, 4))),
            "tau": float(pick(1e-3, 1e3, math.inf, *10 ** rng.uniform(-3, 3, 6))),
            "eta": pick(None, None, float(10 ** rng.uniform(-2, 1.5))),
            "K": int(pick(0, 1, 2, 3, 10**6, *np.round(10 ** rng.uniform(0, 6, 6)))),
            "a": float(pick(1.0, *10 ** rng.uniform(0, 2.3, 4))),
            "b": float(pick(1.0, *10 ** rng.uniform(0, 2.3, 4))),
            "lean": float(pick(-1.0, 1.0, *rng.uniform(-1, 1, 4))),
            "noise": float(pick(0.0, 0.0, rng.uniform(0, 4))),
        }
        for _ in range(count)
    ]

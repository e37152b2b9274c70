"""One cell of the teacher-student stall: what remains of the shift in networks, linearizations and the theory."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt
from paper_reproduction.claim import Settings
from paper_reproduction.mlp import teacher
from paper_reproduction.mlp.hardware import double, quiet

# The same mean step: each as long, on average, as the other's, by its rate times or over FLOW's mean weight.
RUNS = {
    "standard": "standard",
    "flow": "FLOW",
    "flow-same-mean-step": "FLOW, same mean step",
    "standard-same-mean-step": "standard, same mean step",
    "permuted-same-mean-step": "FLOW, weights shuffled, same mean step",
}
NUMBERS = ("mean weight", "residual energy", "first step", "end under noise")


@quiet
@double
def measure(
    settings: Settings, seeds: int, steps: tuple[int, ...], distance: float, noise: float
) -> xr.Dataset:
    """Every run of every seed at one distance and one noise level: (run, seed, step), and the numbers of each seed."""
    fleet = teacher.fleet(settings, seeds, distance, noise)
    lines, shifts, weights, rates = fleet.lines, fleet.shifts, fleet.weights, fleet.rates
    means, ones = weights.mean(axis=1), np.ones_like(weights)
    shuffle = lambda s: settings.rng(f"shuffle {distance:g} {noise:g} {s}").permutation(weights[s])
    weighing = np.stack([ones, weights, weights, ones, np.stack([shuffle(s) for s in range(seeds)])], axis=1)
    stepping = np.stack([rates, rates, rates / means, rates * means, rates / means], axis=1)
    theta = fleet.trained(weighing, stepping, steps)

    def one_seed(s: int) -> xr.Dataset:
        line, J = lines[s], lines[s].jacobian()
        rng = settings.rng(f"surrogate {distance:g} {noise:g} {s}")
        found = _one(line, J, shifts[s], noise, steps, theta[s], weighing[s], stepping[s])
        return found.merge(_surrogate(rng, line, J, shifts[s], noise, steps, float(rates[s])))

    found = [one_seed(s) for s in range(seeds)]
    d = xr.concat(found, "seed").assign_coords(distance=distance, noise=noise)
    return d.transpose("run", "seed", "step", "number")


def _one(
    line: lt.Linearization, J: np.ndarray, shift: np.ndarray, noise: float, steps: tuple[int, ...],
    theta: np.ndarray, weights: np.ndarray, rates: np.ndarray,
) -> xr.Dataset:  # fmt: skip
    """One seed: what remains of the shift in the network, in its linearization, and in the Gaussian theory."""
    origin = np.zeros(line.dim)
    left = lambda displacement: 1 - line.progress(line.start + displacement, shift)
    linear = lambda rate, w: (
        lt.descend(J, line.residuals, origin, w, solver=lt.descent.GradientDescent(rate), steps=steps).theta
    )
    network = np.stack([left(path - line.start) for path in theta])
    exact = np.stack([left(linear(rate, w)) for rate, w in zip(rates, weights, strict=True)])
    wrong = left(linear(rates[2] / 2, weights[2]))  # a step η for 2η
    gram = J.T @ J / line.count
    variance = noise * float(np.mean(line.jvp(shift) ** 2))
    problem = lt.FineTuningProblem(origin, shift, gram, noise_variance=variance)
    tau = lt.population_median_temperature(problem)
    mass = float(lt.weight_mass(problem, tau))
    rate = rates[0]
    # In random order the weights know nothing of the rows: on average a step is as if each were their mean.
    theory = [(rate, np.inf), (rate, tau), (rate / mass, tau), (rate * mass, np.inf), (rate, np.inf)]
    gaussian = np.stack([left(lt.iterate(problem, np.array(steps), r, t)) for r, t in theory])
    w, squares = weights[1], line.losses
    first = lambda paths: (1 - paths[2, 1]) / (1 - paths[0, 1])
    energies = [w.mean(), (w * squares).mean() / squares.mean()]
    target = line.outputs + line.jvp(shift)
    moved = np.asarray(teacher.predict(line.unflatten(line.start + shift), line.X)) - line.outputs
    return xr.Dataset(
        {
            "network": (("run", "step"), network, {"long_name": "share of the shift that remains, network"}),
            "linear": (("run", "step"), exact, {"long_name": "the same, linearized, same weights"}),
            "gaussian": (("run", "step"), gaussian, {"long_name": "the same, Gaussian theory"}),
            "wrong": ("step", wrong, {"long_name": "linearized FLOW with a step η for 2η"}),
            "measured": ("number", [*energies, first(network), network[2, -1]]),
            "linearized": ("number", [*energies, first(exact), exact[2, -1]]),
            "predicted": ("number", [mass, mass**3, mass**2, gaussian[2, -1]]),
            "limit": 1 - (1 + noise) * mass**2 / (noise + mass**2),
            "kurtosis": float(np.mean(squares**2) / np.mean(squares) ** 2),
            "effective": float(lt.effective_sample_size(w)) / line.count,
            "temperature": float(lt.median_temperature(squares)),
            "idle": float((w < 0.01).mean()),
            "bend": float(np.linalg.norm(moved - (target - line.outputs)) / np.linalg.norm(target - line.outputs)),
        },
        {"run": list(RUNS), "label": ("run", list(RUNS.values())), "step": list(steps), "number": list(NUMBERS)},
    )  # fmt: skip


def _surrogate(
    rng: np.random.Generator,
    line: lt.Linearization,
    J: np.ndarray,
    shift: np.ndarray,
    noise: float,
    steps: tuple[int, ...],
    rate: float,
) -> xr.Dataset:
    """The same numbers on Gaussian rows with this JᵀJ and shift, and what mistaken formulas say of them."""
    gram = J.T @ J / line.count
    values, vectors = np.linalg.eigh(gram)
    rows = rng.standard_normal((line.count, line.dim)) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    variance = noise * float(shift @ gram @ shift)
    residual = rows @ shift + np.sqrt(variance) * rng.standard_normal(line.count)
    w, ones = lt.flow_weights(residual**2), np.ones(line.count)
    origin = np.zeros(line.dim)
    path = lambda eta, v: (
        lt.descend(
            rows, residual, origin, v, solver=lt.descent.GradientDescent(eta), steps=[1, steps[-1]]
        ).theta
    )
    gone = lambda way: line.progress(line.start + way, shift)
    flow, standard = gone(path(rate / w.mean(), w)), gone(path(rate, ones))
    found = [
        w.mean(),
        (w * residual**2).mean() / (residual**2).mean(),
        flow[0] / standard[0],
        1 - flow[1],
    ]
    silent = lt.FineTuningProblem(origin, shift, gram)  # a theory that forgets the noise
    tau = lt.population_median_temperature(silent)
    mass = float(lt.weight_mass(silent, tau))
    blind = 1 - gone(lt.iterate(silent, steps[-1], rate / mass, tau))
    return xr.Dataset(
        {
            "surrogate": ("number", found, {"long_name": "on Gaussian rows"}),
            "mistaken": ("number", [mass**2, mass**2, mass, blind]),  # μ² for μ, μ² for μ³, μ for s, no noise
        }
    )

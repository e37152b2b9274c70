"""What the rows of the namespaces would refuse: for every function a formula that somebody might have written."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import linear_theory as lt
from benchmarks.routes import LAWS
from benchmarks.routes.condition import a_millionth
from benchmarks.routes.sequences import grams
from linear_theory import testing
from linear_theory.testing.reference.population import Case
from linear_theory.testing.tolerances import neighbours

SHARE = lambda temperature: 1 / (1 + temperature)


def changed(**moved):
    """The law's own formula, of arguments that are not those it is given."""

    def of(law):
        names = inspect.signature(law.formula).parameters
        assert set(moved) <= set(names)

        def wrong(**given):
            return law.formula(**given | {name: move(given) for name, move in moved.items()})

        wrong.__signature__ = inspect.signature(law.formula)
        return wrong

    return of


def told(formula):
    """Another formula."""
    return lambda law: formula


def result(change):
    """The law's own formula, and something done to what it says."""

    def of(law):
        wrong = lambda **given: change(np.asarray(law.formula(**given)))
        wrong.__signature__ = inspect.signature(law.formula)
        return wrong

    return of


def swapped(given):
    problem = given["problem"]
    return lt.FineTuningProblem(problem.target, problem.pretrained, problem.target_covariance)


def one_too_sure(optima, reference, rows, noise_variance, start):
    """σ²n/(d − n) of a fixed projector for σ²n/(d − n − 1)."""
    less = noise_variance * (len(start) - rows - 1) / (len(start) - rows)
    return lt.sequences.plain_distance(optima, reference, rows, less, start=start)


CLOCKS = {"time", "learning_rate"}

MISTAKES = {
    ("covariance.as_covariance", "the diagonal alone"): changed(matrix=lambda g: np.diag(np.diag(g["matrix"]))),
    ("covariance.total", "the scale left out"): changed(scale=lambda g: g["scale"] / 2),
    ("experts.Logistic", "the twin with the sign flipped"): changed(pretrained=lambda g: -g["pretrained"]),
    ("experts.Poisson", "weights of half the temperature"): changed(temperature=lambda g: g["temperature"] / 2),
    ("experts.curvature", "without weights"): changed(temperature=lambda g: np.inf),
    ("experts.fixed_point", "the average of both models"): told(
        lambda pretrained, target, temperature: (target + pretrained / temperature) / (1 + 1 / temperature)
    ),
    ("experts.iterate", "gradient of a loss with a 2"): changed(learning_rate=lambda g: 2 * g["learning_rate"]),
    ("experts.iterate", "labels of the old model"): changed(problem=lambda g: lt.FineTuningProblem(
        g["problem"].pretrained, g["problem"].pretrained, g["problem"].target_covariance)),
    ("experts.mean_weight", "the models in each other's place"): changed(problem=swapped),
    ("experts.sharpening", "the average's ω"): told(lambda temperature: 1 + SHARE(temperature)),
    ("experts.undo", "τ left out"): told(lambda fitted, pretrained, temperature: fitted - pretrained),
    ("high_dimension.optimum", "the population's"): changed(ratio=lambda g: 1e-9),
    ("high_dimension.optimum", "a ridge on a loss with ½"): changed(ridge=lambda g: 2 * g["ridge"]),
    ("high_dimension.path", "a time or a rate without the 2"): lambda law: changed(
        **{name: (lambda g, name=name: g[name] / 2) for name in CLOCKS & set(inspect.signature(law.formula).parameters)}
    )(law),
    ("sequences.flow", "σ² for 2σ²"): changed(noise_variances=lambda g: g["noise_variances"] / 2),
    ("sequences.flow", "every task from the first point"): told(
        lambda optima, temperatures, noise_variances, start: np.vstack([
            lt.sequences.flow([o], t, n, start) for o, t, n in zip(optima, temperatures, noise_variances, strict=True)
        ])
    ),
    ("sequences.harmonic_temperatures", "t for t − 1"): result(lambda found: found + (found > 0) * found[1]),
    ("sequences.plain", "a little ridge"): told(
        lambda optima, rows, start: lt.sequences.ridge(optima, grams(optima, rows), 1e-3, start)
    ),
    ("sequences.plain", "from 0"): changed(start=lambda g: 0 * g["start"]),
    ("sequences.plain_distance", "no kick of the noise"): changed(noise_variance=lambda g: 0.0),
    ("sequences.plain_distance", "one degree of freedom too many"): told(one_too_sure),
    ("sequences.ridge", "on the sum over rows"): changed(strength=lambda g: g["strength"] / 2),
    ("sequences.sampled", "the population's"): changed(ratio=lambda g: 1e-9),
    ("sequences.sampled", "a spread that is not carried on"): told(
        lambda optima, ratio, noise_variances, temperatures, ridge, start: alone(
            optima, ratio, noise_variances, temperatures, ridge, start
        )
    ),
    ("sequences.task_errors", "task by step for step by task"): result(np.transpose),
    ("streaming.losses", "of residuals"): result(np.sqrt),
    ("streaming.median_loss", "the mean"): told(
        lambda X, y, start: np.mean((y - X @ start) ** 2)
    ),
    ("streaming.normal_equations", "the weights left out"): changed(weights=lambda g: None),
    ("streaming.solve", "weights for their roots"): changed(weights=lambda g: g["weights"] ** 2),
    ("weights.as_rule", "the twin with the sign flipped"): told(
        lambda losses, temperature: np.exp(lt.weights.KLDRO(temperature).log_weights(losses))
    ),
    **{
        (f"weights.{name}", "a cutoff of r²"): changed(cutoff=lambda g: g["cutoff"] ** 0.5)
        for name in ("Cauchy", "HardSamples", "HardThreshold", "Huber", "Power", "Tukey")
    },
    **{
        (f"weights.{name}", "τ for τ/2"): changed(temperature=lambda g: g["temperature"] / 2)
        for name in ("Clipped", "Flow", "Focal", "KLDRO")
    },
    ("weights.Uniform", "a half"): result(lambda found: found / 2),
}  # fmt: skip


def alone(optima, ratio, noise_variances, temperatures, ridge, start):
    """As if each task began at the mean of what the last one gave."""
    mean, rows = start, []
    for k in range(len(optima)):
        options = {"temperatures": temperatures[k : k + 1], "ridge": ridge, "start": mean}
        one = lt.sequences.sampled(optima[k : k + 1], ratio, noise_variances[k : k + 1], **options)
        mean = one.theta[-1]
        rows.append(((mean - optima) ** 2).sum(axis=1) + one.variance[-1])
    return np.array(rows)


EACH = [
    pytest.param(law, mistake, id=f"{law.function} by {law.quantity.name}, {said}")
    for (function, said), mistake in MISTAKES.items()
    for law in LAWS
    if law.function == function
]


def test_every_row_has_a_mistake_that_it_refuses():
    assert {law.function for law in LAWS} == {function for function, _ in MISTAKES}


@pytest.mark.parametrize(("law", "mistake"), EACH)
def test_a_mistake_is_refuted(law, mistake):
    """For the numbers that it says, not for an error or another shape: either leaves its entry in ``shapes``."""
    wrong, shapes = mistake(law), []

    def seen(**given):
        shapes.append(np.shape(law.formula(**given)))
        found = wrong(**given)
        assert shapes[-1] == np.shape(found)
        shapes.pop()
        return found

    seen.__signature__ = inspect.signature(wrong)
    assert testing.refutes(seen, law.against, examples=4 if law.slow else 20, **law.arguments)
    assert not shapes


def test_a_route_in_floats_moves_every_float_once():
    """Of a symmetric matrix both entries at once; zeros, infinities and whole numbers stay."""
    case = Case((1.0, 0.0), (2.0, 3.0), ((2.0, 0.5), (0.5, 1.0)))
    moved = list(neighbours(case, a_millionth))
    assert len(moved) == 6
    assert all(one.covariance[0][1] == one.covariance[1][0] for one in moved)
    assert len(set(moved) | {case}) == 7
    assert not [moved for still in (3, 0.0, np.inf, "Logistic") for moved in neighbours(still, a_millionth)]

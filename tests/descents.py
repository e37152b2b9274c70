"""What the tests of descent share: the loops written out, and the library's solvers with their linearity hidden."""

from __future__ import annotations

import numpy as np

import linear_theory as lt
from tests.test_least_squares import weights_of


def curvatures(problem):
    """Eigenvalues of ∇²L = (2/n)XᵀWX on its range, largest first; (1,) for rows of zeros."""
    A = np.sqrt(weights_of(problem))[:, None] * problem.X
    sizes = np.linalg.svd(A, compute_uv=False)
    return 2 / len(problem.y) * sizes[sizes > 1e-13 * sizes[0]] ** 2 if sizes[0] else np.ones(1)


def gradient(problem, theta):
    """∇L from the rows."""
    residual = problem.y - problem.X @ theta
    return -2 / len(problem.y) * (weights_of(problem) * residual) @ problem.X


def written_out(problem, eta, momentum, ahead, steps):
    """θ_{k+1} = θ_k + m(θ_k − θ_{k−1}) − η∇L, the gradient at θ_k, or ahead at θ_k + m(θ_k − θ_{k−1})."""
    before = theta = problem.start
    path = [theta]
    for _ in range(steps):
        move = momentum * (theta - before)
        before, theta = theta, theta + move - eta * gradient(problem, theta + move if ahead else theta)
        path.append(theta)
    return np.array(path)


class StepByStep:
    """A solver of which only init and step are known: descend has to take every step."""

    def __init__(self, solver):
        self.init, self.step, self.tolerance = solver.init, solver.step, solver.tolerance


def descend(problem, solver, steps, array=np.asarray):
    rows = (problem.X, problem.y, problem.start, problem.weights)
    return lt.descend(*(None if part is None else array(part) for part in rows), solver=solver, steps=steps)

"""The picture that opens everything: one small problem, two ways to fine-tune it, and where the weights stall."""

from __future__ import annotations

import numpy as np
import xarray as xr

import linear_theory as lt

STEPS = 8
TEMPERATURE = 0.1
LAST = 120
"""Steps of the animation, after which both have arrived."""
ALT = (
    "Standard fine-tuning jumps away from the old model and zigzags to what the new task asks for; FLOW turns into the "
    "stalled direction, close to the straight line from old to new, and after eight small steps is near the best place "
    "for both"
)
"""What the picture shows, for who cannot see it, wherever it stands."""

PROBLEM = lt.paper_problem(0.6, pretrain_covariance=np.array([[2.0, 0.9], [0.9, 2.0]]))


def compute() -> xr.Dataset:
    """Paths (run, step, axis) in the plane of eq. (3), the landmarks, and the total error on a grid."""
    problem = PROBLEM
    step = np.arange(LAST + 1)
    paths = {
        "standard": lt.iterate(problem, step),
        "flow": lt.iterate(problem, step, temperature=TEMPERATURE),
    }
    landmarks = {
        "pretrained": problem.pretrained,
        "target": problem.target,
        "average": lt.best_model_average(problem),
        "best_for_both": lt.joint_optimum(problem),
        "stalled": lt.stall(problem, TEMPERATURE).direction,
    }
    x, y = np.linspace(-0.5, 1.6, 211), np.linspace(-0.9, 0.6, 151)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    theta = np.stack(list(paths.values()))
    errors = {
        name: (("run", "step"), error(problem, theta))
        for name, error in (("forgotten", lt.pretrain_error), ("to_learn", lt.target_error))
    }
    return xr.Dataset(
        {
            "path": (("run", "step", "axis"), theta),
            "landmark": (("place", "axis"), np.stack([np.asarray(v) for v in landmarks.values()])),
            "error": (("y", "x"), lt.total_error(problem, grid)),
            **errors,
        },
        coords={"run": list(paths), "step": step, "place": list(landmarks), "x": x, "y": y},
        attrs={"steps": STEPS, "temperature": TEMPERATURE},
    )

"""Real rows: scikit-learn's diabetes set, cut into a pre-training and a fine-tuning group.

The theory has no intercept and x ~ N(0, Σ̃): each group is centred by its own means, features and labels
alike, so a shift of the means is taken out (and reported). Labels are in standard deviations of the
pre-training group, and the features are whitened there, so that Σ = I, as the paper's Σ ⪰ I asks; this changes
no prediction and no error, only the geometry that gradient descent sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

import linear_theory as lt

AGE, SEX, BMI = 0, 1, 2
SPLITS = {"sex": SEX, "age": AGE, "body mass index": BMI}


@dataclass(frozen=True)
class Groups:
    """Both groups after centring and whitening, the pre-trained θ*, and how far the groups are apart."""

    pretrain_x: np.ndarray
    pretrain_y: np.ndarray
    x: np.ndarray
    y: np.ndarray
    start: np.ndarray  # θ*, least squares on the pre-training group
    raw_covariance: np.ndarray  # of the fine-tuning group, standardised but not whitened
    raw_shift: np.ndarray
    mean_shift: float  # Mahalanobis distance between the groups' feature means
    label_shift: float  # difference of mean labels, in standard deviations
    chow: tuple[float, float]  # F statistic and p-value: are the two regressions one?
    noise_share: float  # the eᵀΣ̃e/σ² that sampling alone would give

    @property
    def problem(self) -> lt.FineTuningProblem:
        """The linear theory fed with this data."""
        return problem_of(self.x, self.y, self.start)


def split(name: str) -> Groups:
    """Low against high values of one column; sex has two and leaves the features, being constant in a group."""
    from sklearn.datasets import load_diabetes  # slow to import, and `list` need not wait for it

    data: Any = load_diabetes()
    column = SPLITS[name]
    low = data.data[:, column] <= np.median(data.data[:, column])
    if name == "sex":
        low = data.data[:, column] < 0
    features = np.delete(data.data, column, axis=1) if name == "sex" else data.data
    first, second = features[low], features[~low]
    scale = data.target[low].std()
    y1, y2 = data.target[low] / scale, data.target[~low] / scale
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    p, q = y1 - y1.mean(), y2 - y2.mean()
    deviations = a.std(axis=0)
    sizes, axes = np.linalg.eigh(a.T @ a / len(a))
    whiten = axes / np.sqrt(sizes)
    x1, x2 = a @ whiten, b @ whiten
    start = lt.solve(x1, p, np.zeros(x1.shape[1])).theta
    problem = problem_of(x2, q, start)
    own1 = float(np.mean((p - x1 @ start) ** 2))
    raw = b / deviations
    return Groups(
        pretrain_x=x1,
        pretrain_y=p,
        x=x2,
        y=q,
        start=start,
        raw_covariance=raw.T @ raw / len(raw),
        raw_shift=deviations * (whiten @ problem.shift),
        mean_shift=float(np.linalg.norm((second.mean(axis=0) - first.mean(axis=0)) @ whiten)),
        label_shift=float(y2.mean() - y1.mean()),
        chow=_chow(np.vstack([x1, x2]), np.concatenate([p, q]), len(p) * own1, problem, len(q)),
        noise_share=problem.dim * (1 / len(q) + own1 / float(problem.noise_variance) / len(p)),
    )


def problem_of(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> lt.FineTuningProblem:
    """The theory fed with a group of rows: Σ̃ = XᵀX/n, θ̃* = least squares, σ² = its mean square residual."""
    target = lt.solve(x, y, start).theta
    gram = x.T @ x / len(x)
    noise = float(np.mean((y - x @ target) ** 2))
    return lt.FineTuningProblem(start, target, (gram + gram.T) / 2, noise_variance=noise)


def _chow(x, y, pretrain_rss: float, problem: lt.FineTuningProblem, n: int) -> tuple[float, float]:
    """F and p for one regression against two, the means already taken out of both."""
    pooled = float(np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2))
    apart = pretrain_rss + n * float(problem.noise_variance)
    d, freedom = x.shape[1], len(y) - 2 * x.shape[1] - 2
    statistic = (pooled - apart) / d / (apart / freedom)
    return statistic, float(stats.f.sf(statistic, d, freedom))


def gaussian_rows(
    problem: lt.FineTuningProblem, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The surrogate: Gaussian rows with the same covariance, shift and noise."""
    x = rng.standard_normal((n, problem.dim)) @ np.linalg.cholesky(problem.target_covariance).T
    noise = np.sqrt(float(problem.noise_variance)) * rng.standard_normal(n)
    return x, x @ problem.target + noise

# %% [markdown]
# # 9 Who wins, exactly
#
# Lesson 6 put every method at its best and searched for the winner. Here is the reason behind what it found, and
# with it a rule that needs no search: FLOW's iterate is an average of models that standard fine-tuning has passed,
# so all that it reaches is the hull of one curve, and there are exactly three ways in which its best can lie in
# that hull. You need lessons 4, 5 and 6. Reading time: 30 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/09_who_wins.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## An average of checkpoints
#
# Let standard fine-tuning take steps that are as long on average as FLOW's, $\eta\mu$ for $\eta$, and store its
# models $y_0 = \theta^*, y_1, \dots, y_K$. Then FLOW's model is an average of them,
#
# $$\theta_K = \sum_{k=0}^{K} a_k\,y_k, \qquad \sum_k a_k = 1,$$
#
# for every covariance, in every dimension. The weights are known, `lt.checkpoint_weights`, and none of them is
# negative if the step is short enough. Why? At each step FLOW moves as standard fine-tuning does, but for a piece
# along $\tilde{\Sigma}e$, which is where standard fine-tuning *began*: it is as if a part of the run started anew at
# every step.

# %%
rho = 0.6
problem = lt.paper_problem(rho, pretrain_covariance=np.array([[2.0, 0.9], [0.9, 2.0]]))
tau, steps = 0.3, 20
rate = 0.2 / lt.weight_mass(problem, tau)  # short steps, as long on average as η = 0.2
flow = lt.iterate(problem, np.arange(steps + 1), rate, tau)
standard = lt.iterate(problem, np.arange(steps + 1), 0.2)
weights = lt.checkpoint_weights(problem, steps, rate, tau)
off = np.abs(weights @ standard - flow[-1]).max()
print(f"FLOW's last model is off the average by {off:.0e}")
print(f"smallest weight {weights.min():.4f}, of θ* itself {weights[0]:.3f}")
assert off < 1e-14
assert np.isclose(weights.sum(), 1)
assert weights.min() > 0

# %%
fig, (ax, bars) = figure(1, 2, width=10, height=4.2)
path(ax, standard, COLOURS["standard"])
path(ax, flow, COLOURS["flow"])
for model, weight in zip(standard, weights, strict=True):
    ax.plot(*model, "o", color=COLOURS["standard"], ms=60 * weight**0.5, alpha=0.35)
place(ax, problem.pretrained, "pretrained", r"$\theta^*$", dx=-8, dy=22)
place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-4, dy=12)
label(ax, standard[5], "standard", COLOURS["standard"], dx=-4, dy=-12)
label(ax, flow[-1], "FLOW", COLOURS["flow"], dx=4, dy=12)
ax.set(aspect="equal", xlim=(-0.12, 1.2), ylim=(-0.4, 0.22))
ax.set(xlabel=r"along the shift, $\bar{e}$", ylabel=r"across, $\bar{e}_\perp$")
bars.bar(np.arange(steps + 1), weights, color=COLOURS["standard"])
bars.set(xlabel="checkpoint $k$", ylabel=r"its weight $a_k$ in FLOW's model")
title(fig, "FLOW after 20 steps is an average of standard fine-tuning's checkpoints")
Picture(
    fig,
    "Left, standard fine-tuning's orange curve from the old model to the new one, "
    "each checkpoint with a disc as large as its weight, the largest at the old "
    "model; FLOW's blue curve ends inside. Right, the weights as bars: high at "
    "checkpoint 0, falling at first and then rising to a second high bar at "
    "checkpoint 20.",
)

# %% [markdown]
# ## What FLOW reaches
#
# An average of points of a curve lies in the curve's convex hull. In the paper's plane, in short steps, more is
# true: FLOW reaches **everything** in the hull of the early-stopping curve, each point at one temperature and time,
# and with label noise as well. (Convex means: with two points the segment between them.) The hull has two sides,
# the early-stopping curve, $\tau \to \infty$, and the straight line of averages, $\tau \to 0$.
#
# Below, each dot is FLOW at a temperature and a time drawn at random. Long steps are another matter: standard
# fine-tuning with the paper's step zigzags across the plane.

# %%
times = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 2000)])
curve = lt.gradient_flow(problem, times)
rng = np.random.default_rng(0)
temperatures = 10 ** rng.uniform(-2.5, 2, 1500)
points = []
for temperature in temperatures:
    slowness = problem.shift @ lt.weighted_covariance(problem, temperature)
    time = 10 ** rng.uniform(-1.5, 0.7) / (slowness @ problem.shift)
    points.append(lt.gradient_flow(problem, time, temperature))
points = np.array(points)
lowest = np.interp(points[:, 0], curve[::-1, 0], curve[::-1, 1])
print(
    f"{np.mean(points[:, 1] >= lowest - 1e-6):.0%} of the points lie above the curve,"
)
print(f"{np.mean(points[:, 1] <= 1e-12):.0%} below the line of averages")
assert np.all(points[:, 1] >= lowest - 1e-6)
assert np.all(points[:, 1] <= 1e-12)

# %%
fig, ax = figure(width=7, height=4.9)
ax.fill(*curve.T, color=COLOURS["flow"], alpha=0.13, lw=0)
ax.plot(*points.T, ".", color=COLOURS["flow"], ms=3)
path(ax, curve, COLOURS["early_stopping"], marker="")
path(
    ax, lt.model_average(problem, np.linspace(0, 1, 2)), COLOURS["averaging"], marker=""
)
zigzag = lt.iterate(problem, np.arange(6), 0.5)
path(ax, zigzag, COLOURS["standard"])
place(ax, problem.pretrained, "pretrained", r"$\theta^*$")
place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-14)
label(
    ax,
    curve[np.argmin(curve[:, 1])],
    "early stopping",
    COLOURS["early_stopping"],
    dx=-30,
    dy=-14,
)
label(ax, (0.45, 0.0), "averaging", COLOURS["averaging"], dx=0.1, dy=12)
label(ax, zigzag[1], "standard, in long steps", COLOURS["standard"], dx=12, dy=0)
ax.set(aspect="equal", xlim=(-0.12, 1.2), ylim=(-0.72, 0.14))
ax.set(xlabel=r"along the shift, $\bar{e}$", ylabel=r"across, $\bar{e}_\perp$")
title(fig, "FLOW in short steps fills the hull of early stopping's curve")
Picture(
    fig,
    "A shaded half-moon between the green straight line from the old model to the "
    "new one and the pink curve of early stopping below it. Fifteen hundred blue "
    "dots lie in it and none outside; an orange zigzag of long steps leaves it far "
    "below.",
)

# %% [markdown]
# ## Three winners
#
# The total error is convex, so on the hull its least value is at one of three kinds of place. If the best for both
# (the joint optimum) lies **in** the hull, FLOW reaches it. If it lies beyond the straight line, the best average
# is the best of the hull. If it lies beyond the curve, early stopping is. That is the whole rule, and
# `lt.best_flow` applies it. In letters, with $A = \Sigma_{11}$ and $c = \Sigma_{12}$: averaging wins exactly if
# $c \ge \rho A$.

# %%
cases = [(0.9, 1.5, 5, -1.3), (0.8, 1.5, 1.5, -0.4), (0.3, 2, 1.5, 0.7)]


def in_the_plane(rho, a, b, c, noise=0.0):
    """The paper's problem with Σ = [[a, c], [c, b]] in the basis (ē, ē⊥)."""
    covariance = np.array([[a, c], [c, b]], dtype=float)
    return lt.paper_problem(rho, pretrain_covariance=covariance, noise_variance=noise)


print(
    f"{'ρ':>4} {'(a, b, c)':>15}  {'winner':15}{'FLOW':>8}"
    f"{'early':>8}{'average':>8}{'both':>8}"
)
for row in cases:
    p = in_the_plane(*row)
    best = lt.best_flow(p)
    others = (
        lt.best_early_stop(p).total_error,
        lt.total_error(p, lt.best_model_average(p)),
        lt.total_error(p, lt.joint_optimum(p)),
    )
    numbers = "".join(f"{float(x):8.4f}" for x in (best.total_error, *others))
    print(f"{row[0]:4} {row[1:]!s:>15}  {best.winner:15}{numbers}")
    assert best.total_error <= min(others[:2]) + 1e-12
    assert best.total_error >= others[2] - 1e-12

# %%
fig, axes = figure(1, 3, width=11, height=3.7)
x_axis, y_axis = np.linspace(-0.1, 1.12, 100), np.linspace(-0.62, 0.3, 80)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)
where = {
    "joint optimum": "inside",
    "early stopping": "beyond the curve",
    "averaging": "beyond the line",
}
for ax, row in zip(axes, cases, strict=True):
    p = in_the_plane(*row)
    best, least = lt.best_flow(p), lt.total_error(p, lt.joint_optimum(p))
    levels = tuple(np.round(least + np.array([0.03, 0.1, 0.3, 1.0]), 2))
    plane(ax, x_axis, y_axis, lt.total_error(p, everywhere), levels)
    curve = lt.gradient_flow(p, times)
    ax.fill(*curve.T, color=COLOURS["flow"], alpha=0.2, lw=0, zorder=3)
    path(ax, curve, COLOURS["early_stopping"], marker="")
    path(ax, lt.model_average(p, np.linspace(0, 1, 2)), COLOURS["averaging"], marker="")
    place(ax, lt.joint_optimum(p), "joint_optimum")
    ring = {"mfc": "none", "mec": COLOURS["flow"], "mew": 2.5, "zorder": 9}
    ax.plot(*best.theta, "o", ms=19, **ring)
    ax.set_title(f"the star lies {where[best.winner]}:\n{best.winner}", fontsize=12)
title(fig, "Where the best for both lies decides who wins")
Picture(
    fig,
    "Three panels with contours of the total error, the shaded hull between the "
    "green line and the pink curve, a star at the best for both and a blue ring "
    "around FLOW's best. Left, both lie inside; in the middle the star lies just "
    "below the curve and the ring on it; on the right the star is above the line "
    "and the ring on it.",
)

# %% [markdown]
# ## The map
#
# Two numbers of a problem decide, for a given $\rho$, how the old task leans: $c/A$, and the rest of $\Sigma$. Below
# $\Sigma$ has $a = 1.5$ and $b = 5$, and $\rho$ and $c/A$ run over all that is possible. Colour says who wins, and the
# lines by how much FLOW's best is below the better one of its two ends.

# %%
rhos, leans = np.linspace(0.03, 0.97, 20), np.linspace(-0.9, 0.92, 24)
names = ("averaging", "joint optimum", "early stopping")
winner, gain = np.empty((2, len(leans), len(rhos)))
for i, lean in enumerate(leans):
    for j, rho_ in enumerate(rhos):
        p = in_the_plane(rho_, 1.5, 5, 1.5 * lean)
        best = lt.best_flow(p)
        winner[i, j] = names.index(best.winner)
        ends = (
            lt.best_early_stop(p).total_error,
            lt.total_error(p, lt.best_model_average(p)),
        )
        gain[i, j] = min(ends) - best.total_error
print({name: f"{np.mean(winner == k):.0%}" for k, name in enumerate(names)})
print(f"the largest gain over both ends: {gain.max():.3f}")
assert np.all((winner == 0) == (leans[:, None] >= rhos)), "the rule c ≥ ρA"
assert gain[winner != 1].max() < 1e-6, "at its ends FLOW gains nothing"
assert gain[winner == 1].min() > -1e-9

# %%
fig, ax = figure(width=8.5, height=4.6)
colours = [COLOURS[k] for k in ("averaging", "joint_optimum", "early_stopping")]
edges = [-0.5, 0.5, 1.5, 2.5]
ax.contourf(rhos, leans, winner, levels=edges, colors=colours, alpha=0.28)
levels = [0.01, 0.03, 0.06, 0.1]
lines = ax.contour(
    rhos, leans, gain, levels=levels, colors=COLOURS["flow"], linewidths=1.4
)
ax.clabel(lines, fontsize=11, fmt="%g")
label_line(ax, 0.2, 0.7, "averaging wins", COLOURS["averaging"], dx=0.1)
label_line(
    ax, 0.6, 0.33, "FLOW meets the best for both", COLOURS["joint_optimum"], dx=0.1
)
label_line(ax, 0.1, -0.7, "early stopping wins", COLOURS["early_stopping"], dx=0.1)
ax.set(
    xlabel=r"correlation of the new task, $\rho$", ylabel="lean of the old task, $c/A$"
)
title(fig, "FLOW gains on both of its ends only in between")
Picture(
    fig,
    "A map over the correlation and the lean of the old task. Above the diagonal a "
    "green region where averaging wins, below it a grey one where FLOW meets the "
    "best for both, at the bottom a pink one where early stopping wins. Blue lines "
    "of the gain lie in the grey region and fall to nothing at both of its borders.",
)

# %% [markdown]
# ## Which temperature
#
# The rule says what is reached. Who must stop after $K$ steps asks `lt.best_temperature`: it solves one equation
# for $\tau$, and that equation may have several roots. Trained to convergence under label noise there is one
# answer, $\tau = 2\sigma^2 B/A$ with $A = \bar{e}^\top\Sigma\bar{e}$ and $B = \bar{e}^\top\tilde{\Sigma}\bar{e}$.

# %%
noisy = in_the_plane(0.9, 1.5, 5, -1.3, noise=0.5)
found = lt.best_temperature(noisy, steps=10)
for temperature, error in zip(found.minima[:2], found.errors[:2], strict=True):
    print(f"a minimum at τ = {temperature:7.4f}: total error {error:.4f}")
default = lt.population_median_temperature(noisy)
at_default = lt.total_error(noisy, lt.iterate(noisy, 10, temperature=default))
print(f"the default is    {default:7.4f}: total error {at_default:.4f}")
print(f"to convergence, τ = {lt.best_temperature(noisy).temperature:.4f}")
assert found.errors[0] < found.errors[1]
assert np.isclose(lt.best_temperature(noisy).temperature, 2 * 0.5 / 1.5)

# %% [markdown]
# ## Where the rule ends
#
# It is exact in short steps, in the population, where the shift has a part in two eigenspaces of $\tilde{\Sigma}$
# only, as in the paper. In three dimensions FLOW is still an average of checkpoints, but it has two knobs, and the
# hull has more dimensions: other averages of the same checkpoints may then be better, by a few percent in the worst
# case known. And the paper's step, $\eta = 1/(2\mu)$, is long: the first exercise.
#
# ## Exercises
#
# **1. In steps.** FLOW in short steps is never above early stopping. "So FLOW with the paper's step, at its best
# temperature and step count, is not either." Look at $\rho = 0.3$, $\Sigma = \begin{bmatrix} 13 & -37 \\ -37 & 160
# \end{bmatrix}$ and $K = 1, 2, 3$.

# %%
# Your turn. A start: FLOW's best with one long step.
steep = in_the_plane(0.3, 13, 160, -37)
print(f"{lt.best_temperature(steep, steps=1).total_error:.6f}")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# No. With the paper's step even the first corner of the path lies outside the hull's
# best part, and the steep old task punishes it. In short steps FLOW meets the best for
# both.
stopped = lt.best_early_stop(steep).total_error
in_steps = [lt.best_temperature(steep, steps=k).total_error for k in (1, 2, 3)]
print(f"early stopping {stopped:.6f}")
print("FLOW in 1, 2, 3 steps", " ".join(f"{x:.6f}" for x in in_steps))
print(f"FLOW in short steps {lt.best_flow(steep).total_error:.6f}")
assert min(in_steps) > stopped, "the tempting answer is wrong"
assert in_steps == sorted(in_steps), "and more steps make it worse"
assert lt.best_flow(steep).total_error < stopped

# %% [markdown]
# **2. Noise.** Label noise lets FLOW end on the way, at an average, and slows it like a higher temperature. Does it
# shrink the set that FLOW reaches? Predict what $\sigma^2 = 1$ does to the best total error of the three cases
# above, and to the temperature that attains it.

# %%
# Your turn. A start: one case without noise.
print(f"{lt.best_flow(in_the_plane(*cases[0])).total_error:.6f}")

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# It does nothing to the set: its sides are still the early-stopping curve and the line
# of averages, now the places where training ends. So the best errors are the same, and
# only the temperature that attains them is another. Averaging, a limit τ → 0 without
# noise, is reached at τ = 2σ²B/A by training to the end.
for row in cases:
    clear, noisy = (
        lt.best_flow(in_the_plane(*row, noise=noise)) for noise in (0.0, 1.0)
    )
    print(
        f"{clear.winner:15} {clear.total_error:.6f} {noisy.total_error:.6f},", end=" "
    )
    print(f"τ = {clear.temperature:.4f} and {noisy.temperature:.4f}")
    assert clear.winner == noisy.winner
    assert np.isclose(clear.total_error, noisy.total_error, rtol=1e-9), "the same best"
assert np.isclose(noisy.temperature, 2 * 1.0 / 2), "averaging, at a finite temperature"
assert clear.temperature == 0, "where without noise it is a limit"

# %% [markdown]
# ## Where to go on
#
# Next, lesson 10: classifiers. The claims `who-wins`, `checkpoint-averaging` and `optimal-temperature` (run with
# `python -m paper_reproduction beyond`) prove and check all of this. Functions used here: `lt.best_flow`,
# `lt.best_temperature`, `lt.checkpoint_weights`, `lt.best_early_stop`, `lt.best_model_average`, `lt.joint_optimum`,
# `lt.gradient_flow`, `lt.iterate`, `lt.total_error`, `lt.model_average`, `lt.weighted_covariance`, `lt.weight_mass`.

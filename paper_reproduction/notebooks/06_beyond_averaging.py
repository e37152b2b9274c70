# %% [markdown]
# # 6 Beyond averaging
#
# Lesson 1 ended with two remedies and a star that neither reached. FLOW stalls (lesson 5), but is the place where
# it stalls a good one? Here every method is put at its best and measured against the best there is. FLOW often
# comes out ahead; where it does not, we look just as closely. You need lessons 1, 4 and 5. Reading time: 30
# minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/06_beyond_averaging.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## Two errors, one picture
#
# Every model has two errors: what it has forgotten, $\mathrm{err}_1$, and what it has still to learn,
# $\mathrm{err}_2$. Draw one against the other and each method becomes a curve, from "nothing learned" at the top
# left to "everything forgotten" at the bottom right. Lower and further left is better, and how fast a method is
# does not matter any more.
#
# We take lesson 1's problem and, so that the step plays no part, continuous time, `lt.gradient_flow`. Standard
# fine-tuning with the same mean step, as in the earlier lessons, is here without interest, and that is a good sign
# for the picture: in small steps, whatever their size, standard fine-tuning follows one curve. The temperatures are
# named by the $\beta$ of lesson 4: 0 is cold, $1/\rho$ is standard fine-tuning.

# %%
rho = 0.6


def in_the_plane(rho, a, b, c):
    """The paper's problem with Σ = [[a, c], [c, b]] in the basis (ē, ē⊥)."""
    return lt.paper_problem(
        rho, pretrain_covariance=np.array([[a, c], [c, b]], dtype=float)
    )


problem = in_the_plane(rho, 2, 2, 0.9)
# Long enough for the coldest weights.
times = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 1000)])
shown = (0.02, 0.1, 0.4, 1.0)
colours = beta_colours(shown)
standard = lt.gradient_flow(problem, times)
flows = [
    lt.gradient_flow(problem, times, lt.stall_temperature(beta, rho)) for beta in shown
]
averages = lt.model_average(problem, np.linspace(0, 1, 400))
joint = lt.joint_optimum(problem)

tau = lt.stall_temperature(0.4, rho)
small_rate = 0.02 * lt.weight_mass(problem, tau)
same_mean_step = lt.iterate(problem, np.arange(0, 300, 12), small_rate)
on_curve = (
    np.interp(  # what gradient flow has forgotten where it has as much left to learn
        lt.target_error(problem, same_mean_step),
        lt.target_error(problem, standard)[::-1],
        lt.pretrain_error(problem, standard)[::-1],
    )
)
off = np.abs(lt.pretrain_error(problem, same_mean_step) - on_curve).max()
print(f"the same mean step is off the curve by at most {off:.4f}")
assert off < 0.005

# %% [markdown]
# How low can a curve lie? Whoever had the data of **both** tasks could minimise
# $s\,\mathrm{err}_1 + (1-s)\,\mathrm{err}_2$ for every $s$. That is the joint optimum of a problem with the old
# task scaled, so the package already computes it. Nothing reaches below this **frontier**. For $s = \frac12$ it is
# the optimum of the sum,
#
# $$\theta_{joint} = (\Sigma + \tilde{\Sigma})^{-1}(\Sigma\theta^* + \tilde{\Sigma}\tilde{\theta}^*),$$
#
# the **best for both** (the joint optimum): nobody who knows only these two tasks has a lower total error.

# %%
odds = np.geomspace(1e-3, 1e3, 200)  # s over 1 − s
frontier = np.array([
    lt.joint_optimum(
        lt.FineTuningProblem(
            problem.pretrained, problem.target, problem.target_covariance,
            odd * problem.pretrain_covariance,
        )
    )
    for odd in odds
])  # fmt: skip
both = lambda theta: (
    lt.pretrain_error(problem, theta),
    lt.target_error(problem, theta),
)

fig, (wide, near) = figure(1, 2, width=10, height=4.8)
for ax in (wide, near):
    ax.fill_between(*both(frontier), color="#e4e4e8", lw=0)
    ax.plot(*both(frontier), color=COLOURS["joint_optimum"], lw=1.2)
    ax.plot(*both(standard), color=COLOURS["early_stopping"])
    ax.plot(*both(averages), color=COLOURS["averaging"])
    ax.plot(*both(flows[1]), color=COLOURS["flow"])
    ax.plot(*both(same_mean_step), ".", color=COLOURS["standard"], ms=9)
    ax.plot(
        *both(joint), "*", color=COLOURS["joint_optimum"], ms=17, mec="white", zorder=8
    )
    ax.set(xlabel="forgotten")
wide.set(xlim=(0, 1.6), ylim=(0, 1.02), ylabel="still to learn")
near.set(xlim=(0.13, 0.42), ylim=(0.3, 0.6), title="closer")
label_line(wide, 0.03, 0.06, "nothing gets here", COLOURS["uniform"], dx=1)
label_line(
    wide, 0.55, 0.52, "dots: standard,\nsame mean step", COLOURS["standard"], dx=0.1
)
label_line(near, 0.21, 0.52, "early stopping", COLOURS["early_stopping"], dx=12, dy=14)
label_line(near, 0.32, 0.36, "averaging", COLOURS["averaging"], dx=14, dy=20)
label_line(
    near, 0.15, 0.4, r"FLOW, $\beta=0.1$", COLOURS["flow"], dx=-2, dy=-60, ha="left"
)
label(near, both(joint), "best for both", COLOURS["joint_optimum"], dx=-10, dy=-12)
title(fig, "One temperature of FLOW runs along the frontier where it matters")
Picture(
    fig,
    "Two panels of still to learn against forgotten, with a grey region below the "
    "frontier that nothing reaches. Early stopping, averaging and FLOW are falling "
    "curves; in the close-up on the right FLOW lies on the frontier, averaging just "
    "above it and early stopping higher, and a star marks the best for both.",
)

# %%
total = lambda theta: lt.total_error(problem, theta)
best = {
    "early stopping": total(standard).min(),
    "averaging": total(lt.best_model_average(problem)),
    "FLOW, β = 0.1": total(flows[1]).min(),
    "best for both": total(joint),
}
print("lowest total error")
for name, value in best.items():
    print(f"  {name:14} {float(value):.4f}")
assert np.all(np.diff(list(best.values())) < 0), "each is better than the one before"

# %% [markdown]
# ## A family between two old ideas
#
# FLOW has one curve for each temperature. When hot, all weights are one, and the curve is that of standard
# fine-tuning: the best point on it is early stopping. When cold, the path creeps along the straight line to
# $\tilde{\theta}^*$: the best point on it is, in the limit, the best average. So the family runs **from early
# stopping to averaging**, and its infimum is above neither. If the best for both lies between these two curves, one
# temperature hits it.

# %%
x_axis, y_axis = np.linspace(-0.1, 1.15, 120), np.linspace(-0.36, 0.12, 60)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)

fig, ax = figure(width=9, height=4.6)
plane(ax, x_axis, y_axis, total(everywhere), (0.67, 0.7, 0.8, 1, 1.5, 2))
path(ax, standard, COLOURS["early_stopping"], marker="")
path(ax, averages, COLOURS["averaging"], marker="", lw=4, alpha=0.5)
for beta, run, colour in zip(shown, flows, colours, strict=True):
    path(ax, run, colour, marker="", lw=1.4)
    stopped = run[total(run).argmin()]
    ax.plot(*stopped, "o", color=colour, ms=8, mec="white", zorder=7)
    deep = run[np.argmin(np.abs(run[:, 0] - 0.4))]
    label(ax, deep, rf"$\beta={beta}$", colour, dx=-8, dy=12 if beta == 0.02 else -8)
place(
    ax,
    standard[total(standard).argmin()],
    "early_stopping",
    "early stopping",
    dx=10,
    dy=-10,
)
place(ax, lt.best_model_average(problem), "averaging", "averaging", dx=2, dy=15)
place(ax, joint, "joint_optimum")
place(ax, problem.pretrained, "pretrained", r"$\theta^*$")
place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-10)
title(fig, "FLOW's paths fill the space between early stopping and averaging")
Picture(
    fig,
    "Contours of the total error with a green straight line between the two models "
    "and a pink arc of early stopping below it. Four blue paths of FLOW fill the "
    "space between, from beta 0.02 at the line to 1.0 near the arc; the star, best "
    "for both, lies on the one of beta 0.1.",
)

# %%
# Denser inside.
taus = np.sort(
    np.concatenate([np.geomspace(1e-4, 1e4, 81), np.geomspace(0.04, 4, 120)])
)


def best_by_temperature(problem):
    """FLOW in continuous time: the lowest total error at each temperature."""
    lowest = []
    for t in taus:
        slowness = problem.shift @ lt.weighted_covariance(problem, t) @ problem.shift
        run = lt.gradient_flow(problem, np.geomspace(0.01, 20, 500) / slowness, t)
        lowest.append(lt.total_error(problem, run).min())
    return np.array(lowest)


family = best_by_temperature(problem)
print(f"hottest {family[-1]:.4f}, early stopping {best['early stopping']:.4f}")
print(f"coldest {family[0]:.4f}, averaging      {best['averaging']:.4f}")
print(
    f"best    {family.min():.4f}, best for both  {best['best for both']:.4f},", end=" "
)
print(f"at τ = {taus[family.argmin()]:.2f}")
assert np.isclose(family[-1], best["early stopping"], atol=2e-4)
assert np.isclose(family[0], best["averaging"], atol=2e-4)
assert family.min() - best["best for both"] < 2e-4, "one temperature meets it here"

# %% [markdown]
# ## Six problems
#
# One problem proves little. Below are six, in units of $\|e\|^2$, with
# $\Sigma = \begin{bmatrix} a & c \\ c & b \end{bmatrix}$, each method at its best over all that it may choose:
#
# - **early stop**: standard fine-tuning in continuous time, stopped at its best;
# - **standard**: standard fine-tuning in steps, best learning rate and best of the first 40 steps;
# - **average**: the best model average (17);
# - **FLOW steps**: FLOW with the paper's step $\eta = 1/(2\mu)$, best temperature and step count, by (14);
# - **FLOW**: FLOW in continuous time, best temperature and time;
# - **joint**: the best for both, $\theta_{joint}$.
#
# A star marks an infimum that no temperature attains: the best that we tried is at the end of the scale.

# %%
problems = [
    (0.6, 1, 1, 0),
    (0.6, 2, 2, 0.9),
    (0.6, 1.5, 5, 1.3),
    (0.9, 5, 1.5, -1.3),
    (0.9, 1.5, 5, -1.3),
    (0.3, 13, 160, -37),
]
counts = np.unique(np.geomspace(1, 1e7, 600).astype(int))


def by_descent(problem, rho):
    """FLOW at η = 1/(2μ): β, and the total error, (β, step counts)."""
    betas = np.concatenate(
        [np.geomspace(1e-6, 0.01, 100), np.linspace(0.01, 0.9999 / rho, 1500)[1:]]
    )
    theta = problem.target + np.stack(
        lt.closed_form(betas[:, None], rho, counts), axis=-1
    )
    return betas, lt.total_error(problem, theta)


def by_standard_descent(problem):
    """Standard fine-tuning: the total error over stable rates and steps 1 … 40."""
    rates = np.linspace(0.001, 0.999, 500) * lt.stable_learning_rate(problem)
    paths = (lt.iterate(problem, np.arange(1, 41), rate) for rate in rates)
    return np.array([lt.total_error(problem, path) for path in paths])


names = ("early stop", "standard", "average", "FLOW steps", "FLOW", "joint")
results, steps_of_flow = [], []
print(f"{'ρ':>4} {'(a, b, c)':>15}" + "".join(f"{name:>11}" for name in names))
for row in problems:
    p = in_the_plane(*row)
    betas, descended = by_descent(p, row[0])
    by_temperature = best_by_temperature(p)
    at_beta, at_count = np.unravel_index(descended.argmin(), descended.shape)
    steps_of_flow.append(int(counts[at_count]))
    values = {
        "early stop": lt.total_error(p, lt.gradient_flow(p, times)).min(),
        "standard": by_standard_descent(p).min(),
        "average": lt.total_error(p, lt.best_model_average(p)),
        "FLOW steps": descended.min(),
        "FLOW": by_temperature.min(),
        "joint": lt.total_error(p, lt.joint_optimum(p)),
    }
    results.append(values)
    ends = {
        "FLOW": by_temperature.argmin() in (0, len(taus) - 1),
        "FLOW steps": betas[at_beta] < 1e-4,
    }
    cells = "".join(
        f"{values[name]:10.4f}{'*' if ends.get(name) else ' '}" for name in names
    )
    print(f"{row[0]:4} {row[1:]!s:>15}{cells}")

# %%
for values in results:
    assert min(values.values()) == values["joint"], "nobody beats the joint optimum"
    assert values["FLOW"] < min(values["early stop"], values["average"]) + 1e-4, (
        "never above either end"
    )
    assert values["FLOW steps"] < values["average"] + 1e-4, (
        "by descent, never above averaging"
    )
assert sum(values["FLOW steps"] < values["standard"] - 1e-4 for values in results) == 4

# %% [markdown]
# How far each method comes from averaging towards the best for both is `lt.gap_closed`: 0 for the best average, 1
# for the joint optimum, negative for worse than averaging. Where $\Sigma e \parallel \tilde{\Sigma}e$ the best
# average *is* the joint optimum. There is no gap to close, and the function returns NaN and not a number that
# rounding has made up.

# %%
fig, ax = figure(width=9, height=4.2)
places = np.arange(len(problems))


def closed(values, name):
    """The share of the way from the best average to the joint optimum."""
    return (values["average"] - values[name]) / (values["average"] - values["joint"])


looks = {
    "early stop": ("early_stopping", "o", "early stopping"),
    "standard": ("standard", "X", "standard, in steps"),
    "FLOW steps": ("flow", "s", "FLOW, in steps"),
    "FLOW": ("flow", "*", "FLOW, continuous"),
}
for k, (name, (colour, marker, text)) in enumerate(looks.items()):
    look = {"color": COLOURS[colour], "ms": 14 if marker == "*" else 9, "mec": "white"}
    for x, values in zip(places + 0.16 * (k - 1.5), results, strict=True):
        ax.plot(x, max(closed(values, name), -0.5), marker, **look)
        if closed(values, name) < -0.5:
            label_line(ax, x, -0.5, "↓", COLOURS[colour], dx=0.1, dy=-14, ha="center")
    ax.plot(5.7, 0.8 - 0.2 * k, marker, **look)
    label_line(ax, 5.75, 0.8 - 0.2 * k, text, COLOURS[colour])
ax.axhline(0, color=COLOURS["averaging"], lw=1.5)
ax.axhline(1, color=COLOURS["joint_optimum"], lw=1.5)
label_line(ax, 6.3, 0, "averaging", COLOURS["averaging"], dy=-10)
label_line(ax, 6.0, 1, "best for both", COLOURS["joint_optimum"], dy=-10)
ax.set(xlim=(-0.5, 7.2), ylim=(-0.75, 1.15), ylabel="share of the gap closed")
ax.set_xticks(places, [f"ρ = {row[0]}\n{row[1:]}" for row in problems], fontsize=9.5)
title(fig, "What FLOW gains over averaging depends on the old task")
Picture(
    fig,
    "Share of the gap closed on six problems, 0 for averaging and 1 for the best "
    "for both. FLOW in continuous time reaches 1 on four of them, 0.73 on one and 0 "
    "on one; in steps it reaches 0.85 on the last; early stopping and standard "
    "fine-tuning fall below −0.5 on two.",
)

# %%
p = in_the_plane(*problems[1])
share = lt.gap_closed(p, lt.gradient_flow(p, times)).max()
assert np.isclose(share, closed(results[1], "early stop")), (
    "the package's share is the picture's"
)
assert np.isclose(lt.gap_closed(p, lt.best_model_average(p)), 0)
assert np.isclose(lt.gap_closed(p, lt.joint_optimum(p)), 1)
parallel = in_the_plane(0.6, 2, 3, 1.2)  # Σe = (2, 1.2) and Σ̃e = (1, 0.6)
print("where Σe ∥ Σ̃e, the share closed is", lt.gap_closed(parallel, parallel.target))
assert np.isnan(lt.gap_closed(parallel, parallel.target))
assert np.allclose(lt.best_model_average(parallel), lt.joint_optimum(parallel))

# %% [markdown]
# ## A win at the first step is no win
#
# Look at the step counts at which FLOW in steps was at its best.

# %%
for row, step in zip(problems, steps_of_flow, strict=True):
    print(f"ρ = {row[0]}, {row[1:]!s:16} best after {step} step{'s' * (step > 1)}")

# %% [markdown]
# Twice the answer is one step, and the first step of FLOW is the first step of standard fine-tuning with
# $\eta = \mu^2/2$, because $\Sigma'e = \mu^3\tilde{\Sigma}e$ (lessons 3 and 4). Whatever is won there is won by a
# smaller step and not by the weights. So look at each $K$ by itself, FLOW at its best temperature and standard
# fine-tuning at its best learning rate. (The latter profits from an even $K$, because with large steps it zigzags.)

# %%
few = np.arange(1, 13)
fig, axes = figure(1, 2, width=10, height=4.2)
for ax, row in zip(axes, (problems[4], problems[3]), strict=True):
    p = in_the_plane(*row)
    per_step = by_descent(p, row[0])[1].min(axis=0)[: len(few)]
    standard_steps = by_standard_descent(p).min(axis=0)[: len(few)]
    ax.axhline(
        lt.total_error(p, lt.joint_optimum(p)), color=COLOURS["joint_optimum"], lw=1.2
    )
    ax.plot(few, standard_steps, "o-", color=COLOURS["standard"])
    ax.plot(few, per_step, "o-", color=COLOURS["flow"])
    label_line(
        ax,
        few[-1],
        standard_steps[-1],
        "standard, best rate",
        COLOURS["standard"],
        dx=-4,
        dy=14,
    )
    at = 4 if row is problems[4] else 6
    label_line(
        ax,
        few[at],
        per_step[at],
        "FLOW, best temperature",
        COLOURS["flow"],
        dx=8,
        dy=14 if at == 4 else -12,
    )
    label_line(
        ax,
        5.3,
        lt.total_error(p, lt.joint_optimum(p)),
        "best for both",
        COLOURS["joint_optimum"],
        dx=-4,
        dy=9,
    )
    ax.set(xlabel="step $K$", title=f"ρ = {row[0]}, Σ = {row[1:]}")
    assert np.isclose(standard_steps[0], per_step[0], atol=1e-4), (
        "after one step: the same"
    )
axes[0].set_ylabel("lowest total error")
title(fig, "FLOW's first step is only a smaller step; the weights count later")
Picture(
    fig,
    "Two panels of the lowest total error against the step. Left, FLOW and standard "
    "fine-tuning begin at the same point; from step 5 on FLOW stays near the best "
    "for both at 0.41 and standard stays at 0.50. Right, both begin at 0.55; FLOW "
    "climbs to 0.72 and standard stays.",
)

# %%
assert np.all(counts[: len(few)] == few)
assert steps_of_flow[3] == steps_of_flow[5] == 1
rates_of_one = lt.weight_mass(problem, tau) ** 2 / 2
assert np.allclose(
    lt.iterate(problem, 1, rates_of_one), lt.iterate(problem, 1, temperature=tau)
)

# %% [markdown]
# ## Where FLOW loses
#
# The last of the six problems has a very steep old task, $\Sigma = \begin{bmatrix} 13 & -37 \\ -37 & 160
# \end{bmatrix}$, and there early stopping beats FLOW with the paper's step. No temperature helps. The reason is the
# *length* of the step and not the weights: in continuous time the family passes close to the joint optimum, but
# with $\eta = 1/(2\mu)$ its paths are polygons whose first corner is already too far out, and the steep old task
# punishes every bit of it. (The solid curves are jagged because $K$ is a whole number.)

# %%
fig, axes = figure(1, 2, width=10, height=4.4)
for ax, row, values in zip(
    axes, (problems[1], problems[5]), (results[1], results[5]), strict=True
):
    p = in_the_plane(*row)
    betas, descended = by_descent(p, row[0])
    ax.plot(taus, best_by_temperature(p), "--", color=COLOURS["flow"])
    ax.plot(
        lt.stall_temperature(betas, row[0]),
        descended.min(axis=1),
        color=COLOURS["flow"],
    )
    for name, colour, text, dy in (
        ("early stop", "early_stopping", "early stopping", 9),
        ("average", "averaging", "averaging", 9),
        ("joint", "joint_optimum", "best for both", -9),
    ):
        ax.axhline(values[name], color=COLOURS[colour], lw=1.5)
        label_line(ax, 1e-4, values[name], text, COLOURS[colour], dx=2, dy=dy)
    spread = max(values["average"], values["early stop"]) - values["joint"]
    ax.set(xscale="log", xlim=(1e-4, 1e4), xlabel=r"temperature $\tau/\Vert e\Vert^2$")
    ax.set(ylim=(values["joint"] - 0.12 * spread, values["joint"] + 1.35 * spread))
    ax.set_title(f"ρ = {row[0]}, Σ = {row[1:]}")
axes[0].set_ylabel("lowest total error")
label_line(
    axes[1], 2e0, 0.9, r"solid: FLOW, $\eta=1/(2\mu)$", COLOURS["flow"], dx=0.1, dy=-8
)
label_line(
    axes[1], 2e0, 0.88, "dashed: in continuous time", COLOURS["flow"], dx=0.1, dy=-8
)
title(fig, "Cold, FLOW is averaging; hot, its long steps can lose to early stopping")
Picture(
    fig,
    "Two panels of the lowest total error against the temperature. Cold, both "
    "curves of FLOW start at the level of averaging and dip to the best for both. "
    "Hot, in continuous time they end at early stopping; in steps of 1/(2μ) they "
    "shoot up, and on the right never get below early stopping.",
)

# %%
losing = results[5]
for name, value in losing.items():
    print(f"{name:10} {float(value):.4f}")
assert losing["FLOW steps"] > losing["early stop"] + 0.01, (
    "here FLOW loses to early stopping"
)
assert losing["FLOW"] < losing["early stop"] - 0.005, "in continuous time it does not"
assert losing["FLOW"] - losing["joint"] < 2e-4

# %% [markdown]
# What to take home. The weights open a direction that neither standard fine-tuning nor averaging has, and the gain
# is real where the best for both lies between those two. Where it lies outside, FLOW's best is one of the two ends,
# and then the simpler method does as well. And all this is FLOW at its *best* temperature and stopping time, which
# somebody has to find. The first exercise is about that.
#
# ## Exercises
#
# **1. The default temperature.** Both best choices, of temperature and of time, were given to FLOW. Now fix the
# temperature at the paper's default, the median, and let only the time be chosen, in continuous time. "The family
# is never above averaging nor above early stopping, so neither is its default member." Is that so? Predict, then
# count on the six problems.

# %%
# Your turn. A start: the default temperature and the best of its path, on the first
# problem.
p = in_the_plane(*problems[0])
default = lt.population_median_temperature(p)
lowest = lt.total_error(p, lt.gradient_flow(p, times, default)).min()
print(f"τ = {default:.4f}, lowest total {lowest:.4f}")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# No. The infimum over the family is below both ends, but a single member is a curve
# between two others. Where the best is near one end, the middle can be worse than that
# end. The median knows the new task's losses and nothing of Σ, so it cannot know on
# which side of it the best for both lies.
beats_averaging, beats_stopping = [], []
for row, values in zip(problems, results, strict=True):
    p = in_the_plane(*row)
    run = lt.gradient_flow(p, times, lt.population_median_temperature(p))
    lowest = lt.total_error(p, run).min()
    beats_averaging.append(lowest < values["average"])
    beats_stopping.append(lowest < values["early stop"])
    print(f"{row!s:22} default {lowest:.4f}, average {values['average']:.4f},", end=" ")
    print(f"early stop {values['early stop']:.4f}")
    assert lowest > values["FLOW"] - 1e-4
    assert lowest < max(values["average"], values["early stop"]), (
        "better than the worse of the two ends"
    )
print(f"the default beats averaging {sum(beats_averaging)} times of 6,", end=" ")
print(f"early stopping {sum(beats_stopping)} times")
assert not all(beats_averaging), (
    "the tempting answer, “never above averaging”, is wrong for the default"
)
assert not all(beats_stopping), "nor is it “never above early stopping”"

# %% [markdown]
# **2. Where do the weights help?** Keep $\rho = 0.6$ and $\Sigma = \begin{bmatrix} 2 & c \\ c & 2 \end{bmatrix}$,
# and let $c$ run from $-1.9$ to $1.9$. For which $c$ does FLOW in continuous time meet the joint optimum? Lesson 1
# found that early stopping beats averaging below a certain $c$; is it there? Predict the upper end exactly and the
# sign of the lower end.

# %%
# Your turn. A start: FLOW's excess over the joint optimum for one c.
p = in_the_plane(0.6, 2, 2, 0.5)
print(f"{best_by_temperature(p).min() - lt.total_error(p, lt.joint_optimum(p)):.5f}")

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The joint optimum must lie between the line of averages and the curve of standard
# fine-tuning. It lies on the line where Σe ∥ Σ̃e, that is at c/2 = ρ, c = 1.2. It
# leaves through the curve at a c that is negative: with c = 0 the old task is a round
# bowl, and the joint optimum is drawn less far aside than the curve runs. Below that c
# early stopping is the best member.
c_values = np.linspace(-1.9, 1.9, 39)
meets, stop_wins, gains = [], [], []
for c in c_values:
    p = in_the_plane(0.6, 2, 2, c)
    lowest, ideal = best_by_temperature(p).min(), lt.total_error(p, lt.joint_optimum(p))
    stop = lt.total_error(p, lt.gradient_flow(p, times)).min()
    average = lt.total_error(p, lt.best_model_average(p))
    meets.append(lowest - ideal < 1e-4)
    stop_wins.append(stop < average)
    gains.append(min(stop, average) - lowest)
meets, stop_wins, gains = np.array(meets), np.array(stop_wins), np.array(gains)
print(
    f"FLOW meets the joint optimum from c = {c_values[meets].min():.2f} to "
    f"{c_values[meets].max():.2f}"
)
print(f"early stopping beats averaging up to c = {c_values[stop_wins].max():.2f}")
best_c = c_values[gains.argmax()]
print(
    f"FLOW gains most over the better of the two at c = {best_c:.2f}: {gains.max():.4f}"
)

assert np.sum(np.diff(meets) != 0) == 2, "one window"
assert abs(c_values[meets].max() - 1.2) < 0.06, "its upper end is c = 2ρ"
assert c_values[meets].min() < 0
assert not np.array_equal(meets, stop_wins), (
    "the tempting answer, “where early stopping wins”, is wrong"
)
assert abs(c_values[gains.argmax()] - c_values[stop_wins].max()) < 0.15, (
    "most where the two ends are level"
)

# %% [markdown]
# ## Where to go on
#
# Next, lesson 7: noise, stochastic gradients and finite data. The claims `error-comparison` and `model-averaging`
# search all of this by a second route and on a random ensemble. Functions used here: `lt.gradient_flow`,
# `lt.joint_optimum`, `lt.best_model_average`, `lt.model_average`, `lt.gap_closed`, `lt.closed_form`,
# `lt.pretrain_error`, `lt.target_error`, `lt.total_error`, `lt.stable_learning_rate`, `lt.weight_mass`.

# %% [markdown]
# # 5 The stall, seen
#
# Lesson 4 found a direction in which FLOW hardly moves. Here we watch: the path turns into it, stays there for a
# time that grows like $1/\tau$, and standard fine-tuning in smaller steps does nothing of the kind. Then we leave
# the paper's covariance, add noise, and ask who pays. You need lessons 3 and 4. Reading time: 30 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/05_the_stall.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## The path turns
#
# The paper's problem with $\rho = 0.6$, at a temperature well below the median, so that the stall is long. What is
# left of the shift splits into a slow part along $\bar{e} - \beta\rho\,\bar{e}_\perp$ and a fast part. The fast
# part is gone after a few steps. From then on the path runs along the slow direction, and its steps are short. In
# the picture a warm path, $\tau = \|e\|^2$, is drawn beside it: it has further to turn, and so one sees it turn.

# %%
rho, tau = 0.6, 0.05
problem = lt.paper_problem(rho, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])
beta, mu = lt.stall_parameter(tau, rho), lt.weight_mass(problem, tau)
slow = np.array(lt.stall_direction(beta, rho))
size = lambda left: np.hypot(*left.T)

flow = lt.iterate(problem, np.arange(61), temperature=tau)
left = flow - problem.target
# Sine of the angle to the slow direction.
aside = np.abs(left @ [-slow[1], slow[0]]) / size(left)
for step in (0, 1, 2, 5, 10):
    print(f"step {step:2}: {size(left)[step]:.3f} of the shift is left,", end=" ")
    print(f"sine to the slow direction {aside[step]:.1e}")
assert np.all(np.diff(aside[:8]) < 0), "it turns into the slow direction"
assert aside[10] < 1e-4

# %%
x_axis, y_axis = np.linspace(-0.25, 1.3, 120), np.linspace(-0.68, 0.2, 80)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)

fig, ax = figure(width=9, height=5)
plane(ax, x_axis, y_axis, lt.total_error(problem, everywhere), (0.7, 0.8, 1, 1.5, 2, 3))
path(ax, lt.iterate(problem, np.arange(20)), COLOURS["standard"])
warm = lt.iterate(problem, np.arange(61), temperature=1.0)
rays = (
    lt.stall_direction(beta, rho),
    lt.stall_direction(lt.stall_parameter(1.0, rho), rho),
)
for run, direction, colour in zip(
    (flow, warm), rays, beta_colours([1, 2]), strict=True
):
    ray = problem.target + np.outer([-0.2, 1.2], direction)
    ax.plot(*ray.T, ":", color=COLOURS["theory"], lw=1.3)
    path(ax, run, colour)
label(
    ax,
    problem.target + 1.15 * np.array(rays[1]),
    "slow direction",
    COLOURS["theory"],
    dx=-30,
    dy=-16,
)
label(ax, warm[2], r"FLOW, $\tau=1$", beta_colours([1, 2])[1], dx=-14, dy=-14)
label(ax, lt.iterate(problem, 1), "standard", COLOURS["standard"], dx=12)
label(
    ax, flow[40], r"FLOW, $\tau=0.05$, 60 steps", beta_colours([1, 2])[0], dx=1, dy=14
)
place(ax, problem.pretrained, "pretrained", r"$\theta^*$")
place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-10)
place(ax, lt.joint_optimum(problem), "joint_optimum", "best for both", dx=4, dy=-26)
title(fig, "FLOW turns into one direction, and its steps get short")
Picture(
    fig,
    "Contours of the total error with three paths from the old model at the right. "
    "Standard fine-tuning zigzags far below. FLOW at temperature 1 bends down and "
    "then follows a dotted line to the new optimum; at 0.05 it creeps along a "
    "nearly level dotted line and after 60 steps has gone three quarters of the "
    "way.",
)

# %% [markdown]
# ## Is it the weights, or only the step?
#
# The weights also make the step smaller, so the fair question is what they do beyond that. Two runs of standard
# fine-tuning answer it. With $\eta = 1/(2\mu)$ FLOW has the **same mean step** as standard fine-tuning at $\eta =
# \frac12$. And standard fine-tuning at $\eta = \mu^2/2$ has the **same first step** as FLOW, exactly (lesson 4,
# first exercise): what it shares with FLOW is owed to the step alone.

# %%
steps = np.unique(np.geomspace(1, 3000, 300).astype(int))
runs = {
    "same mean step": lt.iterate(problem, steps),
    "same first step": lt.iterate(problem, steps, learning_rate=mu**2 / 2),
    "FLOW": lt.iterate(problem, steps, temperature=tau),
}
assert np.allclose(runs["same first step"][0], runs["FLOW"][0]), (
    "their first steps are one and the same"
)

fig, (one, other) = figure(1, 2, width=10, height=4.4)
looks = (
    ("same mean step", "-", "standard"),
    ("same first step", "--", "standard"),
    ("FLOW", "-", "flow"),
)
for name, dashes, colour in looks:
    one.plot(steps, size(runs[name] - problem.target), dashes, color=COLOURS[colour])
label_line(one, 1.0, 0.012, "same\nmean step", COLOURS["standard"], dx=2)
label_line(one, 330, 0.1, "same\nfirst step", COLOURS["standard"], dx=8, dy=4)
label_line(one, 60, 0.04, "FLOW", COLOURS["flow"], dx=-16)
one.set(
    xscale="log", yscale="log", xlim=(0.8, 4e3), ylim=(1e-3, 1.4), xlabel="step $K$"
)
one.set_title("what is left of the shift")
for name, dashes, colour in looks[1:]:  # the same mean step zigzags
    theta = runs[name] - problem.target
    other.plot(steps, theta[:, 1] / theta[:, 0], dashes, color=COLOURS[colour])
other.axhline(slow[1] / slow[0], color=COLOURS["theory"], lw=1.3, ls=":")
label_line(
    other,
    1000,
    slow[1] / slow[0],
    "the slow direction",
    COLOURS["theory"],
    dx=-60,
    dy=13,
)
label_line(other, 60, -0.6, "same first step", COLOURS["standard"], dx=8)
other.set(
    xscale="log",
    ylim=(-1.1, 0.35),
    xlabel="step $K$",
    title="its direction: across over along",
)
title(fig, "A smaller step is slow in all directions; FLOW stalls in one")
Picture(
    fig,
    "Two panels against the step. Left, what is left of the shift, both axes "
    "logarithmic: gone after 10 steps for the same mean step, after 300 for FLOW, "
    "after 700 for the same first step. Right, across over along: FLOW stays at the "
    "level of the slow direction near 0, the same first step falls to −1.",
)

# %% [markdown]
# Standard fine-tuning with the same first step is slow as well, but for another reason. It ends in the flattest
# direction of the *unweighted* loss, the diagonal $\bar{e} - \bar{e}_\perp$, and its two directions keep the ratio
# of their speeds whatever the step. FLOW's ratio grows without bound as the temperature falls.

# %%
print("   τ      λ₁       λ₂    FLOW: fast over slow   standard, any step")
ratios = []
for t in (1.0, 0.1, 0.01, 0.001):
    first, second = lt.stall_spectrum(lt.stall_parameter(t, rho), rho)
    ratios.append((1 - second) / (1 - first))
    print(
        f"{t:6} {first:8.4f} {second:8.4f} {ratios[-1]:16.1f} "
        f"{(1 + rho) / (1 - rho):20.1f}"
    )
    assert second < rho**2 * first, (
        "the fast part shrinks faster by at least ρ² in each step"
    )
assert np.all(np.diff(ratios) > 0)

# %% [markdown]
# ## How long
#
# The half-life of the slow part is $\ln 2/(-\ln\lambda_1)$ steps, and for small $\tau$ it is
# $2\ln 2\,\|e\|^2/\tau$: half the temperature, twice the stall. That is at the step $1/(2\mu)$. At a *fixed*
# $\eta = \frac12$ the small weights also shorten every step by $\mu \approx (\tau/2\|e\|^2)^{1/2}$, and the
# half-life grows like $\tau^{-3/2}$: one power for the flat direction, a half for the step.
#
# We do not compute the half-lives from eigenvalues but count: from a step at which the path has turned, until half
# is left. Both axes are fixed and a decade is as long on one as on the other, so a wrong exponent would show.


# %%
counts = np.unique(np.geomspace(30, 3e7, 6000).astype(int))


def counted(temperature, rate=None):
    """Steps from the first of `counts` until half of what is left there is left."""
    there = size(lt.iterate(problem, counts, rate, temperature) - problem.target)
    return counts[np.argmax(there <= there[0] / 2)] - counts[0]


taus = np.geomspace(1e-4, 1e-2, 5)
rescaled = np.array([counted(t) for t in taus])
fixed = np.array([counted(t, 0.5) for t in taus])
betas = lt.stall_parameter(taus, rho)

fig, ax = figure(width=5.6, height=6.2)
ax.plot(taus, lt.half_life(betas, rho), color=COLOURS["flow"])
ax.plot(taus, rescaled, "o", color=COLOURS["simulation"], ms=8, mec="white")
ax.plot(taus, fixed, "s", color=COLOURS["simulation"], ms=8, mec="white")
for start, power, text in (
    (rescaled[0], 1.0, r"$\tau^{-1}$"),
    (fixed[0], 1.5, r"$\tau^{-3/2}$"),
):
    ax.plot(
        taus,
        start * (taus[0] / taus) ** power,
        "--",
        lw=1.3,
        color=COLOURS["uniform"],
        zorder=1,
    )
    label_line(
        ax,
        taus[2],
        start * (taus[0] / taus[2]) ** power,
        text,
        COLOURS["uniform"],
        dx=10,
        dy=12,
    )
label_line(ax, taus[-1], rescaled[-1], r"$\eta=1/(2\mu)$", COLOURS["flow"], dx=10)
label_line(ax, taus[-1], fixed[-1], r"$\eta=1/2$", COLOURS["simulation"], dx=10)
ax.set(xscale="log", yscale="log", xlim=(6e-5, 2e-1), ylim=(60, 5e6), aspect="equal")
ax.set(xlabel=r"temperature $\tau/\Vert e\Vert^2$", ylabel="half-life, steps")
ax.set_title("marks: counted;  blue line: the formula")
title(fig, r"Counted: the stall lasts like $1/\tau$")
Picture(
    fig,
    "Half-life in steps against the temperature, both axes logarithmic with equal "
    "decades. Dots on a blue line fall from 14000 to 140 over two decades of "
    "temperature, slope −1; squares at the fixed step fall from two million to two "
    "thousand, slope −3/2.",
)

# %%
assert np.allclose(rescaled, lt.half_life(betas, rho), rtol=0.01), (
    "counting agrees with the formula"
)
assert abs(rescaled[0] / rescaled[-1] / 100 - 1) < 0.03, (
    "a hundredth of the temperature: a hundred times as long"
)
assert abs(fixed[0] / fixed[-1] / 1000 - 1) < 0.03, (
    "and a thousand times at the fixed step"
)
assert abs(fixed[0] / fixed[-1] / 100 - 1) > 5, "which is not a hundred"

# %% [markdown]
# ## Any covariance, any dimension
#
# The covariance (3) is special; the stall is not. Whatever $\tilde{\Sigma}$ is, the curvature of the weighted loss
# along the shift, over its mean weight, is $\bar{e}^\top\tilde{\Sigma}\bar{e}$ times $\tau/(\tau + 2v)$ with
# $v = e^\top\tilde{\Sigma} e$, which vanishes with $\tau$. And it vanishes in this direction alone: the weights
# take a rank-one matrix away, and so (interlacing) all other eigenvalues stay above the smallest of
# $\tilde{\Sigma}$.
#
# Ten problems in eight dimensions, each with a random covariance and a random shift:


# %%
def random_problem(seed, noise=0.0):
    """Eight correlated inputs, and a shift in a direction of no importance."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((8, 8))
    covariance = 0.3 * np.eye(8) + mix @ mix.T / 8
    return lt.FineTuningProblem(
        rng.standard_normal(8), np.zeros(8), covariance, noise_variance=noise
    )


def cosines(problem, temperature, steps):
    """|cosine| between the shift and what is left of it."""
    theta = lt.iterate(
        problem, steps, lt.stable_learning_rate(problem, temperature) / 2, temperature
    )
    rest, e = theta - lt.fixed_point(problem, temperature), problem.shift
    return np.abs(rest @ e) / ((rest**2).sum(axis=-1) * (e @ e)) ** 0.5


ten = [random_problem(seed) for seed in range(10)]
long = np.unique(np.geomspace(1, 300, 60).astype(int))
fig, ax = figure(width=8, height=4.2)
for share, colour in zip((0.1, 1.0, 10.0), beta_colours([1, 2, 3]), strict=True):
    curves = [
        cosines(p, share * lt.population_median_temperature(p), long) for p in ten
    ]
    ax.plot(long, np.transpose(curves), color=colour, lw=1.1, alpha=0.8)
    label_line(
        ax,
        long[-1],
        np.median(curves, axis=0)[-1],
        f"{share:g} × median",
        colour,
        dx=8,
        dy=8 if share < 1 else -8,
    )
ax.set(
    xscale="log",
    xlim=(1, 1200),
    ylim=(0, 1.05),
    xlabel="step $K$",
    ylabel="cosine with the shift",
)
title(fig, "Cold weights keep the shift to the last, in every problem")
Picture(
    fig,
    "Cosine with the shift against the step for ten random problems at three "
    "temperatures. At 0.1 of the median all curves stay at 1; at the median they "
    "end between 0.7 and 1; at ten times the median they fall to between 0.15 and "
    "0.7.",
)

# %%
rng = np.random.default_rng(0)
for p in ten:
    e, cold = p.shift, 1e-4 * lt.population_median_temperature(p)
    v = e @ p.target_covariance @ e
    along = e @ lt.weighted_covariance(p, cold) @ e / lt.weight_mass(p, cold)
    assert np.isclose(along, v * cold / (cold + 2 * v)), "the curvature along the shift"
    assert cosines(p, cold, 300) > 0.999, "what is left is the shift"
    # The rank one that the weights take away is that of Σ̃e: across it, all curvature
    # is as it was, at least 0.3.
    image = p.target_covariance @ e
    across = rng.standard_normal((200, 8))
    across -= np.outer(across @ image, image) / (image @ image)
    shape = lt.weighted_covariance(p, cold) / lt.weight_mass(p, cold)
    curvature = ((across @ shape) * across).sum(axis=1) / (across**2).sum(axis=1)
    assert np.all(curvature > 0.3 - 1e-9)
    assert along / (e @ e) < 1e-3 * curvature.min(), (
        "one direction stalls, and no other"
    )

# %% [markdown]
# Label noise sets a limit. The weights cannot tell a hard sample from a noisy one, noise acts like a temperature of
# $2\sigma^2$ (lesson 7), and below it cooling makes the stall no longer. How long it can get is the second
# exercise.
#
# ## Who pays
#
# What stalls is unlearned, and it is unlearned on the samples that were hard. `lt.hard_sample_error` is the error
# on the share $q$ of samples with the largest loss under the *pre-trained* model. Standard fine-tuning with the
# same first step is stopped where it has as much left to learn, over all samples, as FLOW has after 60 steps.

# %%
shares = np.geomspace(0.001, 1, 40)
goal = lt.target_error(problem, flow[-1])


def stopped(rate):
    """Standard fine-tuning, when it has as much left to learn as FLOW has."""
    theta = lt.iterate(problem, np.arange(400), learning_rate=rate)
    return theta[np.argmax(lt.target_error(problem, theta) <= goal)]


same_first_step = stopped(mu**2 / 2)
price = lambda theta: np.array(
    [lt.hard_sample_error(problem, theta, q) for q in shares]
)

fig, ax = figure(width=8, height=4.2)
for theta, dashes, colour in (
    (flow[-1], "-", "flow"),
    (same_first_step, "--", "standard"),
):
    ax.plot(shares, price(theta), dashes, color=COLOURS[colour])
label_line(ax, shares[12], price(flow[-1])[12], "FLOW", COLOURS["flow"], dx=4, dy=14)
label_line(
    ax,
    shares[8],
    price(same_first_step)[8],
    "same first step,\nas much learned",
    COLOURS["standard"],
    dx=4,
    dy=-46,
)
ax.set(
    xscale="log",
    ylim=(0, None),
    xlabel="share $q$ of the hardest samples",
    ylabel="error on them",
)
title(fig, "As much learned on average, less on the hard samples")
Picture(
    fig,
    "Error on the hardest share of samples, the share from 0.001 to 1 on a "
    "logarithmic axis. Both curves meet at 0.05 for all samples; towards the "
    "hardest FLOW climbs to 0.66, standard fine-tuning with the same first step to "
    "0.29.",
)

# %%
for q in (1.0, 0.1, 0.01):
    print(
        f"hardest {q:5.0%}: FLOW {lt.hard_sample_error(problem, flow[-1], q):.3f}, ",
        end="",
    )
    print(f"same first step {lt.hard_sample_error(problem, same_first_step, q):.3f}")
hardest = lambda theta: lt.hard_sample_error(problem, theta, 0.01)
forgotten = lt.pretrain_error(problem, np.array([flow[-1], same_first_step]))
print(f"forgotten:     FLOW {forgotten[0]:.3f}, same first step {forgotten[1]:.3f}")
assert forgotten[0] < forgotten[1], "that is what the price buys"
assert np.isclose(lt.hard_sample_error(problem, flow[-1], 1.0), goal), (
    "all samples: the error of (4)"
)
assert hardest(flow[-1]) > 1.2 * hardest(same_first_step)

# %% [markdown]
# ## Exercises
#
# **1. A quarter of the temperature.** After $K$ steps at $\eta = 1/(2\mu)$ and a small $\tau$, a quarter of the
# shift is left. You divide $\tau$ by four. After how many steps is a quarter left now? And if you work at the fixed
# $\eta = \frac12$ instead? Predict both factors, then count.


# %%
# Your turn. A start: the first step at which no more than a quarter is left.
def quarter(temperature, rate=None):
    there = size(lt.iterate(problem, counts, rate, temperature) - problem.target)
    return counts[np.argmax(there <= 0.25)]


print(quarter(0.01), "steps at τ = 0.01")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# A quarter is two half-lives. At 1/(2μ) a half-life is proportional to 1/τ: four times
# as many steps. At η = ½ it is proportional to τ^(−3/2): 4^(3/2) = 8 times as many. The
# tempting answer, four in both cases, forgets that the unnormalised weights also shrink
# the step.
first = quarter(0.01 / 4) / quarter(0.01)
second = quarter(0.01 / 4, 0.5) / quarter(0.01, 0.5)
print(f"at 1/(2μ): {first:.2f} times as many steps; at η = ½: {second:.2f} times")
assert abs(first - 4) < 0.1
assert abs(second - 8) < 0.2
assert abs(second - 4) > 3, "not four"

# %% [markdown]
# **2. How cold can it get?** Add label noise $\sigma^2 = \frac12\|e\|^2$ to the problem and let $\tau \to 0$. The
# path now ends at a model average, not at $\tilde{\theta}^*$; ask for the half-life of the way that is left to
# *there*. Does it grow without bound? Predict its limit from the fact that noise is a temperature.

# %%
# Your turn. A start: what is left of the way to the end, under noise.
noisy = lt.paper_problem(rho, noise_variance=0.5)
rest = size(
    lt.iterate(noisy, np.arange(6), temperature=0.01) - lt.fixed_point(noisy, 0.01)
)
print((rest / rest[0]).round(4))

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# With noise, Σ'/μ at τ is the noiseless one at τ + 2σ². As τ → 0 this tends to 2σ²,
# here ‖e‖², and the half-life to that of a noiseless problem at τ = 2σ². It is short.
limit = lt.half_life(lt.stall_parameter(2 * 0.5, rho), rho)
for t in (1.0, 0.1, 0.001):
    here = lt.half_life(lt.stall_parameter(t + 2 * 0.5, rho), rho)
    print(f"τ = {t:5}: half-life {here:.3f} steps")
print(f"τ → 0: {limit:.3f}")
late = np.array([20, 21])
ratio = np.divide(
    *size(lt.iterate(noisy, late, temperature=1e-6) - lt.fixed_point(noisy, 1e-6))[::-1]
)
assert np.isclose(
    ratio, lt.stall_spectrum(lt.stall_parameter(2 * 0.5, rho), rho)[0], rtol=1e-5
)
assert not np.isclose(
    ratio, lt.stall_spectrum(lt.stall_parameter(0.5, rho), rho)[0], rtol=1e-2
), "the tempting τ + σ² is refused"
assert ratio < 0.9, "and it does not grow without bound"

# %% [markdown]
# ## Where to go on
#
# Next, lesson 6: where on the way should one stop, and is the place that FLOW offers better than what simpler
# methods offer? The claim `stall` counts half-lives on sampled rows too. Functions used here: `lt.iterate`,
# `lt.stall_direction`, `lt.stall_spectrum`, `lt.half_life`, `lt.weighted_covariance`, `lt.stable_learning_rate`,
# `lt.fixed_point`, `lt.hard_sample_error`.

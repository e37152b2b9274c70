# %% [markdown]
# # 10 Classifiers: the product of experts
#
# Language models and classifiers are not trained on squares but on $-\ln p(y \mid x)$. What do FLOW's weights do there?
# The end of training has one line of theory for every law of $x$: a product of two experts, the old model and the
# labels. The stall, the hero of lesson 5, nearly disappears. You need lessons 1, 2 and 5. Reading time: 30 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/10_classifiers.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, stored
from figures.mlp.seeds import error
from figures.style import COLOURS, HOUSE, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## Two coins and a weight
#
# Logistic regression says that $y = 1$ with probability $1/(1 + e^{-z})$, $z = \langle\theta, x\rangle$. The old model
# is $\theta^*$. In the new task labels are *drawn*, like coins, from the model at $\tilde{\theta}^*$. FLOW weighs a row
# by $e^{-\ell/\tau}$ with the loss $\ell = -\ln p_*(y \mid x)$ of the old model, and that is the old model's
# probability of the label, to the power $1/\tau$:
#
# $$w = p_*(y \mid x)^{1/\tau}.$$
#
# The rows with label $y$ at a place $x$ were $\tilde{p}(y \mid x)$ of all, and now weigh
# $\tilde{p}(y \mid x)\,p_*(y \mid x)^{1/\tau}$. A model trained on them cannot know whether rows were many or heavy. So
# it learns the law
#
# $$p_\tau \propto \tilde{p}\;p_*^{1/\tau},$$
#
# a product of experts: a label is likely if both say so. The logarithms add up, and in logistic regression they are
# linear in $\theta$. The end is $\tilde{\theta}^* + \theta^*/\tau$, `lt.experts.fixed_point`.

# %%
logistic = lt.experts.Logistic()
old, new, tau = np.array([1.5, 0.0]), np.array([0.3, 1.0]), 1.0
rng = np.random.default_rng(0)


def labels(x, theta):
    """One coin a row, with the probability that the model at θ gives it."""
    return (rng.random(len(x)) < logistic.mean(x @ theta)).astype(float)


def descend(x, y, weights, rate, steps):
    """θ_0 … θ_K of gradient descent on the weighted loss, from the old model."""
    theta = [old]
    for _ in range(steps):
        excess = weights * (logistic.mean(x @ theta[-1]) - y)
        theta.append(theta[-1] - rate * excess @ x / len(x))
    return np.array(theta)


x = rng.standard_normal((20_000, 2))
y = labels(x, new)
weights = lt.flow_weights(logistic.loss(x @ old, y), tau)
runs = {
    "standard": descend(x, y, np.ones(len(x)), 2.0, 200),
    "FLOW": descend(x, y, weights, 2.0 / weights.mean(), 200),
    "weights shuffled": descend(
        x, y, rng.permutation(weights), 2 / weights.mean(), 200
    ),
}
end = lt.experts.fixed_point(old, new, tau)
print(f"theory: standard {new}, FLOW {end}")
for name, thetas in runs.items():
    print(f"{name:16} ends at {thetas[-1].round(2)}")
assert np.allclose(runs["FLOW"][-1], end, atol=0.1)
assert np.allclose(runs["standard"][-1], new, atol=0.1)
assert np.allclose(runs["weights shuffled"][-1], new, atol=0.1), (
    "without what they say of their rows the weights change nothing"
)

# %% [markdown]
# The path there is exact, too, for Gaussian $x$: each step is an integral over two numbers, $\langle\theta^*, x\rangle$
# and $\langle\tilde{\theta}^*, x\rangle$, and `lt.experts.iterate` has all of its digits.

# %%
problem = lt.FineTuningProblem(old, new, np.eye(2))
mass = lt.experts.mean_weight(problem, logistic, tau)
steps = np.unique(np.geomspace(1, 200, 40).astype(int))
exact = lt.experts.iterate(problem, logistic, steps, 2 / mass, tau)
plain = lt.experts.iterate(problem, logistic, steps, 2.0)

fig, ax = figure(width=8, height=4.4)
for name, line, colour in (
    ("standard", plain, COLOURS["standard"]),
    ("FLOW", exact, COLOURS["flow"]),
):
    path(ax, np.vstack([old, line]), colour, marker="")
    few = runs[name][[1, 2, 4, 8, 16, 200]]
    path(ax, few, colour, lw=0, ms=6)
place(ax, old, "pretrained", r"$\theta^*$", dx=10, dy=-4)
place(ax, new, "target", r"$\tilde{\theta}^*$", dx=-14, dy=4)
place(ax, end / lt.experts.sharpening(tau), "averaging", "average", dx=-4, dy=-16)
ax.plot(*end, "*", color=COLOURS["flow"], ms=17, mec="white", zorder=8)
label(ax, end, r"$\tilde{\theta}^* + \theta^*/\tau$", COLOURS["flow"], dx=12, dy=2)
label(ax, plain[1], "standard", COLOURS["standard"], dx=-8, dy=-8)
label(ax, exact[3], "FLOW", COLOURS["flow"], dx=10, dy=-4)
ax.set(xlim=(0, 2.4), ylim=(-0.12, 1.2), xlabel=r"$\theta_1$", ylabel=r"$\theta_2$")
title(fig, "FLOW ends beyond the average of both models")
Picture(
    fig,
    "The plane of parameters. From the old model at the lower right, standard "
    "fine-tuning's orange line runs to the new one at the upper left, FLOW's blue "
    "line up to a star at the upper right, twice as far from the origin as the green "
    "diamond of the average. Dots of sampled rows lie on both lines.",
)

# %% [markdown]
# ## Whatever the rows are
#
# Nothing in the product knows the law of $x$. Heavy tails, a column of ones, inputs that are not centred: the end is
# the same, and only the path is another.

# %%
laws = {
    "Student's t": rng.standard_t(3, size=(20_000, 2)),
    "exponential": rng.exponential(size=(20_000, 2)),
    "three values": rng.choice([-1.0, 0.0, 2.0], size=(20_000, 2)),
}
for name, inputs in laws.items():
    coins = labels(inputs, new)
    w = lt.flow_weights(logistic.loss(inputs @ old, coins), tau)
    fitted = descend(inputs, coins, w, 0.5 / w.mean(), 2000)[-1]
    print(f"{name:13} mean weight {w.mean():.2f}, ends at {fitted.round(2)}")
    assert np.allclose(fitted, end, atol=0.25)

# %% [markdown]
# ## The average's guess, with too much confidence
#
# $\tilde{\theta}^* + \theta^*/\tau$ is $1 + 1/\tau$ times the average $(1-\omega)\tilde{\theta}^* + \omega\theta^*$
# with $\omega = 1/(1+\tau)$. The decision boundary, $z = 0$, is the average's. The probabilities are not: two experts
# who say the same are counted as if they had seen different evidence. Where both models agree, FLOW is over-confident
# by exactly the factor `lt.experts.sharpening`, $1 + 1/\tau$, in its logits $z$.

# %%
agree = labels(x, old)  # a new task that is the old one
w = lt.flow_weights(logistic.loss(x @ old, agree), tau)
twice = descend(x, agree, w, 2 / w.mean(), 400)[-1]
print(f"old model {old}, FLOW on the same task {twice.round(2)}")

claimed = {
    "FLOW": logistic.mean(x @ twice),
    "divided": logistic.mean(x @ twice / lt.experts.sharpening(tau)),
}
edges = np.linspace(0, 0.9, 10)


def actual(probability):
    """Mean claim, share of label 1 and its standard error, in tenths of the claim."""
    bins = [(probability >= a) & (probability < a + 0.1) for a in edges]
    share = np.array([agree[one].mean() for one in bins])
    count = np.array([one.sum() for one in bins])
    mean = np.array([probability[one].mean() for one in bins])
    return mean, share, (share * (1 - share) / count) ** 0.5


off = {}
for name, probability in claimed.items():
    mean, share, spread = actual(probability)
    off[name] = np.abs(mean - share).max()
    print(f"{name:8} claims and shares differ by up to {off[name]:.3f}")
assert off["FLOW"] > 0.1
assert off["divided"] < 0.04

# %%
fig, ax = figure(width=7, height=4.6)
ax.plot([0, 1], [0, 1], color=COLOURS["uniform"], lw=1.4)
for name, colour in (("FLOW", COLOURS["flow"]), ("divided", COLOURS["averaging"])):
    mean, share, spread = actual(claimed[name])
    ax.errorbar(mean, share, 2 * spread, fmt="o", color=colour, ms=7, mec="white")
    z = np.linspace(-6, 6, 200)
    factor = lt.experts.sharpening(tau) if name == "FLOW" else 1.0
    ax.plot(logistic.mean(factor * z), logistic.mean(z), color=colour, lw=1.8)
label_line(ax, 0.9, 0.75, "FLOW", COLOURS["flow"], dx=4, dy=-26)
label_line(ax, 0.7, 0.7, r"divided by $1 + 1/\tau$", COLOURS["averaging"], dx=-8, dy=24)
ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="claimed probability of label 1")
ax.set_ylabel("share of label 1")
title(fig, "Dividing the logits by 1 + 1/τ makes FLOW honest")
Picture(
    fig,
    "Share of label 1 against its claimed probability. FLOW's blue points lie on a "
    "flat S around the diagonal: where it claims 0.9 the share is 0.75. After the "
    "logits are divided the green points lie on the diagonal.",
)

# %% [markdown]
# In a network $z$ is a vector of logits, and the same holds where the network can represent the product. The stored
# experiment `product-of-experts` fits softmax models, and finds the temperature that calibrates each of them:

# %%
networks = stored("product-of-experts").sel(run="flow")
soft = networks.softmax_softening.sel(agreement="same task")
for k, temperature in enumerate(networks.temperature.values):
    one = soft.isel(temperature=k) if "temperature" in soft.dims else soft[k]
    found, spread = float(one.mean("seed")), float(error(one))
    says = lt.experts.sharpening(temperature)
    print(
        f"τ = {temperature:5.2f}: found {found:.3f} ± {spread:.3f}, theory {says:.3f}"
    )
    assert abs(found - says) < 4 * spread + 0.02 * says

# %% [markdown]
# And whoever wants the new task alone after all can have it back: `lt.experts.undo` subtracts $\theta^*/\tau$, in
# parameters or in logits.

# %%
back = lt.experts.undo(runs["FLOW"][-1], old, tau)
print(f"undone {back.round(2)}, standard fine-tuning {runs['standard'][-1].round(2)}")
assert np.allclose(back, new, atol=0.1)

# %% [markdown]
# ## Where is the stall?
#
# In the linear model the weights flatten the loss along the shift to $\mu^2 = 0.185$ of what a smaller step alone would
# leave. Here the curvature at $\theta$ is $E[w\,p(1-p)\,xx^\top]$: rows near the new boundary, where $p(1-p)$ is large,
# are coins, and the old model is right about every second one of them. `lt.experts.curvature` integrates it. Below it
# is divided by the mean weight and by the curvature without weights.


# %%
def ratio(problem, temperature):
    """Weighted curvature along the shift, beyond the smaller step."""
    at = lambda t: lt.experts.curvature(
        problem, logistic, problem.target, problem.shift, t
    )
    return (
        at(temperature)
        / lt.experts.mean_weight(problem, logistic, temperature)
        / at(np.inf)
    )


gaussian = lt.paper_problem(0.0)
linear = lt.weight_mass(gaussian, lt.population_median_temperature(gaussian)) ** 2
turned = np.array([2.0, 1.0]) / 5**0.5
sizes = np.geomspace(1, 15, 9)
ratios = []
for size in sizes:
    case = lt.FineTuningProblem([3.0, 0.0], size * turned, np.eye(2))
    z = rng.standard_normal((100_000, 2))
    default = lt.median_temperature(
        logistic.loss(z @ case.pretrained, labels(z, case.target))
    )
    ratios.append(ratio(case, default))
print(" ".join(f"{value:.2f}" for value in ratios), f"; linear model {linear:.3f}")
assert ratios[0] > 0.9, "coins: no stall"
assert ratios[-1] < 0.35, "nearly certain labels: it returns"

# %%
fig, ax = figure(width=8, height=4.2)
ax.plot(sizes, ratios, "o-", color=COLOURS["flow"])
ax.axhline(1, color=COLOURS["uniform"], lw=1.3)
ax.axhline(linear, color=COLOURS["theory"], lw=1.6, ls="--")
label_line(ax, 5, 1, "a smaller step and nothing else", COLOURS["uniform"], dx=4, dy=12)
label_line(ax, 1.1, linear, r"linear model, $\mu^2$", COLOURS["theory"], dx=4, dy=12)
label_line(ax, sizes[4], ratios[4], "logistic regression", COLOURS["flow"], dx=12, dy=8)
ax.set(
    xscale="log",
    ylim=(0, 1.5),
    xlabel=r"certainty of the new labels, $\|\tilde{\theta}^*\|$",
)
ax.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
ax.set_xticks([], minor=True)
ax.set_ylabel("curvature along the shift")
title(fig, "The stall returns where new labels are nearly certain")
Picture(
    fig,
    "Curvature along the shift against the size of the new parameters. The blue curve "
    "starts above 1, where weights do nothing but shorten the step, and falls towards "
    "the dashed line of the linear model at 0.19 as labels become certain.",
)

# %% [markdown]
# ## Exercises
#
# **1. Choose the average.** You want the guesses of the average that is a quarter old model, $\omega = 1/4$. Which
# temperature do you train with, and what do you do to the logits? The tempting answer is $\tau = 1/4$.

# %%
# Your turn. A start: what the tempting temperature gives, as a share of the old model.
print(1 / (1 + 0.25))

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# ω = 1/(1 + τ), so τ = 1/ω − 1 = 3, and the logits are divided by 1 + 1/τ = 4/3.
omega = 0.25
right = 1 / omega - 1
for temperature in (right, omega):
    w = lt.flow_weights(logistic.loss(x @ old, y), temperature)
    fitted = descend(x, y, w, 2 / w.mean(), 400)[-1] / lt.experts.sharpening(
        temperature
    )
    wanted = lt.model_average(problem, omega)
    print(f"τ = {temperature:g}: {fitted.round(2)}, wanted {wanted}")
    close = np.allclose(fitted, wanted, atol=0.06)
    assert close == (temperature == right)

# %% [markdown]
# **2. Hard samples up.** Weights $p_*^{-1/\tau}$ prefer rows that the old model gets wrong. Where does training end? On
# which side of $\tilde{\theta}^*$? Check it on rows; take inputs that are bounded, or the weights have no mean.

# %%
# Your turn. A start: the weights.
bounded = rng.uniform(-2, 2, size=(20_000, 2))
coins = labels(bounded, new)
rule = lt.weights.KLDRO(4.0)
print(rule.log_weights(logistic.loss(bounded @ old, coins))[:3].round(3))

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The exponent of the old model turns round: θ̃* − θ*/τ, away from the old model. It is
# the product with the opposite expert, −θ*. Shuffled weights stay at θ̃*.
heavy = 1 / lt.flow_weights(logistic.loss(bounded @ old, coins), 4.0)
away = lt.experts.fixed_point(-old, new, 4.0)
ends = {
    name: descend(bounded, coins, w / heavy.mean(), 1.0, 800)[-1]
    for name, w in (("hard samples up", heavy), ("shuffled", rng.permutation(heavy)))
}
print(f"theory {away}", *(f"{name} {theta.round(2)}" for name, theta in ends.items()))
assert np.allclose(ends["hard samples up"], away, atol=0.1)
assert not np.allclose(ends["shuffled"], away, atol=0.2)
assert (ends["hard samples up"] - new) @ old < 0, "farther from the old model"

# %% [markdown]
# ## Where to go on
#
# This was the last lesson. The claims `product-of-experts` and `glm-paths` (run with `python -m paper_reproduction
# beyond`) prove and check all of this, Poisson regression included; the experiment `product-of-experts` looks for the
# product in networks, a language model among them. Functions used here: `lt.experts.fixed_point`,
# `lt.experts.iterate`, `lt.experts.mean_weight`, `lt.experts.curvature`, `lt.experts.sharpening`, `lt.experts.undo`,
# `lt.experts.Logistic`; `lt.flow_weights`, `lt.median_temperature`, `lt.weights.KLDRO`, `lt.model_average`,
# `lt.weight_mass`, `lt.population_median_temperature`.

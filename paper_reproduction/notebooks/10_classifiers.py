# %% [markdown]
# # 10 Classifiers: the product of experts
#
# So far every loss was a square. With the cross-entropy a weight $e^{-\ell/\tau}$ is a power of a probability, and
# that decides where training ends: at the *product* of the new labels' law and the old model. It guesses as the
# average of both models does, and is too sure of it by a factor that is known and can be divided out. You need
# lessons 2, 5 and 7. Reading time: 30 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/10_classifiers.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## A weight is a likelihood
#
# A classifier of two classes says $\langle\theta, x\rangle = \ln\frac{p(1\mid x)}{p(0\mid x)}$, and its loss on a
# row is $\ell = -\ln p(y\mid x)$. An old model $\theta^*$ is given; new labels are *drawn* from the model at
# $\tilde{\theta}^*$. So FLOW's weight is the old model's probability of the new label, to a power:
#
# $$w = e^{-\ell/\tau} = p_*(y\mid x)^{1/\tau}.$$
#
# Fitting weighted rows is fitting the law in which each label counts $\tilde{p}\,w$. If the model can represent it,
# training to the end gives
#
# $$p_\tau(y\mid x) \propto \tilde{p}(y\mid x)\;p_*(y\mid x)^{1/\tau},$$
#
# a **product of experts**: a label must please both. Logits are logarithms of odds, so products add up:
# $\theta_\infty = \tilde{\theta}^* + \theta^*/\tau$, for every law of $x$. That is `lt.experts.fixed_point`. Let us
# test it on rows. Newton's method for a logistic loss is a weighted least-squares problem at each step, which
# `lt.solve` solves; nothing in it knows of products.

# %%
logistic = lt.experts.Logistic()
old, new, tau = np.array([0.5, 1.5, 0.0]), np.array([-0.3, 0.3, 1.2]), 0.5
rng = np.random.default_rng(0)


def draw(law, n):
    """Inputs (1, x₁, x₂), uniform on a square, and labels drawn from the law."""
    x = np.column_stack([np.ones(n), rng.uniform(-3, 3, (n, 2))])
    return x, (rng.random(n) < logistic.mean(x @ law)).astype(float)


def fit(x, y, weights):
    """The minimiser of the weighted cross-entropy, by Newton's method."""
    theta = np.zeros(x.shape[1])
    for _ in range(12):
        z = x @ theta
        bend = logistic.variance(z)
        aim = z + (y - logistic.mean(z)) / bend
        theta = lt.solve(x, aim, theta, weights * bend).theta
    return theta


x, y = draw(new, 20_000)
losses = logistic.loss(x @ old, y)
weights = lt.flow_weights(losses, tau)
product = lt.experts.fixed_point(old, new, tau)
fitted, unweighted = fit(x, y, weights), fit(x, y, np.ones(len(y)))
shuffled = fit(x, y, rng.permutation(weights))
print(f"median loss {lt.median_temperature(losses):.2f}, the default; here τ = {tau}")
print("the product, θ̃* + θ*/τ:", product.round(2))
print("fitted with weights    ", fitted.round(2))
print(
    "with shuffled weights  ", shuffled.round(2), "and with none", unweighted.round(2)
)
assert np.abs(fitted - product).max() < 0.25
assert np.abs(shuffled - new).max() < 0.15
assert np.abs(unweighted - new).max() < 0.15

# %%
sides = np.linspace(-3, 3, 61)
square = np.stack(np.meshgrid(sides, sides), axis=-1)
seen = np.concatenate([np.ones((61, 61, 1)), square], axis=-1)


def boundary(ax, theta, colour, ls="-"):
    """Where the model is undecided."""
    look = {"colors": COLOURS[colour], "linewidths": 3, "linestyles": ls}
    ax.contour(sides, sides, seen @ theta, levels=[0], **look)


fig, axes = figure(1, 2, width=10, height=5.8, sharey=True)
shown = slice(0, 220)
for ax, size in zip(axes, (np.full(220, 26.0), 70 * weights[shown]), strict=True):
    for kind, face in ((1, "#5C6068"), (0, "white")):
        rows = y[shown] == kind
        look = {"facecolors": face, "edgecolors": "#5C6068"}
        ax.scatter(*x[shown][rows, 1:].T, s=size[rows], lw=1, **look)
    boundary(ax, old, "pretrained")
    boundary(ax, new, "target")
    ax.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xlabel="$x_1$")
    label_line(ax, -0.3, 2.7, "old model", COLOURS["pretrained"], dx=4)
    label_line(ax, -2.9, 1.0, "new model", COLOURS["target"], dx=4, dy=14)
boundary(axes[1], product, "flow")
boundary(axes[1], fitted, "simulation", "--")
label_line(axes[1], 0.95, -2.3, "FLOW", COLOURS["flow"], dx=4)
label_line(axes[1], 0.95, -2.7, "dashed: fitted", COLOURS["simulation"], dx=4)
axes[0].set(ylabel="$x_2$", title="new labels, equal weights")
axes[1].set_title("the same labels, area = FLOW's weight")
title(fig, "Rows that contradict the old model shrink, and the boundary turns to it")
Picture(
    fig,
    "Two panels of 220 dots in a square, full for label 1 and hollow for 0. A light "
    "blue upright line is the old model's boundary and a brown, almost level line "
    "the new one's. On the right full dots left of the light blue line and hollow "
    "ones right of it are tiny, and FLOW's blue boundary is steep, between the "
    "other two and nearer to the old; the dashed fitted one covers it.",
)

# %% [markdown]
# Shuffled weights leave $\tilde{\theta}^*$ where it is: it is not that some rows count more, but *which* labels do.
#
# ## Too sure
#
# Write the end in another way:
#
# $$\theta_\infty = \tilde{\theta}^* + \frac{\theta^*}{\tau}
# = \left(1 + \frac{1}{\tau}\right)\left((1 - \omega)\,\tilde{\theta}^* + \omega\,\theta^*\right),
# \qquad \omega = \frac{1}{1 + \tau}.$$
#
# In brackets is a model average. FLOW guesses exactly as the average does, for a factor moves no boundary; but its
# logits are $1 + 1/\tau$ times larger, `lt.experts.sharpening`. Two experts who agree count as two independent
# pieces of evidence, though both may have learned the same thing.
#
# When both models *are* the same, it is plain what is wrong. The labels have the law $\tilde{p}$, and FLOW says
# $\tilde{p}^{1 + 1/\tau}$ (normalised). Dividing the logits by $1 + 1/\tau$ calibrates it exactly.

# %%
both = lt.FineTuningProblem(old, new, np.eye(3))
omega = 1 / (1 + tau)
average = lt.model_average(both, omega)
sharp = lt.experts.sharpening(tau)
print(f"FLOW is {sharp:g} times the average with ω = {omega:.3f}")
assert np.allclose(product, sharp * average)
logits = np.linspace(-6, 6, 201)
law = logistic.mean(logits)
agreed = lt.experts.fixed_point(logits, logits, tau)
assert np.allclose(logistic.mean(agreed / sharp), law)
x_same, y_same = draw(new, 40_000)
weights_same = lt.flow_weights(logistic.loss(x_same @ new, y_same), tau)
fitted_same = fit(x_same, y_same, weights_same)
fitted_logits = x_same @ fitted_same
bins = np.digitize(fitted_logits, np.arange(-6, 7))  # of width 1; the ends are open
middle, frequency, errors = [], [], []
for k in range(1, 13):
    rows = bins == k
    middle.append(logistic.mean(fitted_logits[rows]).mean())
    frequency.append(y_same[rows].mean())
    errors.append(y_same[rows].std() / rows.sum() ** 0.5)
    corrected = logistic.mean(fitted_logits[rows] / sharp).mean()
    assert abs(frequency[-1] - corrected) < 4 * errors[-1] + 0.01, "calibrated"
k = 3
print(f"where FLOW says {middle[k]:.0%}, {frequency[k]:.0%} of the labels are 1")

# %%
fig, (ax, right) = figure(1, 2, width=10, height=4.5)
walk = np.linspace(-3, 3, 121)
along = np.column_stack([np.ones(121), walk, np.zeros(121) + 0.8])
lines = {"old": (old, "pretrained"), "new": (new, "target"), "FLOW": (product, "flow")}
for theta, colour in lines.values():
    ax.plot(walk, logistic.mean(along @ theta), color=COLOURS[colour])
ax.plot(walk, logistic.mean(along @ average), "--", color=COLOURS["averaging"])
ax.axhline(0.5, color="#9a9aa3", lw=1)
label_line(ax, 0.62, 0.905, "old", COLOURS["pretrained"], dx=0.1, ha="center")
label_line(ax, 2.2, 0.72, "new", COLOURS["target"], dx=0.1)
label_line(ax, -0.3, 0.88, "FLOW", COLOURS["flow"], dx=-10)
label_line(ax, -0.2, 0.36, r"dashed: FLOW$/(1+1/\tau)$,", COLOURS["averaging"], dx=4)
label_line(ax, -0.2, 0.29, "the average", COLOURS["averaging"], dx=4)
ax.set(xlabel="$x_1$ (at $x_2 = 0.8$)", ylabel="probability of label 1")
right.plot([0, 1], [0, 1], color=COLOURS["averaging"], ls="--")
right.plot(logistic.mean(agreed), law, color=COLOURS["flow"])
right.errorbar(middle, frequency, 2 * np.array(errors), fmt="o", color=COLOURS["flow"])
label_line(right, 0.22, 0.46, "FLOW", COLOURS["flow"], dx=0.1, ha="center")
label_line(right, 0.42, 0.42, r"divided by $1+1/\tau$:", COLOURS["averaging"], dy=-18)
label_line(right, 0.42, 0.42, "calibrated", COLOURS["averaging"], dx=14, dy=-34)
right.set(xlabel="what the model says", ylabel="share of labels 1")
ax.set_title("where the models differ")
right.set_title("where they agree")
title(fig, "FLOW guesses like the average and is too sure of it")
Picture(
    fig,
    "Left, four rising curves of the probability along a walk through the inputs: "
    "FLOW's is the steepest; the dashed green average crosses one half where FLOW's "
    "does. Right, the share of labels against what FLOW says: an S that is steep at "
    "both ends and flat in the middle, with points on it, and the dashed diagonal.",
)

# %% [markdown]
# Whoever wants the new labels' law after all subtracts the old expert, $\theta_\infty - \theta^*/\tau$:
# `lt.experts.undo`. It adds no error of its own, but the weights have spent rows, and some precision with them.

# %%
undone = lt.experts.undo(fitted, old, tau)
print("undone    ", undone.round(2), "off by", np.abs(undone - new).max().round(3))
print("unweighted", unweighted.round(2), end=" ")
print("off by", np.abs(unweighted - new).max().round(3))
print(f"worth {lt.effective_sample_size(weights):.0f} of {len(weights)} rows")
assert np.allclose(undone - new, fitted - product)

# %% [markdown]
# ## The dial
#
# So the temperature is a dial between the old model and the new one, $\omega = 1/(1+\tau)$: hot, $\tau \to \infty$,
# it is the new model; at $\tau = 1$, both by half; cold, $\tau \to 0$, the old one. What each choice costs is the
# cross-entropy on labels of either law, here over the least that is possible, the entropy. We read it once from FLOW
# as it is and once with the logits divided.


# %%
def cost(law, model):
    """Cross-entropy on labels of the law, above that of the law itself."""
    one = logistic.mean(x @ law)

    def of(theta):
        z = x @ theta
        return np.mean(one * logistic.loss(z, 1) + (1 - one) * logistic.loss(z, 0))

    return of(model) - of(law)


taus = np.geomspace(0.1, 30, 40)
dial = {"new": new, "old": old}
raw, divided = {}, {}
for name, law in dial.items():
    ends = [lt.experts.fixed_point(old, new, t) for t in taus]
    raw[name] = np.array([cost(law, end) for end in ends])
    divided[name] = np.array(
        [
            cost(law, end / lt.experts.sharpening(t))
            for end, t in zip(ends, taus, strict=True)
        ]
    )
total = {"FLOW": raw["new"] + raw["old"], "divided": divided["new"] + divided["old"]}
for name, values in total.items():
    at = values.argmin()
    print(f"{name:8} best for both at τ = {taus[at]:.2f}: {values[at]:.3f}")
assert total["divided"].min() < total["FLOW"].min()
assert np.all(np.diff(divided["new"]) < 0), "hotter: nearer to the new model"
assert np.all(np.diff(divided["old"]) > 0), "and farther from the old one"
assert raw["old"][0] > raw["old"].min() + 0.1, "cold FLOW is bad for the old task, too"

# %%
fig, axes = figure(1, 2, width=10, height=4.5, sharey=True)
for ax, name in zip(axes, dial, strict=True):
    ax.plot(taus, raw[name], color=COLOURS["flow"])
    ax.plot(taus, divided[name], "--", color=COLOURS["averaging"])
    ax.set(xscale="log", xlim=(0.1, 30), ylim=(0, 1.6), title=f"on the {name} labels")
    ax.set(xlabel=r"temperature $\tau$, and $\omega = 1/(1+\tau)$")
    marks = np.array([0.1, 0.5, 1, 3, 10, 30])
    ax.set_xticks(marks, [f"{t:g}\n{1 / (1 + t):.2f}" for t in marks])
    ax.minorticks_off()
axes[0].set_ylabel("cross-entropy above the least, nats")
axes[0].tick_params(labelleft=True)
label_line(axes[0], 0.55, 1.1, "FLOW", COLOURS["flow"], dx=8)
label_line(axes[0], 0.3, 0.25, "divided", COLOURS["averaging"], dx=-4, dy=-18)
label_line(axes[1], 0.2, 0.75, "FLOW", COLOURS["flow"], dx=8)
label_line(axes[1], 3, 0.45, "divided", COLOURS["averaging"], dx=-4, dy=18)
title(fig, "Cold, the over-confidence costs more than the weights save")
Picture(
    fig,
    "Two panels of the cross-entropy against the temperature. On the new labels both "
    "curves fall to nothing, FLOW's from far above the dashed one. On the old labels "
    "the dashed curve rises steadily from nothing; FLOW's is high at both ends and "
    "lowest in between.",
)

# %% [markdown]
# ## The way there
#
# That was the end. Until then the path matters, and for Gaussian inputs it is known exactly:
# `lt.experts.iterate`. We take steps as long on average as standard fine-tuning's, dividing the learning rate by
# the mean weight, `lt.experts.mean_weight`, and a plane without a constant, so that $\theta$ can be drawn.

# %%
plane_old, plane_new = np.array([1.5, 0.0]), np.array([0.3, 1.0])
problem = lt.FineTuningProblem(plane_old, plane_new, np.eye(2))
steps = np.arange(0, 121)
colds = np.array([0.5, 1.0, 3.0])
standard = lt.experts.iterate(problem, logistic, steps, 2.0)
flows = []
for cold in colds:
    rate = 2.0 / lt.experts.mean_weight(problem, logistic, cold)
    flows.append(lt.experts.iterate(problem, logistic, steps, rate, cold))
    end = lt.experts.fixed_point(plane_old, plane_new, cold)
    off = np.abs(flows[-1] - end).max(axis=1)
    near = np.argmax(off < 0.1)
    print(f"τ = {cold:g}: ends at {end.round(3)}; within 0.1 of it after {near} steps")
    assert off[-1] < 0.02
print(f"standard: after {np.argmax(np.abs(standard - plane_new).max(axis=1) < 0.1)}")
assert np.abs(standard[-1] - plane_new).max() < 1e-6

# %%
fig, ax = figure(width=10, height=4.1)
path(ax, standard, COLOURS["standard"])
line = lt.model_average(problem, np.linspace(0, 1, 2))
path(ax, line, COLOURS["averaging"], marker="", ls="--")
for flow, cold, colour in zip(flows, colds, beta_colours(colds), strict=True):
    path(ax, flow, colour)
    end = lt.experts.fixed_point(plane_old, plane_new, cold)
    mean = end / lt.experts.sharpening(cold)
    ax.plot([0, end[0]], [0, end[1]], ":", color="#9a9aa3", lw=1.5)
    ax.plot(*mean, "D", color=COLOURS["averaging"], ms=9, mec="white", zorder=8)
    label(ax, end, rf"FLOW, $\tau={cold:g}$", colour, dx=10)
place(ax, plane_old, "pretrained", r"$\theta^*$", dy=-8)
place(ax, plane_new, "target", r"$\tilde{\theta}^*$", dx=-10)
label(ax, (1.05, 0.12), "averages", COLOURS["averaging"], dx=-8)
label(ax, standard[3], "standard", COLOURS["standard"], dx=-28, dy=-20)
ax.plot(0, 0, "+", color="#5C6068", ms=12)
ax.set(xlim=(-0.15, 4.2), ylim=(-0.15, 1.25), aspect="equal")
ax.set(xlabel=r"$\theta_1$, along the old model", ylabel=r"$\theta_2$")
title(fig, "FLOW ends beyond the averages, on the rays through them")
Picture(
    fig,
    "A plane of parameters. From the old model at the right of the bottom the orange "
    "path runs up and left to the new one. Three blue paths run up and right to "
    "their ends, the farther right the colder; a dotted ray from the origin through "
    "a green diamond on the dashed line of averages leads to each of them.",
)

# %% [markdown]
# ## No strong stall
#
# Cold, FLOW took many steps above. Is that the stall of lesson 5, where the weights nearly stopped the path along the
# shift? There what the old model gets most wrong counts least. `lt.experts.curvature` of the weighted loss at
# $\tilde{\theta}^*$, divided by the mean weight and compared with the unweighted one, is the speed of learning with
# steps that are as long on average. For squares the same ratio along $\bar{e}$ is $\mu^2$.


# %%
def speeds(problem, temperatures):
    """Weighted curvature over unweighted along e and across, (temperatures, 2)."""
    e = problem.shift
    rows = []
    for temperature in temperatures:
        mass = lt.experts.mean_weight(problem, logistic, temperature)
        pair = []
        for u in (e, np.array([-e[1], e[0]])):
            bends = [
                lt.experts.curvature(problem, logistic, problem.target, u, t)
                for t in (temperature, np.inf)
            ]
            pair.append(bends[0] / mass / bends[1])
        rows.append(pair)
    return np.array(rows)


def median_loss(problem, n=100_000):
    """Of the old model on new labels: the default temperature."""
    inputs = rng.normal(size=(n, 2))
    labels = (rng.random(n) < logistic.mean(inputs @ problem.target)).astype(float)
    return float(
        lt.median_temperature(logistic.loss(inputs @ problem.pretrained, labels))
    )


multiples = np.geomspace(0.2, 20, 11)
median = median_loss(problem)
classifier = speeds(problem, median * multiples)
squares = lt.paper_problem(0.6)
square_taus = lt.population_median_temperature(squares) * multiples
axis = squares.shift / np.sqrt(squares.shift @ squares.shift)
braked = []
for temperature in square_taus:
    mass = lt.weight_mass(squares, temperature)
    braked.append(axis @ lt.weighted_covariance(squares, temperature) @ axis / mass)
    assert np.isclose(braked[-1], mass**2)
default = speeds(problem, [median])[0]
print(f"median loss {median:.3f}: speed along e {default[0]:.2f},", end=" ")
print(f"across {default[1]:.2f}")
at_default = lt.weight_mass(squares, lt.population_median_temperature(squares)) ** 2
print(f"a line at its median: {at_default:.2f}")
assert classifier[:, 0].min() > 0.8
assert at_default < 0.25

# %%
fig, ax = figure(width=8.5, height=4.4)
ax.axhline(1, color=COLOURS["standard"], lw=1.5)
ax.axvline(1, color="#9a9aa3", lw=1)
ax.plot(multiples, classifier[:, 0], "-", color=COLOURS["flow"])
ax.plot(multiples, classifier[:, 1], "--", color=COLOURS["flow"])
ax.plot(multiples, braked, "-", color=COLOURS["theory"])
label_line(ax, 20, 1, "standard", COLOURS["standard"], dx=6)
label_line(ax, 0.7, 1.65, "classifier, across", COLOURS["flow"], dx=2)
label_line(ax, 1.1, 0.76, "classifier, along the shift", COLOURS["flow"], dx=2)
label_line(ax, 2.4, 0.22, "least squares, along the shift", COLOURS["theory"])
label_line(ax, 1, 0.06, "default", "#5C6068", dx=4)
ax.set(xscale="log", xlim=(0.2, 20), ylim=(0, 2.3))
marks = (0.2, 0.5, 1, 2, 5, 10, 20)
ax.set_xticks(marks, [f"{m:g}" for m in marks])
ax.minorticks_off()
ax.set(xlabel=r"$\tau$, in medians of the loss", ylabel="speed, unweighted = 1")
title(fig, "The weights brake a line strongly, a classifier hardly")
Picture(
    fig,
    "Speed of learning against the temperature in medians. The dark curve of least "
    "squares rises from near 0 on the left to near 1; at the median it is below a "
    "quarter. Both blue curves of the classifier stay near or above the level of 1, "
    "the dashed one across highest when cold.",
)

# %% [markdown]
# On a line without noise the weight is a function of $x$, tiny wherever the two models differ, so nobody there speaks
# for the new one. Here labels are random: of two rows with the same $x$ one may contradict the old model and the other
# not, and the one that does not has a large weight and bends the loss as much. What is slow is the *end*. It lies far
# out, where probabilities hardly change any more, and standard fine-tuning towards that place is slow, too:

# %%
far = lt.FineTuningProblem(
    plane_old, lt.experts.fixed_point(plane_old, plane_new, colds[0]), np.eye(2)
)
straight = lt.experts.iterate(far, logistic, steps, 2.0)
counts = []
for name, run in {"FLOW": flows[0], "standard, to the same end": straight}.items():
    counts.append(np.argmax(np.abs(run - far.target).max(axis=1) < 0.1))
    print(f"{name}: within 0.1 after {counts[-1]} steps")
assert abs(counts[0] - counts[1]) < 0.2 * counts[1], "no stall: it is as far for both"

# %% [markdown]
# ## Squares are the Gaussian case
#
# Lesson 7 found that under label noise FLOW ends at a model average, and least squares were not over-confident.
# It is the same product. With noise of variance $\sigma^2$ the likelihood is $e^{-r^2/(2\sigma^2)}$, so a
# temperature in squares is $\tau/(2\sigma^2)$ in nats; the product of two bells of one width lies at the average, and
# is *narrower* by $1 + 1/\tau$. A model that fits only the mean cannot show it; a fitted variance does.

# %%
noise = 0.5
gaussian = lt.paper_problem(0.6, noise_variance=noise)
for squared in (0.2, 1.0, 4.0):
    nats = squared / (2 * noise)
    ends = lt.experts.fixed_point(gaussian.pretrained, gaussian.target, nats)
    mean = ends / lt.experts.sharpening(nats)
    narrower = lt.displacement(gaussian, squared)
    print(
        f"τ = {squared:3}: ends at {mean.round(4)}, residual variance × {narrower:.3f}"
    )
    assert np.allclose(mean, lt.fixed_point(gaussian, squared))
    assert np.allclose(mean, lt.model_average(gaussian, 1 / (1 + nats)))
    assert np.isclose(narrower, 1 / lt.experts.sharpening(nats))

# %% [markdown]
# ## Exercises
#
# **1. Calibrated for whom?** Dividing the logits by $1 + 1/\tau$ calibrated FLOW where the two models agree. "So
# divide, and FLOW is calibrated on the new labels." Take `old`, `new` and $\tau = 0.5$ from above, look for the
# factor by which dividing gives the least cross-entropy on the new labels, and predict: is it 3, more, or less?

# %%
# Your turn. A start: the cost on the new labels of FLOW divided by 1 + 1/τ.
print(f"{cost(new, product / lt.experts.sharpening(tau)):.4f}")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# More. Where the old model is wrong about the new labels, FLOW is not merely too sure:
# its guess is wrong, and who is wrong had better be less sure still. The average is no
# law of the new labels, and no factor makes it one: only undoing does.
factors = np.linspace(1, 15, 281)
costs = np.array([cost(new, product / factor) for factor in factors])
least = factors[costs.argmin()]
print(f"least at a factor of {least:.2f}: {costs.min():.4f}")
print(f"divided by {sharp:g}: {cost(new, average):.4f}; undivided {costs[0]:.4f}")
print(f"undone: {cost(new, undone):.4f}")
assert least > 1.2 * sharp, "the tempting answer, 1 + 1/τ, is too little"
assert costs.min() < cost(new, average) < costs[0], "but better than nothing"
assert costs.min() > 0.05, "and even the best factor does not give the new law"
assert abs(cost(new, undone)) < 1e-3
same = [cost(new, lt.experts.fixed_point(new, new, tau) / f) for f in factors]
assert np.isclose(factors[np.argmin(same)], sharp), "where both agree it is 1 + 1/τ"

# %% [markdown]
# **2. Can a classifier stall?** "The cross-entropy grows only linearly, so the weights never brake a classifier."
# Keep $\theta^* = (3, 0)$ and the angle of $\tilde{\theta}^*$, 0.5, and make $\tilde{\theta}^*$ ever longer, so that
# the new labels become nearly certain. What happens to the speed along $e$ at the default temperature?

# %%
# Your turn. A start: new labels that are still quite random.
direction = np.array([np.cos(0.5), np.sin(0.5)])
mild = lt.FineTuningProblem([3.0, 0.0], 2.5 * direction, np.eye(2))
print("along e and across:", speeds(mild, [median_loss(mild)])[0].round(2))

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# It falls, and at θ̃* of length 30 the stall is as strong as that of a line (μ² at its
# median). With labels that are all but certain a row's weight is a function of x, small
# just where both models disagree, and there no second label speaks for the new model
# with a large weight. Randomness of the labels is what keeps a classifier moving.
found = []
for length in (2.5, 5.0, 10.0, 30.0):
    certain = lt.FineTuningProblem([3.0, 0.0], length * direction, np.eye(2))
    found.append(speeds(certain, [median_loss(certain)])[0])
    print(f"length {length:4}: along e {found[-1][0]:.2f}, across {found[-1][1]:.2f}")
found = np.array(found)
print(f"a line at its median: {at_default:.2f}")
assert np.all(np.diff(found[:, 0]) < 0), "the tempting answer, “never”, is wrong"
assert found[-1, 0] < 0.25
assert np.all(found[2:, 0] < found[2:, 1]), "and more along the shift than across"

# %% [markdown]
# ## Where to go on
#
# This was the last lesson. The claim `product-of-experts` (run with `python -m paper_reproduction beyond`) proves
# and checks the product, for softmax and several laws of $x$; the experiment of the same name among the network
# experiments looks for it in networks. Functions used here: `lt.experts.fixed_point`, `lt.experts.sharpening`,
# `lt.experts.undo`, `lt.experts.iterate`, `lt.experts.curvature`, `lt.experts.mean_weight`, `lt.experts.Logistic`,
# `lt.flow_weights`, `lt.median_temperature`, `lt.effective_sample_size`, `lt.solve`, `lt.model_average`,
# `lt.fixed_point`, `lt.displacement`, `lt.weight_mass`, `lt.weighted_covariance`, `lt.population_median_temperature`.

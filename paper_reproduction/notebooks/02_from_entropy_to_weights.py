# %% [markdown]
# # 2 From entropy to weights
#
# FLOW gives each sample a weight by its loss under the pre-trained model. Why an exponential, what does the
# temperature do, why is the median its default, and what do small weights do to the step? You need lesson 1, and to
# know what entropy is. Reading time: 25 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/02_from_entropy_to_weights.ipynb`.

# %%
# %matplotlib inline
import textwrap

import numpy as np
from matplotlib import style
from scipy.special import rel_entr, softmax, xlogy

import linear_theory as lt
from figures.lessons import Picture
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## The losses of a model that has not been fine-tuned
#
# Before fine-tuning starts, pass the data once through the pre-trained model and note each sample's loss
# $f_i(\theta^*)$. In the problem of lesson 1 that is $f = \langle e, x\rangle^2$, the square of a Gaussian number
# with variance $s^2 = e^\top\tilde{\Sigma}e$, or, with label noise of variance $\sigma^2$,
# $s^2 = e^\top\tilde{\Sigma}e + \sigma^2$. An easy sample is one whose input is nearly orthogonal to the shift:
# there the old model and the new one agree. Many samples are easy, and a few are very hard.

# %%
problem = lt.paper_problem(rho=0.6, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])
rng = np.random.default_rng(0)
X = rng.multivariate_normal([0.0, 0.0], problem.target_covariance, size=4000)
losses = (X @ problem.target - X @ problem.pretrained) ** 2

tau = lt.population_median_temperature(problem)
below = (losses < tau).mean()
print(
    f"median loss: {lt.median_temperature(losses):.3f} in the sample, "
    f"{tau:.3f} in the population"
)
print(
    f"below the population's median: {below:.1%} of the sample; "
    f" mean loss {losses.mean():.3f}"
)
assert abs(below - 0.5) < 4 * 0.5 / len(losses) ** 0.5

# %%
fig, ax = figure(width=8, height=3.6)
ax.hist(losses, np.linspace(0, 6, 61), color=COLOURS["pretrained"])
ax.axvline(tau, color=COLOURS["theory"], ls=":")
label_line(
    ax, tau, 600, "the median: half of the samples are easier", COLOURS["theory"]
)
label_line(ax, 3.2, 25, "a few are very hard", COLOURS["theory"], dx=0.1, dy=16)
ax.set(
    xlabel=r"loss $f_i(\theta^*)$ under the pre-trained model",
    ylabel="samples",
    xlim=(0, 6),
)
title(fig, "Many samples are easy for the old model, a few hard")
Picture(
    fig,
    "A histogram of 4000 losses: the tallest bar, about 950 samples, is at zero, "
    "and the bars shrink quickly to the right, with a long thin tail to 6. A dotted "
    "line at 0.45 marks the median.",
)

# %% [markdown]
# ## Which weights keep the old task in mind?
#
# Suppose we may spread our attention over the samples, by probabilities $\pi_i$. Two wishes pull in opposite
# directions. Attend to samples that the old model fits already, for they do not ask it to move: make
# $\sum_i \pi_i f_i(\theta^*)$ small. And do not throw the new task away: stay close to uniform, that is, keep the
# entropy large. With a temperature $\tau$ for the exchange between them, the objective is
#
# $$F(\pi) = \sum_i \pi_i f_i(\theta^*) + \tau \sum_i \pi_i \ln \pi_i .$$
#
# **Proposition 4.3.** Over all probabilities, and for every $\tau > 0$, $F$ is minimal at
# $\pi_i \propto w_i = e^{-f_i(\theta^*)/\tau}$.
#
# Let us not believe it. Below, FLOW's weights from `lt.flow_weights` compete with uniform ones, with a hard
# threshold, with the opposite preference for hard samples (KL-DRO, at $\tau = 4$), and with 2000 random
# perturbations of themselves.

# %%
few = losses[:200]
normalised = lambda weights: weights / weights.sum()
objective = lambda pi: pi @ few + tau * xlogy(pi, pi).sum()

flow = normalised(lt.flow_weights(few, tau))
rivals = {
    "uniform": normalised(np.ones(len(few))),
    "hard threshold": normalised(1.0 * (few < tau)),
    "KL-DRO": softmax(lt.weights.KLDRO(4.0).log_weights(few)),
}
colours = {
    "uniform": COLOURS["uniform"],
    "hard threshold": COLOURS["theory"],
    "KL-DRO": COLOURS["kl_dro"],
}

print(f"FLOW            F = {objective(flow):.4f}")
for name, pi in rivals.items():
    print(f"{name:15} F = {objective(pi):.4f}")
shaken = [normalised(flow * rng.uniform(0.5, 1.5, size=len(few))) for _ in range(2000)]
print(
    f"best of {len(shaken)} random perturbations: F = {min(map(objective, shaken)):.4f}"
)
assert all(objective(flow) < objective(pi) for pi in [*rivals.values(), *shaken])

# %% [markdown]
# That is evidence, not a proof. The proof is one line, and the line can be checked as well. For every $\pi$,
#
# $$F(\pi) - F(\pi_{FLOW}) = \tau\,\mathrm{KL}(\pi \,\|\, \pi_{FLOW}),$$
#
# because $\tau\ln w_i = -f_i$ turns the first sum of $F$ into a part of the second. A Kullback-Leibler divergence
# is never negative, and zero only where the two agree. It is convex in $\pi$, too, so that on the straight way from
# FLOW's weights to any others the objective rises all along.

# %%
share = np.linspace(0, 1, 60)
fig, ax = figure(width=8, height=4.2)
for name, pi in rivals.items():
    along = [(1 - s) * flow + s * pi for s in share]
    cost = [objective(mixed) - objective(flow) for mixed in along]
    ax.plot(share, cost, color=colours[name])
    ax.plot(
        share[::6],
        [tau * rel_entr(mixed, flow).sum() for mixed in along[::6]],
        "o",
        color=colours[name],
    )
    label_line(ax, 1, cost[-1], name, colours[name])
ax.set(
    xlim=(0, 1.3),
    xlabel="share of the rival's weights",
    ylabel=r"$F(\pi) - F(\pi_{FLOW})$",
)
ax.set_xticks(np.linspace(0, 1, 6))
ax.set_title(
    r"lines: the objective;  dots: $\tau\,\mathrm{KL}(\pi\,\Vert\,\pi_{FLOW})$"
)
title(fig, "From FLOW's weights every straight way leads up")
Picture(
    fig,
    "Three rising curves from a common 0: towards KL-DRO the objective climbs "
    "steeply to 1.8, towards uniform weights to 0.6, towards the hard threshold to "
    "0.08. Dots, the divergence times the temperature, lie on each curve.",
)

# %%
for pi in [*rivals.values(), *shaken]:
    assert np.isclose(objective(pi) - objective(flow), tau * rel_entr(pi, flow).sum())
for pi in rivals.values():
    assert np.all(np.diff([objective((1 - s) * flow + s * pi) for s in share]) > 0), (
        "uphill all the way"
    )

# %% [markdown]
# KL-DRO, the rule for robustness, is the twin with the sign flipped: $w_i = e^{+f_i/\tau}$, hard samples up. Where
# one wants the worst case to be good, that is the right preference. Where one wants not to forget, it is the wrong
# one: hard samples are those that pull hardest away from $\theta^*$. (KL-DRO takes the loss at the current
# $\theta$, anew at each step; here it is taken once, at $\theta^*$, as FLOW's is.)
#
# ## The temperature is a dial
#
# As $\tau \to 0$ only the easiest samples count, and as $\tau \to \infty$ all count alike, which is standard
# fine-tuning. A hard threshold has a dial, too, but it jumps from one to zero; FLOW's weights fade.
#
# How many samples are left? The **effective sample size** $(\sum w_i)^2/\sum w_i^2$ says how many equally weighted
# samples the weighted ones are worth. For Gaussian data it has a closed form: $w^2$ is the same weight at half the
# temperature, so the population's share is $\mu(\tau)^2/\mu(\tau/2)$ with $\mu = \mathrm{E}[w]$ from
# `lt.weight_mass`.

# %%
dial = np.array([0.03, 0.45, 4.0, 100.0]) * problem.residual_variance
taus = np.geomspace(0.003, 300, 121)
exact = np.array(
    [lt.weight_mass(problem, t) ** 2 / lt.weight_mass(problem, t / 2) for t in taus]
)
some = taus[::8]
sampled = [
    lt.effective_sample_size(lt.flow_weights(losses, t)) / len(losses) for t in some
]

fig, (left, right) = figure(1, 2, width=10, height=4.2)
grid = np.linspace(0, 4, 300)
for t, colour in zip(dial, beta_colours(dial), strict=True):
    curve = lt.flow_weights(grid, t)
    left.plot(grid, curve, color=colour)
    at = {0.03: 9, 0.45: 51, 4.0: 140, 100.0: 215}[round(t, 2)]
    label_line(
        left,
        grid[at],
        curve[at],
        rf"$\tau={t:g}$",
        colour,
        dx=4,
        dy=-11 if t > 50 else 11,
    )
left.plot(grid, 1.0 * (grid < tau), color=COLOURS["theory"], lw=1.4, ls="--")
label_line(left, tau, 0.5, "hard threshold", COLOURS["theory"], dx=5)
left.set(
    xlabel=r"loss $f$ under the pre-trained model", ylabel="weight", ylim=(-0.02, 1.08)
)
right.plot(taus, exact, color=COLOURS["flow"])
right.plot(some, sampled, "o", color=COLOURS["flow"], mec="white")
right.plot(
    tau, np.interp(tau, taus, exact), "D", color=COLOURS["flow"], ms=9, mec="white"
)
label_line(
    right,
    tau,
    np.interp(tau, taus, exact),
    "the median",
    COLOURS["flow"],
    dx=10,
    dy=-10,
)
right.set(
    xscale="log",
    xlabel=r"temperature $\tau/s^2$",
    title="effective sample size over $n$",
)
title(fig, "From a few easy samples to all alike: one dial")
Picture(
    fig,
    "Two panels. Left, weight against loss at four temperatures: at 0.03 it drops "
    "to 0 at once, at 0.45 it fades by a loss of 2, at 4 slowly, at 100 hardly; a "
    "dashed step is the hard threshold. Right, the effective share of samples rises "
    "from 0.05 to 1 with the temperature, 0.58 at the median.",
)

# %%
share_left = lt.weight_mass(problem, tau) ** 2 / lt.weight_mass(problem, tau / 2)
print(
    f"at the default temperature the {len(losses)} samples are worth "
    f"{share_left * len(losses):.0f}"
)
print(
    "at τ = ∞ they are worth "
    f"{lt.effective_sample_size(lt.flow_weights(losses, np.inf)):.0f}"
)
assert np.all(np.diff(exact) > 0), "hotter: more samples count"
assert np.all(lt.flow_weights(losses, np.inf) == 1)
# Colder, too few samples are left to say.
assert np.allclose(sampled[4:], exact[::8][4:], atol=0.03)

# %% [markdown]
# ## Why the median
#
# A temperature has the units of the loss, so a fixed number is meaningful for one data set and senseless for the
# next. Measure $y$ in centimetres instead of metres and all losses grow by $10^4$. The median of the losses grows
# with them, and the weights do not notice.
#
# For Gaussian data more is true. The median of $s^2\chi^2_1$ is a fixed multiple of $s^2$, so at the default
# temperature the mean weight, and everything else about the weights' distribution, is the same **whatever the
# shift, the covariance and the noise are**.

# %%
metres, centimetres = few, 100**2 * few
assert np.allclose(lt.flow_weights(metres), lt.flow_weights(centimetres))
print(f"fixed τ = 1: mean weight {lt.flow_weights(metres, 1.0).mean():.3f} in metres, "
      f"{lt.flow_weights(centimetres, 1.0).mean():.3f} in centimetres")  # fmt: skip

masses = []
for rho, shift_norm, noise in (
    (0.0, 1.0, 0.0),
    (0.6, 1.0, 0.0),
    (0.6, 30.0, 0.0),
    (0.9, 1.0, 5.0),
):
    other = lt.paper_problem(rho, shift_norm, noise_variance=noise)
    default = lt.population_median_temperature(other)
    masses.append(lt.weight_mass(other, default))
    print(
        f"ρ = {rho}, ‖e‖ = {shift_norm:4}, σ² = {noise}: "
        f" τ = {default:9.4f}   μ² = {masses[-1] ** 2:.6f}"
    )
assert np.ptp(masses) < 1e-12

# %% [markdown]
# ### The trap: a median of zero
#
# A classifier that already has most training samples right, or a regression in which half of the labels are fitted
# exactly, has a median loss of zero or nearly so. The default would then divide by zero. `lt.flow_weights` refuses,
# and says what to do. A median that is tiny but not zero is the more dangerous case: nothing is refused, and the
# weights drop almost every sample that is not yet fitted. Look at the effective sample size before you train.

# %%
mostly_fitted = np.concatenate([np.zeros(60), few[:40]])
try:
    lt.flow_weights(mostly_fitted)
except lt.InvalidValueError as refusal:
    print(textwrap.fill(f"refused: {refusal}", 88))
else:
    raise AssertionError("a median of 0 must be refused")

nearly = np.concatenate([np.full(60, 1e-9), few[:40]])
kept = lt.flow_weights(nearly)[60:]
print(
    "\na median of 1e-9: the 40 samples that are not yet fitted have a mean weight of "
    f"{kept.mean():.2g}"
)
assert kept.mean() < 1e-3 < lt.flow_weights(nearly, nearly.mean())[60:].mean()

# %% [markdown]
# ## Small weights, small steps
#
# The weighted loss is $\frac{1}{n}\sum_i w_i\,(y_i - \langle\theta, x_i\rangle)^2$: a mean over $n$, not over the
# sum of the weights. The authors do not normalise, and nor do we. So a gradient step with weights below one is also
# a shorter step. If FLOW forgets less after ten steps, is it because of *which* samples count, or because
# everything moves more slowly?
#
# To tell these apart there is standard fine-tuning with the **same mean step**, as in lesson 1: its learning rate
# is FLOW's times the mean weight $\mu$. And there is the second question of lesson 1: how much is forgotten by the
# time that as much is learned?

# %%
steps, eta = np.arange(31), 0.2
mu = lt.weight_mass(problem, tau)


def runs(problem, steps):
    """The error on the new task and on the old one along each path."""
    paths = {
        "standard": lt.iterate(problem, steps, eta),
        "same mean step": lt.iterate(problem, steps, eta * mu),
        "tiny steps": lt.gradient_flow(problem, np.linspace(0, 20, 4001)),
        "FLOW": lt.iterate(problem, steps, eta, tau),
    }
    return {
        name: (lt.target_error(problem, at), lt.pretrain_error(problem, at))
        for name, at in paths.items()
    }


looks = {
    "standard": ("standard", "-", 12, 14),
    "same mean step": ("standard", "--", 13, -13),
    "FLOW": ("flow", "-", 17, -13),
    "tiny steps": ("standard", ":", None, None),
}
errors = runs(problem, np.arange(200))
fig, (left, right) = figure(1, 2, width=10, height=4.4)
for name, (colour, dash, at, dy) in looks.items():
    learned, forgot = errors[name]
    # A dot for each step, where they are large
    dots = "o" if name in ("standard", "same mean step") else ""
    right.plot(learned, forgot, dots + dash, color=COLOURS[colour], ms=5)
    if at is not None:  # tiny steps have no step to count
        left.plot(steps, forgot[:31], dash, color=COLOURS[colour])
        label_line(left, at, forgot[at], name, COLOURS[colour], dx=4, dy=dy)
for name, y, text in (
    ("standard", 1.75, "solid: standard"),
    ("same mean step", 1.55, "dashed: same mean step"),
    ("tiny steps", 1.35, "dotted: standard, tiny steps"),
    ("FLOW", 1.15, "FLOW"),
):
    label_line(right, 0.3, y, text, COLOURS[looks[name][0]], dx=0.1)
left.set(xlabel="step $K$", title="forgotten, against the step", ylim=(0, 2.3))
right.set(
    xlabel="still to learn",
    title="against what is still to learn",
    ylim=(0, 2.3),
    xlim=(0, 1),
)
title(fig, "At equal steps FLOW forgets far less; at equal learning, a little less")
Picture(
    fig,
    "Two panels. Left, what is forgotten over 30 steps: standard fine-tuning climbs "
    "fastest to 2, the same mean step to 1.9, FLOW to 0.8. Right, forgotten against "
    "still to learn: the standard curves nearly coincide and FLOW runs a little "
    "below them.",
)


# %%
def bargain(problem, left_to_learn):
    """What the two smooth paths have forgotten when this much is still to learn."""
    found = runs(problem, np.arange(200))
    read_off = lambda learned, forgot: np.interp(
        -np.asarray(left_to_learn), -learned, forgot
    )
    return {name: read_off(*found[name]) for name in ("tiny steps", "FLOW")}


compared = ("standard", "same mean step", "FLOW")
after_ten = {name: round(float(errors[name][1][10]), 3) for name in compared}
print("forgotten after 10 steps:", after_ten)
assert after_ten["FLOW"] < after_ten["same mean step"] < after_ten["standard"]

isotropic = lt.paper_problem(rho=0.6)  # the same new task, but Σ = I on the old one
for remaining in (0.5, 0.3, 0.1):
    here, there = bargain(problem, remaining), bargain(isotropic, remaining)
    print(
        f"forgotten when {remaining} is left to learn:",
        {name: f"{v:.3f}" for name, v in here.items()},
    )
    print(
        "                     and where Σ = I:",
        {name: f"{v:.3f}" for name, v in there.items()},
    )
    assert here["FLOW"] < 0.97 * here["tiny steps"]
    assert abs(there["FLOW"] / there["tiny steps"] - 1) < 0.03, (
        "Σ = I: nothing that small steps could not do"
    )

for name in ("standard", "same mean step"):  # at their own steps, 1 to 10
    learned, forgot = errors[name][0][1:11], errors[name][1][1:11]
    assert np.all(bargain(problem, learned)["FLOW"] < forgot), (
        "FLOW has forgotten less when it has learned as much"
    )

# %% [markdown]
# So most of what the left panel shows is that FLOW has also learned less by then. At equal learning it still
# forgets less than any step of standard fine-tuning that we tried, tiny ones included: its weights are not just a
# small step. But the gain depends on the old task. Where $\Sigma = I$, tiny steps do as well, to within three per
# cent. Lesson 6 compares the best that each of them can reach.
#
# The mean weight itself has a closed form for Gaussian data, $\mu = (1 + 2s^2/\tau)^{-1/2}$. Where that comes from,
# and why the pattern of the weights matters even more than their mean, is the next lesson.
#
# ## Exercises
#
# **1. A quarter of the data.** You want weights whose effective sample size is a quarter of $n$, on the population
# of this lesson. At the default it was more than a half. A colleague proposes to scale: half the temperature, half
# the samples. Predict how the effective sample size falls as $\tau \to 0$: like $\tau$, or more slowly? Then find
# the temperature.

# %%
# Your turn. A start: the share at one temperature.
share_at = lambda t: lt.weight_mass(problem, t) ** 2 / lt.weight_mass(problem, t / 2)
print(f"τ = 0.2: {share_at(0.2):.3f} of the samples")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The weights keep samples with f up to about τ, that is |residual| up to about √τ. The
# residual's density is flat near zero, so their number falls like √τ, not like τ: half
# the samples take a quarter of the temperature.
low, high = 1e-6, 1.0
for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if share_at(middle) < 0.25 else (low, middle)
quarter = low
scaled = tau * 0.25 / share_at(tau)  # the colleague's: in proportion
print(
    f"τ = {quarter:.4f} leaves {share_at(quarter):.3f}; "
    f" the colleague's τ = {scaled:.4f} leaves {share_at(scaled):.3f}"
)

assert np.isclose(share_at(quarter), 0.25)
weights = lt.flow_weights(losses, quarter)
assert abs(lt.effective_sample_size(weights) / len(losses) - 0.25) < 0.02, (
    "the sample agrees"
)
assert np.isclose(share_at(1e-6 / 4) / share_at(1e-6), 0.5, atol=1e-3), (
    "a quarter of τ, half the samples: √τ"
)
assert share_at(scaled) > 1.2 * 0.25, (
    "the tempting answer, in proportion to τ, keeps far too many"
)

# %% [markdown]
# **2. A constant in the loss.** Your framework adds a constant to every sample's loss, say the
# $\frac12\ln 2\pi\sigma^2$ of a Gaussian likelihood. The optimum of the training loss does not care. Do FLOW's
# weights? Answer separately for a fixed temperature and for the default, and for the normalised weights and the
# weights as they are. Predict, then check.

# %%
# Your turn. A start: losses with a constant.
shifted = few + 1.0

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# At a fixed τ every weight is multiplied by exp(−1/τ): the normalised weights are the
# same, and only the step shrinks, again. At the default the constant raises the median
# too. The temperature is hotter than it should be, and the weights are flatter: not
# even their pattern survives. Subtract the constant before you take the median.
fixed, fixed_shifted = lt.flow_weights(few, tau), lt.flow_weights(shifted, tau)
default, default_shifted = lt.flow_weights(few), lt.flow_weights(shifted)
for name, before, after in (
    ("fixed τ", fixed, fixed_shifted),
    ("default τ", default, default_shifted),
):
    worth = [lt.effective_sample_size(w) / len(few) for w in (before, after)]
    print(
        f"{name:9}: mean weight {before.mean():.3f} → {after.mean():.3f}, "
        f"ESS/n {worth[0]:.3f} → {worth[1]:.3f}"
    )

assert np.allclose(normalised(fixed), normalised(fixed_shifted)), (
    "fixed τ: the pattern is the same"
)
assert fixed_shifted.mean() < 0.5 * fixed.mean(), "fixed τ: the step is not"
assert not np.allclose(normalised(default), normalised(default_shifted), rtol=0.1), (
    "the tempting answer, “a constant cancels in the normalisation”, "
    "is wrong at the default temperature"
)
assert lt.effective_sample_size(default_shifted) > 1.3 * lt.effective_sample_size(
    default
), "they are flatter"

# %% [markdown]
# ## Where to go on
#
# Next, lesson 3: what these weights do to the inputs' covariance. The claim `entropic-weights` minimises the
# objective by Newton's method, which knows nothing of exponentials, and compares. Functions used here:
# `lt.flow_weights`, `lt.median_temperature`, `lt.population_median_temperature`, `lt.effective_sample_size`,
# `lt.weight_mass`, `lt.weights.KLDRO`, `lt.iterate`.

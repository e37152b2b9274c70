# %% [markdown]
# # 3 What a weight does to a Gaussian
#
# Gradient descent on weighted data sees the data through one matrix, $\Sigma' = \mathrm{E}[w\,xx^\top]$. For
# Gaussian inputs it has a closed form, and all that follows rests on it: FLOW's weight leaves a Gaussian a
# Gaussian, and makes it flatter in one direction. You need lessons 1 and 2. Reading time: 25 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/03_weights_and_gaussians.ipynb`.

# %%
# %matplotlib inline
import textwrap

import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, ellipse, label
from figures.style import COLOURS, HOUSE, figure, label_line, title
from linear_theory.tilting import ResidualTilt, residual_tilt

style.use(HOUSE)

# %% [markdown]
# ## The tilt
#
# Take the inputs of the paper's problem, $x \sim N(0, \tilde{\Sigma})$, and weigh each by its loss under the
# pre-trained model, $w = e^{-\langle e, x\rangle^2/\tau}$. The density of a Gaussian is the exponential of a
# quadratic form, the weight is another, and the exponents add: the weighted density is again that of a Gaussian, of
# total mass $\mu = \mathrm{E}[w]$ and of covariance $\Sigma'/\mu$. Statisticians call this an exponential **tilt**.
#
# Which way does it deform the cloud? Inputs with a large component along the shift $e$ have a large loss, and fade.
# Inputs across it keep theirs. In the picture the thick ellipse is one standard deviation, the thin one two.

# %%
problem = lt.paper_problem(rho=0.6)
tau = lt.population_median_temperature(problem)
mu, weighted = lt.weight_mass(problem, tau), lt.weighted_covariance(problem, tau)

rng = np.random.default_rng(0)
X = rng.multivariate_normal([0.0, 0.0], problem.target_covariance, size=400_000)
residuals = X @ problem.target - X @ problem.pretrained
w = lt.flow_weights(residuals**2, tau)

print("Σ̃ before        ", np.round(problem.target_covariance, 3).tolist())
print("Σ'/μ after       ", np.round(weighted / mu, 3).tolist())
print(
    f"μ = E[w]:  {mu:.4f} in the population, "
    f"{w.mean():.4f} ± {w.std() / len(w) ** 0.5:.4f} in the sample"
)


# %%
def cloud(ax, sizes, colour, covariance, text):
    """Inputs as dots of these sizes, and one and two standard deviations."""
    ax.scatter(*X[:1500].T, s=sizes[:1500], color=colour, alpha=0.35, lw=0)
    for scale in (1, 2):
        ax.plot(*(scale * ellipse(covariance)), color=colour, lw=3 - scale)
    ax.annotate(
        "",
        (1, 0),
        (0, 0),
        arrowprops={"arrowstyle": "->", "lw": 2, "color": COLOURS["theory"]},
        zorder=9,
    )
    label(ax, (1, 0), "$e$", COLOURS["theory"])
    ax.set(
        xlim=(-3, 3),
        ylim=(-3, 3),
        aspect="equal",
        title=text,
        xlabel=r"$x$ along $\bar{e}$",
    )


fig, (left, right) = figure(1, 2, width=9, height=4.6, sharey=True)
cloud(
    left,
    np.full(len(X), 10),
    COLOURS["standard"],
    problem.target_covariance,
    r"all alike: $\tilde{\Sigma}$",
)
cloud(
    right,
    14 * w,
    COLOURS["flow"],
    weighted / mu,
    r"sized by their weight: $\Sigma'/\mu$",
)
left.set_ylabel(r"$x$ along $\bar{e}_\perp$")
title(fig, "The weights flatten the inputs along the shift")
Picture(
    fig,
    "Two clouds of dots with an arrow for the shift pointing right. Left, all "
    "inputs alike: a wide ellipse tilted to the upper right. Right, dots sized by "
    "their weight: the cloud and its ellipse are narrow along the shift and nearly "
    "as tall as before.",
)

# %% [markdown]
# ## Why only one direction
#
# The weight of a sample depends on its residual $r = y - \langle\theta^*, x\rangle$ alone, and without noise
# $r = -\langle e, x\rangle$ is one number out of the $d$ that make up $x$. Split the input into the part that $r$
# predicts and the rest, $x = \frac{\mathrm{E}[xr]}{\mathrm{E}[r^2]}\,r + z$. For jointly Gaussian variables,
# uncorrelated is independent: $z$ knows nothing of $r$, so the weights do nothing to it. They narrow $r$, whose
# inverse variance grows from $1/s^2$ to $1/s^2 + 2/\tau$: the variance falls from $s^2$ to $\mu^2 s^2$ with
# $\mu^2 = 1/(1+2s^2/\tau)$, and that is all.

# %%
slope = X.T @ residuals / (residuals @ residuals)
rest = (X - np.outer(residuals, slope))[:, 1]

fig, (left, right) = figure(1, 2, width=9, height=3.8, sharey=True)
for ax, values, text, symbol in (
    (left, residuals, "the residual", "$r$"),
    (right, rest, "the rest, across the shift", "$z$"),
):
    for weights, colour, width in ((None, "standard", 5), (w, "flow", 2)):
        ax.hist(
            values,
            np.linspace(-3, 3, 61),
            weights=weights,
            density=True,
            histtype="step",
            lw=width,
            color=COLOURS[colour],
        )
    ax.set(title=text, yticks=[], xlabel=symbol)
left.set_ylabel("density")
label_line(left, -1.1, 0.25, "before", COLOURS["standard"], dx=-6, dy=8)
label_line(left, 0.35, 0.75, "weighted", COLOURS["flow"])
label_line(right, 0.9, 0.3, "the same\nbefore and after", COLOURS["flow"])
title(fig, "The weights narrow the residual and leave the rest alone")
Picture(
    fig,
    "Two histograms. Left, the residual: a broad orange bell before and a blue bell "
    "twice as high and much narrower after weighting. Right, the rest across the "
    "shift: the orange and the blue bell coincide.",
)

# %%
narrowed = (w * residuals**2).mean() / w.mean()
untouched = (w * rest**2).mean() / w.mean()
print(f"variance of r: {residuals.var():.3f} before, {narrowed:.4f} weighted")
print(f"what μ²s² says of it: {mu**2 * problem.residual_variance:.4f}")
print(f"variance of z: {rest.var():.3f} before, {untouched:.4f} weighted")
assert np.isclose(narrowed, mu**2 * problem.residual_variance, rtol=0.01)
assert np.isclose(untouched, rest.var(), rtol=0.01)

# %% [markdown]
# ## Lemma F.1, and how to check a formula by simulation
#
# Put the two parts together again. Since $\mathrm{E}[xr] = -\tilde{\Sigma}e$, the part of $\tilde{\Sigma}$ that
# belongs to $r$ is $\tilde{\Sigma}e\,e^\top\tilde{\Sigma}/s^2$; of it a share $1-\mu^2$ is lost, and
# $(1-\mu^2)/s^2 = \frac{2}{\tau}/(1+2s^2/\tau)$. So for every $\tilde{\Sigma}$, and with
# $s^2 = e^\top\tilde{\Sigma}e + \sigma^2$,
#
# $$\mu = \Bigl(1 + \frac{2s^2}{\tau}\Bigr)^{-1/2}, \qquad \Sigma' = \mu\Bigl(\tilde{\Sigma}
# - \frac{2}{\tau}\,\frac{\tilde{\Sigma}e\,e^\top\tilde{\Sigma}}{1 + 2s^2/\tau}\Bigr).$$
#
# It is $\mu$ times what was there less a matrix of rank one. Applied to the shift it says, without noise,
# $\Sigma'e = \mu^3\,\tilde{\Sigma}e$: one $\mu$ because all weights are small, and two more because along the shift
# they flatten.
#
# `lt.weight_mass` and `lt.weighted_covariance` evaluate both. To check them, average $w\,xx^\top$ over the sample
# and look at the distance in **standard errors**. An agreement is worth something only if the sample could also
# have told us that we were wrong. So we put two wrong formulas beside it: the matrix of unweighted data with the
# mean weight, $\mu\tilde{\Sigma}$, which is standard fine-tuning with the same mean step; and the right
# matrix at twice the temperature, which is what writing $1/\tau$ for $2/\tau$ gives.

# %%
products = w[:, None] * np.stack(
    [X[:, 0] ** 2, X[:, 0] * X[:, 1], X[:, 1] ** 2], axis=1
)
mean, error = products.mean(axis=0), products.std(axis=0) / len(X) ** 0.5
entries = lambda matrix: np.array([matrix[0, 0], matrix[0, 1], matrix[1, 1]])
formulas = {
    "Lemma F.1": entries(weighted),
    "same mean step": entries(mu * problem.target_covariance),
    "the 2 forgotten": entries(lt.weighted_covariance(problem, 2 * tau)),
}
distance = {name: np.abs(mean - value) / error for name, value in formulas.items()}
for name, value in distance.items():
    print(f"{name:20} is off by {value.round(1)} standard errors")
assert distance["Lemma F.1"].max() < 4
assert error.max() < 0.002, "the error bars of the picture hide behind their dots"
assert all(value.max() > 40 for name, value in distance.items() if name != "Lemma F.1")

# %%
fig, ax = figure(width=8, height=3.9)
places = np.arange(3)
looks = {
    "Lemma F.1": ("flow", 0.0, 2, 16),
    "same mean step": ("standard", 0.22, 0, 0),
    "the 2 forgotten": ("uniform", -0.22, 0, 0),
}
for name, (colour, aside, at, dy) in looks.items():
    ax.plot(places + aside, formulas[name], "_", ms=34, mew=3, color=COLOURS[colour])
    label_line(ax, at + aside, formulas[name][at], name, COLOURS[colour], dx=22, dy=dy)
ax.errorbar(places, mean, 4 * error, fmt="o", color=COLOURS["simulation"], zorder=5)
label_line(ax, 2, mean[2], "sampled (errors < dot)", COLOURS["simulation"], dx=22)
ax.set(xlim=(-0.5, 3.4), ylim=(0, 0.5), ylabel=r"entry of $\Sigma'$")
ax.set_xticks(places, ["along, along", "along, across", "across, across"])
title(fig, "The sample agrees with the lemma, not with two wrong formulas")
Picture(
    fig,
    "Three groups of bars for the entries of the weighted covariance. In each the "
    "orange sampled dot sits on the blue bar of Lemma F.1; the bars of the two "
    "wrong formulas, the same mean step and a forgotten 2, lie well above it.",
)

# %%
e, sigma_new = problem.shift, problem.target_covariance
assert np.allclose(weighted @ e, mu**3 * sigma_new @ e), "Σ'e = μ³Σ̃e, to rounding"
assert not np.allclose(weighted @ e, mu * sigma_new @ e)

# %% [markdown]
# ## One number for the temperature
#
# In the paper's problem, without noise, the temperature enters through $\mu$ alone, which runs from 0 (cold) to 1
# (hot). The curvature of the weighted loss along the shift (half its second derivative), measured against the mean
# weight, is $\bar{e}^\top(\Sigma'/\mu)\,\bar{e} = \mu^2$; across it, it is $1 - \rho^2(1-\mu^2)$ and never falls
# below $1 - \rho^2$. That is the mechanism of FLOW: *after* dividing out the smaller step, one direction is slower
# than the other by a factor that the temperature chooses.

# %%
taus = np.geomspace(0.01, 100, 81)
masses = np.array([lt.weight_mass(problem, t) for t in taus])
shapes = (
    np.array([lt.weighted_covariance(problem, t) for t in taus]) / masses[:, None, None]
)
few = taus[8::16]
sampled = [lt.flow_weights(residuals**2, t) for t in few]

fig, ax = figure(width=8, height=4.2)
for values, name, dash, at, dy in (
    (masses, r"mean weight $\mu$", "-", 30, 12),
    (shapes[:, 0, 0], r"curvature along the shift, $\mu^2$", "--", 47, -4),
    (shapes[:, 1, 1], "curvature across it", ":", 30, 14),
):
    ax.plot(taus, values, dash, color=COLOURS["flow"])
    label_line(
        ax, taus[at], values[at], name, COLOURS["flow"], dx=8 if dy < 0 else -8, dy=dy
    )
ax.plot(
    few,
    [weights.mean() for weights in sampled],
    "o",
    color=COLOURS["simulation"],
    mec="white",
    zorder=5,
)
ax.axvline(tau, color=COLOURS["uniform"], lw=1.3, ls=":")
label_line(ax, tau, 0.04, "the median", COLOURS["uniform"])
ax.set(xscale="log", xlabel=r"temperature $\tau/s^2$", ylim=(0, 1.1))
title(fig, "Cold weights flatten along the shift, far less across")
Picture(
    fig,
    "Three curves that rise with the temperature from 0.01 to 100: the mean weight "
    "from 0.07 to 1 with dots on it, the curvature along the shift from 0 to 1 "
    "below it, and the curvature across from 0.64 to 1 above it. A dotted line "
    "marks the median.",
)

# %%
assert np.allclose(shapes[:, 0, 0], masses**2)
assert np.allclose(shapes[:, 1, 1], 1 - 0.6**2 * (1 - masses**2))
along, across = (lt.weighted_covariance(problem, tau) / mu).diagonal()
print(
    f"at the median, curvature along the shift {along:.4f}, across it {across:.4f}: "
    f"{across / along:.1f} times as much"
)
for t, weights in zip(few, sampled, strict=True):
    assert (
        abs(weights.mean() - lt.weight_mass(problem, t))
        < 4 * weights.std() / len(weights) ** 0.5
    )

# %% [markdown]
# ## Every rule
#
# The argument never used that the weight is exponential, only that it is a function $w = g(r)$ of the residual. So
# for **every** such rule the shape of $\Sigma'$ is the same, with two numbers of its own, $m_0 = \mathrm{E}[g(r)]$
# and $m_2 = \mathrm{E}[r^2 g(r)]/s^2$:
#
# $$\Sigma' = m_0\tilde{\Sigma} - (m_0 - m_2)\,\frac{\tilde{\Sigma}e\,e^\top\tilde{\Sigma}}{s^2}.$$
#
# A rule whose weights fall with the loss has $m_2 < m_0$ and flattens; one whose weights grow with it stretches.
# The package knows FLOW, the hard threshold, KL-DRO and uniform weights; any of them may stand where a temperature
# does. (KL-DRO stands here at $\tau = 8$: its moments are finite only for $\tau > 2s^2$, and here $s^2 = 1$. Each
# ellipse is one standard deviation of $\Sigma'/m_0$.) Only the exponential rules leave the weighted data Gaussian,
# but the covariance is exact for all.

# %%
rules = {
    "FLOW": (tau, "flow"),
    "hard threshold": (lt.weights.HardThreshold(tau**0.5), "theory"),
    "KL-DRO": (lt.weights.KLDRO(8.0), "kl_dro"),
    "uniform": (lt.weights.Uniform(), "uniform"),
}
fig, ax = figure(width=8, height=4.6)
for name, (rule, colour) in rules.items():
    shape = lt.weighted_covariance(problem, rule) / lt.weight_mass(problem, rule)
    curve = ellipse(shape)
    ax.plot(*curve, color=COLOURS[colour], ls="--" if name == "uniform" else "-")
    row = {"KL-DRO": 0.7, "uniform": 0.3, "FLOW": -0.1, "hard threshold": -0.5}[name]
    label(ax, (1.5, row), f"{shape[0, 0]:.2f}  {name}", COLOURS[colour])
label(ax, (1.5, 1.1), "variance of the residual", COLOURS["theory"])
ax.set(
    aspect="equal",
    xlim=(-1.6, 3.6),
    ylim=(-1.35, 1.35),
    xlabel=r"along $\bar{e}$",
    ylabel=r"along $\bar{e}_\perp$",
)
ax.set_xticks([-1, 0, 1])
title(fig, "Easy samples up: narrower along the shift; hard up: wider")
Picture(
    fig,
    "Four ellipses around the origin, with the variance of the residual beside "
    "their names: KL-DRO 1.33, uniform 1.00, FLOW 0.19, hard threshold 0.14. The "
    "first two are wide and tilted, the last two narrow and upright.",
)

# %%
variance = {}
for name, (rule, _) in rules.items():
    shape = lt.weighted_covariance(problem, rule) / lt.weight_mass(problem, rule)
    variance[name] = shape[0, 0]
assert (
    variance["hard threshold"]
    < variance["FLOW"]
    < variance["uniform"]
    < variance["KL-DRO"]
)
inside = residuals**2 < tau
kept = inside[:, None, None] * X[:, :, None] * X[:, None, :]
exact = lt.weighted_covariance(problem, rules["hard threshold"][0])
assert np.all(
    np.abs(kept.mean(axis=0) - exact) < 4 * kept.std(axis=0) / len(X) ** 0.5
), "exact for this rule, too"

# %% [markdown]
# ## Where it ends: inputs that are not Gaussian
#
# "Uncorrelated is independent" holds for Gaussians and almost nowhere else. Let every input be a corner of a
# square, with coordinates $\pm 1$ along $\bar{e}$ and $\bar{e}_\perp$. The covariance can be what it was, yet the
# residual is $\pm\|e\|$ for every sample, so that all losses are equal, all weights are equal, and nothing is
# flattened. Inputs with heavy tails go wrong more quietly.


# %%
def correlated(first, second):
    """Inputs with the problem's covariance, from two independent coordinates."""
    rho = problem.target_covariance[0, 1]
    return np.stack([first, rho * first + (1 - rho**2) ** 0.5 * second], axis=1)


n = len(X)
agree = rng.random(n) < (1 + problem.target_covariance[0, 1]) / 2
corner = rng.choice([-1.0, 1.0], size=n)
inputs = {
    "Gaussian": X,
    "corners of a square": np.stack([corner, np.where(agree, corner, -corner)], axis=1),
    "Laplace": correlated(*rng.laplace(scale=0.5**0.5, size=(2, n))),
}
flatness = {}
for name, rows in inputs.items():
    losses = (rows @ problem.shift) ** 2
    sizes = lt.flow_weights(losses, tau)
    flatness[name] = (sizes * losses).mean() / sizes.mean()
    print(
        f"{name:20} variance along the shift: {losses.mean():.2f} before, "
        f"{flatness[name]:.3f} weighted"
    )
print(f"{'the lemma':20} variance along the shift: 1.00 before, {along:.3f} weighted")

# %%
assert np.isclose(flatness["Gaussian"], along, rtol=0.02)
assert np.isclose(flatness["corners of a square"], 1), "not flattened at all"
assert abs(flatness["Laplace"] - along) > 0.1 * along, (
    "flattened, but not by what the lemma says"
)

# %% [markdown]
# So before the closed forms are trusted on data of your own, look at the weighted data themselves: `lt.diagnose`
# does.
#
# ## Exercises
#
# **1. Noise is a temperature.** With label noise the residual is $r = -\langle e, x\rangle + \xi$, and the weights
# see the noise too. Is the data's covariance then flattened more, or less? There is a temperature *without* noise
# at which $\Sigma'/\mu$ is the same as at $\tau$ *with* noise $\sigma^2$. Predict it: is it $\tau$,
# $\tau + \sigma^2$, or $\tau + 2\sigma^2$? Check with $\sigma^2 = 0.7$, also for a covariance that is not the
# paper's.

# %%
# Your turn. A start: the flattened direction with and without noise.
noisy = lt.paper_problem(rho=0.6, noise_variance=0.7)
shape_of = lambda problem, t: (
    lt.weighted_covariance(problem, t) / lt.weight_mass(problem, t)
)
print("with noise   ", shape_of(noisy, tau).round(3).tolist())
print("without noise", shape_of(problem, tau).round(3).tolist())

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# Noise makes the loss a worse witness of ⟨e, x⟩², so at the same τ the data are
# flattened less. In the lemma the shape depends on τ and σ² through (2/τ)/(1 + 2(v +
# σ²)/τ) = 2/((τ + 2σ²) + 2v): on τ + 2σ² alone.
general = lambda noise: lt.FineTuningProblem(
    [1.0, -2.0, 0.5],
    [0.0, 0.3, 0.0],
    [[2.0, 0.3, 0.1], [0.3, 1.0, -0.4], [0.1, -0.4, 0.8]],
    noise_variance=noise,
)
for quiet, loud in ((problem, noisy), (general(0.0), general(0.7))):
    for factor in (0, 1, 2):
        error = np.abs(shape_of(quiet, tau + factor * 0.7) - shape_of(loud, tau)).max()
        print(f"τ + {factor}σ²: largest difference {error:.2g}")
        assert (error < 1e-12) == (factor == 2), (
            "τ + 2σ², and neither of the tempting answers"
        )
assert shape_of(noisy, tau)[0, 0] > shape_of(problem, tau)[0, 0], "less flat"

# %% [markdown]
# **2. A rule of your own.** Weights $w = 1/(1 + r^2/c^2)$ are not exponential. By the section on every rule only
# two numbers of it matter. Predict: at $c^2 = \tau$, does it flatten more than FLOW or less? Then teach the package
# the rule, by registering its moments (by quadrature, from `np.polynomial.hermite_e.hermegauss`) with
# `linear_theory.tilting.residual_tilt`, and check $\Sigma'$ against the sample.

# %%
# Your turn. A start: what a rule's moments have to be.
print(textwrap.fill(ResidualTilt.__doc__.partition("\n\n")[0], 88))

# %% [markdown]
# **Solution** (folded below).


# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# Near r = 0 the two rules agree, 1 − r²/τ, but the ratio of this weight to FLOW's,
# exp(r²/τ)/(1 + r²/τ), grows with the loss: hard samples keep more of a say, and it
# flattens less.
class Cauchy:
    """w = 1/(1 + loss/c²)."""

    def __init__(self, square):
        self.square = square

    def weight(self, losses):
        return 1 / (1 + losses / self.square)

    def log_weights(self, losses):
        raise NotImplementedError("the population's moments are enough here")


@residual_tilt.register
def _(rule: Cauchy, variance, space):
    nodes, share = np.polynomial.hermite_e.hermegauss(180)
    share = share / share.sum()
    weights = rule.weight(variance * nodes**2)
    mass = share @ weights
    ratio = share @ (weights * nodes**2) / mass
    return ResidualTilt(mass, ratio, 1 - ratio)


cauchy = Cauchy(tau)
weights = cauchy.weight(residuals**2)
sampled = weights[:, None, None] * X[:, :, None] * X[:, None, :]
error = sampled.std(axis=0) / len(X) ** 0.5
exact = lt.weighted_covariance(problem, cauchy)
# Its mass, but FLOW's shape.
flow_like = lt.weight_mass(problem, cauchy) * shape_of(problem, tau)
print(
    "formula",
    exact.round(4).tolist(),
    " sample",
    sampled.mean(axis=0).round(4).tolist(),
)
print(
    f"variance along the shift: {shape_of(problem, cauchy)[0, 0]:.3f}, "
    f"FLOW {shape_of(problem, tau)[0, 0]:.3f}"
)

assert np.all(np.abs(sampled.mean(axis=0) - exact) < 4 * error)
assert shape_of(problem, cauchy)[0, 0] > shape_of(problem, tau)[0, 0], (
    "less flat than FLOW"
)
assert np.any(np.abs(sampled.mean(axis=0) - flow_like) > 40 * error), (
    "the tempting answer, “the same shape, since the two agree on easy samples”, "
    "is refused"
)

# %% [markdown]
# ## Where to go on
#
# Next, lesson 4: gradient descent on this covariance, every iterate in closed form. The claim `tilted-covariance`
# checks the lemma on sampled rows for every rule, and against wrong variants. Functions used here:
# `lt.weight_mass`, `lt.weighted_covariance`, `lt.weights.HardThreshold`, `lt.weights.KLDRO`, `lt.weights.Uniform`,
# `lt.FineTuningProblem`.

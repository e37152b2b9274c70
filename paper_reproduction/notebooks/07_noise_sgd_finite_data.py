# %% [markdown]
# # 7 Noise, SGD and finite data
#
# So far labels had no noise, steps used the whole population, and there were infinitely many rows. Now we give up
# one of these at a time, and see what each costs: noise turns the end of training into a model average, SGD adds a
# floor and lowers the largest step, and $n$ rows blur everything by $n^{-1/2}$. You need lessons 1 to 5. Reading
# time: 35 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/07_noise_sgd_finite_data.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style
from sklearn.datasets import load_diabetes

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## Noise: training to the end is model averaging
#
# Let $y = \langle\tilde{\theta}^*, x\rangle + \xi$ with $\xi \sim N(0, \sigma^2)$. Where standard fine-tuning ends,
# this changes nothing. With weights it does. A sample is easy if the noise happened to agree with the
# *old* model, so easy samples speak for $\theta^*$, and the weighted optimum moves towards it:
#
# $$\theta_\infty = \theta^* - \kappa e, \qquad \kappa = \frac{\tau}{\tau + 2\sigma^2}.$$
#
# That is a point on the line from $\theta^*$ to $\tilde{\theta}^*$: the model average with $\omega = 1 - \kappa$.
# FLOW trained to convergence *is* model averaging. What the weights add to it is the way there.

# %%
rho, noise = 0.6, 0.25
problem = lt.paper_problem(
    rho, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]], noise_variance=noise
)
taus = np.array([0.1, 0.5, 2.0])
kappas = taus / (taus + 2 * noise)

for tau, kappa in zip(taus, kappas, strict=True):
    end = lt.fixed_point(problem, tau)
    print(f"τ = {tau:3}: κ = {kappa:.4f}, FLOW ends at {end.round(4)}")
    assert np.allclose(end, lt.model_average(problem, 1 - kappa)), (
        "the end is a model average"
    )
    assert np.allclose(end, lt.iterate(problem, 10**6, temperature=tau)), (
        "and descent does go there"
    )
assert np.allclose(lt.fixed_point(problem, np.inf), problem.target), (
    "standard fine-tuning: the new optimum, noise or not"
)

# %% [markdown]
# The picture shows three temperatures, and standard fine-tuning twice: with the same mean step as FLOW, and
# (dashed) with the same first step, $\eta = \mu^2/2$ with $\mu$ of the coldest. Neither stops before
# $\tilde{\theta}^*$; to end at an average one must stop them, or average.

# %%
x_axis, y_axis = np.linspace(-0.25, 1.3, 80), np.linspace(-0.68, 0.2, 50)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)
same_first_step = lt.weight_mass(problem, taus[0]) ** 2 / 2

fig, ax = figure(width=8, height=4.5)
plane(ax, x_axis, y_axis, lt.total_error(problem, everywhere), (0.7, 0.8, 1, 1.5, 2, 3))
path(ax, lt.iterate(problem, np.arange(40)), COLOURS["standard"])
slow = lt.iterate(problem, np.arange(200), learning_rate=same_first_step)
path(ax, slow, COLOURS["standard"], ls="--", marker="")
for tau, colour in zip(taus, beta_colours(taus), strict=True):
    path(ax, lt.iterate(problem, np.arange(40), temperature=tau), colour)
    end = lt.fixed_point(problem, tau)
    ax.plot(*end, "D", color=COLOURS["averaging"], ms=9, mec="white", zorder=8)
    label(ax, end, rf"$\tau={tau:g}$", colour, dx=-6, dy=16)
label(
    ax, lt.iterate(problem, 1), "standard, same mean step", COLOURS["standard"], dx=12
)
label(ax, (0.66, -0.29), "dashed: same first step", COLOURS["standard"], dx=10)
label(ax, (0.72, 0.0), "diamonds: averages", COLOURS["averaging"], dx=-20, dy=34)
place(ax, problem.pretrained, "pretrained", r"$\theta^*$")
place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-10)
title(fig, "Under label noise FLOW ends on the line of model averages")
Picture(
    fig,
    "Contours of the total error. Three blue paths of FLOW start at the old model "
    "on the right and end at green diamonds on the straight line to the new "
    "optimum, the colder the sooner. Standard fine-tuning zigzags below and arrives "
    "at the new optimum; dashed, with the same first step, it arrives on an arc.",
)

# %% [markdown]
# ## Noise is a temperature
#
# Weights see one number per sample, its loss, and cannot know whether the shift or the noise made it large. So
# noise acts just as heat does: up to its mass, the weighted covariance at $(\tau, \sigma^2)$ is the one at
# $(\tau + 2\sigma^2, 0)$. For the path this means
#
# $$\theta_K - \tilde{\theta}^* = (1-\kappa)\,e + \kappa\,Q_{\tau+2\sigma^2}^K\,e,$$
#
# the noiseless path at the hotter temperature, shrunk by $\kappa$ towards $\theta^*$.

# %%
clean = lt.paper_problem(rho)
steps = np.arange(30)
for tau, kappa in zip(taus, kappas, strict=True):
    noisy_path = lt.iterate(problem, steps, temperature=tau)
    hotter = lt.iterate(clean, steps, temperature=tau + 2 * noise)
    assert np.allclose(noisy_path, (1 - kappa) * problem.pretrained + kappa * hotter)
    wrong = lt.iterate(clean, steps, temperature=tau + noise)
    assert not np.allclose(
        noisy_path, (1 - kappa) * problem.pretrained + kappa * wrong, atol=0.01
    ), "not τ + σ²"
    hot, cold = lt.stall_parameter(tau + 2 * noise, rho), lt.stall_parameter(tau, rho)
    print(f"τ = {tau:3}: half-life {lt.half_life(hot, rho):6.2f} steps,", end=" ")
    print(f"without noise {lt.half_life(cold, rho):6.2f}")

# %% [markdown]
# ## Which noise, and which rows
#
# Where is the Gaussian needed? Given $x$, the residual is $\xi$ minus a constant, and $\exp(-r^2/\tau)$ times a
# Gaussian density in $\xi$ is a Gaussian again, with its mean pulled the share $1 - \kappa$ of the way to where the
# old model would have it. That holds for each $x$, so **the law of $x$ does not matter**: heavy tails, coins, no
# centre. But the law of the *noise* does, and so does its spread if it differs from row to row.
#
# So we draw 10 000 rows forty times for each of five cases, all with the same $\sigma^2$, and read off
# $\hat{\kappa} = \langle\theta^* - \hat{\theta}_\infty, e\rangle/\|e\|^2$.

# %%
rng = np.random.default_rng(7)
# Rows z @ root have the covariance (3)
root = np.array([[1.0, rho], [0.0, (1 - rho**2) ** 0.5]])
n, repeats, dial = 10_000, 40, np.geomspace(0.05, 10, 9)
shift = np.array([0.8, -0.6])


def rows(case):
    """Rows and labels: correlated inputs, a shift by (0.8, −0.6), noise σ²."""
    x, xi = rng.standard_normal((n, 2)) @ root, rng.standard_normal(n) * noise**0.5
    if case == "heavy-tailed x":
        # Student's t with 5 degrees of freedom.
        x = x / np.sqrt(rng.chisquare(5, (n, 1)) / 5)
    if case == "coins, not centred":
        x = rng.integers(0, 2, (n, 2)) @ root
    if case == "Laplace noise":
        xi = rng.laplace(scale=(noise / 2) ** 0.5, size=n)
    if case == "noise grows with x":
        # The same variance on average.
        xi = xi * abs(x @ shift) / ((x @ shift) ** 2).mean() ** 0.5
    return x, x @ -shift + xi


def solved(x, y, start, temperatures):
    """Where FLOW ends on these rows, at each temperature."""
    losses = (y - x @ start) ** 2
    weights = (lt.flow_weights(losses, t) for t in temperatures)
    return np.array([lt.solve(x, y, start, w).theta for w in weights])


def measured(case):
    """κ̂ over the dial, (repeats, temperatures); the start is 0, so e = shift."""
    ends = [solved(*rows(case), np.zeros(2), dial) for _ in range(repeats)]
    return -np.array(ends) @ shift


cases = {
    "Gaussian x": ("theory", "o"),
    "heavy-tailed x": ("flow", "s"),
    "coins, not centred": ("averaging", "^"),
    "Laplace noise": ("standard", "D"),
    "noise grows with x": ("early_stopping", "v"),
}
predicted = dial / (dial + 2 * noise)
off = {case: measured(case) - predicted for case in cases}
mean = {case: values.mean(axis=0) for case, values in off.items()}
error = {
    case: values.std(axis=0, ddof=1) / repeats**0.5 for case, values in off.items()
}

for case in cases:
    worst = np.argmax(abs(mean[case]))
    print(
        f"{case:20} at most {mean[case][worst]:+.4f} ± {error[case][worst]:.4f},",
        end=" ",
    )
    print(f"at τ = {dial[worst]:.2f}")

# %%
fig, (one, other) = figure(1, 2, width=9, height=4.2)
one.plot(dial, predicted, color=COLOURS["theory"])
for case, (colour, mark) in cases.items():
    one.plot(
        dial, predicted + mean[case], mark, color=COLOURS[colour], mec="white", ms=8
    )
    other.errorbar(
        dial,
        mean[case],
        2 * error[case],
        fmt=mark + "-",
        color=COLOURS[colour],
        lw=1.3,
        ms=6,
    )
label_line(
    one,
    dial[5],
    predicted[5],
    r"$\tau/(\tau+2\sigma^2)$",
    COLOURS["theory"],
    dx=10,
    dy=-12,
)
one.set(
    xscale="log",
    ylim=(0, 1.02),
    xlabel=r"temperature $\tau$",
    title=r"$\kappa$ on rows",
)
other.set(
    xscale="log",
    ylim=(-0.15, 0.11),
    xlabel=r"temperature $\tau$",
    title="minus the formula, ± 2 s.e.",
)
for case in ("Laplace noise", "noise grows with x"):
    at = np.argmax(abs(mean[case]))
    up = np.sign(mean[case][at])
    label_line(
        other, dial[at], mean[case][at], case, COLOURS[cases[case][0]], dx=8, dy=10 * up
    )
label_line(other, dial[0], 0, "three laws of x", COLOURS["theory"], dx=2, dy=14)
title(fig, "The law of the rows does not matter; that of the noise does")
Picture(
    fig,
    "Two panels against the temperature. Left, the measured share rises from 0.1 to "
    "0.95 along the curve of the formula, with two kinds of marks beside it. Right, "
    "the difference from the formula: three laws of the rows lie at 0, Laplace "
    "noise reaches +0.08, noise that grows with x falls to −0.12.",
)

# %%
for case in ("Gaussian x", "heavy-tailed x", "coins, not centred"):
    assert np.all(abs(mean[case]) < 4 * error[case]), f"{case}: the formula holds"
for case in ("Laplace noise", "noise grows with x"):
    assert abs(mean[case] / error[case]).max() > 20, f"{case}: it does not"
assert mean["noise grows with x"][0] > 4 * error["noise grows with x"][0], (
    "in the cold it is off upwards"
)

# %% [markdown]
# Why so? The sharp peak of Laplace's density at zero holds the weighted noise there, so that FLOW is pulled back
# less and gets further. Where the noise grows with $|\langle e, x\rangle|$, the rows that show the shift best are
# the noisy ones and lose weight: mostly FLOW gets less far, and in the cold even that turns round. The error bars
# say that neither is an accident of the sample.
#
# ## One-pass SGD, exactly
#
# Now a step sees one fresh sample: $\theta \leftarrow \theta + 2\eta\,w\,(y - \langle\theta, x\rangle)\,x$. On
# average that is gradient descent. But the mean of the *squared* error also has what the samples add, and it can
# still be computed: with Gaussian rows the second moment after a step depends on nothing but the second moment
# before it. `lt.sgd_error` runs this recursion.
#
# We compare with 4000 runs. FLOW has the step $\eta/\mu$, standard fine-tuning $\eta$: the same mean step.

# %%
noisy = lt.paper_problem(rho, noise_variance=0.1)
tau = lt.population_median_temperature(noisy)
mu, eta, length, runs = lt.weight_mass(noisy, tau), 0.05, 400, 4000
shown = np.unique(np.geomspace(1, length, 14).astype(int))


def fresh(count):
    """Rows and labels of the noisy problem."""
    x = rng.standard_normal((count, 2)) @ root
    return x, x @ noisy.target + noisy.noise_variance**0.5 * rng.standard_normal(count)


def simulated(rate, temperature):
    """Target errors of all runs at the shown steps, (shown, runs)."""
    theta, found = np.tile(noisy.pretrained, (runs, 1)), []
    for step in range(1, length + 1):
        x, y = fresh(runs)
        weights = lt.flow_weights((y - x @ noisy.pretrained) ** 2, temperature)
        theta = (
            theta + 2 * rate * (weights * (y - (x * theta).sum(axis=1)))[:, None] * x
        )
        if step in shown:
            found.append(lt.target_error(noisy, theta))
    return np.array(found)


settings = {"standard": (eta, np.inf, "standard"), "FLOW": (eta / mu, tau, "flow")}
every = np.arange(1, length + 1)
end = lt.target_error(noisy, lt.fixed_point(noisy, tau))
average = lt.model_average(noisy, 1 - tau / (tau + 2 * noisy.noise_variance))
assert np.isclose(end, lt.target_error(noisy, average)), (
    "FLOW can get no lower than this average"
)

fig, ax = figure(width=8, height=4)
for name, (rate, temperature, colour) in settings.items():
    exact, errors = (
        lt.sgd_error(noisy, every, rate, temperature),
        simulated(rate, temperature),
    )
    center, bar = errors.mean(axis=1), errors.std(axis=1, ddof=1) / runs**0.5
    descent = lt.target_error(noisy, lt.iterate(noisy, every, rate, temperature))
    ax.plot(every, exact, color=COLOURS[colour])
    ax.plot(every, descent, ":", color=COLOURS[colour], lw=1.4)
    ax.errorbar(
        shown,
        center,
        2 * bar,
        fmt="o",
        color=COLOURS["simulation"],
        ms=6,
        mec="white",
        zorder=5,
    )
    label_line(ax, length, exact[-1], name, COLOURS[colour], dx=8)
    print(f"{name:10}: ends at {exact[-1]:.4f},", end=" ")
    print(f"simulated {center[-1]:.4f} ± {bar[-1]:.4f}, descent {descent[-1]:.4f}")
    assert np.all(abs(center - exact[shown - 1]) < 4 * bar), (
        "exact, within four standard errors"
    )
    assert abs(center[-1] - descent[-1]) > 10 * bar[-1], (
        "and it is not the error of gradient descent"
    )
ax.set(
    xscale="log",
    yscale="log",
    xlim=(0.9, 1500),
    ylim=(5e-3, 1.3),
    xlabel="step $K$",
    ylabel="error on the new task",
)
ax.set_title("lines: exact;  points: 4000 runs;  dotted: gradient descent")
title(fig, "The error of one-pass SGD is known exactly, noise and all")
Picture(
    fig,
    "Error on the new task against the step, both axes logarithmic. FLOW falls from "
    "1 to 0.09, standard fine-tuning to 0.013; both level off above their dotted "
    "lines of gradient descent, and orange points of 4000 runs lie on the solid "
    "lines.",
)

# %% [markdown]
# Both end above gradient descent, at a floor that falls with $\eta$. FLOW has most of its error from elsewhere: it
# ends at a model average, and no smaller step brings it nearer. That is the price; the second exercise weighs it.
#
# ## The largest step
#
# The floor is one effect of the samples; a smaller largest step is another. On average, a step is gradient
# descent's, which for $\tilde{\Sigma} = I$ converges up to $\eta = 1$. The mean *square*, however, is multiplied by
# $1 - 4\eta + 4\eta^2(d+2)$ at each step (standard fine-tuning, no noise), which is below 1 only for
#
# $$\eta < \frac{1}{d+2}.$$

# %%
rates = np.geomspace(0.003, 1, 200)
dims = (2, 8, 32)

fig, ax = figure(width=8, height=4)
for d, colour in zip(dims, ("flow", "averaging", "standard"), strict=True):
    isotropic = lt.FineTuningProblem(np.eye(d)[0], np.zeros(d), np.eye(d))
    one_step = np.array([lt.sgd_error(isotropic, 1, rate) for rate in rates])
    ax.plot(rates, one_step, color=COLOURS[colour])
    x = rng.standard_normal((20_000, d))
    for rate in (0.4 / (d + 2), 0.8 / (d + 2), 1.2 / (d + 2)):
        squares = ((isotropic.pretrained - 2 * rate * x[:, :1] * x) ** 2).sum(axis=1)
        bar = squares.std(ddof=1) / len(x) ** 0.5
        ax.errorbar(
            rate,
            squares.mean(),
            2 * bar,
            fmt="o",
            color=COLOURS["simulation"],
            ms=6,
            mec="white",
            zorder=5,
        )
        assert abs(squares.mean() - lt.sgd_error(isotropic, 1, rate)) < 4 * bar
    ax.plot(1 / (d + 2), 1, "|", color=COLOURS[colour], ms=16, mew=2.5)
    label_line(ax, 1 / (d + 2), 1, f"$d={d}$", COLOURS[colour], dx=-6, dy=22)
    below, above = (
        lt.sgd_error(isotropic, 1000, share / (d + 2)) for share in (0.95, 1.05)
    )
    print(f"d = {d:2}: 1/(d + 2) = {1 / (d + 2):.4f}; after 1000 steps", end=" ")
    print(f"{below:.1e} just below it, {above:.1e} above")
    assert below < 0.5, "below 1/(d + 2) the mean square falls"
    assert above > 2, "above it grows"
    assert np.isclose(lt.stable_learning_rate(isotropic), 1), (
        "while gradient descent converges up to 1"
    )
ax.axhline(1, color=COLOURS["uniform"], lw=1.3, ls="--")
ax.plot(1, 1, "|", color=COLOURS["theory"], ms=22, mew=3, clip_on=False)
label_line(ax, 1, 1, "descent: 1", COLOURS["theory"], dx=-8, dy=-14)
ax.set_title(r"lines: exact;  points: 20 000 samples;  ticks: $1/(d+2)$")
ax.set(
    xscale="log",
    xlim=(0.003, 1),
    ylim=(0.4, 1.9),
    xlabel=r"learning rate $\eta$",
    ylabel="squared error, times a step",
)
title(fig, "SGD is stable in mean square up to 1/(d + 2), not up to 1")
Picture(
    fig,
    "The factor of the squared error in one step against the learning rate, in 2, 8 "
    "and 32 dimensions. Each curve dips below 1 and crosses 1 at a tick, at 1/4, "
    "1/10 and 1/34; a black tick at 1 marks gradient descent.",
)

# %% [markdown]
# ## Finitely many rows
#
# The theory speaks of the population. On $n$ rows the weighted optimum is `lt.solve`, and its root mean square
# distance from `lt.fixed_point` falls like $n^{-1/2}$. We start at $n = 1000$ (below, terms of order $1/n$ still
# show) and make a decade equally long on both axes. Standard fine-tuning has its distance from
# $\tilde{\theta}^*$.

# %%
sizes = (10 ** np.arange(3, 5.1, 0.5)).round().astype(int)
repeats_of = dict(zip(sizes, (400, 300, 200, 150, 100), strict=True))


def squared_distances(size):
    """Of FLOW and of standard from their ends in the population, (repeats, 2)."""
    found = []
    for _ in range(repeats_of[size]):
        x, y = fresh(size)
        weights = lt.flow_weights((y - x @ noisy.pretrained) ** 2, tau)
        flow = lt.solve(x, y, noisy.pretrained, weights).theta - lt.fixed_point(
            noisy, tau
        )
        standard = lt.solve(x, y, noisy.pretrained).theta - noisy.target
        found.append([flow @ flow, standard @ standard])
    return np.array(found)


squares = [squared_distances(size) for size in sizes]
rms = np.array([values.mean(axis=0) ** 0.5 for values in squares])
bars = np.array([v.std(axis=0, ddof=1) / len(v) ** 0.5 for v in squares]) / (2 * rms)

fig, ax = figure(width=8, height=4.4)
for k, (name, colour) in enumerate((("FLOW", "flow"), ("standard", "standard"))):
    ax.errorbar(
        sizes,
        rms[:, k],
        2 * bars[:, k],
        fmt="o",
        color=COLOURS[colour],
        ms=7,
        mec="white",
    )
    label_line(ax, sizes[-1], rms[-1, k], name, COLOURS[colour], dx=14)
    for power, dashes in ((-0.4, ":"), (-0.5, "-"), (-0.6, ":")):
        ax.plot(
            sizes,
            rms[0, k] * (sizes / sizes[0]) ** power,
            dashes,
            color=COLOURS["uniform"],
            lw=1.3,
            zorder=1,
        )
middle, text = rms[0, 0] * 10**-0.5, "slope −1/2 (dotted: −0.4 and −0.6)"
label_line(ax, sizes[2], middle, text, COLOURS["uniform"], dx=10, dy=14)
ax.set(xscale="log", yscale="log", xlim=(700, 5e5), ylim=(7e-4, 5e-2), aspect="equal")
ax.set(xlabel="rows $n$", ylabel="root mean square distance")
title(fig, "A hundred times the rows, a tenth of the distance")
Picture(
    fig,
    "Root mean square distance against the number of rows, both axes logarithmic. "
    "The points of FLOW fall from 0.024 to 0.0023 and those of standard fine-tuning "
    "from 0.018 to 0.0018, on solid lines of slope −1/2 between dotted lines of "
    "slope −0.4 and −0.6.",
)

# %%
ratio = rms[0] / rms[-1]
ratio_error = ratio * np.hypot(bars[0] / rms[0], bars[-1] / rms[-1])
for name, r, e in zip(("FLOW", "standard"), ratio, ratio_error, strict=True):
    print(
        f"{name:10}: from 1000 to 100 000 rows the distance falls by {r:.2f} ± {e:.2f}"
    )
    assert abs(r - 100**0.5) < 4 * e, "n^(−1/2)"
    assert min(abs(r - 100**0.4), abs(r - 100**0.6)) > 4 * e, (
        "and neither n^(−0.4) nor n^(−0.6)"
    )
print(f"FLOW's distance is {rms[-1, 0] / rms[-1, 1]:.2f} times that of standard")

# %% [markdown]
# ## Real rows
#
# Real rows have no law that we know. What the package computes *on* them needs none: `lt.solve` and
# `lt.temperature_path` are exact for the rows as they are. What it predicts *for* them, from a covariance, a shift
# and a noise variance, may be off, and `lt.diagnose` says where.
#
# scikit-learn's diabetes set has 442 patients; we pre-train on one sex and fine-tune on the other. Each group is
# centred, and all is in standard deviations of the first.

# %%
data = load_diabetes()
first = data.data[:, 1] < 0  # the column "sex", constant within a group
features = np.delete(data.data, 1, axis=1)
names = [name for name in data.feature_names if name != "sex"]
X1, X2 = (features[part] - features[part].mean(axis=0) for part in (first, ~first))
y1, y2 = (data.target[part] - data.target[part].mean() for part in (first, ~first))
X1, X2, y1, y2 = X1 / X1.std(axis=0), X2 / X1.std(axis=0), y1 / y1.std(), y2 / y1.std()

start = lt.solve(X1, y1, np.zeros(9)).theta
new = lt.solve(X2, y2, start).theta  # standard fine-tuning
gram1, gram2 = X1.T @ X1 / len(X1), X2.T @ X2 / len(X2)
forgetting = lambda theta: ((theta - start) @ gram1 * (theta - start)).sum(axis=-1)
left = lambda theta: ((theta - new) @ gram2 * (theta - new)).sum(axis=-1)

diagnosis = lt.diagnose(X2, y2, start, pretrain_covariance=gram1)
print(
    f"{len(X1)} and {len(X2)} patients; median temperature {diagnosis.temperature:.3f}"
)
for check in diagnosis.checks:
    print(f"  {check.verdict:6} {check.name}: {check.figure:.2f},", end=" ")
    print(f"expected {check.expected:.2f}")
    print(f"         {check.what}")
broken = {check.name for check in diagnosis.checks if check.verdict == "broken"}
assert broken == {"Gaussian features", "labels without noise"}, (
    "neither of which κ asks for"
)
assert np.allclose(diagnosis.target_errors[0], left(start))
assert np.allclose(diagnosis.forgetting[2], forgetting(new))

# %% [markdown]
# Now the whole dial. The places where FLOW ends are compared with what needs no weighting: averages of $\theta^*$
# and the new optimum, and standard fine-tuning stopped early. And since 207 rows in nine dimensions are few, we
# also ask what 207 *Gaussian* rows would do, with the same covariance, shift and noise: sixty sets of them.

# %%
real_dial = np.geomspace(0.02, 100, 13)
sigma2 = np.mean((y2 - X2 @ new) ** 2)


def dial_on(X, y):
    """Where FLOW ends on these rows, and how far along the shift and beside it."""
    best, gram = lt.solve(X, y, start).theta, X.T @ X / len(X)
    ends = solved(X, y, start, real_dial)
    way, full = ends - start, best - start
    along = way @ gram @ full / (full @ gram @ full)
    rest = way - along[:, None] * full
    beside = ((rest @ gram * rest).sum(axis=-1) / (full @ gram @ full)) ** 0.5
    return ends, along, beside


ends, kappa, beside = dial_on(X2, y2)
assert np.allclose(lt.temperature_path(X2, y2, start, real_dial).theta, ends), (
    "the same, for many temperatures at once"
)
gaussian = []
for _ in range(60):
    x = rng.multivariate_normal(np.zeros(9), gram2, size=len(X2))
    gaussian.append(
        dial_on(x, x @ new + sigma2**0.5 * rng.standard_normal(len(X2)))[1:]
    )
# (along and beside, temperatures)
low, high = np.quantile(gaussian, [0.025, 0.975], axis=0)

step = 0.05 / diagnosis.spectrum[0, -1]
counts = np.unique(np.geomspace(1, 1e6, 300).astype(int))
descent = lt.descent.GradientDescent(step)
stopped = lt.descend(X2, y2, start, None, descent, np.append(0, counts)).theta
averages = start + np.linspace(0, 1, 1001)[:, None] * (new - start)

# %%
fig, (one, other) = figure(1, 2, width=9, height=4.2)
for points, look, colour in (
    (averages, "-", "averaging"),
    (stopped, "-", "early_stopping"),
    (ends, "o", "flow"),
):
    one.plot(
        forgetting(points), left(points), look, color=COLOURS[colour], mec="white", ms=7
    )
one.plot(
    0,
    left(start),
    "s",
    color=COLOURS["pretrained"],
    ms=10,
    mec="white",
    clip_on=False,
    zorder=8,
)
one.set(xlim=(0, 1.2 * forgetting(new)), ylim=(0, 1.05 * left(start)))
one.set(xlabel="forgetting, first group", ylabel="left to learn, second group")
label(
    one,
    (forgetting(averages)[600], left(averages)[600]),
    "averages",
    COLOURS["averaging"],
    dx=-8,
    dy=-14,
)
label(
    one,
    (forgetting(ends)[2], left(ends)[2]),
    "ends of FLOW",
    COLOURS["flow"],
    dx=10,
    dy=6,
)
middle = np.argmin(abs(left(stopped) - 0.25 * left(start)))
label(
    one,
    (forgetting(stopped)[middle], left(stopped)[middle]),
    "standard, stopped",
    COLOURS["early_stopping"],
    dx=6,
    dy=12,
)
other.plot(real_dial, real_dial / (real_dial + 2 * sigma2), color=COLOURS["theory"])
for values, k, mark, colour in (
    (kappa, 0, "o", "flow"),
    (beside, 1, "s", "simulation"),
):
    other.fill_between(
        real_dial, low[k], high[k], color=COLOURS[colour], alpha=0.18, lw=0
    )
    other.plot(real_dial, values, mark, color=COLOURS[colour], mec="white", ms=7)
label_line(
    other,
    real_dial[8],
    kappa[8],
    r"along the shift; line: $\kappa$",
    COLOURS["flow"],
    dx=-12,
    dy=10,
)
label_line(
    other, real_dial[8], beside[8], "beside it", COLOURS["simulation"], dx=8, dy=12
)
other.set(
    xscale="log",
    ylim=(0, 1.1),
    xlabel=r"temperature $\tau$",
    title="shaded: 95 % of Gaussian rows",
)
title(fig, "On few real rows FLOW ends near the averages, not on them")
Picture(
    fig,
    "Two panels. Left, left to learn against forgetting on real rows: the dots "
    "where FLOW ends lie on or above the green curve of averages. Right, against "
    "the temperature: the share along the shift rises from 0 to 1 along the formula "
    "within a shaded band, the part beside it falls from 0.15 to 0.",
)

# %%
formula = real_dial / (real_dial + 2 * sigma2)
share = np.mean((kappa > low[0]) & (kappa < high[0]))
price = left(ends) - np.interp(forgetting(ends), forgetting(averages), left(averages))
weights = lt.flow_weights((y2 - X2 @ start) ** 2)
print(f"κ is within {abs(kappa - formula).max():.3f} of the formula,", end=" ")
print(f"and within the band at {share:.0%} of the dial")
print(f"beside the line of averages: up to {beside.max():.2f} of the shift")
print("left to learn beyond the average that forgets as much:", end=" ")
print(f"up to {price.max() / left(start):.2f} of all")
worth = lt.effective_sample_size(weights)
print(f"at the median temperature {worth:.0f} effective samples of {len(y2)}")

assert share > 0.85, "what is off, few Gaussian rows would be off as well"
assert np.all(price > 0), "trained to the end, FLOW is not better here than averaging"
assert abs(kappa - formula)[real_dial > 1].max() < 0.02, (
    "at high temperatures it is the formula"
)

# %% [markdown]
# So nothing here contradicts the theory, and yet the lesson is a sober one. Where FLOW *ends*, it offers nothing
# that averaging does not, and weights that keep few rows make the end noisy, off the line. Of what κ needs,
# Gaussian noise that is the same in all rows, `lt.diagnose` finds nothing broken; and Gaussian rows as few as these
# would be as far off: it is $n$, rather than the law of the rows.
#
# ## More parameters than rows
#
# A network has more parameters than samples, and fits them all. Let $X$ be wide, of full row rank. Then some
# $\theta$ make *every* residual zero, and a weighted sum of squares is smallest there whatever the weights are. Of
# all these, descent from $\theta^*$ finds the one closest to $\theta^*$, since each gradient is a combination of
# rows. So **the limit does not depend on the weights**, and all that they can change is the path: what FLOW is, it
# is by being stopped.

# %%
rng = np.random.default_rng(8)
wide = rng.standard_normal((40, 100))
labels = wide @ rng.standard_normal(100) / 10 + 0.3 * rng.standard_normal(40)
origin = np.zeros(100)
weights = lt.flow_weights(labels**2)
limit = lt.solve(wide, labels, origin)
flow = lt.solve(wide, labels, origin, weights)

print(f"rank {limit.rank}; the two limits differ by", end=" ")
print(f"{abs(limit.theta - flow.theta).max():.1e}")
assert np.allclose(limit.theta, flow.theta, atol=1e-10), "one and the same limit"
assert np.allclose(wide @ flow.theta, labels), "every row is fitted, noise and all"
few = lt.solve(X2, y2, start, lt.flow_weights((y2 - X2 @ start) ** 2)).theta
assert not np.allclose(few, new, atol=0.01), (
    "with more rows than parameters it is not so"
)

# %% [markdown]
# Are these two paths, or one path at two speeds? The dashed line answers: from each iterate of FLOW, the distance
# to the *nearest* point of the path of standard fine-tuning, whose steps are fine enough to be a curve.

# %%
counts = np.unique(np.geomspace(1, 1e9, 180).astype(int))
length = lambda theta: (theta**2).sum(axis=-1) ** 0.5
rate = 0.05


def run(weights, learning_rate, steps):
    """θ minus the limit, in units of the limit's distance from the start."""
    solver = lt.descent.GradientDescent(learning_rate)
    found = lt.descend(wide, labels, origin, weights, solver, steps)
    assert found.status == "stationary", "it has arrived"
    return (found.theta - limit.theta) / length(limit.theta)


standard, weighted = (
    run(None, rate, counts),
    run(weights, rate / weights.mean(), counts),
)
curve = run(None, rate / 10, np.unique(np.geomspace(1, 1e6, 600).astype(int)))
nearest = np.array([length(curve - theta).min() for theta in weighted])

fig, ax = figure(width=8, height=4)
ax.plot(counts, length(standard), color=COLOURS["standard"])
ax.plot(counts, length(weighted), color=COLOURS["flow"])
ax.plot(counts, nearest, "--", color=COLOURS["flow"], lw=1.6)
label_line(ax, 30, 0.1, "standard,\nsame mean step", COLOURS["standard"], dx=8)
label_line(
    ax, 40, np.interp(40, counts, length(weighted)), "FLOW", COLOURS["flow"], dx=8, dy=8
)
label_line(
    ax,
    200,
    np.interp(200, counts, nearest),
    "dashed: FLOW to the standard path",
    COLOURS["flow"],
    dx=42,
    dy=14,
)
ax.set(
    xscale="log",
    xlim=(0.8, 1e5),
    ylim=(0, 1.05),
    xlabel="step $K$",
    ylabel="distance to the limit",
)
title(fig, "With more parameters than rows: one limit, two paths")
Picture(
    fig,
    "Distance to the limit against the step on a logarithmic axis. Standard fine- "
    "tuning with the same mean step arrives after 60 steps, FLOW after 3000. The "
    "dashed distance of FLOW to the standard path rises to 0.35 at step 30 and "
    "falls to 0.",
)

# %%
print(f"at most {nearest.max():.2f} of the way apart,", end=" ")
print(f"at step {counts[nearest.argmax()]}; {nearest[-1]:.0e} at the end")
assert nearest.max() > 0.05, "two paths, not one at two speeds"
assert nearest[-1] < 1e-8, "one limit"

# %% [markdown]
# ## Exercises
#
# **1. Noise without end.** With the recommended temperature, the median loss, let the noise grow until the shift is
# nothing beside it: $\sigma^2 \to \infty$. Which share $\kappa$ of the way to $\tilde{\theta}^*$ does FLOW go, if
# trained to the end? Predict, then check. How do you reconcile it with $\kappa = \tau/(\tau + 2\sigma^2)$?

# %%
# Your turn. A start: a problem with much noise, and its median temperature.
loud = lt.paper_problem(rho, noise_variance=1e6)
print(f"τ = {lt.population_median_temperature(loud):.4g}")

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The tempting answer is 0: at a fixed τ, κ = τ/(τ + 2σ²) does go there. But the median
# grows with the noise: it is m (‖e‖² + σ²), m = 0.4549… the median of χ²₁. So
# κ → m/(m + 2), which is lesson 3's μ² = τ/(τ + 2s²).
for variance in (0.01, 1.0, 100.0, 1e6):
    loud = lt.paper_problem(rho, noise_variance=variance)
    share = 1 - lt.fixed_point(loud, lt.population_median_temperature(loud))[0]
    print(f"σ² = {variance:9}: κ = {share:.4f}")
limit = lt.weight_mass(loud, lt.population_median_temperature(loud)) ** 2
print(f"limit: μ² = {limit:.4f}")
assert np.isclose(share, limit, rtol=1e-5)
assert share > 0.18, "the tempting answer, 0, is refused"
assert 1 - lt.fixed_point(loud, 1.0)[0] < 1e-6, "it holds at a fixed temperature"

# %% [markdown]
# **2. Half the step.** You run one-pass SGD with FLOW's weights, as above ($\sigma^2 = 0.1$, median temperature),
# until the error on the new task no longer falls. It is too high, and you halve $\eta$. By which factor does the
# final error fall? And that of standard fine-tuning? Predict both, then ask `lt.sgd_error`.

# %%
# Your turn. A start: the floor of standard fine-tuning, which 4000 steps reach.
print(f"{lt.sgd_error(noisy, 4000, 0.02):.5f}")

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The floor of standard fine-tuning is noise alone, and nearly proportional to η: about
# half. FLOW's is (1 − κ)²v, the error of the average where it ends, and only what lies
# above that is proportional to η. The tempting "half, too" is far off.
floor = lambda rate, t: lt.sgd_error(noisy, 4000, rate, t)
standard = floor(0.01, np.inf) / floor(0.02, np.inf)
weighted = floor(0.01 / mu, tau) / floor(0.02 / mu, tau)
above = (floor(0.01 / mu, tau) - end) / (floor(0.02 / mu, tau) - end)
print(f"standard: {standard:.3f} of the error is left; FLOW: {weighted:.3f},", end=" ")
print(f"of the part above the average {above:.3f}")
assert abs(standard - 0.5) < 0.05
assert abs(above - 0.5) < 0.05
assert weighted > 0.9, "FLOW's error does not halve: it is that of a model average"

# %% [markdown]
# ## Where to go on
#
# Next, lesson 8: from the line to a network, where the weights of the old model meet features that move. The claims
# `finite-data` and `real-data` measure the constants in front of $n^{-1/2}$, and test the theory on the diabetes
# rows. Functions used here: `lt.fixed_point`, `lt.model_average`, `lt.sgd_error`, `lt.stable_learning_rate`,
# `lt.solve`, `lt.temperature_path`, `lt.diagnose`, `lt.descend`.

# %% [markdown]
# # 4 The theorem, step by step
#
# Theorem 7.2 says where gradient descent on FLOW's weighted loss stands after any number of steps, and (14) says it
# in a formula without a matrix. We take it apart: one step, its two directions, a parameter that makes all square
# roots vanish, the closed form, and both ends of the dial. You need lessons 1 to 3. Reading time: 30 minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/04_the_theorem.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, beta_colours, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## One step
#
# The weighted loss is $L(\theta) = \mathrm{E}[w\,(y - \langle\theta, x\rangle)^2]$, with weights that are computed
# once, at $\theta^*$, and kept. Without label noise its gradient is $2\Sigma'(\theta - \tilde{\theta}^*)$, and a
# step multiplies what is left of the shift by one and the same matrix. So **Theorem 7.2** (8):
#
# $$\theta_K = \tilde{\theta}^* + (I - 2\eta\Sigma')^K e.$$
#
# With the learning rate $\eta = 1/(2\mu)$, which makes up for the smallness of the weights (standard fine-tuning
# with the same mean step, $\eta\mu = \frac12$, is the zigzag of lesson 1), the matrix is $Q = I - \Sigma'/\mu$, and
# in the paper's problem Lemma F.1 makes it (9)
#
# $$Q = (1-\mu^2)\,\bar{e}\bar{e}^\top + \rho^2(1-\mu^2)\,\bar{e}_\perp\bar{e}_\perp^\top
# - \rho\mu^2\,(\bar{e}\bar{e}_\perp^\top + \bar{e}_\perp\bar{e}^\top).$$

# %%
rho = 0.6
problem = lt.paper_problem(rho)
tau = lt.population_median_temperature(problem)
mu, weighted = lt.weight_mass(problem, tau), lt.weighted_covariance(problem, tau)
Q = np.eye(2) - weighted / mu

print("Q =", Q.round(4).tolist())
assert np.allclose(
    Q, [[1 - mu**2, -rho * mu**2], [-rho * mu**2, rho**2 * (1 - mu**2)]]
), "(9)"

# %% [markdown]
# Three ways to take the same ten steps: a loop over gradients on 100 000 weighted rows, which knows nothing of the
# theorem; a loop with the matrix $Q$; and `lt.iterate`, which has no loop at all.

# %%
rng = np.random.default_rng(0)
X = rng.multivariate_normal([0.0, 0.0], problem.target_covariance, size=100_000)
y = X @ problem.target
weights = lt.flow_weights((y - X @ problem.pretrained) ** 2, tau)

on_rows, left = problem.pretrained, problem.shift
for step in range(1, 11):
    gradient = -2 * X.T @ (weights * (y - X @ on_rows)) / len(y)
    on_rows = on_rows - gradient / (2 * mu)
    left = Q @ left
    exact = lt.iterate(problem, step, temperature=tau)
    if step in (1, 2, 5, 10):
        print(f"step {step:2}: rows {on_rows.round(4)}, matrix {left.round(6)},")
        print(f"         iterate {exact.round(6)}")
    assert np.allclose(problem.target + left, exact, rtol=0, atol=1e-14)
    assert np.allclose(on_rows, exact, atol=0.01)

# %% [markdown]
# ## Two directions
#
# A symmetric matrix has orthogonal eigenvectors. Those of $Q$ decide everything: what remains of the shift splits
# into a part along each, and each part is multiplied by its eigenvalue at every step. One eigenvalue is the larger,
# and it tends to 1 as the temperature falls. In its direction learning is slow, and at a low temperature gradient
# descent **stalls** there. The other is small, and what lies along it is gone after a few steps.

# %%
beta = lt.stall_parameter(tau, rho)
slow_value, fast_value = lt.stall_spectrum(beta, rho)
slow = np.array(lt.stall_direction(beta, rho))
fast = np.array([-slow[1], slow[0]])

print(f"slow direction {slow.round(4)}, eigenvalue {slow_value:.4f}")
print(f"fast direction {fast.round(4)}, eigenvalue {fast_value:.4f}")
assert np.allclose(Q @ slow, slow_value * slow)
assert np.allclose(Q @ fast, fast_value * fast)

# %%
angle = np.linspace(0, 2 * np.pi, 181)
circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)

fig, ax = figure(width=8, height=4.6)
ax.plot(*circle.T, color=COLOURS["uniform"], lw=1.4, ls="--")
images = circle
for step, colour in zip((1, 2, 5), beta_colours([3, 2, 1]), strict=True):
    images = circle
    for _ in range(step):
        images = images @ Q
    ax.plot(*images.T, color=colour, zorder=6)
    label(
        ax,
        (1.35, 0.55 - 0.28 * (1, 2, 5).index(step)),
        f"after {step} step{'s' * (step > 1)}",
        colour,
    )
label(ax, (1.35, 0.83), "at first: all of length 1", COLOURS["uniform"])
for direction, name, dx in (
    (slow, r"slow: $\lambda_1$", 6),
    (fast, r"fast: $\lambda_2$", 6),
):
    ax.annotate(
        "",
        1.25 * direction,
        (0, 0),
        arrowprops={"arrowstyle": "->", "lw": 2, "color": COLOURS["theory"]},
    )
    label(ax, 1.25 * direction, name, COLOURS["theory"], dx=dx)
ax.set(
    aspect="equal",
    xlim=(-1.4, 3.2),
    ylim=(-1.1, 1.45),
    xlabel=r"along $\bar{e}$",
    ylabel=r"along $\bar{e}_\perp$",
)
ax.set_xticks([-1, 0, 1])
title(fig, "Each step squeezes what is left into the slow direction")
Picture(
    fig,
    "The unit circle, dashed, and three ellipses inside it after 1, 2 and 5 steps, "
    "each thinner than the one before, all stretched along one arrow that points "
    "right and slightly down, the slow direction; the fast direction is an arrow "
    "upwards.",
)

# %% [markdown]
# The slow direction is nearly that of the shift itself, tilted a little to the side that $\rho$ says. That is the
# point of the construction: unlearning $\theta^*$ means moving along $e$, and along $e$ FLOW moves slowly.
#
# ## A parameter that takes the square roots away
#
# The eigenvalues of a 2×2 matrix come with a square root. Lemma F.3 gets rid of it by a change of variable, from
# the temperature to $\beta$:
#
# $$\mu^2 = \frac{\beta(1-\rho^2)}{(1+\beta)(1-\beta\rho^2)}, \qquad
# \tau = \frac{2\beta(1-\rho^2)\,\|e\|^2}{1-\beta^2\rho^2},$$
#
# and then the eigenvalues are fractions, and the slow direction is simply $\bar{e} - \beta\rho\,\bar{e}_\perp$:
#
# $$\lambda_1 = \frac{1+\beta\rho^2}{1+\beta}, \qquad \lambda_2 = \frac{\rho^2(1-\beta)}{1-\beta\rho^2}.$$
#
# The left-hand side is $\mu^2$. One copy of the paper's text drops the square, and then the eigenvalues come out
# wrong; a check against `lt.weight_mass` decides such questions. The paper takes $\beta \in (0, 1]$, that is
# $\tau \le 2\|e\|^2$. The same formulas hold on all of $(0, 1/\rho)$, which is every temperature.

# %%
betas = np.linspace(0.01, 0.999 / rho, 200)
temperatures = lt.stall_temperature(betas, rho)
masses = np.array([lt.weight_mass(problem, t) for t in temperatures])

assert np.allclose(lt.squared_mass(betas, rho), masses**2), (
    "the re-parametrisation is of μ²"
)
assert np.abs(lt.squared_mass(betas, rho) - masses).max() > 0.2, "and not of μ"
assert np.allclose(lt.stall_parameter(temperatures, rho), betas), (
    "β and τ are inverse to one another"
)
print(
    f"the median temperature τ = {tau:.4f} is β = {beta:.4f}; "
    f" β = 1 is τ = {lt.stall_temperature(1.0, rho):.4f}"
)

# %%
lambda_1, lambda_2 = lt.stall_spectrum(betas, rho)
fig, ax = figure(width=8, height=4.4)
for values, name, colour, at, dy in (
    (lambda_1, r"$\lambda_1$, slow", "flow", 60, 12),
    (lambda_2, r"$\lambda_2$, fast", "flow", 60, -14),
    (masses**2, r"$\mu^2$", "uniform", 130, -13),
):
    ax.plot(betas, values, "--" if colour == "uniform" else "-", color=COLOURS[colour])
    label_line(ax, betas[at], values[at], name, COLOURS[colour], dx=4, dy=dy)
for sign in (1, -1):
    ax.plot(
        1 / rho,
        sign * rho,
        "o",
        color=COLOURS["standard"],
        ms=9,
        mec="white",
        clip_on=False,
        zorder=5,
    )
label_line(ax, 1 / rho, rho, "standard", COLOURS["standard"], dx=8, dy=0)
ax.axvline(1, color=COLOURS["theory"], lw=1.3, ls=":")
label_line(ax, 1, -0.5, "the paper: left of here", COLOURS["theory"], dx=-6)
ax.set(
    xlim=(0, 1.95),
    ylim=(-0.7, 1.03),
    xlabel=r"$\beta$: cold on the left, $1/\rho$ is $\tau=\infty$",
)
ax.set_ylabel(r"eigenvalues of $Q$, and $\mu^2$")
title(fig, "Cold weights stall one direction; hot ones are standard")
Picture(
    fig,
    "Eigenvalues against the parameter beta from 0 to 1.67. The slow one falls from "
    "1 to 0.6, the fast one from 0.36 through 0 at beta 1 to −0.6, where orange "
    "dots mark standard fine-tuning; the dashed squared mean weight rises from 0 to "
    "1.",
)

# %%
assert np.allclose(lt.stall_spectrum(1 / rho, rho), (rho, -rho)), (
    "τ = ∞ is standard fine-tuning"
)
assert np.all(np.diff(lambda_1) < 0), "the colder, the slower"
assert np.all(np.abs(lambda_2) < lambda_1), (
    "one direction is always faster, also where λ₂ is negative"
)
assert np.all(np.abs(lambda_2) < rho**2 * lambda_1, where=betas <= 1), (
    "by a factor ρ² in the paper's range"
)

# %% [markdown]
# ## The closed form
#
# Split $e$ along the two directions, multiply each part by its eigenvalue $K$ times, and put them together again.
# That is (14):
#
# $$\theta_K - \tilde{\theta}^* = \frac{(\lambda_1^K + \beta^2\rho^2\lambda_2^K)\,e
# - \beta\rho\,(\lambda_1^K - \lambda_2^K)\,\|e\|\,\bar{e}_\perp}{1+\beta^2\rho^2}.$$
#
# `lt.closed_form` returns the two components in units of the shift. Since no step depends on the one before, the
# trillionth costs as much as the first.

# %%
counts = np.arange(0, 31)
along, across = lt.closed_form(beta, rho, counts)
iterates = lt.iterate(problem, counts, temperature=tau)
looped = [problem.shift]
for _ in counts[1:]:
    looped.append(Q @ looped[-1])

fig, ax = figure(width=8, height=4.2)
for values, column, name, at, dy in (
    (along, 0, "along the shift", 9, 14),
    (across, 1, "across it", 9, -12),
):
    ax.plot(counts, values, color=COLOURS["flow"])
    ax.plot(
        counts,
        np.array(looped)[:, column],
        "o",
        color=COLOURS["simulation"],
        mec="white",
        ms=6,
    )
    label_line(ax, at, values[at], name, COLOURS["flow"], dx=4, dy=dy)
label_line(
    ax, 23, along[23], "dots: a loop with $Q$", COLOURS["simulation"], dx=0.1, dy=22
)
ax.set(
    xlabel="step $K$",
    ylabel=r"left of the shift, over $\Vert e\Vert$",
    xlim=(-0.5, 30.5),
)
title(fig, "The closed form passes through every step of the loop")
Picture(
    fig,
    "What is left of the shift over 30 steps: the part along it falls from 1 to "
    "about 0, the part across dips to −0.12 and returns to 0. Orange dots of the "
    "loop lie on both blue curves.",
)

# %%
assert np.allclose(
    np.stack([along, across], axis=1), iterates - problem.target, rtol=0, atol=1e-14
)
assert np.allclose(np.stack([along, across], axis=1), looped, rtol=0, atol=1e-13)
cold = 1e-12
far = np.array(lt.closed_form(cold, rho, 10**12))
print(f"β = {cold:g} after 10¹² steps: {far[0]:.6f} of the shift is left")
assert np.allclose(
    far,
    lt.iterate(problem, 10**12, temperature=lt.stall_temperature(cold, rho)),
    atol=1e-9,
)

# %% [markdown]
# ## The approximation, and how good it is
#
# After a few steps $\lambda_2^K$ has vanished beside $\lambda_1^K$, and the path is a straight line along the slow
# direction (15):
#
# $$\theta_K \approx \tilde{\theta}^* + \gamma\,(e - \beta\rho\,\|e\|\,\bar{e}_\perp), \qquad
# \gamma = \frac{\lambda_1^K}{1+\beta^2\rho^2}.$$
#
# "After a few" can be made precise: what (15) leaves out is, relative to what it keeps,
# $\beta\rho\,|\lambda_2/\lambda_1|^K$. For $\beta \le 1$ that ratio is below $\rho^2$, so each step wins at least a
# factor $\rho^2$.

# %%
fig, ax = figure(width=8, height=4.2)
shown, few = (0.2, 0.6, 0.9), counts[:10]
for b, colour in zip(shown, beta_colours(shown), strict=True):
    exact = np.array(lt.closed_form(b, rho, few))
    approximate = np.array(lt.stall_approximation(b, rho, few))
    norm = lambda pair: (pair**2).sum(axis=0) ** 0.5
    error = norm(exact - approximate) / norm(approximate)
    first, second = lt.stall_spectrum(b, rho)
    ax.plot(few, b * rho * np.abs(second / first) ** few, color=colour)
    ax.plot(few, error, "o", color=colour, mec="white")
    label_line(ax, few[-1], error[-1], rf"$\beta={b}$", colour)
    assert np.allclose(
        error, b * rho * np.abs(second / first) ** few, rtol=1e-3, atol=1e-15
    )
    assert np.all(error <= b * rho * rho ** (2.0 * few) * (1 + 1e-6) + 1e-15)
ax.set(
    yscale="log", xlim=(-0.3, 10.2), xlabel="step $K$", ylabel="relative error of (15)"
)
ax.set_title(r"dots: measured;  lines: $\beta\rho\,|\lambda_2/\lambda_1|^K$")
title(fig, "Every step brings the path closer to a straight line")
Picture(
    fig,
    "Relative error against the step on a logarithmic axis: three straight falling "
    "lines with dots on them. For beta 0.9 it falls to 10 to the −10 in 9 steps, "
    "for 0.2 and 0.6 to about 10 to the −5 and −6.",
)

# %% [markdown]
# ## Both ends of the dial
#
# **Hot**, $\beta \to 1/\rho$: $\lambda_{1,2} \to \pm\rho$, and (14) becomes standard fine-tuning, zigzag and all
# (12). **Cold**, $\beta \to 0$: the slow direction becomes that of $e$ itself, $\lambda_1 \to 1$, and the path
# creeps along the straight line from $\theta^*$ to $\tilde{\theta}^*$, on which the model averages of lesson 1 lie.
# Cold FLOW, stopped in time, *is nearly* model averaging, with $\omega = \gamma$ (Remark 7.5); what is left between
# them is $\beta\rho\gamma\|e\|$ across the line. In between lies a family of bent paths that neither standard
# fine-tuning nor averaging has.

# %%
# As in lesson 1.
old_task = lt.paper_problem(rho, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])
x_axis, y_axis = np.linspace(-0.25, 1.3, 120), np.linspace(-0.68, 0.2, 80)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)
shown = (0.02, 0.2, 0.6, 1.0)

fig, ax = figure(width=9, height=5)
plane(
    ax, x_axis, y_axis, lt.total_error(old_task, everywhere), (0.7, 0.8, 1, 1.5, 2, 3)
)
path(ax, lt.iterate(old_task, np.arange(20)), COLOURS["standard"])
label(ax, lt.iterate(old_task, 1), "standard", COLOURS["standard"], dx=12)
for b, colour in zip(shown, beta_colours(shown), strict=True):
    run = lt.iterate(old_task, np.arange(400), temperature=lt.stall_temperature(b, rho))
    path(ax, run, colour)
    at = {0.02: 25, 0.2: 1, 0.6: 1, 1.0: 1}[b]
    label(ax, run[at], rf"$\beta={b}$", colour, dx=4, dy=12 if b == 0.02 else -11)
place(ax, old_task.pretrained, "pretrained", r"$\theta^*$")
place(ax, old_task.target, "target", r"$\tilde{\theta}^*$", dx=-10)
place(ax, lt.joint_optimum(old_task), "joint_optimum", "best for both", dx=11, dy=-1)
title(fig, "Between standard fine-tuning and averaging: a family of paths")
Picture(
    fig,
    "Contours of the total error with paths from the old model at the right to the "
    "new optimum at the left. Standard fine-tuning zigzags far below. FLOW bends "
    "below the straight line at beta 1, less at 0.6 and 0.2, and runs along it at "
    "0.02; the star, best for both, lies between the last two.",
)

# %%
assert np.allclose(
    np.array(lt.closed_form(1 / rho, rho, counts)).T, lt.iterate(problem, counts)
), "hot: standard"
for b in (0.1, 0.01, 0.001):
    K = int(lt.half_life(b, rho))  # stopped at half of the way
    gamma = lt.stall_approximation(b, rho, K)[0]
    distance = np.hypot(
        *(np.array(lt.closed_form(b, rho, K)) - lt.model_average(problem, gamma))
    )
    print(f"β = {b}: half of the way after {K} steps,", end=" ")
    print(f"{distance:.5f} beside the average of ω = {gamma:.3f}")
    assert np.isclose(distance, b * rho * gamma, rtol=1e-3), (
        "it tends to the average like β"
    )

# %% [markdown]
# ## Exercises
#
# **1. FLOW's first step.** After one step, FLOW with $\eta = 1/(2\mu)$ has learned some of the new task. Is there a
# learning rate at which *standard* fine-tuning lands in exactly the same place? Use what lesson 3 said of
# $\Sigma'e$ and predict it. Then ask the same for two steps.

# %%
# Your turn. A start: where FLOW stands after one step and after two.
print(lt.iterate(problem, np.array([1, 2]), temperature=tau).round(4))

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The first step moves by −2η Σ'e = −(1/μ) μ³ Σ̃e = −μ² Σ̃e, and standard fine-tuning
# with η = μ²/2 moves by −μ² Σ̃e: the same. A win of FLOW at K = 1 is a win of a smaller
# step and no merit of the weights. After two steps no rate of it gets there.
assert np.allclose(
    lt.iterate(problem, 1, mu**2 / 2), lt.iterate(problem, 1, temperature=tau)
)
assert not np.allclose(
    lt.iterate(problem, 1, 0.5), lt.iterate(problem, 1, temperature=tau)
), (
    "the tempting answer, the rate of the same mean step, μη = ½, is wrong: "
    "for the first step the weights count μ³, not μ"
)
rates = np.linspace(0.001, 0.6, 3000)
two_steps = np.array([lt.iterate(problem, 2, rate) for rate in rates])
gap = np.hypot(*(two_steps - lt.iterate(problem, 2, temperature=tau)).T)
print(f"one step: η = μ²/2 = {mu**2 / 2:.4f} lands exactly there")
print(
    f"two steps: the nearest that standard comes is {gap.min():.4f}, "
    f"at η = {rates[gap.argmin()]:.3f}"
)
assert gap.min() > 0.01

# %% [markdown]
# **2. The straightest path.** At one temperature the fast part is gone after a *single* step, and from then on
# every iterate lies exactly on one straight line. Which temperature is it, in units of $\|e\|^2$, and does it
# depend on $\rho$? Is the path at the median temperature straighter or less straight? Predict from $\lambda_2$,
# then check with `lt.iterate`.


# %%
# Your turn. A start: the sine of the angle between two consecutive iterates, seen from
# the new optimum.
def turn(problem, steps, temperature):
    """How far consecutive iterates of these steps are from being parallel."""
    left = (
        lt.iterate(problem, np.arange(steps[0], steps[1] + 1), temperature=temperature)
        - problem.target
    )
    left = left / np.hypot(*left.T)[:, None]
    return np.abs(left[1:, 0] * left[:-1, 1] - left[1:, 1] * left[:-1, 0]).max()


print(f"at the median temperature: {turn(problem, (1, 5), tau):.4f}")

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# λ₂ = ρ²(1−β)/(1−βρ²) is zero at β = 1, and τ(1) = 2(1−ρ²)‖e‖²/(1−ρ²) = 2‖e‖², whatever
# ρ is. Below it λ₂ > 0 and the path bends from one side; above it λ₂ < 0 and it
# zigzags. The median, 0.45‖e‖², leaves a bend.
for r in (0.1, 0.6, 0.9):
    for norm in (1.0, 3.0):
        other = lt.paper_problem(r, norm)
        straight = turn(other, (1, 5), 2 * norm**2)
        print(f"ρ = {r}, ‖e‖ = {norm}: at τ = 2‖e‖² it turns by {straight:.1e}")
        assert np.isclose(lt.stall_temperature(1.0, r, norm), 2 * norm**2)
        assert straight < 1e-12
        median = lt.population_median_temperature(other)
        assert turn(other, (1, 5), median) > 1e-5, (
            "the tempting answer, the median, bends"
        )
        if r > 0.5:
            assert turn(other, (1, 5), 2 * (1 - r**2) * norm**2) > 1e-5, (
                "so does 2(1−ρ²)‖e‖²: ρ cancels"
            )

# %% [markdown]
# ## Where to go on
#
# Next, lesson 5: the stall, how long it lasts, and whether it survives other covariances. The claims
# `flow-iterates`, `spectrum` and `closed-form` check each formula of this lesson by a second route. Functions used
# here: `lt.iterate`, `lt.weighted_covariance`, `lt.stall_parameter`, `lt.stall_temperature`, `lt.squared_mass`,
# `lt.stall_spectrum`, `lt.stall_direction`, `lt.closed_form`, `lt.stall_approximation`, `lt.half_life`.

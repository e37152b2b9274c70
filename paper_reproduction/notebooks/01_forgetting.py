# %% [markdown]
# # 1 Forgetting in a linear model
#
# A model that fits one task is trained on a second one. It learns the second and loses the first. In a linear model
# every step of this can be computed exactly, so this is where we begin: two tasks, the path between them, and the
# two simple remedies. You need linear regression and a little linear algebra, no earlier lesson. Reading time: 20
# minutes.
#
# Run it: `pip install -e ".[notebooks]"` in a clone of the repository, then
# `jupyter lab paper_reproduction/notebooks/01_forgetting.ipynb`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib import style

import linear_theory as lt
from figures.lessons import Picture, label, path, place, plane
from figures.style import COLOURS, HOUSE, figure, label_line, title

style.use(HOUSE)

# %% [markdown]
# ## Two tasks and one line between them
#
# A linear model predicts $\langle\theta, x\rangle$. The **pre-training** task was solved by $\theta^*$: its labels
# are $y = \langle\theta^*, x\rangle$ and its inputs have covariance $\Sigma$, in the paper at least $I$. The
# **fine-tuning** task is solved by another parameter, $\tilde{\theta}^*$, on inputs $x \sim N(0, \tilde{\Sigma})$.
# What separates them is the **shift** $e = \theta^* - \tilde{\theta}^*$. We write $\bar{e}$ for its direction and
# $\bar{e}_\perp$ for a unit vector orthogonal to it.
#
# The paper studies the covariance (3),
#
# $$\tilde{\Sigma} = I + \rho\,(\bar{e}\,\bar{e}_\perp^\top + \bar{e}_\perp\bar{e}^\top), \qquad 0 \le \rho < 1,$$
#
# in which inputs along the shift and across it are correlated. In two dimensions everything fits into a picture.

# %%
problem = lt.paper_problem(rho=0.6, pretrain_covariance=[[2.0, 0.9], [0.9, 2.0]])

print("pre-trained solution θ*   ", problem.pretrained)
print("optimum of the new task   ", problem.target)
print("shift e                   ", problem.shift)
print("covariance of the new task", problem.target_covariance.tolist())

# %% [markdown]
# Each task has its error (4), the mean squared difference from the right prediction:
#
# $$\mathrm{err}_1(\theta) = (\theta-\theta^*)^\top\Sigma\,(\theta-\theta^*), \qquad
# \mathrm{err}_2(\theta) = (\theta-\tilde{\theta}^*)^\top\tilde{\Sigma}\,(\theta-\tilde{\theta}^*).$$
#
# The first is what the model has **forgotten**, the second what it has **still to learn**. They are expectations
# over data that we never have to draw. Once, to be sure, we do draw data, for the second:

# %%
rng = np.random.default_rng(0)
X = rng.multivariate_normal([0.0, 0.0], problem.target_covariance, size=100_000)
y = X @ problem.target

theta = np.array([0.7, -0.5])
losses = (y - X @ theta) ** 2
error, exact = losses.std() / len(losses) ** 0.5, lt.target_error(problem, theta)
print(f"sampled {losses.mean():.4f} ± {error:.4f}, exact {exact:.4f}")
assert abs(losses.mean() - exact) < 4 * error

# %% [markdown]
# Over the plane of all $\theta$ each error is a bowl. The two lowest points lie $\|e\|$ apart, and so no
# $\theta$ is perfect on both tasks.

# %%
x_axis, y_axis = np.linspace(-0.45, 1.45, 150), np.linspace(-0.75, 0.35, 100)
everywhere = np.stack(np.meshgrid(x_axis, y_axis), axis=-1)  # every θ, (100, 150, 2)
levels = (0.1, 0.3, 0.6, 1, 2, 4)


def landmarks(ax):
    place(ax, problem.pretrained, "pretrained", r"$\theta^*$")
    place(ax, problem.target, "target", r"$\tilde{\theta}^*$", dx=-10)


fig, axes = figure(1, 2, width=10, height=4.2, sharey=True)
plane(axes[0], x_axis, y_axis, lt.pretrain_error(problem, everywhere), levels)
plane(axes[1], x_axis, y_axis, lt.target_error(problem, everywhere), levels)
for ax, text in zip(
    axes,
    ("forgotten: error on the old task", "to learn: error on the new task"),
    strict=True,
):
    landmarks(ax)
    ax.set_title(text)
axes[1].set_ylabel("")
title(fig, "Each task has a best model of its own, and the two lie apart")
Picture(
    fig,
    "Two maps of the plane of parameters with contours of an error. Left, the error "
    "on the old task: nested ellipses around the blue square at 1 on the horizontal "
    "axis. Right, the error on the new task: nested ellipses around the brown "
    "square at 0.",
)

# %% [markdown]
# We judge a model by the sum $\mathrm{err}_{tot} = \mathrm{err}_1 + \mathrm{err}_2$. At the two ends it is easy to
# write down. Who stays at $\theta^*$ forgets nothing and pays $e^\top\tilde{\Sigma}e$ (5); who goes all the way to
# $\tilde{\theta}^*$ learns everything and pays $e^\top\Sigma e$ (13).

# %%
e = problem.shift
sigma, sigma_new = problem.pretrain_covariance, problem.target_covariance

print(f"{'':24}{'forgotten':>10}{'to learn':>10}{'total':>8}")
ends = {"stay at θ*": problem.pretrained, "go to the new optimum": problem.target}
for name, theta in ends.items():
    first, second = lt.pretrain_error(problem, theta), lt.target_error(problem, theta)
    print(f"{name:24}{first:10.3f}{second:10.3f}{lt.total_error(problem, theta):8.3f}")

assert np.isclose(lt.total_error(problem, problem.pretrained), e @ sigma_new @ e)
assert np.isclose(lt.total_error(problem, problem.target), e @ sigma @ e)

# %% [markdown]
# ## Fine-tuning walks from one end to the other
#
# **Standard fine-tuning** is gradient descent on the new task. It starts at $\theta^*$. The loss carries no factor
# ½, so its gradient is $2\tilde{\Sigma}(\theta - \tilde{\theta}^*)$, and each step multiplies what is left of the
# shift by $I - 2\eta\tilde{\Sigma}$. After $K$ steps (6):
#
# $$\theta_K = \tilde{\theta}^* + (I - 2\eta\tilde{\Sigma})^K e.$$
#
# `lt.iterate` evaluates this, for any $K$ and without a loop. Here is the loop, on the rows drawn above, beside it.

# %%
eta, theta = 0.1, problem.pretrained
for step in range(1, 31):
    gradient = -2 * X.T @ (y - X @ theta) / len(y)
    theta = theta - eta * gradient
    if step in (1, 3, 10, 30):
        exact = lt.iterate(problem, step, learning_rate=eta)
        print(
            f"step {step:2}: loop on 100 000 rows {theta.round(4)}, "
            f"population {exact.round(4)}"
        )
        assert np.allclose(theta, exact, atol=0.01)  # so many rows are nearly all

# %% [markdown]
# Now follow the two errors along the way. The error on the new task falls; the error on the old one grows from zero
# to $e^\top\Sigma e$, though no step ever looked at the old task. That is **catastrophic forgetting**, and in this
# model it is nothing mysterious: there is one parameter for two tasks, and it has moved.

# %%
steps = np.arange(201)
slow = lt.iterate(problem, steps, learning_rate=0.02)
forgotten, to_learn = lt.pretrain_error(problem, slow), lt.target_error(problem, slow)
total = lt.total_error(problem, slow)
best = total.argmin()

fig, ax = figure(width=8, height=4.2)
for error, dash, name, at, dy in (
    (forgotten, "--", "forgotten", 36, -10),
    (to_learn, ":", "still to learn", 36, 10),
    (total, "-", "total", 70, 14),
):
    ax.plot(steps, error, dash, color=COLOURS["standard"])
    label_line(ax, at, error[at], name, COLOURS["standard"], dx=6, dy=dy)
ax.plot(
    best,
    total[best],
    "o",
    color=COLOURS["early_stopping"],
    ms=10,
    mec="white",
    zorder=5,
)
label_line(
    ax,
    best,
    total[best],
    f"lowest total: step {best}",
    COLOURS["early_stopping"],
    dx=44,
    dy=2,
)
ax.set(xlabel="step $K$", ylabel="error", xlim=(0, 200), ylim=(0, 2.1))
title(fig, "What is learned of the new task is paid for on the old one")
Picture(
    fig,
    "Three curves against the step, 0 to 200. Still to learn falls from 1 to 0. "
    "Forgotten climbs from 0 to nearly 2. Their sum falls from 1 to a dot at step "
    "7, about 0.68, and then climbs to nearly 2.",
)

# %%
assert abs(forgotten[0]) < 1e-12
assert np.all(np.diff(to_learn) < 0), "the new task: better at every step"
assert total[-1] > total[0] > total[best], (
    "the total falls, turns, and ends worse than where it began"
)

# %% [markdown]
# With the step $\eta = \tfrac12$ the matrix $I - 2\eta\tilde{\Sigma}$ is
# $-\rho(\bar{e}\,\bar{e}_\perp^\top + \bar{e}_\perp\bar{e}^\top)$: it swaps the two directions and shrinks by
# $\rho$. So the path alternates between them (12): after even $K$ the remaining error is $\rho^K e$, after odd $K$
# it is $-\rho^K\|e\|\,\bar{e}_\perp$. As the step tends to zero the path becomes a smooth curve, **gradient flow**.
# Both end in the same place. (Not every step is allowed: exercise 2 asks how large it may be.)

# %%
fast = lt.iterate(problem, steps, learning_rate=0.5)
across = np.array([0.0, 1.0])
for k in (0, 1, 2, 3, 4, 5):
    # Times ρ^K, eq. (12); here ‖e‖ = 1.
    claimed = problem.shift if k % 2 == 0 else -across
    assert np.allclose(fast[k] - problem.target, 0.6**k * claimed)

levels = (0.7, 0.8, 1, 1.5, 2, 3)
fig, ax = figure(width=8, height=4.6)
plane(ax, x_axis, y_axis, lt.total_error(problem, everywhere), levels)
path(ax, fast, COLOURS["standard"])
path(ax, slow, COLOURS["standard"], marker=".", lw=0.8)
label(ax, fast[1], r"$\eta=0.5$, after 1 step", COLOURS["standard"], dx=10, dy=-4)
label(ax, slow[20], r"$\eta=0.02$", COLOURS["standard"], dx=4, dy=-16)
landmarks(ax)
title(fig, "Zigzag or smooth curve, both end at the new optimum")
Picture(
    fig,
    "Contours of the total error with two orange paths from the old model at the "
    "right to the new optimum at the left. At rate 0.5 the path jumps far below and "
    "zigzags in; at rate 0.02 it is a smooth arc of many dots below the straight "
    "line.",
)

# %% [markdown]
# ## First remedy: stop early
#
# The total error fell at first and rose later, so there is a best moment to stop. In continuous time, where the
# step size plays no part, `lt.gradient_flow` gives the path, and we look along it.
#
# ## Second remedy: average the two models
#
# Another old idea keeps both ends and mixes them,
# $\theta_{avg}(\omega) = \omega\theta^* + (1-\omega)\tilde{\theta}^*$ (16). Its total error is a parabola in
# $\omega$, and with $A = \bar{e}^\top\Sigma\bar{e}$ and $B = \bar{e}^\top\tilde{\Sigma}\bar{e}$ the best weight is
# $\omega = A/(A+B)$ (17): lean towards the old model when, along the shift, the old task is the steeper of the two.

# %%
times = np.linspace(0, 6, 3001)
flow = lt.gradient_flow(problem, times)
stopped = flow[lt.total_error(problem, flow).argmin()]
omegas = np.linspace(0, 1, 2001)
averages = lt.model_average(problem, omegas)
averaged, joint = lt.best_model_average(problem), lt.joint_optimum(problem)

print(f"{'':22}{'forgotten':>10}{'to learn':>10}{'total':>8}")
finds = {"early stopping": stopped, "model averaging": averaged, "best for both": joint}
for name, theta in finds.items():
    first, second = lt.pretrain_error(problem, theta), lt.target_error(problem, theta)
    print(f"{name:22}{first:10.4f}{second:10.4f}{first + second:8.4f}")

# %%
fig, ax = figure(width=8, height=4.6)
plane(ax, x_axis, y_axis, lt.total_error(problem, everywhere), (0.75, 1, 1.5, 2, 3))
path(ax, flow, COLOURS["early_stopping"], marker="")
path(ax, averages, COLOURS["averaging"], marker="", lw=4, alpha=0.5)
place(ax, stopped, "early_stopping", "best stop", dx=8, dy=-13)
place(ax, averaged, "averaging", "best average", dx=-4, dy=16)
place(ax, joint, "joint_optimum", "best for both", dx=-13, dy=-12)
landmarks(ax)
title(fig, "The best model lies between the curve and the line")
Picture(
    fig,
    "Contours of the total error with a green straight line between the two models "
    "and a pink arc below it. A black star, best for both, lies just below the line "
    "and above the arc; a green diamond marks the best average on the line, a pink "
    "dot the best stop on the arc.",
)

# %% [markdown]
# Both remedies beat both ends. Neither reaches the star, the **best for both** tasks: the **joint optimum**, which
# is what training on both together would find. Early stopping can only choose a point of its curve, averaging a
# point of its line. On this problem the line passes nearer; the exercise below asks when it does. FLOW, from the
# next lesson on, has a whole family of curves, one for each temperature, and lesson 6 shows what they reach.

# %%
ends = {"stop": stopped, "average": averaged, "joint": joint}
ends |= {"old": problem.pretrained, "new": problem.target}
total = {name: lt.total_error(problem, theta) for name, theta in ends.items()}
assert (
    total["joint"] < total["average"] < total["stop"] < min(total["old"], total["new"])
)
assert np.isclose(
    total["average"], lt.total_error(problem, averages).min(), atol=1e-6
), "(17) is the best ω"

# %% [markdown]
# ## What is no remedy: a smaller step
#
# With a smaller learning rate less is forgotten after, say, fifty steps. It is tempting to take that for a remedy.
# But on a logarithmic axis of steps it is nearly the same curve pushed to the right: the model goes nearly the same
# way, only more slowly. Plotted against what is still to learn, the curves nearly fall on top of one another, the
# more nearly the smaller the step.
#
# This matters for everything that follows. FLOW's weights are at most one, so they shrink the step as well.
# Whenever we compare it with something, standard fine-tuning with the **same mean step** stands beside it: its
# learning rate times the mean weight.

# %%
rates = {0.1: "-", 0.02: "--", 0.005: ":"}
fig, (left, right) = figure(1, 2, width=10, height=4.2)
for rate, dash in rates.items():
    count = np.arange(401)
    run = lt.iterate(problem, count, learning_rate=rate)
    left.plot(
        count[1:], lt.pretrain_error(problem, run)[1:], dash, color=COLOURS["standard"]
    )
    dots = "o" if rate == 0.1 else ""  # where its single steps can be told apart
    right.plot(
        lt.target_error(problem, run),
        lt.pretrain_error(problem, run),
        dots + dash,
        color=COLOURS["standard"],
        ms=5,
    )
    at = int(0.4 / rate)
    label_line(
        left,
        count[at],
        lt.pretrain_error(problem, run[at]),
        rf"$\eta={rate}$",
        COLOURS["standard"],
        dx=-6,
        dy=8,
    )
left.set(
    xlabel="step $K$", xscale="log", xlim=(1, 400), title="forgotten, against the step"
)
right.set(xlabel="still to learn", title="forgotten, against what is still to learn")
title(fig, "A smaller step forgets later, not less")
Picture(
    fig,
    "Two panels. Left, what is forgotten against the step on a logarithmic axis: "
    "three curves of one shape, each further right the smaller the learning rate. "
    "Right, forgotten against still to learn: the same three runs lie nearly on one "
    "falling curve.",
)

# %%
finished = [
    lt.pretrain_error(problem, lt.iterate(problem, 10**6, learning_rate=rate))
    for rate in rates
]
assert np.allclose(finished, e @ sigma @ e), "given time, each of them forgets the same"

halfway = []
for rate in rates:  # where the new task is half learned
    run = lt.iterate(problem, np.arange(1000), learning_rate=rate)
    halfway.append(
        np.interp(-0.5, -lt.target_error(problem, run), lt.pretrain_error(problem, run))
    )
    print(f"η = {rate}: when half is learned, {halfway[-1]:.3f} is forgotten")
smooth = np.interp(
    -0.5, -lt.target_error(problem, flow), lt.pretrain_error(problem, flow)
)
extra = np.array(halfway) / smooth - 1
print(f"gradient flow: {smooth:.3f}")
assert np.all(np.diff(extra) < 0), "the smaller the step, the nearer to gradient flow"
assert extra[0] < 0.15
assert extra[-1] < 0.01
early = [
    lt.pretrain_error(problem, lt.iterate(problem, 50, learning_rate=rate))
    for rate in rates
]
assert early[0] > 2 * early[-1], "after fifty steps, though, it looks like a remedy"

# %% [markdown]
# ## Exercises
#
# **1. When does early stopping beat averaging?** Keep $\rho = 0.6$ and
# $\Sigma = \begin{bmatrix} 2 & c \\ c & 2 \end{bmatrix}$ in the basis $(\bar{e}, \bar{e}_\perp)$, and let $c$ run
# from $-1.9$ to $1.9$ (beyond $|c| = 1$ this leaves the paper's $\Sigma \succeq I$, which nothing here needs).
# Below which $c$ does early stopping win? Predict first. Early stopping leaves the straight line towards
# $-\bar{e}_\perp$. On which side of that line does the joint optimum lie, and is it enough that it lies on the
# right side?

# %%
# Your turn. A start: the problem for one c.
tilted = lt.paper_problem(0.6, pretrain_covariance=[[2.0, -1.0], [-1.0, 2.0]])
print("the joint optimum for c = −1:", lt.joint_optimum(tilted).round(3))

# %% [markdown]
# **Solution** (folded below; it is run and checked with the notebook).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The joint optimum lies across the line by an amount that has the sign of c − 2ρ: it is
# on early stopping's side for every c < 2ρ = 1.2, and on the line at c = 1.2, where Σe
# ∥ Σ̃e and averaging is the joint optimum. But the path of gradient flow does not aim
# at the optimum; it bends as much as Σ̃ says, whatever Σ is. Where the optimum lies
# close to the line the path swings past it, and the line is nearer. The right side is
# necessary and not sufficient.
c_values = np.linspace(-1.9, 1.9, 381)
stop_wins, right_side = [], []
for c in c_values:
    tilted = lt.paper_problem(0.6, pretrain_covariance=[[2.0, c], [c, 2.0]])
    best_stop = lt.total_error(tilted, lt.gradient_flow(tilted, times)).min()
    stop_wins.append(best_stop < lt.total_error(tilted, lt.best_model_average(tilted)))
    right_side.append(lt.joint_optimum(tilted)[1] < -1e-12)
stop_wins, right_side = np.array(stop_wins), np.array(right_side)

print(f"early stopping wins up to c = {c_values[stop_wins].max():.2f}")
print(f"the optimum is on its side up to c = {c_values[right_side].max():.2f}")
switches = np.flatnonzero(np.diff(stop_wins))
assert len(switches) == 1, "one threshold: it wins below and loses above"
assert stop_wins[0]
assert not stop_wins[-1]
assert np.all(right_side[stop_wins]), "necessary: the optimum on its side"
assert not np.all(stop_wins[right_side]), (
    "the tempting answer, “whenever the optimum is on its side”, is wrong"
)

# %% [markdown]
# **2. How large may the step be?** A textbook says that gradient descent converges for steps below
# $2/\lambda_{max}$ of the Hessian. A colleague concludes that here
# $\eta < 2/\lambda_{max}(\tilde{\Sigma}) = 2/(1+\rho)$ is allowed. Predict what happens at $\eta = 1$, then find
# the true limit and check it from both sides.

# %%
# Your turn. A start: ten steps at a rate that is surely safe.
print(
    lt.target_error(
        problem, lt.iterate(problem, np.arange(0, 11, 5), learning_rate=0.05)
    ).round(4)
)

# %% [markdown]
# **Solution** (folded below).

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["solution", "hide-cell"]
# The loss has no ½, so its Hessian is 2Σ̃ and the textbook's limit is 2/(2(1+ρ)) =
# 1/(1+ρ). The colleague forgot the 2.
limit = lt.stable_learning_rate(problem)
error_after = lambda rate, k: lt.target_error(
    problem, lt.iterate(problem, k, learning_rate=rate)
)
for rate in (0.99 * limit, limit, 1.01 * limit, 1.0):
    print(
        f"η = {rate:.3f}: error {error_after(rate, 0):.3f} at first, "
        f"{error_after(rate, 200):.3g} after 200 steps"
    )

assert np.isclose(limit, 1 / (1 + 0.6))
assert error_after(0.99 * limit, 200) < 0.1 < 1 < error_after(1.01 * limit, 200)
colleague = 2 / (1 + 0.6)
assert error_after(0.99 * colleague, 200) > 1e100, (
    "the tempting limit 2/λ_max(Σ̃) diverges"
)

# %% [markdown]
# ## Where to go on
#
# Next, lesson 2: weights that know which samples the old model already fits. The claims `standard-iterates` and
# `model-averaging` check (6), (12) and (16), (17) by a second route. Functions used here: `lt.paper_problem`,
# `lt.iterate`, `lt.gradient_flow`, `lt.stable_learning_rate`, `lt.pretrain_error`, `lt.target_error`,
# `lt.total_error`, `lt.model_average`, `lt.best_model_average`, `lt.joint_optimum`.

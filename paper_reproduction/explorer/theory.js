// The theory in the plane of eq. (3), in units of the shift: target θ̃* at the origin, pre-trained θ* at e = (1, 0).
// Pure functions under the names of linear_theory, against which they are tested. The loss carries no ½.
//
// A problem is { rho, a, b, c, noise }: Σ̃ = [[1, ρ], [ρ, 1]], Σ = [[a, c], [c, b]], label noise σ².
// τ = ∞ is standard fine-tuning and no special case, since only 1/τ is used.
"use strict";
const theory = (() => {
  const PRETRAINED = [1, 0], TARGET = [0, 0];
  const square = x => x * x;
  const quadratic = ([p, q, s], [x, y]) => p * x * x + 2 * q * x * y + s * y * y; // of [[p, q], [q, s]]
  const residualVariance = problem => 1 + problem.noise; // s² = eᵀΣ̃e + σ²

  // ------------------------------------------------------------------------------------------ what the weights do

  // μ = E[w] = (1 + 2s²/τ)^(−1/2) (Lemma F.1)
  function weightMass(problem, tau) {
    return 1 / Math.sqrt(1 + 2 * residualVariance(problem) / tau);
  }

  // Σ'/μ = Σ̃ − g Σ̃e eᵀΣ̃ with g = (2/τ)/(1 + 2s²/τ) (Lemma F.1), its three entries and its determinant
  function weightedCovariance(problem, tau) {
    const { rho, noise } = problem;
    const spread = 1 + 2 * residualVariance(problem) / tau;
    const g = 2 / tau / spread, kept = (1 + 2 * noise / tau) / spread; // kept = 1 − g, without cancellation
    const across = kept + (1 - rho * rho) * g; //                         1 − gρ²
    return { entries: [kept, rho * kept, across], determinant: kept * (1 - rho * rho) };
  }

  // The eigenvalues of Σ'/μ whose directions the path enters, largest first, and the angle of the first one
  function reached({ entries: [p, q, s], determinant }) {
    if (q === 0) return { values: [p], angle: 0 }; // e is an eigenvector, and the path stays on its line
    const largest = (p + s) / 2 + Math.hypot((p - s) / 2, q);
    return { values: [largest, determinant / largest], angle: Math.atan2(2 * q, p - s) / 2 };
  }

  // β(τ), the positive root of τρ²β² + 2(1−ρ²)β − τ = 0, where noise is a temperature: τ + 2σ² for τ
  function stallParameter({ rho, noise }, tau) {
    const slope = (1 - rho * rho) / (tau + 2 * noise);
    return 1 / (slope + Math.hypot(slope, rho));
  }

  // --------------------------------------------------------------------------------------------------- the paths

  // (1 − x)^K for every K ≥ 0, without a loop, with the digits of x kept near 1 and near −1
  function power(x, K) {
    if (K === 0) return 1;
    if (x === 1) return 0;
    if (x < 1) return Math.exp(K * Math.log1p(-x));
    return (K % 2 ? -1 : 1) * Math.exp(K * Math.log1p(x - 2));
  }

  // θ* − κe + κ φ(Σ'/μ)e, where φ is given on the eigenvalues (Theorem 7.2, and κ = 1 without noise)
  function moved(space, kappa, phi) {
    const [first, second = 0] = space.values.map(phi), cos = Math.cos(space.angle), sin = Math.sin(space.angle);
    const along = cos * cos * first + sin * sin * second, across = cos * sin * (first - second);
    return [1 - kappa + kappa * along, kappa * across];
  }

  // One way of training with a temperature and a learning rate: all that is constant along its path, and the path
  function descent(problem, tau, eta) {
    const mass = weightMass(problem, tau), space = reached(weightedCovariance(problem, tau));
    const kappa = 1 / (1 + 2 * problem.noise / tau); // it ends at θ* − κe
    const rate = 2 * eta * mass, rates = space.values.map(value => rate * value);
    const stable = 1 / (mass * space.values[0]), slowest = Math.min(...rates);
    return {
      mass, eta, kappa, stable, // stable: the supremum of the learning rates that converge
      diverges: eta >= stable,
      eigenvalues: rates.map(x => 1 - x), // of I − 2ηΣ'
      halfLife: slowest < 1 ? Math.LN2 / -Math.log1p(-slowest) : 0, // steps, of the slowest direction
      iterate: K => moved(space, kappa, value => power(rate * value, K)), // θ_K of (6), (8), (11)
    };
  }

  // θ(t) of dθ/dt = −∇L without weights: standard fine-tuning in the limit of small steps, t = Kη
  function gradientFlow(problem, time) {
    return moved(reached(weightedCovariance(problem, Infinity)), 1, value => Math.exp(-2 * time * value));
  }

  // -------------------------------------------------------------------------------------------------- the errors

  // err₁, err₂ and their sum, eq. (4)
  const pretrainError = ({ a, b, c }, [x, y]) => quadratic([a, c, b], [x - 1, y]);
  const targetError = ({ rho }, theta) => quadratic([1, rho, 1], theta);
  const totalError = (problem, theta) => pretrainError(problem, theta) + targetError(problem, theta);

  // θ_avg = ωe with ω = A/(A + B), A = ēᵀΣē, B = ēᵀΣ̃ē = 1, eq. (17)
  const bestModelAverage = ({ a }) => [a / (a + 1), 0];

  // Σ + Σ̃, half the curvature of the total error
  const bothCovariances = ({ rho, a, b, c }) => [a + 1, c + rho, b + 1];

  // The best for both, (Σ + Σ̃)⁻¹Σe: nobody who knows only these two tasks has a smaller total error
  function jointOptimum(problem) {
    const [p, q, s] = bothCovariances(problem), { a, c } = problem, determinant = p * s - square(q);
    return [(s * a - q * c) / determinant, (p * c - q * a) / determinant];
  }

  // The time at which gradient flow has its smallest total error: a grid in log t, then golden sections
  function earlyStop(problem) {
    const cost = log => totalError(problem, gradientFlow(problem, Math.exp(log)));
    const grid = Array.from({ length: 241 }, (_, i) => -10 + i / 12), costs = grid.map(cost);
    const best = costs.indexOf(Math.min(...costs)), golden = (Math.sqrt(5) - 1) / 2;
    let low = grid[best] - 1 / 12, high = grid[best] + 1 / 12;
    for (let i = 0; i < 60; i++) {
      const width = golden * (high - low);
      if (cost(high - width) < cost(low + width)) high = low + width; else low = high - width;
    }
    return Math.exp((low + high) / 2);
  }

  // FLOW's best over all temperatures and times, in small steps, and which of three it then is. What it reaches is the
  // convex hull of early stopping's curve: with p = x + y and q = x − y, q^k₀ ≤ p ≤ q ≤ 1, k₀ = (1 + ρ)/(1 − ρ).
  function bestFlow(problem, table) {
    const { rho, a, c } = problem, [x, y] = table.joint.theta, k0 = (1 + rho) / (1 - rho);
    const winner = c >= rho * a || rho === 0 ? "average" : // outwards from the averages the total error rises
      x - y >= 0 && x + y >= (x - y) ** k0 ? "joint" : "early";
    return { winner, total: table[winner].total };
  }

  // ---------------------------------------------------------------------------------- all that the page shows of
  // a state { rho, tau, eta, K, a, b, lean, noise }. lean in [−1, 1] is c in units of its bound, so that Σ ⪰ I.
  // eta = null is η = 1/(2μ), the paper's: standard fine-tuning then takes ½, the same mean step.
  function compute(state) {
    const problem = { ...state, c: state.lean * Math.sqrt((state.a - 1) * (state.b - 1)) };
    const mass = weightMass(problem, state.tau), eta = state.eta ?? 1 / (2 * mass);
    const flow = descent(problem, state.tau, eta);
    const standard = descent(problem, Infinity, state.eta ?? 1 / 2);
    const sameMeanStep = descent(problem, Infinity, eta * mass); // standard, with the mean weight in its step
    const stop = earlyStop(problem);
    const points = {
      pretrained: PRETRAINED, standard: standard.iterate(state.K), sameMeanStep: sameMeanStep.iterate(state.K),
      flow: flow.iterate(state.K), average: bestModelAverage(problem), early: gradientFlow(problem, stop),
      joint: jointOptimum(problem), target: TARGET,
    };
    const row = theta => ({
      theta, total: totalError(problem, theta),
      forgot: pretrainError(problem, theta), left: targetError(problem, theta),
    });
    const table = Object.fromEntries(Object.entries(points).map(([name, theta]) => [name, row(theta)]));
    const best = bestFlow(problem, table);
    return { problem, beta: stallParameter(problem, state.tau), flow, standard, sameMeanStep, stop, table, best };
  }

  return { compute, gradientFlow, pretrainError, targetError, totalError, bothCovariances };
})();

// The theory in the plane of eq. (3), in units of the shift: e = (1, 0), target at the origin, pre-trained at e.
// Pure functions of numbers, named as in linear_theory and tested against it. The loss carries no ½.
"use strict";
const theory = (() => {
  // μ = E[w], and Σ'/μ = Σ̃ − g Σ̃e eᵀΣ̃ with 1 − g written so that nothing cancels (Lemma F.1; 1/τ = 0 is vanilla)
  function weighted({ rho, tau, noise }) {
    const cold = 1 / tau, spread = 1 + 2 * (1 + noise) * cold;
    const flat = (1 + 2 * noise * cold) / spread, g = 2 * cold / spread; // flat = 1 − g
    const matrix = [flat, rho * flat, flat + (1 - rho * rho) * g]; // [[p, q], [q, s]], s = 1 − gρ²
    return { mass: 1 / Math.sqrt(spread), flat, matrix, determinant: flat * (1 - rho * rho) };
  }

  // Eigenvalues of [[p, q], [q, s]] that e reaches, and how much of e lies in each; the small one from the determinant.
  function reach([p, q, s], determinant) {
    if (q === 0) return { values: [p], cosine: 1, sine: 0 }; // e is an eigenvector: the path never leaves its line
    const large = (p + s) / 2 + Math.hypot((p - s) / 2, q), angle = Math.atan2(2 * q, p - s) / 2;
    return { values: [large, determinant / large], cosine: Math.cos(angle), sine: Math.sin(angle) };
  }

  // (1 − x)^K for any K ≥ 0, exact to the digits of x near 1 and near −1
  function power(x, K) {
    if (K === 0) return 1;
    if (x === 1) return 0;
    if (x < 1) return Math.exp(K * Math.log1p(-x));
    return (K % 2 ? -1 : 1) * Math.exp(K * Math.log1p(x - 2));
  }

  // One way of training: its rates 2ηλ, its limit θ_∞ = (1 − κ)e, and θ_K = θ_∞ + κ(I − 2ηΣ')^K e (8)
  function training(setting, tau, step) {
    const { mass, flat, matrix, determinant } = weighted({ ...setting, tau });
    const eta = step(mass), space = reach(matrix, determinant);
    const rates = space.values.map(value => 2 * eta * mass * value);
    const kappa = 1 / (1 + 2 * setting.noise / tau);
    const iterate = K => {
      const [large, small = 0] = rates.map(x => power(x, K)), { cosine: c, sine: s } = space;
      return [1 - kappa + kappa * (c * c * large + s * s * small), kappa * c * s * (large - small)];
    };
    const eigenvalues = rates.map(x => 1 - x), slow = Math.min(...rates);
    const stable = 1 / (mass * Math.max(...space.values)); // the supremum of stable learning rates
    const halfLife = slow < 1 ? Math.LN2 / -Math.log1p(-slow) : 0;
    const first = eta * mass * kappa * flat; // θ_1 = θ* − 2·first·Σ̃e: without weights, this rate steps as far at first
    return { mass, eta, first, kappa, eigenvalues, stable, diverges: eta >= stable, halfLife, iterate };
  }

  const quadratic = ([p, q, s], [x, y]) => p * x * x + 2 * q * x * y + s * y * y;

  // (4), (17) and the oracle (Σ + Σ̃)⁻¹Σe
  function errors({ rho, a, b, c }) {
    const pretrain = ([x, y]) => quadratic([a, c, b], [x - 1, y]);
    const target = theta => quadratic([1, rho, 1], theta);
    const hessian = [a + 1, c + rho, b + 1], det = hessian[0] * hessian[2] - hessian[1] ** 2;
    const oracle = [(hessian[2] * a - hessian[1] * c) / det, (hessian[0] * c - hessian[1] * a) / det];
    return { pretrain, target, total: theta => pretrain(theta) + target(theta), hessian,
             average: [a / (a + 1), 0], oracle };
  }

  // β(τ), the positive root of τρ²β² + 2(1−ρ²)β − τ = 0; noise is a temperature
  function stallParameter({ rho, tau, noise }) {
    const slope = (1 - rho * rho) / (tau + 2 * noise);
    return 1 / (slope + Math.hypot(slope, rho));
  }

  // Everything the page shows of one setting {rho, tau, eta, K, a, b, lean, noise}; eta = null is 1/(2μ)
  function compute(state) {
    const c = state.lean * Math.sqrt((state.a - 1) * (state.b - 1)), setting = { ...state, c };
    const own = mass => state.eta === null ? 1 / (2 * mass) : state.eta;
    const flow = training(setting, state.tau, own);
    const vanilla = training(setting, Infinity, () => own(1));
    const control = training(setting, Infinity, () => flow.first); // no weights, and the same first step
    const cost = errors(setting), at = {
      pretrained: [1, 0], vanilla: vanilla.iterate(state.K), control: control.iterate(state.K),
      flow: flow.iterate(state.K), average: cost.average, oracle: cost.oracle, target: [0, 0],
    };
    const table = Object.fromEntries(Object.entries(at).map(([name, theta]) => [name, {
      theta, forgot: cost.pretrain(theta), left: cost.target(theta), total: cost.total(theta) }]));
    return { c, beta: stallParameter(state), flow, vanilla, control, cost, table };
  }

  return { compute, power, errors };
})();

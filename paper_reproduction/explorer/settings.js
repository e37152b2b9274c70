// What can be set: the sliders, the settings worth a look, and the state in the address.
"use strict";
const settings = (() => {
  const lean = (a, b, c) => c / Math.sqrt((a - 1) * (b - 1)); // c of Σ = [[a, c], [c, b]], in units of its bound
  const START = { rho: 0.6, tau: 10 ** -0.8, eta: null, K: 5, a: 2, b: 2, lean: 0.9, noise: 0 };

  // 0, 1, 2, …, 10⁶, each once; evenly spaced in the logarithm where that is coarser than 1
  const STEPS = [0, ...new Set(Array.from({ length: 481 }, (_, i) => Math.round(10 ** (i / 80))))];
  const nearest = K => STEPS.reduce((best, step, i) => Math.abs(step - K) < Math.abs(STEPS[best] - K) ? i : best, 0);
  const ALWAYS = 3.05; // where the slider of log₁₀ τ says ∞

  // Numbers for people: three decimals, or a power of ten
  function show(x, digits = 3) {
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "–";
    if (x !== 0 && (Math.abs(x) < 10 ** -digits || Math.abs(x) >= 1e5)) {
      const [mantissa, exponent] = x.toExponential(1).split("e");
      const raised = [...String(+exponent)].map(digit => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit] ?? "⁻").join("");
      return `${mantissa}·10${raised}`.replace("-", "−");
    }
    return x.toFixed(digits).replace("-", "−");
  }

  // A slider has positions min … max; `at` is the position of a value, `value` the value at a position.
  const plain = { at: x => x, value: position => position, say: x => show(x, 2) };
  const logarithmic = { at: Math.log10, value: position => 10 ** position, say: x => show(x) };
  const SLIDERS = [
    { key: "rho", label: "ρ, correlation of the inputs", min: 0, max: 0.98, step: 0.01, ...plain },
    {
      key: "tau", label: "τ, temperature", min: -3, max: ALWAYS, step: 0.05,
      at: tau => tau === Infinity ? ALWAYS : Math.log10(tau),
      value: position => position > ALWAYS - 1e-9 ? Infinity : 10 ** position,
      say: tau => tau === Infinity ? "∞, standard" : show(tau),
    },
    {
      key: "K", label: "K, steps", min: 0, max: STEPS.length - 1, step: 1,
      at: nearest, value: position => STEPS[position], say: K => K.toLocaleString("en"),
    },
    {
      key: "eta", label: "η, learning rate", min: -2, max: 1.5, step: 0.02, ...logarithmic,
      at: (eta, now) => Math.log10(eta ?? now.flow.eta), say: (eta, now) => show(eta ?? now.flow.eta),
    },
    { key: "a", label: "Σ along the shift", min: 0, max: 2.3, step: 0.02, ...logarithmic, say: x => show(x, 2) },
    { key: "b", label: "Σ across it", min: 0, max: 2.3, step: 0.02, ...logarithmic, say: x => show(x, 2) },
    {
      key: "lean", label: "Σ off the diagonal", min: -1, max: 1, step: 0.02, ...plain,
      say: (x, now) => show(now.problem.c, 2),
    },
    { key: "noise", label: "σ², label noise", min: 0, max: 4, step: 0.05, ...plain },
  ];

  // ρ and Σ, with FLOW's best temperature and step for them at η = 1/(2μ)
  const covariance = (a, b, c) => ({ a, b, lean: a === 1 || b === 1 ? 0 : lean(a, b, c) });
  const CASES = [
    ["Σ = I", { rho: 0.6, ...covariance(1, 1, 0), tau: 10 ** -0.1, K: 2 }],
    ["Σ leans with ρ", { rho: 0.6, ...covariance(2, 2, 0.9), tau: 10 ** -0.8, K: 5 }],
    ["Meets the best for both", { rho: 0.9, ...covariance(1.5, 5, -1.3), tau: 10 ** -0.75, K: 8 }],
    ["Can only average", { rho: 0.6, ...covariance(1.5, 5, 1.3), tau: 1e-3, K: 1023 }],
    ["One step: only shorter", { rho: 0.9, ...covariance(5, 1.5, -1.3), tau: 10 ** -0.2, K: 1 }],
    ["Loses to early stopping", { rho: 0.3, ...covariance(13, 160, -37), tau: 10 ** -0.4, K: 1 }],
  ];
  const TRIES = [
    ["The stall: press play, then lower τ", { tau: 0.02, K: 0 }],
    ["All temperatures: let play run through τ", { rho: 0.8, tau: 1e-3, K: 12 }],
    ["Noise: trained to the end, FLOW is an average", { noise: 1, tau: 2, K: 1000000 }],
    ["Too large a step for standard fine-tuning, not for FLOW", { eta: 1, K: 8 }],
  ].map(([text, changes]) => [text, { ...START, ...changes }]);

  // ------------------------------------------------------------------------------------------------- the address
  const VALID = {
    rho: x => x >= 0 && x < 1, tau: x => x > 0, eta: x => x === null || (x > 0 && x < Infinity),
    K: x => Number.isSafeInteger(x) && x >= 0, a: x => x >= 1 && x < Infinity, b: x => x >= 1 && x < Infinity,
    lean: x => Math.abs(x) <= 1, noise: x => x >= 0 && x < Infinity,
  };
  const WORDS = new Map([["auto", null], ["inf", Infinity], ["", NaN]]); // everything else is a number
  const parsed = text => WORDS.has(text.trim()) ? WORDS.get(text.trim()) : Number(text);
  const written = value => value === null ? "auto" : value === Infinity ? "inf" : String(value);
  const address = state => "#" + Object.keys(START).map(key => `${key}=${written(state[key])}`).join("&");

  // The state of an address, and what of it makes no sense
  function read(hash) {
    const state = { ...START }, refused = [];
    for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
      const value = parsed(text);
      if (Object.hasOwn(VALID, key) && (value !== null || key === "eta") && VALID[key](value)) state[key] = value;
      else refused.push(`${key}=${text}`);
    }
    return { state, refused };
  }

  return { START, STEPS, SLIDERS, CASES, TRIES, address, read, show };
})();

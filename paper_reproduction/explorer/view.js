// What one sees: sliders, three plots, a table, the address. All numbers come from theory.compute.
"use strict";
const explorer = (() => {
  const START = { rho: 0.6, tau: 0.1, eta: null, K: 8, a: 2, b: 2, lean: 0.9, noise: 0 };
  const STEPS = [...new Set(Array.from({ length: 481 }, (_, i) => Math.round(10 ** (i / 80))))];
  STEPS.unshift(0); // 0, 1, 2, …, 10⁶, each once, evenly in the logarithm where that is finer than 1
  const ALWAYS = 3.05; // where the slider of log₁₀ τ says ∞
  const METHODS = [["vanilla", "standard", "solid"], ["control", "smaller step", "dash"], ["flow", "FLOW", "solid"]];

  const colour = key => COLOURS[{ control: "vanilla", average: "averaging" }[key] ?? key];

  const show = (x, digits = 3) => {
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "–";
    if (x !== 0 && (Math.abs(x) < 10 ** -digits || Math.abs(x) >= 1e5)) {
      const [mantissa, exponent] = x.toExponential(1).split("e");
      return `${mantissa}·10${[...String(+exponent)].map(d => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d] ?? "⁻").join("")}`;
    }
    return x.toFixed(digits).replace("-", "−");
  };
  const nearest = K => STEPS.reduce((best, s, i) => Math.abs(s - K) < Math.abs(STEPS[best] - K) ? i : best, 0);

  // key, label, range of the slider's positions, and the maps between position and value
  const SLIDERS = [
    { key: "rho", label: "ρ, correlation of the inputs", min: 0, max: 0.98, step: 0.01, get: x => x, set: x => x, say: x => show(x, 2) },
    { key: "tau", label: "τ, temperature / ‖e‖²", min: -3, max: ALWAYS, step: 0.05,
      get: x => x === Infinity ? ALWAYS : Math.log10(x), set: p => p >= ALWAYS - 1e-9 ? Infinity : 10 ** p, say: x => x === Infinity ? "∞, no weights" : show(x) },
    { key: "K", label: "K, steps", min: 0, max: STEPS.length - 1, step: 1, get: nearest, set: p => STEPS[p], say: x => x.toLocaleString("en") },
    { key: "eta", label: "η, learning rate", min: -2, max: 1, step: 0.02,
      get: (x, state, now) => Math.log10(x ?? now.flow.eta), set: p => 10 ** p, say: (x, now) => show(x ?? now.flow.eta) },
    { key: "a", label: "Σ along the shift", min: 0, max: 2.3, step: 0.02, get: Math.log10, set: p => 10 ** p, say: x => show(x, 2) },
    { key: "b", label: "Σ across", min: 0, max: 2.3, step: 0.02, get: Math.log10, set: p => 10 ** p, say: x => show(x, 2) },
    { key: "lean", label: "Σ, off the diagonal", min: -1, max: 1, step: 0.02, get: x => x, set: x => x, say: (x, now) => show(now.c, 2) },
    { key: "noise", label: "σ², label noise / ‖e‖²", min: 0, max: 4, step: 0.05, get: x => x, set: x => x, say: x => show(x, 2) },
  ];
  const TRIES = [
    ["The stall: press play", { tau: 0.02, K: 0 }],
    ["Averaging, for free: τ small, K just right", { tau: 0.01, K: 70, lean: 0 }],
    ["A smaller step beats FLOW", { rho: 0.3, a: 13, b: 160, lean: -37 / Math.sqrt(12 * 159), K: 4 }],
    ["Beyond averaging: FLOW meets the oracle", { rho: 0.9, a: 1.5, b: 5, lean: -1.3 / Math.sqrt(2), tau: 10 ** -0.75 }],
    ["Noise: trained to the end, FLOW is an average", { noise: 1, K: 1000000 }],
    ["Too large a step", { eta: 1.2, K: 8 }],
  ];

  const within = { rho: x => x >= 0 && x < 1, tau: x => x > 0, eta: x => x === null || (x > 0 && x < Infinity),
    K: x => Number.isInteger(x) && x >= 0, a: x => x >= 1 && x < Infinity, b: x => x >= 1 && x < Infinity, lean: x => Math.abs(x) <= 1,
    noise: x => x >= 0 && x < Infinity };

  // ---------------------------------------------------------------------------------------------- the address
  const number = (key, text) => key === "eta" && text === "auto" ? null : text === "inf" ? Infinity : text.trim() === "" ? NaN : Number(text);
  const written = x => x === null ? "auto" : x === Infinity ? "inf" : String(x);
  const address = state => "#" + Object.keys(START).map(key => `${key}=${written(state[key])}`).join("&");
  function read(hash) {
    const state = { ...START }, refused = [];
    for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
      const value = number(key, text);
      if (key in within && within[key](value)) state[key] = value; else refused.push(`${key}=${text}`);
    }
    return { state, refused };
  }

  // ------------------------------------------------------------------------------------------------ the plots
  const font = { family: 'system-ui, "DejaVu Sans", sans-serif', size: 14, color: "#1d2733" };
  const quiet = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const base = { font, paper_bgcolor: "#fff", plot_bgcolor: "#fff", showlegend: false, dragmode: false, hovermode: "closest" };
  const axis = (title, more = {}) => ({ title: { text: title, standoff: 6, font: { size: 14 } }, tickfont: { size: 12.5 }, zeroline: false, gridcolor: "#e6eaef", fixedrange: true, ...more });
  const near = theta => theta.every(x => Math.abs(x) < 1e3); // what has diverged further is not drawn

  function ellipse({ hessian: [p, q, s], oracle, total }, level) {
    const room = level - total(oracle), det = p * s - q * q, points = Array.from({ length: 121 }, (_, i) => i * Math.PI / 60);
    if (room <= 0) return null; // Cholesky: θ = oracle + √room L⁻ᵀ(cos, sin)
    const l = Math.sqrt(p), m = q / l, n = Math.sqrt(det / p), r = Math.sqrt(room);
    return points.map(t => { const y = Math.sin(t) / n, x = (Math.cos(t) - m * y) / l; return [oracle[0] + r * x, oracle[1] + r * y]; });
  }
  const VIEW = { x: [-0.3, 1.3], y: [-0.85, 0.45] };
  const LEVELS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50];

  function drawPlane(state, now) {
    const line = (points, more) => ({ x: points.map(p => p[0]), y: points.map(p => p[1]), type: "scatter", mode: "lines", hoverinfo: "skip", ...more });
    const ground = LEVELS.map(level => [level, ellipse(now.cost, level)]).filter(([, e]) => e)
      .map(([level, e]) => line(e, { line: { color: "#c9d0d9", width: 1.2 }, hoverinfo: "text", text: `total error ${level}` }));
    const seen = STEPS.filter(K => K <= state.K);
    const paths = METHODS.map(([key, label, dash]) => {
      const points = seen.map(now[key].iterate).filter(near);
      return line(points, { mode: points.length < 60 ? "lines+markers" : "lines", line: { color: colour(key), width: 2.6, dash },
        marker: { size: 5 }, name: label, text: seen.map(K => `${label}, step ${K}`), hoverinfo: "text" });
    });
    const chord = line([[0, 0], [1, 0]], { line: { color: COLOURS.averaging, width: 2, dash: "dot" } });
    const spot = (key, ink, symbol, label, position, size = 12) => ({ x: [now.table[key].theta[0]], y: [now.table[key].theta[1]], type: "scatter",
      mode: "markers+text", text: [label], textposition: position, textfont: { color: ink, size: 14 }, hoverinfo: "skip", cliponaxis: true,
      marker: { color: ink, size, symbol, line: { color: "#fff", width: 1.5 } } });
    const spots = [spot("pretrained", "#1f7fb5", "circle", "θ*", "top right"), spot("target", COLOURS.target, "square", "θ̃*", "top left"),
      spot("average", COLOURS.averaging, "diamond", "best average", "top center", 13), spot("oracle", COLOURS.oracle, "star", "oracle", "bottom right", 15)];
    const ends = METHODS.filter(([key]) => near(now.table[key].theta)).map(([key, label]) =>
      spot(key, colour(key), key === "control" ? "circle-open" : "circle", key === "control" ? "" : label, key === "flow" ? "bottom left" : "top right", 11));
    Plotly.react("plane", [...ground, chord, ...paths, ...spots, ...ends], { ...base, margin: { l: 55, r: 10, t: 34, b: 45 },
      title: { text: "The plane, over contours of the total error", font: { size: 15 }, x: 0, xanchor: "left", y: 0.98 },
      xaxis: axis("along the shift, ē", { range: VIEW.x, constrain: "domain" }), yaxis: axis("across, ē⊥", { range: VIEW.y, scaleanchor: "x", constrain: "domain" }) }, quiet);
  }

  function drawErrors(state, now) {
    const rows = [["pretrain", "forgotten"], ["target", "to learn"], ["total", "total"]], later = STEPS.slice(1), traces = [], shapes = [];
    const layout = { ...base, margin: { l: 60, r: 12, t: 34, b: 45 }, grid: { rows: 3, columns: 1, pattern: "coupled", roworder: "top to bottom", ygap: 0.14 },
      title: { text: "Errors against the step", font: { size: 15 }, x: 0, xanchor: "left", y: 0.985 },
      xaxis: axis("step K, log scale", { type: "log", range: [0, 6], dtick: 1, exponentformat: "power" }) };
    rows.forEach(([error, label], i) => {
      const y = i ? `y${i + 1}` : "y", of = now.cost[error];
      for (const [key, name, dash] of METHODS) {
        const along = later.map(K => of(now[key].iterate(K))).map(error => error < 1e6 ? error : null);
        traces.push({ x: later, y: along, yaxis: y, type: "scatter", mode: "lines", name, line: { color: colour(key), width: 2.4, dash },
          hovertemplate: `${name}, step %{x}: %{y:.4f}<extra></extra>` });
      }
      for (const [key, dash] of [["average", "dot"], ["oracle", "dashdot"]]) {
        const value = of(now.table[key].theta);
        shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref: y, y0: value, y1: value, line: { color: colour(key), width: 1.6, dash } });
      }
      const top = Math.max(of([1, 0]), of([0, 0]), ...["average", "oracle"].map(key => of(now.table[key].theta))) * 1.12;
      layout[i ? `yaxis${i + 1}` : "yaxis"] = axis(label, { range: [0, top], nticks: 5 });
    });
    if (state.K > 0) shapes.push({ type: "line", xref: "x", x0: state.K, x1: state.K, yref: "paper", y0: 0, y1: 1, line: { color: "#8a94a3", width: 1.2 } });
    Plotly.react("errors", traces, { ...layout, shapes, }, quiet);
  }

  function drawSpectrum(now) {
    const traces = METHODS.map(([key, label], i) => ({ x: now[key].eigenvalues.map(x => Math.max(-1.25, Math.min(1.25, x))), y: now[key].eigenvalues.map(() => 2 - i), type: "scatter",
      mode: "markers", marker: { size: 14, color: colour(key), symbol: key === "control" ? "circle-open" : "circle",
      line: { width: 2.5, color: colour(key) } },
      text: now[key].eigenvalues.map(x => `${label}: ${show(x, 4)}`), hoverinfo: "text" }));
    const outside = [[-1.3, -1], [1, 1.3]].map(([x0, x1]) => ({ type: "rect", xref: "x", x0, x1, yref: "paper", y0: 0, y1: 1, fillcolor: "#f3d9d2", line: { width: 0 }, layer: "below" }));
    Plotly.react("spectrum", traces, { ...base, margin: { l: 100, r: 10, t: 34, b: 40 }, shapes: outside, title: { text: "What one step leaves of each direction", font: { size: 15 }, x: 0, xanchor: "left", y: 0.96 },
      xaxis: axis("eigenvalue λ; beyond ±1 it diverges", { range: [-1.3, 1.3], dtick: 0.5 }),
      yaxis: axis("", { range: [-0.6, 2.6], tickvals: [2, 1, 0], ticktext: METHODS.map(m => m[1]), showgrid: false }) }, quiet);
  }

  // ---------------------------------------------------------------------------------------- numbers and notices
  const $ = id => document.getElementById(id);
  const ROWS = [["pretrained", "pre-trained θ*"], ["vanilla", "standard"], ["control", "smaller step"], ["flow", "FLOW"], ["average", "best average"], ["oracle", "oracle"]];
  function fill(state, now) {
    const best = now.table.oracle.total;
    $("table").innerHTML = ROWS.map(([key, label]) => { const row = now.table[key];
      return `<tr><th scope="row">${label}</th>` + [row.forgot, row.left, row.total, row.total - best].map(x => `<td>${Number.isFinite(x) ? show(Math.max(x, 0)) : "diverged"}</td>`).join("") + "</tr>"; }).join("");
    const life = now.flow.diverges ? "none: it diverges" : `${show(now.flow.halfLife, 1)} steps`;
    $("caption").setAttribute("aria-live", timer ? "off" : "polite");
    $("caption").textContent = `After ${state.K.toLocaleString("en")} steps.  μ = ${show(now.flow.mass)}, β = ${show(now.beta)}, half-life of the stall: ${life}.`;
  }
  function notice(state, now, refused) {
    const wild = METHODS.filter(([key]) => now[key].diverges);
    const bound = Math.min(now.flow.stable, now.vanilla.stable); // the control takes the smaller steps of the two
    $("notice").textContent = refused.length ? `Not understood, so left at its start: ${refused.join(", ")}` :
      wild.length ? `Too large a step for ${wild.map(([, label]) => label).join(" and ")}: keep η below ${show(bound)}.` : "";
  }

  // ------------------------------------------------------------------------------------------------- the page
  let state = { ...START }, now, refused = [], waiting = 0, timer = 0;

  function update(changes = {}) {
    state = { ...state, ...changes };
    now = theory.compute(state);
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); });
  }
  function draw() {
    for (const slider of SLIDERS) {
      const input = $(slider.key), value = state[slider.key];
      if (document.activeElement !== input || timer) input.value = slider.get(value, state, now);
      const said = slider.say(value, now);
      $(`${slider.key}-value`).textContent = said;
      input.setAttribute("aria-valuetext", said);
    }
    $("auto").checked = state.eta === null;
    drawPlane(state, now); drawErrors(state, now); drawSpectrum(now); fill(state, now); notice(state, now, refused);
    document.body.dataset.drawn = address(state);
  }
  const remember = () => { if (location.hash !== address(state)) history.replaceState(null, "", address(state)); };
  function change(changes) { refused = []; update(changes); remember(); }
  function follow() { ({ state, refused } = read(location.hash)); update(); }

  function play(on) {
    clearInterval(timer); timer = 0;
    $("play").textContent = on ? "❚❚ Pause" : "▶ Play";
    $("play").setAttribute("aria-pressed", String(on));
    if (!on) return remember();
    const slider = SLIDERS.find(s => s.key === $("through").value);
    let place = Number($(slider.key).value);
    if (place >= slider.max - 1e-9) place = slider.min;
    timer = setInterval(() => {
      place += slider.step;
      if (place > slider.max + 1e-9) return play(false);
      update({ [slider.key]: slider.set(Math.min(place, slider.max)) });
    }, slider.key === "K" ? 70 : 110);
  }

  function build() {
    for (const slider of SLIDERS) {
      const row = document.createElement("div");
      row.className = "slider";
      row.innerHTML = `<label for="${slider.key}">${slider.label}</label><output id="${slider.key}-value" for="${slider.key}"></output>
        <input type="range" id="${slider.key}" min="${slider.min}" max="${slider.max}" step="${slider.step}">`;
      $("sliders").append(row);
      $(slider.key).addEventListener("input", event => { if (timer) play(false); change({ [slider.key]: slider.set(Number(event.target.value)) }); });
    }
    $("auto").addEventListener("change", event => change({ eta: event.target.checked ? null : now.flow.eta }));
    $("play").addEventListener("click", () => play(!timer));
    $("reset").addEventListener("click", () => { play(false); change(START); });
    $("copy").addEventListener("click", async event => {
      remember();
      try { await navigator.clipboard.writeText(location.href); event.target.textContent = "Copied"; } catch { event.target.textContent = "See the address"; }
      setTimeout(() => { $("copy").textContent = "Copy link"; }, 1500);
    });
    $("tries").innerHTML = TRIES.map(([text, changes]) => `<li><a href="${address({ ...START, ...changes })}">${text}</a></li>`).join("");
    document.addEventListener("keydown", event => {
      if (event.key === " " && !event.target.closest("button, a, select, input")) { event.preventDefault(); play(!timer); }
    });
    addEventListener("hashchange", () => { if (timer) play(false); follow(); });
    follow();
  }
  build();
  return { compute: theory.compute, steps: STEPS, read, address, get state() { return state; }, get now() { return now; } };
})();

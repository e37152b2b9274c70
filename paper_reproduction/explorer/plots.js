// The three plots: the plane of parameters, the errors against the step, the eigenvalues of one step.
"use strict";
const plots = (() => {
  const { STEPS, show } = settings;
  // By day letters are darker than what they name: LETTERS has their colours.
  const DAY = { ...COLOURS, ink: "#1d2733", quiet: "#6b7686", grid: "#e6eaef", paper: "#ffffff", rings: "#cdd4dc",
    veil: "rgba(255,255,255,0.75)", beyond: "#f3d9d2", reached: "rgba(0,114,178,0.13)" };
  const NIGHT = { ...DAY, ink: "#e4e9f0", quiet: "#9aa5b4", grid: "#2b3441", paper: "#141a22", rings: "#3d4857",
    veil: "rgba(20,26,34,0.75)", beyond: "#4a2a24", reached: "rgba(79,176,234,0.2)", standard: "#f2843c", flow: "#4fb0ea", averaging: "#2fc79b",
    early_stopping: "#e5a3cb", joint_optimum: "#f4f6f9", pretrained: "#8dd0f7", target: "#d0ad78" };
  const night = matchMedia("(prefers-color-scheme: dark)");
  let tone = night.matches ? NIGHT : DAY; // what everything is drawn in
  night.addEventListener("change", () => { tone = night.matches ? NIGHT : DAY; });
  const within = (range, margin = 0) => x => x > range[0] + margin && x < range[1] - margin;
  const EXCESS = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]; // of the contours, above the best for both
  const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };

  const FONT = 'system-ui, "DejaVu Sans", sans-serif';
  const LEADER = { showarrow: true, arrowhead: 0, arrowwidth: 1.2, standoff: 7 }; // from a label to its mark

  const near = theta => theta.every(x => Math.abs(x) < 1e3); // what has diverged further is not drawn
  const dot = dash => dash === "dash" ? "circle-open" : "circle";
  const axis = (text, more) => ({
    title: { text, standoff: 8, font: { size: 15 } }, tickfont: { size: 13 },
    zeroline: false, gridcolor: tone.grid, fixedrange: true, ...more,
  });
  const layout = more => ({
    font: { family: FONT, size: 14, color: tone.ink }, hovermode: "closest",
    paper_bgcolor: tone.paper, plot_bgcolor: tone.paper, showlegend: false, dragmode: false, ...more,
  });
  const line = (points, more) => ({
    x: points.map(p => p[0]), y: points.map(p => p[1]), type: "scatter", mode: "lines", hoverinfo: "skip", ...more,
  });

  // The ways of training to show, in the colours of the figures. With η = 1/(2μ) standard has the same mean step.
  function methods(state) {
    const same = state.eta === null;
    const standard = { key: "standard", colour: tone.standard, dash: "solid" };
    return [
      { ...standard, label: same ? "standard, same mean step" : "standard, same η" },
      ...(same ? [] : [{ ...standard, key: "sameMeanStep", label: "standard, same mean step", dash: "dash" }]),
      { key: "flow", label: "FLOW", colour: tone.flow, dash: "solid" },
    ];
  }
  const references = () => [
    { key: "early", label: "early stopping", colour: tone.early_stopping, symbol: "triangle-up", dash: "dash" },
    { key: "average", label: "best average", colour: tone.averaging, symbol: "diamond", dash: "dot" },
    { key: "joint", label: "best for both", colour: tone.joint_optimum, symbol: "star", dash: "dashdot" },
  ];

  // --------------------------------------------------------------------------------------------------- the plane

  const MARGIN = { l: 62, r: 8, t: 8, b: 50 };

  // What is seen of the plane, at equal scales: down to −ρ, where standard fine-tuning steps, or as much as fits
  function sight(element, { rho }) {
    const width = element.clientWidth - MARGIN.l - MARGIN.r, height = element.clientHeight - MARGIN.t - MARGIN.b;
    const x = [-0.28, 1.28], y = [-Math.max(0.45, rho) - 0.16, 0.36];
    const pixels = Math.min(width / (x[1] - x[0]), height / (y[1] - y[0]));
    const spare = (range, size) => (size / pixels - (range[1] - range[0])) / 2;
    const widened = (range, by) => [range[0] - by, range[1] + by];
    return { x: widened(x, spare(x, width)), y: widened(y, spare(y, height)), pixels };
  }

  // {θ: err_tot(θ) = least + excess}: the best for both + √excess L⁻ᵀ(cos, sin), with L Lᵀ = Σ + Σ̃ (Cholesky)
  function contour(problem, [x, y], excess) {
    const [p, q, s] = theory.bothCovariances(problem), l = Math.sqrt(p), m = q / l, n = Math.sqrt(s - m * m);
    return Array.from({ length: 181 }, (_, i) => {
      const angle = i * Math.PI / 90, v = Math.sin(angle) / n, u = (Math.cos(angle) - m * v) / l;
      return [x + Math.sqrt(excess) * u, y + Math.sqrt(excess) * v];
    });
  }

  function contours({ problem, table }) {
    return EXCESS.map(excess => {
      const ring = contour(problem, table.joint.theta, excess);
      return line(ring, { line: { color: tone.rings, width: 1.2 } });
    });
  }

  // θ at the steps 0, 1, 2, …, K, thinned out where they are many
  function path(method, state, now) {
    const seen = [...STEPS.filter(K => K < state.K), state.K];
    const text = seen.map(K => `${method.label}, step ${K.toLocaleString("en")}`);
    return line(seen.map(now[method.key].iterate).filter(near), {
      mode: seen.length < 60 ? "lines+markers" : "lines", marker: { size: 6 }, name: method.label, text,
      line: { color: method.colour, width: 2.8, dash: method.dash }, hoverinfo: "text",
    });
  }

  // Its curve; the hull of that curve is what FLOW reaches in small steps
  function earlyStopping(problem) {
    const times = Array.from({ length: 121 }, (_, i) => Math.exp(-6 + i / 10));
    const points = [[1, 0], ...times.map(time => theory.gradientFlow(problem, time)), [0, 0]];
    const reached = { fill: "toself", fillcolor: tone.reached };
    return line(points, { line: { color: tone.early_stopping, width: 2.2, dash: "dash" }, ...reached });
  }

  // The labels of the points and the numbers of the rings, which meet no path, mark or label
  function words(points, paths, rings, { x, y, pixels }) {
    const place = ([u, v]) => [u * pixels, -v * pixels], places = ({ x, y }) => x.map((u, i) => place([u, y[i]]));
    const frame = [x[0] * pixels, x[1] * pixels, -y[1] * pixels, -y[0] * pixels], size = pixels < 250 ? 12 : 14;
    const lines = paths.map(places);
    const marks = points.map(({ theta, label }) =>
      ({ at: place(theta), half: label && labels.half(label, `bold ${size}px ${FONT}`, size) }));
    const chosen = labels.beside(marks, lines, frame);
    const named = points.filter(({ label }) => label).map(({ theta, label, colour }, i) => {
      const { shift: [right, down], lead } = chosen[i], letters = LETTERS[colour] ?? colour;
      return {
        x: theta[0], y: theta[1], text: `<b>${label}</b>`, font: { color: letters, size }, bgcolor: tone.veil,
        borderpad: 0, ...(lead ? { ax: right, ay: down, ...LEADER, arrowcolor: letters } :
          { showarrow: false, xshift: right, yshift: -down }),
      };
    });
    const taken = [...labels.beads(lines, frame), ...marks.map(({ at }) => labels.box(at, [labels.MARK, labels.MARK])),
      ...chosen.flatMap(({ own, line }) => [own, ...line])];
    const halves = EXCESS.map(excess => labels.half(String(excess), `12px ${FONT}`, 12));
    const numbers = labels.onRings(rings.map(places), halves, taken, frame).map((at, i) => at && {
      x: at[0] / pixels, y: -at[1] / pixels, text: String(EXCESS[i]), showarrow: false, borderpad: 0, name: "ring",
      font: { color: tone.quiet, size: 12 }, bgcolor: tone.paper,
    });
    return [...numbers.filter(Boolean), ...named];
  }

  function plane(element, state, now) {
    const seen = sight(element, state);
    const corners = [
      { theta: [1, 0], colour: tone.pretrained, label: "θ*", symbol: "square" },
      { theta: [0, 0], colour: tone.target, label: "θ̃*", symbol: "square" },
    ];
    const ends = methods(state).map(({ key, colour, label, dash }) => ({
      theta: now.table[key].theta, colour, symbol: dot(dash),
      label: key === "sameMeanStep" ? "" : label.split(",")[0], // its dashes tell
    })).filter(({ theta: [u, v] }) => within(seen.x)(u) && within(seen.y)(v));
    const marks = references().map(({ key, ...mark }) => ({ ...mark, theta: now.table[key].theta }));
    const points = [...corners, ...ends, ...marks];
    const dots = line(points.map(point => point.theta), {
      mode: "markers", marker: {
        color: points.map(point => point.colour), symbol: points.map(point => point.symbol), opacity: 1,
        size: points.map(({ symbol }) => symbol === "circle" ? 15 : 13), line: { color: tone.paper, width: 1 },
      },
    });
    const chord = line([[0, 0], [1, 0]], { line: { color: tone.averaging, width: 2.2, dash: "dot" } });
    const paths = [earlyStopping(now.problem), ...methods(state).map(method => path(method, state, now))];
    const rings = contours(now);
    Plotly.react(element, [...rings, chord, ...paths, dots], layout({
      margin: MARGIN, annotations: words(points, [chord, ...paths], rings, seen),
      xaxis: axis("along the shift, ē", { range: seen.x, dtick: 0.5 }),
      yaxis: axis("across it, ē⊥", { range: seen.y, dtick: 0.5 }),
    }), CONFIG);
  }

  // -------------------------------------------------------------------------------------------------- the errors

  const ERRORS = [ // from the top, with their shares of the height
    { error: theory.pretrainError, label: "forgotten", domain: [0.77, 1] },
    { error: theory.targetError, label: "to learn", domain: [0.5, 0.73] },
    { error: theory.totalError, label: "total", domain: [0, 0.46] },
  ];

  // A logarithmic axis that is labelled at 1, 2, 5, 10, … or, over many decades, at powers of ten
  function logAxis(text, low, high, more) {
    const digits = high / low > 100 ? [1] : [1, 2, 5], decades = Array.from({ length: 21 }, (_, i) => i - 10);
    const places = decades.flatMap(k => digits.map(digit => Number(`${digit}e${k}`)));
    const ticks = places.filter(x => x >= low && x <= high), range = [Math.log10(low), Math.log10(high)];
    const ticktext = ticks.map(x => x >= 1000 ? `10<sup>${Math.log10(x)}</sup>` : String(x));
    return axis(text, { type: "log", range, tickvals: ticks, ticktext, ...more });
  }

  function errors(element, state, now) {
    const later = STEPS.slice(1), axes = {}, traces = [], joint = now.table.joint.total;
    ERRORS.forEach(({ error, label, domain }, i) => {
      const of = theta => error(now.problem, theta), worst = Math.max(of([1, 0]), of([0, 0])), yaxis = `y${i + 1}`;
      for (const { key, label: method, colour, dash } of methods(state)) {
        traces.push({
          x: later, y: later.map(K => of(now[key].iterate(K))).map(y => y < 1e6 ? y : null), yaxis, name: method,
          type: "scatter", mode: "lines", line: { color: colour, width: 2.6, dash },
          hovertemplate: `${method}, step %{x}: %{y:.4f}<extra></extra>`,
        });
      }
      const least = error === theory.totalError ? joint / 1.15 : worst / 300;
      axes[`yaxis${i + 1}`] = logAxis(label, least, 2 * worst, { domain });
    });
    const levels = references().map(({ key, colour, dash }) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, yref: "y3", y0: now.table[key].total, y1: now.table[key].total,
      line: { color: colour, width: 2, dash },
    }));
    const cursor = {
      type: "line", xref: "x", x0: Math.max(state.K, 1), x1: Math.max(state.K, 1), yref: "paper", y0: 0, y1: 1,
      line: { color: tone.quiet, width: 1.4 }, visible: state.K > 0,
    };
    Plotly.react(element, traces, layout({
      margin: { l: 62, r: 14, t: 8, b: 50 }, shapes: [...levels, cursor], ...axes,
      xaxis: logAxis("step K", 1, 1e6, { anchor: "y3" }),
    }), CONFIG);
  }

  // ------------------------------------------------------------------------------------------------ the spectrum

  function spectrum(element, state, now) {
    const rows = methods(state), edge = 1.22, margin = { l: 118, r: 8, t: 6, b: 28 };
    const clipped = x => Math.max(-edge + 0.06, Math.min(edge - 0.06, x));
    const traces = rows.map(({ key, label, colour, dash }, i) => {
      const values = now[key].eigenvalues, symbol = dot(dash);
      return {
        x: values.map(clipped), y: values.map(() => -i), type: "scatter", mode: "markers",
        marker: { size: 15, color: colour, symbol, line: { width: 2.5, color: colour } },
        text: values.map(x => `${label}: ${show(x, 4)}`), hoverinfo: "text",
      };
    });
    const outside = [[-edge, -1], [1, edge]].map(([x0, x1]) => ({
      type: "rect", xref: "x", x0, x1, yref: "paper", y0: 0, y1: 1,
      fillcolor: tone.beyond, line: { width: 0 }, layer: "below",
    }));
    const slowest = Math.max(...now.flow.eigenvalues.map(Math.abs)), row = rows.findIndex(({ key }) => key === "flow");
    const stalled = now.flow.eigenvalues.find(x => Math.abs(x) === slowest);
    const pixels = (element.clientWidth - margin.l - margin.r) / (2 * edge);
    const room = pixels - labels.half("the stall", `13px ${FONT}`, 13)[0]; // to the red zones on both sides
    const stall = slowest > 0.5 && slowest < 1 ? [{ // above its dot, where no other row has one
      x: stalled, y: -row, yshift: 16, xshift: Math.max(-room, Math.min(room, stalled * pixels)) - stalled * pixels,
      text: "the stall", showarrow: false, font: { color: tone.flow, size: 13 },
    }] : [];
    Plotly.react(element, traces, layout({
      annotations: stall, margin, shapes: outside,
      xaxis: axis("", { range: [-edge, edge], dtick: 0.5 }),
      yaxis: axis("", {
        range: [0.5 - rows.length, 0.75], tickvals: rows.map((_, i) => -i), showgrid: false,
        ticktext: rows.map(row => row.label.replace(", ", ",<br>")),
      }),
    }), CONFIG);
  }

  return { plane, errors, spectrum, methods, references };
})();

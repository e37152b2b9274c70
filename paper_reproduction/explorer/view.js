// The page: controls, table, animation, address. All numbers come from theory.compute, all curves from plots.
"use strict";
window.explorer = (() => {
  const { START, SLIDERS, CASES, TRIES, address, read, show } = settings;
  const $ = id => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  let state = START, now = theory.compute(START), refused = [];
  let frame = 0; // the animation frame in which the page will be drawn, or 0
  let timer = 0; // the interval of the animation, or 0

  // ------------------------------------------------------------------------------------------------------ state

  function set(changes) {
    state = { ...state, ...changes };
    now = theory.compute(state);
    if (!frame) frame = requestAnimationFrame(draw);
  }
  function remember() { // no entry in the history for every move of a slider
    if (location.hash !== address(state)) history.replaceState(null, "", address(state));
  }
  function choose(changes) {
    pause();
    refused = [];
    set(changes);
    remember();
  }
  function follow() {
    pause();
    const found = read(location.hash);
    refused = found.refused;
    set(found.state);
  }

  // ---------------------------------------------------------------------------------------------------- drawing

  function draw() {
    frame = 0;
    drawControls();
    plots.plane($("plane"), state, now);
    plots.errors($("errors"), state, now);
    plots.spectrum($("spectrum"), state, now);
    drawLegend();
    drawTable();
    drawNotice();
    document.body.dataset.drawn = address(state);
  }

  function drawControls() {
    for (const { key, at, say } of SLIDERS) {
      const input = $(key), said = say(state[key], now);
      if (document.activeElement !== input || timer) input.value = at(state[key], now);
      $(`${key}-value`).textContent = said;
      input.setAttribute("aria-valuetext", said);
    }
    $("auto").checked = state.eta === null;
  }

  const steps = K => `${K.toLocaleString("en")} ${K === 1 ? "step" : "steps"}`;
  const WINNERS = {
    average: "the best average, which it nears as τ → 0",
    joint: "the best for both, at a τ of its own",
    early: "early stopping, which it nears as τ → ∞",
  };
  const DASHES = { solid: "none", dash: "7 4", dot: "2 4", dashdot: "8 3 2 3" };
  function drawLegend() {
    const sample = ({ label, colour, dash }) => `<span><svg width="34" height="10" aria-hidden="true"><path d="M0 5H34"
      stroke="${colour}" stroke-width="3" stroke-dasharray="${DASHES[dash]}"/></svg> ${label}</span>`;
    const html = [...plots.methods(state), ...plots.references()].map(sample).join(" ");
    if ($("legend").innerHTML !== html) $("legend").innerHTML = html;
  }

  function drawTable() {
    const names = [{ key: "pretrained", label: "pre-trained θ*" }, ...plots.methods(state), ...plots.references()];
    const cell = x => `<td>${Number.isFinite(x) ? show(Math.max(x, 0)) : "diverged"}</td>`;
    $("table").innerHTML = names.map(({ key, label }) => {
      const { forgot, left, total } = now.table[key], excess = total - now.table.joint.total;
      const cells = [forgot, left, total, excess].map(cell).join("");
      return `<tr class="${key}"><th scope="row">${label}</th>${cells}</tr>`;
    }).join("");
    $("caption").textContent = `After ${steps(state.K)}: errors in units of ‖e‖²`;
    const { mass, halfLife, diverges } = now.flow;
    const fate = diverges ? "it diverges" : `what stalls halves every ${show(halfLife, 1)} steps`;
    const { winner, total } = now.best;
    $("facts").textContent = `FLOW: mean weight μ = ${show(mass)}; ${fate}. `
      + `In small steps its best total, over every τ and time, is ${show(total)}: ${WINNERS[winner]}.`;
  }

  function drawNotice() {
    const wild = plots.methods(state).filter(({ key }) => now[key].diverges);
    const limits = wild.map(({ key, label }) =>
      `${label} (its η is ${show(now[key].eta)}, the limit ${show(now[key].stable)})`);
    $("notice").textContent =
      refused.length ? `Not understood, so left as it was: ${refused.join(", ")}` :
      wild.length ? `The step is too large for ${limits.join(" and for ")}.` : "";
  }

  // -------------------------------------------------------------------------------------------------- animation

  function play() {
    const slider = SLIDERS.find(({ key }) => key === $("through").value);
    const stride = calm.matches ? 10 * slider.step : slider.step; // few and slow pictures for who prefers it calm
    let position = Number($(slider.key).value);
    if (position > slider.max - 1e-9) position = slider.min - stride;
    announce(false);
    timer = setInterval(() => {
      position = Math.min(position + stride, slider.max);
      set({ [slider.key]: slider.value(position) });
      if (position === slider.max) pause();
    }, calm.matches ? 1500 : slider.key === "K" ? 80 : 120);
    showPlaying();
  }
  function pause() {
    if (!timer) return;
    clearInterval(timer);
    timer = 0;
    announce(true);
    showPlaying();
    remember();
  }
  const announce = on => $("numbers").setAttribute("aria-live", on ? "polite" : "off");
  function showPlaying() {
    $("play").textContent = timer ? "❚❚ Pause" : "▶ Play";
    $("play").setAttribute("aria-pressed", String(timer !== 0));
  }

  // ------------------------------------------------------------------------------------------------------- build

  function addSlider({ key, label, min, max, step, value }) {
    const row = document.createElement("div");
    row.className = "slider";
    row.innerHTML = `<label for="${key}">${label}</label><output id="${key}-value" for="${key}"></output>
      <input type="range" id="${key}" min="${min}" max="${max}" step="${step}">`;
    $("sliders").append(row);
    $(key).addEventListener("input", event => choose({ [key]: value(Number(event.target.value)) }));
  }

  async function copy() {
    remember();
    try {
      await navigator.clipboard.writeText(location.href);
      $("copy").textContent = "Copied";
    } catch {
      $("copy").textContent = "It is in the address bar";
    }
    setTimeout(() => { $("copy").textContent = "Copy link"; }, 2000);
  }

  SLIDERS.forEach(addSlider);
  $("auto").addEventListener("change", event => choose({ eta: event.target.checked ? null : now.flow.eta }));
  $("play").addEventListener("click", () => timer ? pause() : play());
  $("reset").addEventListener("click", () => choose(START));
  $("copy").addEventListener("click", copy);
  for (const [text, changes] of CASES) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", () => choose({ ...START, ...changes }));
    $("cases").append(button);
  }
  $("tries").innerHTML = TRIES.map(([text, target]) => `<li><a href="${address(target)}">${text}</a></li>`).join("");
  document.addEventListener("keydown", event => {
    if (event.key !== " " || event.target.closest("button, a, select, input")) return;
    event.preventDefault();
    $("play").click();
  });
  addEventListener("hashchange", follow);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set({}));
  addEventListener("resize", () => set({})); // the labels of the plane are placed in pixels
  follow();

  return {
    compute: theory.compute, address, read,
    get state() { return state; }, get playing() { return timer !== 0; },
  };
})();

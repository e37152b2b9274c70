// Pictures that fill the window, and slides. Without this the page is the same, to be read by scrolling.
"use strict";
const enlarged = document.querySelector("dialog");
for (const link of document.querySelectorAll("a.picture")) link.addEventListener("click", event => {
  event.preventDefault();
  if (now >= 0) return; // it fills the slide already
  enlarged.querySelector("img")?.remove();
  enlarged.append(link.firstElementChild.cloneNode());
  enlarged.showModal(); // keeps the focus inside; Esc closes, and the focus goes back
});
enlarged.addEventListener("click", () => enlarged.close());

const slides = [...document.querySelectorAll(".slide")], place = document.querySelector("#place span"), button = document.getElementById("to-slides");
let now = -1; // the number of the slide that is shown; below 0: the page

function show(number) {
  slides[now]?.classList.remove("now");
  now = Math.max(0, Math.min(slides.length - 1, number));
  const slide = slides[now];
  document.documentElement.classList.add("slides");
  slide.classList.add("now");
  slide.tabIndex = -1;
  slide.focus();
  place.textContent = `${now + 1} / ${slides.length}`;
  fit(slide);
  history.replaceState(null, "", `#${slide.id}`);
}

function fit(slide) { // letters as large as leave the picture 86 % of the height
  for (let size = 3; size > 2.1; size -= 0.1) {
    slide.style.setProperty("--letter", `${size}vh`);
    if (slide.firstElementChild.offsetHeight <= 0.14 * innerHeight) return;
  }
}

function leave() {
  const slide = slides[now];
  document.documentElement.classList.remove("slides");
  slide.classList.remove("now");
  now = -1;
  slide.scrollIntoView({ behavior: "instant" });
  button.focus({ preventScroll: true });
}

function enter() { // at what is read
  show(slides.findIndex(slide => slide.getBoundingClientRect().bottom > innerHeight / 3));
}

const KEYS = {
  ArrowRight: () => show(now + 1), ArrowDown: () => show(now + 1), PageDown: () => show(now + 1), " ": () => show(now + 1),
  ArrowLeft: () => show(now - 1), ArrowUp: () => show(now - 1), PageUp: () => show(now - 1),
  Home: () => show(0), End: () => show(slides.length - 1), Escape: leave, s: leave,
};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || enlarged.open) return;
  const act = now >= 0 ? KEYS[event.key] : event.key === "s" ? enter : undefined;
  if (act) event.preventDefault();
  act?.();
});
addEventListener("click", () => { if (now >= 0) show(now + 1); });
addEventListener("resize", () => { if (now >= 0) fit(slides[now]); });
addEventListener("hashchange", () => { // a link, or an address typed in
  const linked = slides.findIndex(slide => `#${slide.id}` === location.hash);
  if (now >= 0 && linked >= 0) show(linked);
});
document.querySelector("#place button").addEventListener("click", event => { event.stopPropagation(); leave(); });
button.hidden = false;
button.addEventListener("click", event => { event.stopPropagation(); enter(); });

// What scrolls can be reached by the keyboard.
for (const wide of document.querySelectorAll(".formula, .scroll, .prose")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;

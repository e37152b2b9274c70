// A button on each block of code that copies it; of a session with >>> only what was typed.
"use strict";
for (const block of document.querySelectorAll("div.highlight")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "Copy" });
  const said = text => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  button.addEventListener("click", async () => {
    const text = block.querySelector("pre").innerText, lines = text.split("\n");
    const typed = lines.filter(line => /^(>>>|\.\.\.)( |$)/.test(line)).map(line => line.slice(4));
    try {
      await navigator.clipboard.writeText(lines[0].startsWith(">>>") ? typed.join("\n") : text);
      said("Copied");
    } catch { // no clipboard without leave or without https: the text is selected, and Ctrl+C takes it
      getSelection().selectAllChildren(block.querySelector("pre"));
      said("Selected");
    }
  });
  block.append(button);
}
// What scrolls can be reached by the keyboard.
for (const wide of document.querySelectorAll(".formula, p:has(> math)")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;

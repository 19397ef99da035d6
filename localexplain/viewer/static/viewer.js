// Keys, and the value under the pointer. Every page works without this script.
"use strict";

const KEYS = { j: "next", k: "previous", r: "random", h: "home" };

function isTyping(target) {
  return target.closest("input, textarea, select") !== null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search").focus();
    return;
  }
  const link = document.getElementById(KEYS[event.key] ?? "");
  if (link) link.click();
});

// A token's title says its numbers; the line above the heat maps repeats it, for fingers and for those who wait for no
// tooltip.
const readout = document.getElementById("readout");
let at = null;

function show(event) {
  const token = event.target.closest(".tokens span[title]");
  if (!readout || !token || token === at) return;
  if (at) at.classList.remove("at");
  at = token;
  at.classList.add("at");
  readout.textContent = `${token.textContent}   ${token.title}`;
  readout.hidden = false;
}

document.addEventListener("pointerover", show);
document.addEventListener("click", show);

// The pictures of the fleet: bars of shares, and a square per slot. Their numbers stand beside them as text.

import { el } from "../text/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST_COLUMNS = 32;
const CELL = 10;

/** Return a bar of shares, each `[class, 0 to 1]`; `title` explains it. */
export function meter(shares, title = null) {
  const parts = shares.map(([kind, share]) => {
    const part = el("i", { class: kind });
    part.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
    return part;
  });
  return el("dd", { class: "meter", "aria-hidden": "true", title }, parts);
}

/** Return a square per slot, the busy ones marked. */
export function slotGrid(slots, busy) {
  const columns = Math.min(MOST_COLUMNS, Math.max(16, slots));
  const rows = Math.max(1, Math.ceil(slots / columns));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "slots");
  svg.setAttribute("viewBox", `-0.5 -0.5 ${columns * CELL} ${rows * CELL}`);
  for (let slot = 0; slot < slots; slot += 1) {
    const square = document.createElementNS(SVG, "rect");
    const place = { x: (slot % columns) * CELL, y: Math.floor(slot / columns) * CELL, width: CELL - 2, height: CELL - 2, rx: 2 };
    for (const [name, value] of Object.entries(place)) square.setAttribute(name, value);
    if (slot < busy) square.setAttribute("class", "busy");
    svg.append(square);
  }
  return el("dd", { class: "slots", "aria-hidden": "true" }, svg);
}

// Builds elements. Text becomes text nodes, never HTML: the page's policy forbids the latter altogether.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element: `el("button", { class: "x", onclick: f, "aria-label": "…" }, "text", child)`. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) setProperty(element, key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function setProperty(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key === "class") element.className = value;
  else if (key === "value") element.value = value;
  else element.setAttribute(key, value === true ? "" : value);
}

/** Return one of the icons of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Set the text of an element only if it changes, so that nothing is drawn or announced again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return the element of index.html with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Return a function that runs `action` once after calls have stopped for so many milliseconds. */
export function debounced(action, milliseconds = 150) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

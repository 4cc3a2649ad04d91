// Search in the transcript. Matches are painted with the browser's highlights, so the text's elements stay as they are.

import { el, debounced, icon, setText } from "../text/dom.js";
import { number } from "../text/format.js";
import { t } from "../text/i18n.js";

const MOST = 5000;

/** The search bar of a reader; `onmatches(moments)` learns where matches are, in seconds. */
export class Find {
  constructor(reader, onmatches) {
    this.reader = reader;
    this.onmatches = onmatches;
    this.matches = [];
    this.now = -1;
    this.input = el("input", { type: "search", autocomplete: "off", "aria-label": t("find.label"), placeholder: t("find.label") });
    this.count = el("span", { class: "muted", role: "status" });
    const button = (name, key, step) =>
      el("button", { type: "button", class: "round", "aria-label": t(key), title: t(key), onclick: () => this.go(step) }, icon(name));
    this.buttons = [button("up", "find.previous", -1), button("down", "find.next", 1)];
    this.element = el("div", { class: "seek-bar" }, el("label", { class: "search" }, icon("search"), this.input), this.count, this.buttons);
    this.input.addEventListener("input", debounced(() => this.search()));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.go(event.shiftKey ? -1 : 1);
    });
    this.show();
  }

  /** Look for what is in the field. */
  search() {
    const wanted = this.input.value.trim().toLowerCase();
    this.matches = wanted ? this.reader.segments.flatMap((segment) => matchesIn(segment, wanted)).slice(0, MOST) : [];
    this.now = -1;
    this.onmatches(this.matches.map(({ start }) => start));
    if (this.matches.length) this.go(1);
    else this.show();
  }

  go(step) {
    const { length } = this.matches;
    if (!length) return;
    this.now = (this.now + step + length) % length;
    this.show();
    const { range } = this.matches[this.now];
    range.startContainer.parentElement.scrollIntoView({ block: "center" });
  }

  /** Remove the highlights. */
  close() {
    CSS.highlights?.clear();
  }

  show() {
    const { length } = this.matches;
    const counted = length ? t("find.count", { now: number(this.now + 1), count: length }) : t("find.none");
    setText(this.count, this.input.value.trim() ? counted : "");
    for (const button of this.buttons) button.disabled = length === 0;
    if (!window.Highlight) return; // older browsers scroll to the match without painting it
    CSS.highlights.set("found", new Highlight(...this.matches.map(({ range }) => range)));
    CSS.highlights.set("found-now", new Highlight(...(length ? [this.matches[Math.max(0, this.now)].range] : [])));
  }
}

/** Return the matches in a segment as ranges, with the moment of the word in which each begins. */
function matchesIn(segment, wanted) {
  const nodes = [];
  const walker = document.createTreeWalker(segment.row.querySelector(".words"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) nodes.push(walker.currentNode);
  const texts = nodes.map((node) => node.data.toLowerCase());
  const whole = texts.join("");
  const found = [];
  for (let at = whole.indexOf(wanted); at >= 0; at = whole.indexOf(wanted, at + wanted.length)) {
    const range = document.createRange();
    range.setStart(...placeIn(nodes, texts, at));
    range.setEnd(...placeIn(nodes, texts, at + wanted.length - 1, 1));
    const word = range.startContainer.parentElement.dataset.start;
    found.push({ range, start: word === undefined ? segment.start : Number(word) });
  }
  return found;
}

function placeIn(nodes, texts, offset, extra = 0) {
  let rest = offset;
  let index = 0;
  while (rest >= texts[index].length) rest -= texts[index++].length;
  return [nodes[index], Math.min(nodes[index].length, rest + extra)];
}

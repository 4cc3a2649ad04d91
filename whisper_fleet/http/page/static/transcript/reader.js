// The text of a transcript: a paragraph per segment with the time at which it begins, a span per word. Clicking a word
// plays from it. By keyboard: up and down move between segments, left and right between words, Enter plays.

import { el } from "../text/dom.js";
import { clock } from "../text/format.js";
import { t } from "../text/i18n.js";
import { printable, printableText } from "../text/printable.js";

const AT_ONCE = 200; // segments that are added before the browser may draw
const HOLD = 0.4; // seconds for which a word stays marked in the pause behind it
const PATIENCE = 4000; // milliseconds after the reader scrolled, in which playback does not scroll

/** Shows a transcript in `element`; `onseek(seconds)` is called for what the user chose. */
export class Reader {
  constructor(onseek) {
    this.onseek = onseek;
    this.segments = [];
    this.words = [];
    this.spoken = null;
    this.current = null;
    this.scrolledAt = -Infinity;
    this.position = 0;
    const label = { role: "region", "aria-label": t("reader.label"), tabindex: 0 };
    this.element = el("div", { class: "reader", ...label });
    this.element.addEventListener("click", (event) => this.onClick(event));
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["wheel", "touchmove"]) {
      this.element.addEventListener(name, () => (this.scrolledAt = performance.now()), { passive: true });
    }
  }

  /** Show a transcript; a long one is added step by step. */
  async show(transcript, signal) {
    this.element.replaceChildren();
    if (!transcript.segments.length) this.element.append(el("p", { class: "muted" }, t("detail.empty")));
    for (let first = 0; first < transcript.segments.length; first += AT_ONCE) {
      if (signal.aborted) return;
      const rows = transcript.segments.slice(first, first + AT_ONCE).map((segment) => this.row(segment));
      this.element.append(...rows);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  /** Return the stretches in which somebody speaks. */
  speech() {
    return this.words.length ? this.words : this.segments;
  }

  /** Mark what is spoken at this moment, and keep it in view while it plays. */
  setTime(seconds, isPlaying) {
    this.position = seconds;
    const segment = entryAt(this.segments, seconds);
    if (segment !== this.current) {
      this.current?.row.classList.remove("current");
      segment?.row.classList.add("current");
      this.current = segment;
      if (isPlaying && segment) this.bringIntoView(segment.row);
    }
    const word = entryAt(this.words, seconds, HOLD);
    if (word === this.spoken) return;
    this.spoken?.span.classList.remove("spoken");
    word?.span.classList.add("spoken");
    this.spoken = word;
  }

  bringIntoView(row) {
    if (performance.now() - this.scrolledAt < PATIENCE) return;
    const isReduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
    row.scrollIntoView({ block: "center", behavior: isReduced ? "auto" : "smooth" });
  }

  row(segment) {
    const timed = Boolean(segment.words?.length);
    const time = clock(segment.start);
    const isFirst = this.segments.length === 0;
    const button = el("button", { class: "time", type: "button", "aria-label": t("reader.seek", { time }) }, time);
    button.tabIndex = isFirst ? 0 : -1;
    const text = el("span", { class: "words" }, timed ? this.spans(segment.words) : printableText(segment.text.trim()));
    const speaker = segment.speaker ? el("span", { class: "speaker" }, printable(segment.speaker)) : null;
    const row = el("div", { class: "segment" }, button, el("p", { dir: "auto" }, speaker, text));
    row.classList.toggle("timed", timed);
    if (segment.suspect?.length) {
      row.classList.add("suspect");
      row.title = t("detail.suspect", { reasons: segment.suspect.map(printable).join(", ") });
    }
    this.segments.push({ start: segment.start, end: segment.end, text: segment.text, row, button });
    return row;
  }

  spans(words) {
    return words.flatMap((word, place) => {
      const text = word.word.trimStart(); // the space before a word is not highlighted with it
      const span = el("span", { class: "word" }, printableText(text));
      span.dataset.start = word.start;
      this.words.push({ start: word.start, end: word.end, text, span });
      return place > 0 && text !== word.word ? [" ", span] : [span];
    });
  }

  onClick(event) {
    if (String(getSelection())) return; // the user marks text to copy it
    const word = event.target.closest(".word");
    const row = event.target.closest(".segment");
    if (!row || !event.target.closest(".words, .time")) return;
    const segment = this.segments.find((entry) => entry.row === row);
    this.focusOn(segment);
    this.onseek(word ? Number(word.dataset.start) : segment.start, true);
  }

  onKey(event) {
    const place = this.segments.findIndex(({ button }) => button === event.target);
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (move && this.segments[place + move]) {
      event.preventDefault();
      this.focusOn(this.segments[place + move]);
      this.segments[place + move].button.focus();
    } else if (step && this.words.length) {
      event.preventDefault();
      this.onseek(this.words[this.nextWord(step)].start, false);
    }
  }

  nextWord(step) {
    const here = placeOf(this.words, this.position + 0.001);
    return Math.min(this.words.length - 1, Math.max(0, here + step));
  }

  /** Let the Tab key come to one segment only: a long transcript has thousands. */
  focusOn(segment) {
    for (const { button } of this.segments) if (button.tabIndex === 0) button.tabIndex = -1;
    segment.button.tabIndex = 0;
  }
}

/** Return the index of the last entry that begins at or before a moment; -1 before the first. */
function placeOf(entries, seconds) {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle].start <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function entryAt(entries, seconds, hold = 0) {
  const entry = entries[placeOf(entries, seconds)];
  return entry && seconds < entry.end + hold ? entry : null;
}

// The position slider, drawn as a map of the recording: a stroke where somebody speaks, denser for faster speech, and
// a mark where the search matched. An ordinary range input on top makes it work with keyboard, touch and screen reader.

import { el } from "../text/dom.js";
import { clock } from "../text/format.js";
import { t } from "../text/i18n.js";

const STROKE = 3; // pixels from one stroke to the next

/** The slider; `onseek` is called with seconds. */
export class SpeechMap {
  constructor(onseek) {
    this.position = 0;
    this.total = 0;
    this.spans = [];
    this.marks = [];
    this.canvas = el("canvas", {});
    this.input = el("input", { type: "range", min: 0, max: 0, step: "any", value: 0, "aria-label": t("player.position") });
    this.input.addEventListener("input", () => onseek(Number(this.input.value)));
    this.input.addEventListener("keydown", (event) => this.onKey(event, onseek));
    this.element = el("div", { class: "speech-map" }, this.canvas, this.input);
    this.redraw = () => this.draw();
    this.observer = new ResizeObserver(this.redraw);
    this.observer.observe(this.element);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.redraw);
    document.addEventListener("themechange", this.redraw);
  }

  /** Show these stretches of speech: `{start, end, text}`, in seconds. */
  setSpeech(spans, total) {
    this.spans = spans;
    this.total ||= total;
    this.draw();
  }

  /** Mark these moments, in seconds. */
  setMarks(marks) {
    this.marks = marks;
    this.draw();
  }

  /** Show the position; called for every frame while the audio plays. */
  setPosition(seconds, total) {
    this.position = seconds;
    if (total) this.total = total;
    this.input.max = this.total;
    this.input.value = seconds;
    this.input.setAttribute("aria-valuetext", t("player.time", { now: clock(seconds), total: clock(this.total) }));
    this.draw();
  }

  /** Stop listening. */
  close() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
    document.removeEventListener("themechange", this.redraw);
  }

  onKey(event, onseek) {
    const step = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageUp: 60, PageDown: -60 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    onseek(Math.min(this.total, Math.max(0, this.position + step)));
  }

  draw() {
    const { width, height } = this.element.getBoundingClientRect();
    const scale = window.devicePixelRatio || 1;
    if (!width) return;
    if (this.canvas.width !== Math.round(width * scale)) this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale)) this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    const colours = getComputedStyle(this.canvas); // the three colours are set in transcript.css
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.drawSpeech(context, width, height, colours);
    this.drawMarks(context, width, height, colours);
  }

  drawSpeech(context, width, height, colours) {
    const strokes = this.strokes(Math.floor(width / STROKE));
    const played = this.total ? (this.position / this.total) * width : 0;
    const [ink, accent] = [colours.color, colours.textDecorationColor];
    strokes.forEach((density, index) => {
      const x = index * STROKE + 0.5;
      const length = 2 + density * (height - 8);
      context.fillStyle = x <= played ? accent : ink;
      context.globalAlpha = x <= played ? 1 : 0.55;
      context.beginPath();
      context.roundRect(x, (height - length) / 2, 2, length, 1);
      context.fill();
    });
    context.globalAlpha = 1;
    context.fillStyle = accent;
    context.fillRect(Math.min(width - 2, Math.max(0, played - 1)), 0, 2, height);
  }

  drawMarks(context, width, height, colours) {
    if (!this.total) return;
    context.fillStyle = colours.caretColor;
    for (const moment of this.marks) context.fillRect((moment / this.total) * width - 1.5, height - 5, 3, 5);
  }

  /** Return how much is said at each stroke, 0 to 1; computed once per width and text. */
  strokes(count) {
    if (this.cached?.spans === this.spans && this.cached.count === count && this.cached.total === this.total) {
      return this.cached.strokes;
    }
    const said = new Float32Array(count);
    const perStroke = this.total / count || 1;
    for (const { start, end, text } of this.spans) {
      const first = Math.max(0, Math.floor(start / perStroke));
      const last = Math.min(count - 1, Math.max(first, Math.ceil(end / perStroke) - 1));
      const share = text.length / (last - first + 1);
      for (let index = first; index <= last; index += 1) said[index] += share;
    }
    const most = Math.max(...said, 1e-9);
    const strokes = Array.from(said, (value) => Math.sqrt(value / most));
    this.cached = { spans: this.spans, count, total: this.total, strokes };
    return strokes;
  }
}

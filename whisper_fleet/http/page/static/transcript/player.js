// Plays a job's audio and reports where it is. A media element cannot send an API key, so the server is asked for a
// link: an address with a ticket that is good for this job's audio, for an hour. After that a new one is fetched.

import { call } from "../api/client.js";
import { el, icon, setText } from "../text/dom.js";
import { clock, number } from "../text/format.js";
import { t } from "../text/i18n.js";
import { SpeechMap } from "./speech_map.js";

const STEP = 5; // seconds
const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

/** The player of one job; `element` is to be put into the page, `ontime` is called with the position in seconds. */
export class Player {
  constructor(job, ontime) {
    this.job = job;
    this.ontime = ontime;
    this.linkedAt = 0;
    this.audio = new Audio();
    this.audio.preload = "metadata";
    this.map = new SpeechMap((seconds) => this.seek(seconds));
    this.element = this.build();
    this.listen();
  }

  /** Get the audio; returns the key of a text that says why there is none, or null. */
  async load() {
    if (this.job.source !== null) return "player.not_upload";
    try {
      await this.link();
      return null;
    } catch (error) {
      if (error.status === 404) return "player.missing";
      throw error;
    }
  }

  /** Go to a position in seconds, and play if `plays`. */
  seek(seconds, plays = false) {
    if (!this.audio.src) return;
    this.audio.currentTime = Math.max(0, seconds);
    this.show();
    if (plays) this.play();
  }

  /** Start or stop. */
  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  /** Stop for good and let go of the connection. */
  close() {
    this.map.close();
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  async link() {
    const { url } = await call("POST", `/v1/jobs/${encodeURIComponent(this.job.id)}/audio/link`);
    this.linkedAt = performance.now();
    this.audio.src = url;
  }

  play() {
    this.audio.play().catch(() => undefined); // an error is reported by its event
  }

  build() {
    const button = (name, key, action) =>
      el("button", { type: "button", class: "round", "aria-label": t(key), title: t(key), onclick: action }, icon(name));
    this.playButton = button("play", "player.play", () => this.toggle());
    this.playButton.classList.add("play");
    const back = button("rewind", "player.back", () => this.seek(this.audio.currentTime - STEP));
    const forward = button("forward", "player.forward", () => this.seek(this.audio.currentTime + STEP));
    this.time = el("span", { class: "clock" });
    const speeds = SPEEDS.map((speed) => el("option", { value: speed, selected: speed === 1 }, `${number(speed)}×`));
    const speed = el("select", { "aria-label": t("player.speed"), title: t("player.speed") }, speeds);
    speed.addEventListener("change", () => (this.audio.playbackRate = Number(speed.value)));
    const controls = el("div", { class: "controls" }, back, this.playButton, forward);
    const end = el("div", { class: "end" }, this.time, speed);
    return el("section", { class: "player", "aria-label": t("player.label") }, controls, this.map.element, end);
  }

  listen() {
    const { audio } = this;
    for (const name of ["loadedmetadata", "durationchange", "seeked"]) audio.addEventListener(name, () => this.show());
    audio.addEventListener("play", () => {
      this.showButton();
      this.follow();
    });
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => this.showButton());
    audio.addEventListener("error", () => this.recover());
  }

  /** Follow the position closely enough for single words while the audio plays. */
  follow() {
    this.show();
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }

  show() {
    const { currentTime } = this.audio;
    const total = this.duration();
    setText(this.time, `${clock(currentTime)} / ${clock(total)}`);
    this.map.setPosition(currentTime, total);
    this.ontime(currentTime, !this.audio.paused);
  }

  duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : (this.job.duration ?? 0);
  }

  showButton() {
    const isPlaying = !this.audio.paused && !this.audio.ended;
    const key = isPlaying ? "player.pause" : "player.play";
    this.playButton.setAttribute("aria-label", t(key));
    this.playButton.title = t(key);
    this.playButton.replaceChildren(icon(isPlaying ? "pause" : "play"));
  }

  /** A link that has expired fails like a lost connection: get another, and go on at the same place. */
  async recover() {
    if (!this.audio.src || performance.now() - this.linkedAt < 5000) {
      this.element.dispatchEvent(new CustomEvent("unplayable", { bubbles: true }));
      return;
    }
    const { currentTime, paused } = this.audio;
    await this.link().catch(() => undefined);
    this.audio.currentTime = currentTime;
    if (!paused) this.play();
  }
}

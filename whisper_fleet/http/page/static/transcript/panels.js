// The parts of the right column that are made from a job's record: its head, its progress, and what went wrong.

import { hasEnded } from "../jobs/store.js";
import { nameOf, shareOf, stateOf } from "../jobs/naming.js";
import { showProgress } from "../jobs/list.js";
import { el, icon, setText } from "../text/dom.js";
import { clock, languageName, moment, percent, span } from "../text/format.js";
import { t } from "../text/i18n.js";
import { printable } from "../text/printable.js";
import { cancelJob, deleteJob, retryJob } from "./actions.js";
import { FORMATS, download } from "./downloads.js";

const SVG = "http://www.w3.org/2000/svg";

/** Return what fills the column while there is no job to show. */
export function blankPanel(title, hint = null) {
  return el("div", { class: "blank" }, waves(), el("h2", {}, t(title)), hint && el("p", {}, t(hint)));
}

function waves() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 200 60");
  svg.setAttribute("aria-hidden", "true");
  const lengths = [8, 16, 28, 18, 34, 22, 46, 30, 52, 26, 40, 20, 30, 14, 8];
  lengths.forEach((length, index) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${16 + index * 12} ${30 - length / 2}v${length}`);
    if (index === 8) path.setAttribute("class", "mark");
    svg.append(path);
  });
  return svg;
}

/** Return the elements of a job's head: its name, what is known of it, and what can be done with it. */
export function headOf(job, onProblem) {
  const back = el("a", { class: "button quiet back", href: "#/" }, icon("back"), t("detail.back"));
  return [back, el("h2", { dir: "auto" }, nameOf(job)), factsOf(job), actionsOf(job, onProblem)];
}

function factsOf(job) {
  const facts = [[null, stateOf(job).text, job.state]];
  if (job.duration) facts.push(["detail.duration", clock(job.duration)]);
  if (job.language) facts.push(["detail.language", languageName(job.language)]);
  facts.push(["detail.model", printable(job.model.split("/").at(-1))]);
  if (job.task === "translate") facts.push(["detail.task", t("task.translate")]);
  if (job.priority !== 5) facts.push(["detail.priority", String(job.priority)]);
  facts.push(["detail.submitted", moment(job.created_at)]);
  if (job.ended_at) facts.push(["detail.took", span(job.ended_at - job.created_at)]);
  const shown = ([key, value, kind]) => el("span", { class: kind ?? "" }, key && `${t(key)} `, el("strong", {}, value));
  return el("p", { class: "facts" }, facts.map(shown));
}

function actionsOf(job, onProblem) {
  const run = (action) => async ({ currentTarget }) => {
    currentTarget.disabled = true;
    await action(job).catch(onProblem);
    currentTarget.disabled = false;
  };
  const button = (name, key, action, kind = "quiet") =>
    el("button", { type: "button", class: `button ${kind}`, onclick: run(action) }, icon(name), t(key));
  const formats = FORMATS.map((format) => {
    const label = t("action.download", { format });
    return el("button", { type: "button", class: "button quiet", "aria-label": label, title: label, onclick: run((job) => download(job, format)) }, format);
  });
  const group = { class: "group", role: "group", "aria-label": t("action.downloads") };
  return el(
    "div",
    { class: "actions" },
    job.state === "done" && el("div", group, icon("download"), formats),
    hasEnded(job) ? button("retry", "action.retry", retryJob) : button("stop", "action.cancel", cancelJob),
    button("trash", "action.delete", deleteJob, "quiet danger"),
  );
}

/** Show in `place` how far a job is. */
export function statusOf(place, job) {
  if (!place.firstChild) {
    const parts = [el("strong", {}), el("span", {})];
    place.append(el("div", { class: "status" }, el("p", {}, parts), el("progress", { max: "1" }), el("p", { class: "why" })));
  }
  const share = shareOf(job);
  const { seconds_done: done, seconds_total: total, message } = job.progress;
  setText(place.querySelector("strong"), share === null ? stateOf(job).text : `${stateOf(job).text} · ${percent(share)}`);
  const parts = total ? [t("progress.done", { done: clock(done), total: clock(total) })] : [];
  if (job.progress.eta) parts.push(t("progress.left", { time: span(job.progress.eta) }));
  setText(place.querySelector("p > span"), parts.join(" · "));
  setText(place.querySelector(".why"), message ? printable(message) : "");
  showProgress(place.querySelector("progress"), job);
}

/** Return why a job failed, and its warnings. */
export function noticesOf(job) {
  const notices = job.warnings.map(({ message, at }) => {
    const where = at === null || at === undefined ? "" : `${clock(at)} · `;
    return el("p", { class: "notice" }, where + printable(message));
  });
  if (job.error) notices.unshift(el("p", { class: "notice bad", role: "alert" }, printable(job.error.message)));
  return notices;
}


// How a job is named and described on the page.

import { clock, languageName, span } from "../text/format.js";
import { t } from "../text/i18n.js";
import { printable } from "../text/printable.js";
import { hasEnded } from "./store.js";

/** Return the name of a job's file, in which every character is visible. */
export function nameOf(job) {
  const source = job.source?.replace(/[?#].*$/, "").split("/").filter(Boolean).at(-1);
  return printable(job.file_name || source || t("jobs.unnamed"));
}

/** Return which badge and words a job's state has. */
export function stateOf(job) {
  if (hasEnded(job)) return { badge: job.state, text: t(`state.${job.state}`) };
  return { badge: job.progress.stage === "transcribing" ? "running" : "waiting", text: stageText(job.progress.stage) };
}

function stageText(stage) {
  const known = ["scheduled", "queued", "planning", "transcribing", "assembling", "done", "failed", "cancelled"];
  return known.includes(stage) ? t(`stage.${stage}`) : printable(stage);
}

/** Return the share of a job that is done, 0 to 1; null while its length is unknown. */
export function shareOf(job) {
  const { seconds_done: done, seconds_total: total } = job.progress;
  return total ? Math.min(1, done / total) : null;
}

/** Return what the list says below a job's name. */
export function describe(job) {
  const parts = [stateOf(job).text];
  if (job.duration) parts.push(clock(job.duration));
  if (job.language) parts.push(languageName(job.language));
  if (!hasEnded(job) && job.progress.eta) parts.push(t("progress.left", { time: span(job.progress.eta) }));
  return parts.join(" · ");
}

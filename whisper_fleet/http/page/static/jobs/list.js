// The list of jobs: a row per job that is changed in place, a search by name and a filter by state.

import { announce } from "../shell/announce.js";
import { currentRoute, jobAddress, onRoute } from "../shell/router.js";
import { byId, debounced, el, icon, setText } from "../text/dom.js";
import { moment, number } from "../text/format.js";
import { onLanguage, t } from "../text/i18n.js";
import { describe, nameOf, shareOf, stateOf } from "./naming.js";
import { MOST_JOBS, allJobs, hasEnded, jobOf, knowsAll, store } from "./store.js";

const rows = new Map();

/** Show the jobs of the store from now on. */
export function startJobList() {
  const later = debounced(showList, 30);
  store.addEventListener("list", later);
  store.addEventListener("change", ({ detail }) => {
    const row = rows.get(detail);
    if (row) updateRow(row, jobOf(detail));
    later();
  });
  byId("job-search").addEventListener("input", debounced(showList, 120));
  byId("job-state").addEventListener("change", showList);
  onRoute(showSelected);
  onLanguage(() => {
    rows.forEach((row) => updateRow(row, row.job, true));
    showList();
  });
}

function showList() {
  const list = byId("job-list");
  const matches = matcher();
  const jobs = allJobs();
  const known = new Set(jobs.map((job) => job.id));
  for (const [id, row] of rows) if (!known.has(id)) removeRow(id, row);
  let shown = 0;
  let before = null;
  for (const job of jobs) {
    const row = rows.get(job.id) ?? addRow(job);
    const isShown = matches(job);
    if (row.item.hidden === isShown) row.item.hidden = !isShown;
    shown += isShown ? 1 : 0;
    const place = before ? before.nextSibling : list.firstChild;
    if (place !== row.item) list.insertBefore(row.item, place);
    before = row.item;
  }
  showCount(jobs.length, shown);
}

function showCount(count, shown) {
  const total = t("jobs.count", { count });
  const counted = shown === count ? total : t("jobs.shown", { shown: number(shown), count: number(count) });
  setText(byId("job-count"), count && (knowsAll() || count < MOST_JOBS) ? counted : count ? t("jobs.more", { count }) : "");
  const empty = byId("jobs-empty");
  empty.hidden = shown > 0;
  setText(empty, t(count ? "jobs.nothing" : "jobs.empty"));
}

function matcher() {
  const words = byId("job-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = byId("job-state").value;
  return (job) => {
    if (state && (state === "active" ? hasEnded(job) : job.state !== state)) return false;
    if (!words.length) return true;
    const labels = Object.values(job.labels).join(" ");
    const text = `${nameOf(job)} ${job.id} ${job.model} ${job.language ?? ""} ${labels}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
}

function addRow(job) {
  const row = {
    badge: el("span", { class: "badge" }),
    name: el("span", { class: "name" }),
    time: el("time", {}),
    meta: el("span", { class: "meta" }),
    progress: el("progress", { max: "1" }),
    shown: "",
    job,
  };
  row.link = el("a", { class: "job", href: jobAddress(job.id) }, row.badge, row.name, row.time, row.meta, row.progress);
  row.item = el("li", {}, row.link);
  rows.set(job.id, row);
  updateRow(row, job);
  if (currentRoute().job === job.id) row.link.setAttribute("aria-current", "true");
  return row;
}

function updateRow(row, job, isForced = false) {
  const before = row.job;
  row.job = job;
  const state = stateOf(job);
  setText(row.name, nameOf(job));
  setText(row.meta, describe(job));
  setText(row.time, moment(job.created_at));
  if (row.shown !== state.badge || isForced) {
    row.shown = state.badge;
    row.badge.className = `badge ${state.badge}`;
    row.badge.replaceChildren(icon(state.badge));
  }
  showProgress(row.progress, job);
  if (before.state !== job.state && hasEnded(job)) {
    announce(t("announce.state", { name: nameOf(job), state: state.text }), job.id);
  }
}

/** Set a progress element to how far a job is; it is hidden when the job has ended. */
export function showProgress(progress, job) {
  progress.hidden = hasEnded(job);
  progress.setAttribute("aria-label", t("progress.label", { name: nameOf(job) }));
  const share = shareOf(job);
  if (share === null) progress.removeAttribute("value");
  else progress.value = share;
}

function removeRow(id, row) {
  rows.delete(id);
  row.item.remove();
}

function showSelected({ job }) {
  for (const [id, { link }] of rows) {
    if (id === job) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

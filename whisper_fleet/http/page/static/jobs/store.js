// The jobs that this page knows, and how they are kept up to date. Views listen to "change" (one job; `detail` is its
// id) and "list" (jobs came or went). The server is asked often while jobs run, rarely otherwise, hardly when hidden.

import { call } from "../api/client.js";

const FINAL = new Set(["done", "failed", "cancelled"]);
const PAGE = 100;
const POLLED = 50; // the newest jobs, which one request returns
const MOST_SINGLE = 10; // older jobs that run, each asked for by itself
export const MOST_JOBS = 2000;
const PAUSES = { active: 2500, idle: 10000, hidden: 30000 };

export const store = new EventTarget();
const jobs = new Map();
const touched = new Map(); // id -> when this page added it
let timer = 0;
let isComplete = false;
let generation = 0;

/** Return whether a job has ended. */
export function hasEnded(job) {
  return FINAL.has(job.state);
}

/** Return all known jobs, newest first. */
export function allJobs() {
  return [...jobs.values()].sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));
}

/** Return a known job. */
export function jobOf(id) {
  return jobs.get(id);
}

/** Return whether all jobs of the server are known: false above MOST_JOBS. */
export function knowsAll() {
  return isComplete;
}

/** Note what the server says of a job. */
export function putJob(job) {
  const known = jobs.get(job.id);
  if (known && JSON.stringify(known) === JSON.stringify(job)) return;
  jobs.set(job.id, job);
  if (!known) touched.set(job.id, performance.now());
  store.dispatchEvent(new CustomEvent(known ? "change" : "list", { detail: job.id }));
}

/** Forget a job that was deleted. */
export function dropJob(id) {
  if (jobs.delete(id)) store.dispatchEvent(new CustomEvent("list", { detail: id }));
}

/** Forget everything, because another key sees other jobs, and load it again. */
export async function reload() {
  generation += 1;
  jobs.clear();
  store.dispatchEvent(new CustomEvent("list", { detail: null }));
  const mine = generation;
  let cursor = null;
  isComplete = false;
  do {
    const page = await call("GET", address(PAGE, cursor));
    if (mine !== generation) return;
    for (const job of page.data) jobs.set(job.id, job);
    store.dispatchEvent(new CustomEvent("list", { detail: null }));
    cursor = page.has_more ? page.next_cursor : null;
  } while (cursor !== null && jobs.size < MOST_JOBS);
  isComplete = cursor === null;
}

/** Keep the jobs up to date from now on; `onProblem(error or null)` learns how each round went. */
export function startPolling(onProblem) {
  const round = async () => {
    clearTimeout(timer);
    let wait = document.hidden ? PAUSES.hidden : PAUSES.idle;
    try {
      await refresh();
      onProblem(null);
      if (!document.hidden && [...jobs.values()].some((job) => !hasEnded(job))) wait = PAUSES.active;
    } catch (error) {
      onProblem(error);
      wait = Math.max(PAUSES.active * 2, 1000 * (error.retryAfter ?? 0));
    }
    timer = setTimeout(round, wait);
  };
  document.addEventListener("visibilitychange", () => document.hidden || round());
  timer = setTimeout(round, PAUSES.active);
  return round;
}

async function refresh() {
  const mine = generation;
  const asked = performance.now();
  const page = await call("GET", address(POLLED, null));
  if (mine !== generation) return;
  forgetDeleted(page, asked);
  page.data.forEach(putJob);
  const shown = new Set(page.data.map((job) => job.id));
  const others = [...jobs.values()].filter((job) => !hasEnded(job) && !shown.has(job.id));
  for (const job of others.slice(0, MOST_SINGLE)) await refreshJob(job.id);
}

/** Ask for one job; forgets it if it is gone. */
export async function refreshJob(id) {
  try {
    const job = await call("GET", `/v1/jobs/${encodeURIComponent(id)}`);
    putJob(job);
    return job;
  } catch (error) {
    if (error.status === 404) dropJob(id);
    throw error;
  }
}

function forgetDeleted(page, asked) {
  const listed = new Set(page.data.map((job) => job.id));
  const oldest = page.has_more ? (page.data.at(-1)?.created_at ?? Infinity) : -Infinity;
  for (const job of [...jobs.values()]) {
    const isNew = (touched.get(job.id) ?? 0) > asked;
    if (job.created_at > oldest && !listed.has(job.id) && !isNew) dropJob(job.id);
  }
}

function address(limit, cursor) {
  return `/v1/jobs?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
}

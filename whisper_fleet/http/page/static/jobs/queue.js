// Files on their way: uploaded a few at a time, then submitted as jobs. Every entry is a plain object that the view
// shows; `changed` is called whenever one changes.

import { call } from "../api/client.js";
import { discard, upload, uploadLimit } from "../api/uploads.js";
import { chosenOptions } from "./options.js";
import { putJob } from "./store.js";

// A browser opens six connections to a server: the others are for events, audio and requests.
const AT_ONCE = 3;
const entries = [];
let limit = Infinity;
let changed = () => undefined;

/** Call `listener(entry)` whenever an entry changes; ask the server how large a file may be. */
export function startQueue(listener) {
  changed = listener;
  window.addEventListener("beforeunload", (event) => {
    if (entries.some((entry) => entry.state !== "failed")) event.preventDefault();
  });
  window.addEventListener("online", () => entries.filter((entry) => entry.isOffline).forEach(resume));
}

/** Ask the server how large a file may be. */
export async function loadLimit() {
  limit = await uploadLimit();
}

/** Return the entries that are not jobs yet. */
export function waitingUploads() {
  return entries;
}

/** Return the largest file that the server accepts, in bytes. */
export function largestFile() {
  return limit;
}

/** Upload files and submit them with the options that are chosen now; returns those that are too large. */
export function addFiles(files) {
  const options = chosenOptions();
  const tooLarge = files.filter((file) => file.size > limit);
  for (const file of files.filter((file) => file.size <= limit && !isUnderWay(file))) {
    const entry = { file, options, state: "waiting", sent: 0, reason: null, fileId: null, stop: null, isOffline: false };
    entries.push(entry);
    changed(entry);
  }
  startNext();
  return tooLarge;
}

function isUnderWay({ name, size, lastModified }) {
  return entries.some(({ file }) => file.name === name && file.size === size && file.lastModified === lastModified);
}

/** Stop an upload and delete what has arrived. */
export async function cancel(entry) {
  remove(entry);
  entry.stop?.abort();
  startNext();
  if (entry.fileId) await call("DELETE", `/v1/files/${entry.fileId}`).catch(() => undefined);
  else await discard(entry.file);
}

/** Go on with an upload that stopped. */
export function resume(entry) {
  Object.assign(entry, { state: "waiting", reason: null, isOffline: false });
  changed(entry);
  startNext();
}

function startNext() {
  const busy = entries.filter((entry) => ["uploading", "submitting"].includes(entry.state)).length;
  for (const entry of entries.filter((entry) => entry.state === "waiting").slice(0, AT_ONCE - busy)) process(entry);
}

async function process(entry) {
  entry.stop = new AbortController();
  try {
    entry.fileId ??= await sent(entry);
    set(entry, "submitting");
    const job = await submitted(entry);
    remove(entry);
    entry.job = job;
    putJob(job);
    changed(entry);
  } catch (error) {
    if (entries.includes(entry)) {
      entry.reason = error;
      entry.isOffline = error.status === 0;
      set(entry, "failed");
      if (error.retryAfter) setTimeout(() => entry.state === "failed" && resume(entry), 1000 * error.retryAfter);
    }
  }
  startNext();
}

function sent(entry) {
  set(entry, "uploading");
  const onProgress = (bytes) => {
    entry.sent = bytes;
    changed(entry);
  };
  return upload(entry.file, { onProgress, signal: entry.stop.signal });
}

function submitted(entry) {
  // The label finds the stored file again when the job is deleted; the key makes a repeated request harmless.
  const labels = { upload: entry.fileId };
  const headers = { "idempotency-key": `page-${entry.fileId}` };
  return call("POST", "/v1/jobs", { ...entry.options, file_id: entry.fileId, labels }, { headers });
}

function set(entry, state) {
  entry.state = state;
  changed(entry);
}

function remove(entry) {
  const place = entries.indexOf(entry);
  if (place >= 0) entries.splice(place, 1);
  entry.state = "gone";
  changed(entry);
}

// Where files come in: the drop zone, the whole window, and the rows of what is uploading.

import { announce } from "../shell/announce.js";
import { currentRoute, go, jobAddress } from "../shell/router.js";
import { byId, el, setText } from "../text/dom.js";
import { bytes, percent } from "../text/format.js";
import { onLanguage, t } from "../text/i18n.js";
import { printable } from "../text/printable.js";
import { addFiles, cancel, largestFile, resume, startQueue, waitingUploads } from "./queue.js";

const rows = new Map();

/** Accept files from now on; `onProblem(text)` shows what was refused. */
export function startDrop(onProblem) {
  const take = (files) => {
    const refused = addFiles([...files]);
    const values = (file) => ({ name: printable(file.name), size: bytes(file.size), limit: bytes(largestFile()) });
    onProblem(refused.map((file) => t("drop.too_large", values(file))).join(" "));
  };
  const input = byId("files");
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
  catchDrops(take);
  startQueue(show);
  onLanguage(() => waitingUploads().forEach(show));
}

function catchDrops(take) {
  const veil = byId("drop-veil");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files") && !("readonly" in byId("composer").dataset);
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

function show(entry) {
  const count = waitingUploads().length;
  byId("uploads").hidden = count === 0;
  setText(byId("uploads-summary"), t("uploads.summary", { count }));
  if (entry.state === "gone") {
    rows.get(entry)?.item.remove();
    rows.delete(entry);
    if (entry.job) finished(entry);
    return;
  }
  const row = rows.get(entry) ?? added(entry);
  setText(row.status, statusText(entry));
  row.progress.value = entry.file.size ? entry.sent / entry.file.size : 0;
  row.progress.hidden = entry.state === "failed";
  row.resume.hidden = entry.state !== "failed";
  const reason = entry.reason && (entry.isOffline ? t("uploads.connection") : printable(entry.reason.message));
  const name = printable(entry.file.name);
  setText(row.problem, reason ? t("uploads.failed", { name, reason }) : "");
  for (const [button, key] of [[row.cancel, "uploads.cancel"], [row.resume, "uploads.resume"]]) {
    setText(button, t(key));
    button.setAttribute("aria-label", t(`${key}.label`, { name }));
  }
}

function finished(entry) {
  const name = printable(entry.file.name);
  announce(t("uploads.submitted", { name }), entry.job.id);
  const isIdle = currentRoute().view === "jobs" && currentRoute().job === null;
  if (isIdle && matchMedia("(min-width: 52rem)").matches) go(jobAddress(entry.job.id));
}

function added(entry) {
  const name = printable(entry.file.name);
  const row = {
    status: el("span", { class: "muted" }),
    progress: el("progress", { max: "1", "aria-label": name }),
    problem: el("p", { class: "problem" }),
    cancel: el("button", { type: "button", class: "button quiet", onclick: () => cancel(entry) }),
    resume: el("button", { type: "button", class: "button", onclick: () => resume(entry) }),
  };
  const buttons = el("span", {}, row.resume, row.cancel);
  row.item = el("li", { class: "upload" }, el("span", { class: "name" }, name), row.status, buttons, row.progress, row.problem);
  rows.set(entry, row);
  byId("upload-list").append(row.item);
  return row;
}

function statusText({ state, sent, file }) {
  if (state === "waiting") return t("uploads.waiting");
  if (state === "submitting" || (state === "uploading" && sent >= file.size)) return t("uploads.checking");
  return t("uploads.progress", { percent: percent(file.size ? sent / file.size : 0), size: bytes(file.size) });
}

// The fleet: what is up, what it is doing, and what waits for it.

import { onRoute, currentRoute } from "../shell/router.js";
import { byId, el } from "../text/dom.js";
import { bytes, clock, number, percent, span, timesRealtime } from "../text/format.js";
import { onLanguage, t } from "../text/i18n.js";
import { printable } from "../text/printable.js";
import { onFleet, latestFleet } from "./feed.js";
import { meter, slotGrid } from "./meters.js";

/** Show the fleet whenever its page is open. */
export function startFleet() {
  onFleet(show);
  onLanguage(show);
  onRoute(({ view }) => {
    byId("view-fleet").hidden = view !== "fleet";
    byId("view-jobs").hidden = view === "fleet";
    for (const name of ["jobs", "fleet"]) {
      if (name === view) byId(`nav-${name}`).setAttribute("aria-current", "page");
      else byId(`nav-${name}`).removeAttribute("aria-current");
    }
    show();
  });
}

function show() {
  const fleet = latestFleet();
  showPulse(fleet);
  if (!fleet || currentRoute().view !== "fleet") return;
  const hosts = fleet.hosts.length ? fleet.hosts.map(hostOf) : [el("p", { class: "empty" }, t("fleet.none"))];
  const version = el("p", { class: "muted" }, t("fleet.version", { version: fleet.version }));
  byId("view-fleet").replaceChildren(el("div", { class: "fleet-inner" }, totalsOf(fleet), hosts, version));
}

function showPulse(fleet) {
  const pulse = byId("fleet-pulse");
  pulse.hidden = !fleet;
  if (!fleet) return;
  pulse.textContent = `${number(fleet.slots_busy)}/${number(fleet.slots)}`;
  pulse.classList.toggle("bad", fleet.gpus === 0 || fleet.problem !== null);
  pulse.title = t("fleet.pulse", { busy: number(fleet.slots_busy), slots: number(fleet.slots) });
}

function totalsOf(fleet) {
  const totals = [
    ["fleet.hosts", number(fleet.hosts.length)],
    ["fleet.gpus", number(fleet.gpus)],
    ["fleet.slots", `${number(fleet.slots_busy)} / ${number(fleet.slots)}`],
    ["fleet.backlog", clock(fleet.backlog_seconds)],
    ["fleet.speed", timesRealtime(fleet.speed)],
    ["fleet.wait", fleet.wait_seconds === null ? t("unknown") : span(fleet.wait_seconds)],
  ];
  return el("dl", { class: "totals" }, totals.map(([key, value]) => el("div", {}, el("dt", {}, t(key)), el("dd", {}, value))));
}

function hostOf(host) {
  const count = el("span", {}, t("fleet.host.gpus", { count: host.gpus.length }));
  const title = el("h2", {}, printable(host.name), count);
  return el("section", { class: "host" }, title, el("div", { class: "gpus" }, host.gpus.map(gpuOf)));
}

function gpuOf(gpu) {
  const state = gpu.is_ready ? `#${gpu.index}` : t("fleet.gpu.starting");
  const title = el("h3", {}, printable(gpu.name), el("span", {}, state));
  const rows = [row("fleet.slots", `${number(gpu.slots_busy)} / ${number(gpu.slots)}`, slotGrid(gpu.slots, gpu.slots_busy))];
  if (gpu.memory_total) rows.push(memoryRow(gpu));
  if (gpu.rates) {
    const busy = 1 - gpu.rates.share_idle;
    rows.push(row("fleet.gpu.load", percent(busy), meter([["busy", busy]])));
  }
  rows.push(row("fleet.gpu.speed", timesRealtime(gpu.speed)));
  rows.push(row("fleet.models", gpu.models.map(modelName).join(", ") || t("fleet.no_models")));
  return el("article", { class: "gpu" }, title, el("dl", {}, rows));
}

function memoryRow(gpu) {
  const engine = gpu.memory_engine ?? 0;
  const free = gpu.memory_free ?? 0;
  const other = Math.max(0, gpu.memory_total - free - engine);
  const shares = [["engine", engine / gpu.memory_total], ["other", other / gpu.memory_total]];
  const label = t("fleet.memory.label", { engine: bytes(engine), other: bytes(other), free: bytes(free) });
  const used = `${bytes(gpu.memory_total - free)} / ${bytes(gpu.memory_total)}`;
  return row("fleet.memory", used, meter(shares, label));
}

function row(key, value, picture = null) {
  return el("div", {}, el("dt", {}, t(key)), el("dd", {}, value), picture);
}

function modelName(model) {
  const [name, precision] = [model.slice(0, model.lastIndexOf("/")), model.slice(model.lastIndexOf("/") + 1)];
  return printable(`${name.split("/").at(-1)} (${precision})`);
}

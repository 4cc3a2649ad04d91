// Starts the page: every part once, then what the server says.

import { startDrop } from "./jobs/drop.js";
import { startJobList } from "./jobs/list.js";
import { loadModels, startOptions } from "./jobs/options.js";
import { loadLimit } from "./jobs/queue.js";
import { reload, startPolling } from "./jobs/store.js";
import { onFleet, refreshFleet } from "./fleet/feed.js";
import { startFleet } from "./fleet/view.js";
import { startAppearance } from "./shell/appearance.js";
import { startKeyDialog } from "./shell/dialogs.js";
import { byId } from "./text/dom.js";
import { t, translatePage } from "./text/i18n.js";
import { printable } from "./text/printable.js";
import { reopen, startDetail } from "./transcript/detail.js";

const BANNERS = { server: "", fleet: "", action: "" };

function showBanner(kind, text) {
  BANNERS[kind] = text;
  const shown = Object.values(BANNERS).filter(Boolean).join(" ");
  const banner = byId("banner");
  if (banner.textContent !== shown) banner.textContent = shown;
  banner.hidden = !shown;
}

function problemText(error) {
  if (error === null || error.status === 401) return ""; // the dialog asks for a key
  if (error.status === 0) return t("problem.offline");
  return printable(error.message);
}

function showActionProblem(error) {
  const isShown = error.name !== "AbortError" && error.status !== 401;
  showBanner("action", isShown ? t("action.failed", { reason: printable(error.message) }) : "");
  if (isShown) setTimeout(() => showBanner("action", ""), 10000);
}

async function load() {
  void refreshFleet();
  const onProblem = (error) => showBanner("server", problemText(error));
  await Promise.all([
    reload().then(() => onProblem(null), onProblem),
    loadModels().catch(() => undefined),
    loadLimit().catch(() => undefined),
  ]);
}

translatePage();
startAppearance();
startOptions();
startJobList();
startDrop((text) => showBanner("action", text));
startFleet();
startDetail(showActionProblem);
startKeyDialog(() => load().then(reopen));
onFleet((fleet) => {
  showBanner("fleet", fleet?.problem ? printable(fleet.problem) : "");
  const mayNotSubmit = fleet && !fleet.caller.scopes.some((scope) => ["submit", "admin"].includes(scope));
  byId("composer").toggleAttribute("data-readonly", Boolean(mayNotSubmit));
});
await load();
startPolling((error) => showBanner("server", problemText(error)));

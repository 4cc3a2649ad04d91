// The right column: one job from its progress to its text. It follows the job by events until its end.

import { call, pause } from "../api/client.js";
import { serverEvents } from "../api/events.js";
import { jobOf, hasEnded, putJob, refreshJob, store } from "../jobs/store.js";
import { announce } from "../shell/announce.js";
import { onRoute } from "../shell/router.js";
import { byId, el, setText } from "../text/dom.js";
import { percent } from "../text/format.js";
import { onLanguage, t } from "../text/i18n.js";
import { printableText } from "../text/printable.js";
import { nameOf, shareOf, stateOf } from "../jobs/naming.js";
import { blankPanel, headOf, noticesOf, statusOf } from "./panels.js";
import { Find } from "./find.js";
import { Player } from "./player.js";
import { Reader } from "./reader.js";

const SETTLING = 200; // milliseconds
const PHONE = "(max-width: 51.99rem)";
const TITLE = document.title;
let open = null; // what is shown now: {id, stop, parts...}
let onProblem = () => undefined;

/** Show the job of the page's address from now on; `problem(error)` shows what failed. */
export function startDetail(problem) {
  onProblem = problem;
  onRoute(({ view, job }) => view === "jobs" && job !== (open?.id ?? undefined) && show(job));
  store.addEventListener("change", ({ detail }) => detail === open?.id && update());
  store.addEventListener("list", ({ detail }) => detail !== null && detail === open?.id && !jobOf(detail) && gone());
  onLanguage(() => show(open?.id ?? null));
  byId("detail").addEventListener("unplayable", () => showNotice("player.unsupported"));
}

/** Show the job again from the beginning, because another key may see it. */
export function reopen() {
  show(open?.id ?? null);
}

async function show(id) {
  close();
  const place = byId("detail");
  byId("view-jobs").dataset.open = String(id !== null);
  open = { id, stop: new AbortController() };
  const mine = open;
  document.title = TITLE;
  if (id === null) {
    place.replaceChildren(blankPanel("detail.blank", "detail.blank.hint"));
    return;
  }
  place.replaceChildren(blankPanel("detail.loading"));
  try {
    const job = jobOf(id) ?? (await refreshJob(id));
    if (mine !== open) return;
    build(job);
    if (matchMedia(PHONE).matches) {
      window.scrollTo(0, 0);
      place.focus({ preventScroll: true }); // the list, which had the focus, is hidden
    }
    await follow(mine, job);
  } catch (error) {
    if (mine !== open || mine.stop.signal.aborted) return;
    if (error.status === 404) gone();
    else onProblem(error);
  }
}

function close() {
  open?.stop.abort();
  open?.player?.close();
  open?.find?.close();
}

function gone() {
  const id = open.id;
  close();
  open = { id, stop: new AbortController() };
  byId("detail").replaceChildren(blankPanel("detail.gone"));
}

function build(job) {
  open.head = el("header", { class: "head" });
  open.status = el("div", {});
  open.notices = el("div", {});
  open.body = el("div", { class: "reader", role: "region", "aria-label": t("reader.label"), tabindex: 0 });
  open.live = el("p", { class: "live", dir: "auto" });
  open.body.append(open.live);
  byId("detail").replaceChildren(open.head, open.status, open.notices, open.body);
  update();
}

function update() {
  const job = jobOf(open.id);
  if (!job || !open.head) return;
  const stamp = JSON.stringify([stateOf(job).text, job.duration, job.language, job.ended_at, job.file_name]);
  if (open.stamp !== stamp) {
    open.stamp = stamp;
    open.head.replaceChildren(...headOf(job, onProblem));
    document.title = `${nameOf(job)} – ${TITLE}`;
  }
  if (hasEnded(job)) open.status.replaceChildren();
  else statusOf(open.status, job);
  const notices = JSON.stringify([job.error, job.warnings]);
  if (open.noticed !== notices) {
    open.noticed = notices;
    open.notices.replaceChildren(...noticesOf(job));
  }
  open.live.hidden = hasEnded(job) || !open.live.textContent;
}

async function follow(mine, job) {
  addPlayer(mine, job).catch((error) => mine === open && onProblem(error));
  if (!hasEnded(job)) await followEvents(mine);
  let ended = job;
  while (mine === open && !hasEnded(ended)) {
    await pause(SETTLING, mine.stop.signal); // the last event comes a moment before the record says so
    ended = await refreshJob(mine.id);
  }
  if (mine === open && ended.state === "done") await showTranscript(mine, ended);
}

async function followEvents(mine) {
  const address = `/v1/jobs/${encodeURIComponent(mine.id)}/events`;
  let text = "";
  let tenth = 0;
  for await (const { name, data } of serverEvents(address, { signal: mine.stop.signal, last: ["end", "error"] })) {
    if (mine !== open) return;
    const job = jobOf(mine.id);
    if (name === "text") {
      text += data.delta;
      setText(mine.live, printableText(text.trimStart()));
      mine.live.hidden = false;
    } else if (name === "progress" && job) {
      const share = shareOf({ ...job, progress: data });
      if (share !== null && Math.floor(share * 10) > tenth && share < 1) {
        tenth = Math.floor(share * 10);
        announce(t("announce.progress", { name: nameOf(job), percent: percent(share) }), job.id);
      }
      putJob({ ...job, progress: data });
    }
  }
}

async function showTranscript(mine, job) {
  const transcript = await call("GET", `/v1/jobs/${encodeURIComponent(job.id)}/transcript`, undefined, {
    signal: mine.stop.signal,
  });
  if (mine !== open) return;
  mine.reader = new Reader((seconds, plays) => mine.player?.seek(seconds, plays));
  mine.find = new Find(mine.reader, (moments) => mine.player?.map.setMarks(moments));
  mine.body.replaceWith(mine.find.element, mine.reader.element);
  mine.body = mine.reader.element;
  await mine.reader.show(transcript, mine.stop.signal);
  mine.player?.map.setSpeech(mine.reader.speech(), job.duration ?? 0);
}

async function addPlayer(mine, job) {
  const player = new Player(job, (seconds, isPlaying) => mine.reader?.setTime(seconds, isPlaying));
  const missing = await player.load();
  if (mine !== open) {
    player.close();
    return;
  }
  if (missing) {
    if (hasEnded(job)) showNotice(missing);
    return;
  }
  mine.player = player;
  byId("detail").append(player.element);
  if (mine.reader) player.map.setSpeech(mine.reader.speech(), job.duration ?? 0);
}

function showNotice(key) {
  const text = t(key);
  const shown = [...open.notices.children].some((notice) => notice.textContent === text);
  if (!shown) open.notices.append(el("p", { class: "notice" }, text));
}

// What a screen reader says without the user's asking: at most one message per second, and only the newest of each job.

import { byId } from "../text/dom.js";

const waiting = new Map();
let timer = 0;

/** Say a message politely; a later one about the same subject replaces one that was not said yet. */
export function announce(message, subject = message) {
  waiting.delete(subject);
  waiting.set(subject, message);
  timer ||= setInterval(sayNext, 1000);
}

function sayNext() {
  const [next] = waiting;
  if (next === undefined) {
    clearInterval(timer);
    timer = 0;
    return;
  }
  waiting.delete(next[0]);
  byId("announcer").textContent = next[1];
}

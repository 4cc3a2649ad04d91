// What the server says of the fleet, asked every few seconds while somebody looks.

import { call } from "../api/client.js";

const PAUSE = 5000;
const HIDDEN_PAUSE = 60000;
const listeners = new Set();
let fleet = null;
let timer = 0;

/** Return what the server said last; null before it answered. */
export function latestFleet() {
  return fleet;
}

/** Call `listener` whenever the server has answered. */
export function onFleet(listener) {
  listeners.add(listener);
}

/** Ask the server now, and from now on again and again. */
export async function refreshFleet() {
  clearTimeout(timer);
  try {
    fleet = await call("GET", "/v1/fleet");
  } catch {
    fleet = null; // the list of jobs shows what is wrong
  }
  for (const listener of listeners) listener(fleet);
  timer = setTimeout(refreshFleet, document.hidden ? HIDDEN_PAUSE : PAUSE);
}

// Server-sent events by fetch. The browser's EventSource cannot send an API key, so this reads the stream itself: it
// sends the key as a header, and after a lost connection the last event's id, so that only what is new comes.
// A hidden tab lets its connection go: a browser has six per server, and every tab with a running job needs one.

import { pause, send } from "./client.js";

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15000;

/** Yield `{name, data}` of the events at this address until one is named in `last`; reconnects until then. */
export async function* serverEvents(address, { signal, last }) {
  let id = null;
  let wait = FIRST_PAUSE;
  while (true) {
    await visible(signal);
    try {
      const headers = id === null ? {} : { "last-event-id": id };
      const response = await send("GET", address, { headers, signal: AbortSignal.any([signal, whenHidden()]) });
      for await (const event of parsed(response.body)) {
        wait = FIRST_PAUSE;
        id = event.id ?? id;
        yield { name: event.name, data: JSON.parse(event.data) };
        if (last.includes(event.name)) return;
      }
    } catch (error) {
      const isPassing = error.name === "TypeError" || error.isPassing; // TypeError: the connection broke
      if (signal.aborted || !(isPassing || error.name === "AbortError")) throw error;
    }
    if (document.hidden) continue;
    await pause(wait, signal);
    wait = Math.min(LONGEST_PAUSE, wait * 2);
  }
}

/** Return a signal that is aborted when the tab is hidden. */
function whenHidden() {
  const stop = new AbortController();
  const check = () => document.hidden && stop.abort();
  document.addEventListener("visibilitychange", check, { once: true });
  return stop.signal;
}

/** Wait until the tab is visible, or `signal` is aborted. */
async function visible(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => {
      document.addEventListener("visibilitychange", resolve, { once: true });
      signal.addEventListener("abort", resolve, { once: true });
    });
  }
}

/** Yield the events in a stream of bytes. */
export async function* parsed(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = eventOf(block);
        if (event.data !== "") yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function eventOf(block) {
  const event = { name: "message", id: null, data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += (event.data && "\n") + value;
  }
  return event;
}

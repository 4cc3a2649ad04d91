// Requests to the API of this server. Every failure is an ApiProblem; a missing or wrong key is also announced by the
// event "keyneeded" of `requests`, so that one dialog serves the whole page.

import { keyHeaders } from "./key.js";

export const requests = new EventTarget();

/** What went wrong: a status (0: no connection), the server's message and code, and when to try again. */
export class ApiProblem extends Error {
  constructor(status, message, code = null, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return [0, 408, 423, 429, 500, 502, 503, 504].includes(this.status);
  }
}

/** Send a request and return the response; raises ApiProblem unless it succeeded. */
export async function send(method, address, { body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(address, { method, body, signal, headers: { ...keyHeaders(), ...headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiProblem(0, error.message);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Send a request, with JSON if `json` is given, and return the JSON of the response. */
export async function call(method, address, json, { headers = {}, signal } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  const type = json === undefined ? {} : { "content-type": "application/json" };
  const response = await send(method, address, { body, signal, headers: { ...type, ...headers } });
  return response.json();
}

async function problemOf(response) {
  const error = (await response.json().catch(() => ({}))).error ?? {};
  return problem(response.status, error, response.headers.get("retry-after"));
}

/** Return the problem in an error of the API, and announce it if it is about the key. */
export function problem(status, error, retryAfter) {
  const seconds = Number(retryAfter) || null;
  const found = new ApiProblem(status, error.message ?? `HTTP ${status}`, error.code ?? null, seconds);
  if (status === 401) requests.dispatchEvent(new CustomEvent("keyneeded", { detail: found }));
  return found;
}

/** Wait, unless `signal` is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// Resumable uploads (tus 1.0). A file is sent in pieces; after a lost connection the server says how much it has. The
// address of an unfinished upload is remembered, so that the same file, dropped again later, goes on where it was.

import { ApiProblem, pause, problem, send } from "./client.js";
import { keyHeaders } from "./key.js";

const ADDRESS = "/v1/uploads";
const TUS = { "tus-resumable": "1.0.0" };
const PIECE_BYTES = 16 * 2 ** 20;
const MOST_FAILURES = 8; // in a row, without a byte that arrived
const REMEMBERED = "whisper-fleet.uploads";

/** Send a file and return the id of the stored file; `onProgress(bytes)` is called meanwhile. */
export async function upload(file, { onProgress, signal }) {
  let { address, offset } = (await resumed(file)) ?? (await begun(file));
  remember(file, address);
  let failures = 0;
  while (offset < file.size) {
    try {
      const start = offset;
      const piece = file.slice(start, start + PIECE_BYTES);
      offset = await sendPiece(address, piece, start, (sent) => onProgress(start + sent), signal);
      onProgress(offset);
      failures = 0;
    } catch (error) {
      if (signal.aborted || !mayGoOn(error) || ++failures > MOST_FAILURES) throw error;
      await pause(Math.max(1000 * (error.retryAfter ?? 0), Math.min(500 * 2 ** failures, 15000)), signal);
      const arrived = await arrivedBytes(address).catch(() => offset);
      if (arrived > offset) failures = 0;
      offset = arrived;
    }
  }
  remember(file, null);
  return idOf(address);
}

/** Delete a file that was uploaded, complete or not. */
export async function discard(file) {
  const address = known()[fingerprint(file)];
  remember(file, null);
  if (address) await send("DELETE", address, { headers: TUS }).catch(() => undefined);
}

/** Return the largest upload that the server accepts, in bytes. */
export async function uploadLimit() {
  const response = await send("OPTIONS", ADDRESS, { headers: TUS });
  return Number(response.headers.get("tus-max-size"));
}

function mayGoOn(error) {
  return error instanceof ApiProblem && (error.isPassing || error.status === 409); // 409: the offset is another
}

async function begun(file) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name.slice(-512))));
  const headers = { ...TUS, "upload-length": String(file.size), "upload-metadata": `filename ${name}` };
  const response = await send("POST", ADDRESS, { headers });
  return { address: response.headers.get("location"), offset: 0 };
}

async function resumed(file) {
  const address = known()[fingerprint(file)];
  if (!address) return null;
  const offset = await arrivedBytes(address).catch(() => null);
  return offset === null ? null : { address, offset };
}

async function arrivedBytes(address) {
  const response = await send("HEAD", address, { headers: TUS });
  return Number(response.headers.get("upload-offset"));
}

/** Send a piece and return the new offset. Only XMLHttpRequest reports how much of a body has been sent. */
function sendPiece(address, piece, offset, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("PATCH", address);
    const type = "application/offset+octet-stream";
    const headers = { ...TUS, ...keyHeaders(), "upload-offset": String(offset), "content-type": type };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onload = () => {
      if (request.status === 204) resolve(Number(request.getResponseHeader("upload-offset")));
      else reject(problemIn(request));
    };
    request.onerror = () => reject(new ApiProblem(0, "the connection broke"));
    request.onabort = () => reject(signal.reason);
    request.onloadend = () => signal.removeEventListener("abort", stop);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    else request.send(piece);
  });
}

function problemIn(request) {
  let error = {};
  try {
    error = JSON.parse(request.responseText).error;
  } catch {
    // a proxy's page, or nothing
  }
  return problem(request.status, error, request.getResponseHeader("retry-after"));
}

function idOf(address) {
  return address.slice(address.lastIndexOf("/") + 1);
}

function fingerprint(file) {
  return JSON.stringify([file.name, file.size, file.lastModified]);
}

function known() {
  return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
}

function remember(file, address) {
  const uploads = known();
  if (address) uploads[fingerprint(file)] = address;
  else delete uploads[fingerprint(file)];
  localStorage.setItem(REMEMBERED, JSON.stringify(uploads));
}

// Downloads of a transcript. They are fetched with the API key and saved from memory, so that no address holds a key.

import { send } from "../api/client.js";
import { el } from "../text/dom.js";
import { fileName } from "../text/printable.js";

export const FORMATS = ["txt", "srt", "vtt", "tsv", "json"];

/** Save a transcript in one of the formats. */
export async function download(job, format) {
  const response = await send("GET", `/v1/jobs/${encodeURIComponent(job.id)}/transcript?format=${format}`);
  const url = URL.createObjectURL(await response.blob());
  const base = (job.file_name ?? job.source?.split("/").at(-1) ?? job.id).replace(/\.[^.]{1,8}$/, "");
  const link = el("a", { href: url, download: `${fileName(base)}.${format}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

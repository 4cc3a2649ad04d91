// What can be done with a job: cancel, retry, delete.

import { call } from "../api/client.js";
import { nameOf } from "../jobs/naming.js";
import { dropJob, putJob } from "../jobs/store.js";
import { announce } from "../shell/announce.js";
import { confirmed } from "../shell/dialogs.js";
import { go, jobAddress } from "../shell/router.js";
import { byId } from "../text/dom.js";
import { t } from "../text/i18n.js";

/** Cancel a job after asking. */
export async function cancelJob(job) {
  const question = t("action.cancel.confirm", { name: nameOf(job) });
  if (await confirmed(question, t("action.cancel.yes"))) putJob(await call("POST", `${address(job)}/cancel`));
}

/** Submit a job's request again, and show the new job. */
export async function retryJob(job) {
  const retried = await call("POST", `${address(job)}/retry`);
  putJob(retried);
  go(jobAddress(retried.id));
}

/** Delete a job after asking, with the stored file that this page uploaded for it. */
export async function deleteJob(job) {
  const name = nameOf(job);
  if (!(await confirmed(t("action.delete.confirm", { name }), t("action.delete")))) return;
  await call("DELETE", address(job));
  await deleteUpload(job.labels.upload);
  go("#/");
  dropJob(job.id);
  announce(t("action.deleted", { name }));
  byId("main").focus();
}

/** Delete a stored file, unless another job, such as a retry, reads it too. */
async function deleteUpload(file) {
  if (!/^file-[0-9a-f]+$/.test(file ?? "")) return;
  const others = await call("GET", `/v1/jobs?limit=1&label=${encodeURIComponent(`upload:${file}`)}`);
  if (others.data.length === 0 && !others.has_more) await call("DELETE", `/v1/files/${file}`).catch(() => undefined);
}

function address(job) {
  return `/v1/jobs/${encodeURIComponent(job.id)}`;
}

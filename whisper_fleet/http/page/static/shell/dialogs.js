// The two dialogs: the API key, and "are you sure?".

import { requests } from "../api/client.js";
import { KEY_FORM, currentKey, setKey } from "../api/key.js";
import { byId } from "../text/dom.js";
import { t } from "../text/i18n.js";
import { printable } from "../text/printable.js";

/** Ask the user; resolves to whether the answer was yes. */
export function confirmed(question, yes) {
  const dialog = byId("confirm-dialog");
  byId("confirm-text").textContent = question;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Let the user enter a key when the server needs one; `onChange` is called after a new key was entered. */
export function startKeyDialog(onChange) {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  const button = byId("key-button");
  const open = (problem) => {
    button.hidden = false;
    byId("key-problem").textContent = problem;
    byId("key-forget").hidden = currentKey() === null;
    if (!dialog.open) dialog.showModal();
  };
  const use = (key) => {
    setKey(key);
    input.value = "";
    dialog.close();
    onChange();
  };
  button.hidden = currentKey() === null;
  button.addEventListener("click", () => open(""));
  byId("key-close").addEventListener("click", () => dialog.close());
  byId("key-forget").addEventListener("click", () => use(null));
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value.trim();
    if (KEY_FORM.test(key)) use(key);
    else byId("key-problem").textContent = t("key.form");
  });
  let refused; // the key that was refused last, so that a closed dialog stays closed
  requests.addEventListener("keyneeded", (event) => {
    const key = currentKey();
    button.hidden = false;
    if (refused === key) return;
    refused = key;
    open(key === null ? "" : printable(event.detail.message));
  });
}

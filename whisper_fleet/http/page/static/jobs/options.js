// The options of the next jobs. They are kept for the next visit.

import { call } from "../api/client.js";
import { byId, el } from "../text/dom.js";
import { languageName } from "../text/format.js";
import { onLanguage, t } from "../text/i18n.js";
import { LANGUAGES } from "../text/languages.js";

const FORMATS = ["txt", "srt", "vtt", "tsv", "json"];
const KEPT = "whisper-fleet.options";
const USUAL_PRIORITY = "5";
const form = byId("composer");
let models = [];

/** Fill the form, with what was chosen last. */
export function startOptions() {
  const formats = form.querySelector(".formats");
  for (const name of FORMATS) {
    formats.append(el("label", { class: "check" }, el("input", { type: "checkbox", name: "formats", value: name }), name));
  }
  fill();
  restore();
  form.addEventListener("change", (event) => event.target.type !== "file" && keep());
  form.addEventListener("submit", (event) => event.preventDefault());
  onLanguage(() => {
    keep();
    fill();
    restore();
  });
}

/** Ask the server which models it has. */
export async function loadModels() {
  models = (await call("GET", "/v1/models")).data.map((model) => model.id);
  fill();
  restore();
}

/** Return the options as the API expects them; what the user left alone is left out. */
export function chosenOptions() {
  const data = new FormData(form);
  const chosen = {
    language: data.get("language") || undefined,
    model: data.get("model") || undefined,
    task: data.get("task"),
    priority: Number(data.get("priority")),
    word_timestamps: data.has("word_timestamps"),
    initial_prompt: data.get("initial_prompt").trim() || undefined,
    output_path: data.get("output_path").trim() || undefined,
  };
  if (chosen.output_path && data.getAll("formats").length) chosen.formats = data.getAll("formats");
  return chosen;
}

function fill() {
  const named = LANGUAGES.map((code) => [code, languageName(code)]).sort((a, b) => a[1].localeCompare(b[1]));
  setChoices("language", [["", t("options.language.auto")], ...named]);
  setChoices("model", [["", t("options.model.default")], ...models.map((name) => [name, name])]);
  const priorities = Array.from({ length: 10 }, (_, number) => String(number));
  setChoices("priority", priorities.map((name) => [name, [0, 5, 9].includes(Number(name)) ? t(`options.priority.${name}`) : name]));
  if (!localStorage.getItem(KEPT)) form.elements.priority.value = USUAL_PRIORITY;
}

function setChoices(name, choices) {
  const select = form.elements[name];
  const chosen = select.value;
  select.replaceChildren(...choices.map(([value, text]) => el("option", { value }, text)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}

function keep() {
  const kept = { ...chosenOptions(), formats: new FormData(form).getAll("formats") };
  localStorage.setItem(KEPT, JSON.stringify(kept));
  summarize();
}

function restore() {
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
  for (const name of ["language", "model", "task", "initial_prompt", "output_path"]) {
    const field = form.elements[name];
    const isChoice = field.tagName === "SELECT";
    if (kept[name] && (!isChoice || [...field.options].some(({ value }) => value === kept[name]))) field.value = kept[name];
  }
  form.elements.priority.value = String(kept.priority ?? USUAL_PRIORITY);
  form.elements.word_timestamps.checked = kept.word_timestamps ?? true;
  for (const box of form.querySelectorAll("[name=formats]")) box.checked = (kept.formats ?? FORMATS).includes(box.value);
  summarize();
}

function summarize() {
  const chosen = chosenOptions();
  const parts = [
    chosen.language ? languageName(chosen.language) : t("options.language.auto"),
    chosen.model ?? t("options.model.default"),
    t(`task.${chosen.task}`),
  ];
  byId("options-summary").textContent = parts.join(" · ");
  form.querySelector(".formats").disabled = !chosen.output_path;
}

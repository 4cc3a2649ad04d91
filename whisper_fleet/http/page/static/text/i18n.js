// The language of the page: a dictionary per language, chosen by the user or else by the browser.

import en from "./en.js";
import zh from "./zh.js";

const DICTIONARIES = { en, zh };
const CHOSEN = "whisper-fleet.language";
const listeners = new Set();

let language = initialLanguage();
let plurals = new Intl.PluralRules(language);

function initialLanguage() {
  const chosen = localStorage.getItem(CHOSEN);
  if (chosen in DICTIONARIES) return chosen;
  const preferred = navigator.languages.map((name) => name.split("-")[0]);
  return preferred.find((name) => name in DICTIONARIES) ?? "en";
}

/** Return the text of this key, with `{name}` replaced; `key.one` and `key.other` are chosen by `count`. */
export function t(key, values = {}) {
  const dictionary = DICTIONARIES[language];
  const exact = "count" in values ? `${key}.${plurals.select(Number(values.count))}` : key;
  const text = dictionary[exact] ?? dictionary[`${key}.other`] ?? dictionary[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => (name === "count" ? formatted(values.count) : String(values[name])));
}

function formatted(count) {
  return typeof count === "number" ? new Intl.NumberFormat(language).format(count) : String(count);
}

/** Return the code of the page's language. */
export function currentLanguage() {
  return language;
}

/** Show the page in another language. */
export function setLanguage(chosen) {
  language = chosen;
  plurals = new Intl.PluralRules(language);
  localStorage.setItem(CHOSEN, chosen);
  translatePage();
  for (const listener of listeners) listener();
}

/** Call `listener` whenever the language changes. */
export function onLanguage(listener) {
  listeners.add(listener);
}

/** Set the texts that index.html names by `data-t` (contents) and `data-t-<attribute>`. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const attribute of ["aria-label", "placeholder", "title"]) {
    for (const element of document.querySelectorAll(`[data-t-${attribute}]`)) {
      element.setAttribute(attribute, t(element.getAttribute(`data-t-${attribute}`)));
    }
  }
}

// The switches of theme and language.

import { byId } from "../text/dom.js";
import { currentLanguage, onLanguage, setLanguage, t } from "../text/i18n.js";

const CHOSEN = "whisper-fleet.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** Make the switches work. */
export function startAppearance() {
  const language = byId("language");
  language.value = currentLanguage();
  language.addEventListener("change", () => setLanguage(language.value));
  byId("theme-button").addEventListener("click", () => {
    setTheme(NEXT[currentTheme()]);
    showTheme();
  });
  onLanguage(showTheme);
  showTheme();
}

function currentTheme() {
  return document.documentElement.dataset.theme ?? "system";
}

function setTheme(theme) {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(CHOSEN);
  } else {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(CHOSEN, theme);
  }
  document.dispatchEvent(new Event("themechange"));
}

function showTheme() {
  byId("theme-text").textContent = t(`theme.${currentTheme()}`);
  byId("theme-button").title = t(`theme.${currentTheme()}`);
}

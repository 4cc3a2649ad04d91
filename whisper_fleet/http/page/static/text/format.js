// Numbers, sizes, lengths and moments, as the page's language writes them.

import { currentLanguage, t } from "./i18n.js";

/** Return seconds as 1:05 or 1:02:05. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  const shown = hours ? [hours, String(parts[0]).padStart(2, "0")] : [parts[0]];
  return [...shown, String(parts[1]).padStart(2, "0")].join(":");
}

/** Return a span of time in words of the language, such as 3 min or 1 h 20 min. */
export function span(seconds) {
  if (seconds < 60) return unit(Math.max(0, Math.round(seconds)), "second");
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return unit(minutes, "minute");
  const hours = Math.floor(minutes / 60);
  const rest = minutes % 60;
  return hours < 24 && rest ? `${unit(hours, "hour")} ${unit(rest, "minute")}` : unit(Math.round(minutes / 60), "hour");
}

function unit(value, name) {
  return number(value, { style: "unit", unit: name, unitDisplay: "short" });
}

/** Return a number in the language's form. */
export function number(value, options = {}) {
  return new Intl.NumberFormat(currentLanguage(), options).format(value);
}

/** Return a share between 0 and 1 in per cent. */
export function percent(share) {
  return number(share, { style: "percent", maximumFractionDigits: 0 });
}

/** Return a number of bytes with its unit, by powers of 1024. */
export function bytes(count) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const power = Math.min(units.length - 1, count > 0 ? Math.floor(Math.log2(count) / 10) : 0);
  const value = count / 1024 ** power;
  const digits = power > 0 && value < 10 ? 1 : 0;
  return number(value, { style: "unit", unit: units[power], unitDisplay: "short", maximumFractionDigits: digits });
}

/** Return a speed as a multiple of realtime. */
export function timesRealtime(speed) {
  return speed === null ? t("unknown") : `${number(speed, { maximumFractionDigits: speed < 10 ? 1 : 0 })}×`;
}

/** Return a Unix time as the language writes it: the time for today, else the day too. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(currentLanguage(), { ...day, hour: "numeric", minute: "2-digit" }).format(date);
}

/** Return the name of a language of a recording, in the page's language. */
export function languageName(code) {
  try {
    return new Intl.DisplayNames([currentLanguage()], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

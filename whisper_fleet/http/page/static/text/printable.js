// Text that others chose, made safe to read: invisible characters are shown as escapes, so that nothing can reorder a
// line or pretend to be something else. The same rules as whisper_fleet/shared/display/text.py, which a test compares.

const ESCAPED = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/gu;
const IN_TEXT = new Set("\n\t\u200c\u200d\u200e\u200f");

/** Return a name or message as one line in which every character is visible. */
export function printable(text) {
  return String(text).replace(ESCAPED, escape);
}

/** Return a text of several lines, such as a transcript, without what reorders a line. */
export function printableText(text) {
  return String(text).replace(ESCAPED, (character) => (IN_TEXT.has(character) ? character : escape(character)));
}

/** Return a name that a file system accepts, for a download. */
export function fileName(name) {
  return name.replace(ESCAPED, "").replace(/[/\\:*?"<>|]/g, "_").replace(/^\.+/, "").slice(0, 200) || "transcript";
}

function escape(character) {
  const simple = { "\t": "\\t", "\n": "\\n", "\r": "\\r" }[character];
  if (simple) return simple;
  const code = character.codePointAt(0);
  if (code < 0x100) return "\\x" + code.toString(16).padStart(2, "0");
  return code < 0x10000 ? "\\u" + code.toString(16).padStart(4, "0") : "\\U" + code.toString(16).padStart(8, "0");
}

// The API key of this tab. It stays in sessionStorage, which ends with the tab, and goes nowhere but into the
// Authorization header: never into an address, which lands in logs and histories.

const NAME = "whisper-fleet.key";
export const KEY_FORM = /^wf_[0-9a-f]{12}_[0-9a-f]{48}$/;

/** Return the key that the user entered; null if there is none. */
export function currentKey() {
  return sessionStorage.getItem(NAME);
}

/** Use a key from now on; null forgets it. */
export function setKey(key) {
  if (key) sessionStorage.setItem(NAME, key);
  else sessionStorage.removeItem(NAME);
}

/** Return the headers that identify the user. */
export function keyHeaders() {
  const key = currentKey();
  return key ? { authorization: `Bearer ${key}` } : {};
}

// The address of the page: #/, #/jobs/<id> and #/fleet.

const listeners = [];

/** Return where the user is: `{view: "jobs", job}` or `{view: "fleet"}`. */
export function currentRoute() {
  const [, view, job] = location.hash.split("/");
  if (view === "fleet") return { view: "fleet", job: null };
  return { view: "jobs", job: view === "jobs" && job ? decodeURIComponent(job) : null };
}

/** Return the address of a job's page. */
export function jobAddress(id) {
  return `#/jobs/${encodeURIComponent(id)}`;
}

/** Call `listener` with the route now and whenever it changes. */
export function onRoute(listener) {
  listeners.push(listener);
  listener(currentRoute());
}

/** Go to another address of the page. */
export function go(address) {
  location.hash = address;
}

window.addEventListener("hashchange", () => {
  for (const listener of listeners) listener(currentRoute());
});

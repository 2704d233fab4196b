// Lists that were begun and not finished: what it takes to continue them, but no credential. Kept in local storage for
// as long as the service repeats its responses.

import { API, newKey } from "./api.js";

/** How long the service repeats its responses, in milliseconds. */
const KEPT_FOR = 24 * 3_600_000;

const PREFIX = `list ${API} `;

function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** Keeps a new list, given as its `count`, its `terms`, and whether it `generates`, and returns it with a key. */
export function begin(list) {
  const begun = { ...list, key: newKey(), begun: Date.now(), done: 0 };
  write(begun);
  return begun;
}

/** Keeps how many credentials of a list are done. */
export function progress(list, done) {
  list.done = Math.max(list.done, done);
  // Forgotten in another tab means forgotten.
  if (isKept(list)) write(list);
}

/** Whether the list can be continued once this page is closed. */
export function isKept({ key }) {
  return (storage()?.getItem(PREFIX + key) ?? null) !== null;
}

export function forget({ key }) {
  storage()?.removeItem(PREFIX + key);
}

/** The end of the time in which a list can be continued. */
export function keptUntil({ begun }) {
  return new Date(begun + KEPT_FOR);
}

/** The lists that can be continued, oldest first. Forgets those that cannot be any more. */
export function unfinished() {
  const now = Date.now();
  const lists = [];
  for (const name of Object.keys(storage() ?? {}).filter((name) => name.startsWith(PREFIX))) {
    const list = read(name);
    if (list !== null && Math.abs(now - list.begun) < KEPT_FOR) lists.push(list);
    else storage().removeItem(name);
  }
  return lists.sort((one, other) => one.begun - other.begun);
}

function read(name) {
  try {
    return JSON.parse(storage().getItem(name));
  } catch {
    return null;
  }
}

function write(list) {
  try {
    storage()?.setItem(PREFIX + list.key, JSON.stringify(list));
  } catch {
    // Full or read-only.
  }
}

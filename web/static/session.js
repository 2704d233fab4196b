// Bearer tokens: kept for this tab only, in session storage, or in memory if there is none.

const memory = new Map();

function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** The token of this name, or null. */
export function token(name) {
  return storage()?.getItem(`token:${name}`) ?? memory.get(name) ?? null;
}

/** Keeps a token; null forgets it. */
export function setToken(name, value) {
  memory.delete(name);
  try {
    storage()?.removeItem(`token:${name}`);
    if (value !== null) storage()?.setItem(`token:${name}`, value);
  } catch {
    // It is full or read-only.
  }
  if (value !== null && token(name) === null) memory.set(name, value);
}

/** Whether a text can be sent as a bearer token: visible ASCII only, as in any header. */
export function isSendable(value) {
  return /^[\x21-\x7e]+$/.test(value);
}

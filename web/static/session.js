// Bearer tokens: kept for this tab only, in session storage, or in memory where there is none.

const memory = new Map();

function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

/** The token kept under a name, or null. */
export function token(name) {
  return storage()?.getItem(`token:${name}`) ?? memory.get(name) ?? null;
}

/** Keeps a token, or forgets it where it is null. */
export function setToken(name, value) {
  memory.delete(name);
  try {
    storage()?.removeItem(`token:${name}`);
    if (value !== null) storage()?.setItem(`token:${name}`, value);
  } catch {
    // It is full, or may be read only.
  }
  if (value !== null && token(name) === null) memory.set(name, value);
}

/** Whether a text can be sent as a bearer at all: visible ASCII, as headers carry it. */
export function isSendable(value) {
  return /^[\x21-\x7e]+$/.test(value);
}

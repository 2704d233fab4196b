// Bearer tokens, kept for this tab only: in session storage, or in memory if that fails.

import { inputError } from "./api.js";
import { busy } from "./dom.js";

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
    // Full or read-only.
  }
  if (value !== null && token(name) === null) memory.set(name, value);
}

/** Whether a text can be sent as a bearer token: visible ASCII only, as in any header. */
export function isSendable(value) {
  return /^[\x21-\x7e]+$/.test(value);
}

/**
 * Sets up a form's field for the token of this name, hidden until the API asks for one. Returns a function that stores
 * the token, runs a task with the form busy, and passes errors to its second argument.
 */
export function tokenField(form, name) {
  const field = form.elements.token;
  const ask = (wanted) => {
    field.closest("[data-token]").hidden = !wanted;
    field.required = wanted;
  };
  return (task, failed) => busy(form, async () => {
    try {
      const given = field.value.trim();
      if (given !== "") {
        if (!isSendable(given)) throw inputError("body", "A token consists of visible ASCII characters only.");
        setToken(name, given);
      }
      await task();
      field.value = "";
      ask(false);
    } catch (error) {
      failed(error);
      if (error.status === 401) {
        setToken(name, null);
        ask(true);
        field.focus();
      }
    }
  });
}

// A list of credentials, issued in as few requests as the service's limits allow.

import { ApiError, call } from "./api.js";

const MAX_ITEMS = 100;
const MAX_BYTES = 64 * 1024;

const encoder = new TextEncoder();

/** The non-empty lines of a text, with their numbers. */
export function lines(text) {
  return text
    .split(/\r?\n/)
    .map((credential, index) => ({ line: index + 1, credential }))
    .filter(({ credential }) => credential !== "");
}

/** Items for this many credentials that the service generates. */
export function generated(count) {
  return Array.from({ length: count }, (_, index) => ({ line: index + 1, credential: null }));
}

export class Batch {
  /** The items without an outcome. */
  pending = [];

  /**
   * The outcomes: each item with its `kind` (`issued`, `known` or `refused`), a readable `status`, and the service's
   * result.
   */
  done = [];

  /** Whether another list was begun with the key. */
  isAnother = false;

  /** The number of requests that were answered. */
  #answered = 0;

  /**
   * `items` come from `lines` or `generated`; `terms` is the JSON text of the members they have in common. The same list
   * with the same `key` gets the same results, because it is sent in the same requests.
   */
  constructor(items, { key, terms }) {
    this.key = key;
    this.terms = terms;
    this.generates = items[0].credential === null;
    for (const item of items) {
      const status = unsendable(item, this.#text(item));
      if (status === null) this.pending.push(item);
      else this.done.push({ ...item, kind: "refused", status });
    }
  }

  get total() {
    return this.pending.length + this.done.length;
  }

  /** Sends one request with the next items. If it throws, they stay pending, and the next call repeats it. */
  async next(token) {
    const texts = this.#fill();
    const items = this.pending.slice(0, texts.length);
    const key = `${this.key}-${this.#answered}`;
    try {
      const { results } = await call("POST", "/issue/batch", { body: body(texts), token, key });
      this.done.push(...items.map((item, index) => outcome(item, results[index])));
    } catch (error) {
      this.isAnother = error.status === 422;
      throw this.isAnother ? anotherList(items, error) : error;
    }
    this.#answered += 1;
    this.pending.splice(0, items.length);
  }

  /** Removes the outcomes and returns them in the order of their lines. */
  take() {
    const taken = this.done.sort((one, other) => one.line - other.line);
    this.done = [];
    return taken;
  }

  /** The JSON texts of the next items, as many as one request may have. */
  #fill() {
    const texts = [];
    let size = body([]).length;
    for (const item of this.pending.slice(0, MAX_ITEMS)) {
      const text = this.#text(item);
      size += bytes(text) + (texts.length > 0 ? 1 : 0);
      if (size > MAX_BYTES) break;
      texts.push(text);
    }
    return texts;
  }

  #text({ credential }) {
    const own = credential === null ? '"generate":true' : `"credential":${JSON.stringify(credential)}`;
    return `{${own}${this.terms}}`;
  }
}

function body(texts) {
  return `{"credentials":[${texts.join(",")}]}`;
}

function bytes(text) {
  return encoder.encode(text).length;
}

/** Why no request can contain this item, or null. */
function unsendable({ credential }, text) {
  if (credential !== null && !credential.isWellFormed()) return "not Unicode text";
  return bytes(body([text])) > MAX_BYTES ? "too long: a request has at most 64 KiB" : null;
}

/** The error for a key that belongs to other items. */
function anotherList(items, { requestId }) {
  const [first, last] = [items[0].line, items.at(-1).line];
  const message = `Within lines ${first} to ${last}, this is not the list that was begun. None of these was issued now.`;
  return new ApiError(422, "Another list", message, { requestId });
}

function outcome(item, { error, ...result }) {
  if (error === undefined) return { ...item, ...result, kind: "issued", status: "issued" };
  if (error.status === 409) {
    // A day after it was issued, or once it no longer counts, the service does not repeat a generated credential.
    const status = item.credential === null ? "issued earlier, and can no longer be shown" : "already issued";
    return { ...item, kind: "known", status };
  }
  return { ...item, kind: "refused", status: reason(error) };
}

/** Why an item was refused, without its place in the request, so that equal reasons are equal texts. */
function reason({ detail, errors = [] }) {
  const reasons = errors.map(({ location, message }) => `${location.replace(/^.*\]\.?/, "")} ${message}`.trim());
  return reasons.length > 0 ? reasons.join("; ") : detail;
}

// A list of credentials, issued in requests of as many as the service takes at once.

import { call } from "./api.js";

const MAX_ITEMS = 100;
const MAX_BYTES = 64 * 1024;

const encoder = new TextEncoder();

/** The lines of a text that are not empty, with their numbers. */
export function lines(text) {
  return text
    .split(/\r?\n/)
    .map((credential, index) => ({ line: index + 1, credential }))
    .filter(({ credential }) => credential !== "");
}

/** Items for as many credentials that the service generates. */
export function generated(count) {
  return Array.from({ length: count }, (_, index) => ({ line: index + 1, credential: null }));
}

export class Batch {
  /** What has no outcome yet. */
  pending = [];

  /** The outcomes: each item with its `kind` (`issued`, `known` or `refused`), `status` in words, and the answer. */
  done = [];

  /** How many generated credentials may have been issued without an answer that told them. */
  lost = 0;

  /** `items` are of `lines` or `generated`; `terms` is JSON text of the members that all of them have. */
  constructor(items, terms) {
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

  /** Sends one request, of the items that are next. If it throws, they are still next. */
  async next(token) {
    const texts = this.#fill();
    const items = this.pending.slice(0, texts.length);
    try {
      const { results } = await call("POST", "/issue/batch", { body: body(texts), token });
      this.done.push(...items.map((item, index) => outcome(item, results[index])));
    } catch (error) {
      // After an answer of 4xx nothing was done. Otherwise nobody knows.
      if (!(error.status >= 400 && error.status < 500)) {
        for (const item of items) item.uncertain = true;
        if (this.generates) this.lost += items.length;
      }
      throw error;
    }
    this.pending.splice(0, items.length);
  }

  /** Takes the outcomes out, in the order of their lines. */
  take() {
    const taken = this.done.sort((one, other) => one.line - other.line);
    this.done = [];
    return taken;
  }

  /** The JSON texts of as many items as one request may have. */
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

/** Why an item cannot be part of any request, or null. */
function unsendable({ credential }, text) {
  if (credential !== null && !credential.isWellFormed()) return "not Unicode text";
  return bytes(body([text])) > MAX_BYTES ? "too long: a request has at most 64 KiB" : null;
}

function outcome(item, { error, ...answer }) {
  if (error === undefined) return { ...item, ...answer, kind: "issued", status: "issued" };
  if (error.status === 409) {
    const status = item.uncertain ? "already issued, maybe by a request that failed" : "already issued";
    return { ...item, kind: "known", status };
  }
  return { ...item, kind: "refused", status: reason(error) };
}

/** Why an item was refused, without its place in the request: equal reasons are equal texts. */
function reason({ detail, errors = [] }) {
  const reasons = errors.map(({ location, message }) => `${location.replace(/^.*\]\.?/, "")} ${message}`.trim());
  return reasons.length > 0 ? reasons.join("; ") : detail;
}

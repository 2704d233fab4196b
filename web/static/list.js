// What History and Credentials share: the token, the filters, the chart, the table and its pages.

import { ApiError, call } from "./api.js";
import { busy, copyButton, el, errorNotice, say, utc, wait } from "./dom.js";
import { isSendable, setToken, token } from "./session.js";
import { statistics } from "./statistics.js";

const PAGE_SIZE = 20;

/** Locks each list: they share one token. */
const locks = [];

/**
 * Sets up a list in a section.
 *
 * `path` is the route, `member` the name of its rows, `statuses` the choices of the filter, `counts` what the chart is
 * of; `columns` are a name and a function from a row to a cell each, and one that tells which rows have it if not all do.
 * `shown` is called after each load of the first page, with the element above the table.
 *
 * Returns `load` to reload the page, `call` to call an admin route, and `part` to find the section's elements.
 */
export function list(section, { path, member, statuses, columns, empty, counts, shown = () => {} }) {
  section.append(document.getElementById("list").content.cloneNode(true));
  const part = (name) => section.querySelector(`[data-${name}]`);
  const [tokenForm, unlocked, filters] = [part("token"), part("unlocked"), part("filters")];
  const [rows, errors, newer, older] = [part("rows"), part("error"), part("newer"), part("older")];
  const heading = section.querySelector("h1");
  filters.elements.status.append(...statuses.map(([value, name]) => el("option", { value }, name)));

  /** The cursors of the pages up to the current one; the first page's is null. */
  let cursors = [null];
  let next = null;
  let request = null;

  const lock = (error = null) => {
    request?.abort();
    figures.clear();
    setToken("admin", null);
    rows.replaceChildren();
    part("above").replaceChildren();
    tokenForm.hidden = false;
    tokenForm.querySelector("[role=alert]")?.remove();
    if (error) tokenForm.append(errorNotice(error));
    // The element that had the focus is hidden now.
    if (!unlocked.hidden) tokenForm.elements.token.focus();
    unlocked.hidden = true;
  };
  locks.push(lock);

  /** Calls an admin route; forgets a token that is refused. */
  const admin = async (method, route, options = {}) => {
    try {
      return await call(method, route, { ...options, token: token("admin") });
    } catch (error) {
      if (error.status === 401) lock(error);
      throw error;
    }
  };

  const figures = statistics(part("statistics"), counts, admin);

  /** The filters as filled in. They apply once submitted: a cursor is bound to the filters it was made for. */
  const query = () => {
    const chosen = new URLSearchParams();
    for (const name of ["status", "credential_hash"]) {
      const value = filters.elements[name].value.trim();
      if (value !== "") chosen.set(name, value);
    }
    for (const name of ["since", "until"]) {
      const value = utc(filters.elements[name].value);
      if (value !== null) chosen.set(name, value);
    }
    return chosen;
  };
  let applied = query();

  const load = async () => {
    if (token("admin") === null) {
      lock();
      return;
    }
    tokenForm.hidden = true;
    unlocked.hidden = false;
    request?.abort();
    request = new AbortController();
    const { signal } = request;
    const cursor = cursors.at(-1);
    const page = new URLSearchParams(applied);
    page.set("limit", PAGE_SIZE);
    if (cursor !== null) page.set("cursor", cursor);
    errors.replaceChildren();
    if (rows.childElementCount === 0) wait(rows, "Loading…");
    rows.setAttribute("aria-busy", "true");
    newer.disabled = older.disabled = true;
    try {
      const answer = await admin("GET", `${path}?${page}`, { signal });
      if (signal.aborted) return;
      next = answer.next_cursor;
      rows.replaceChildren(answer[member].length === 0 ? nothing() : table(heading.textContent, answer[member], columns));
      say(`Page ${cursors.length}, rows: ${answer[member].length}.`);
    } catch (error) {
      if (signal.aborted) return;
      next = null;
      rows.replaceChildren();
      errors.replaceChildren(errorNotice(error, again));
      return;
    } finally {
      if (!signal.aborted) {
        rows.removeAttribute("aria-busy");
        newer.disabled = cursors.length === 1;
        older.disabled = next === null;
      }
    }
    if (cursor !== null) return;
    shown(part("above"));
    figures.draw(applied);
  };

  const first = () => {
    cursors = [null];
    applied = query();
    return load();
  };
  /** Focuses the first of some elements that is not disabled, as the focused one may be by now. */
  const settle = (...candidates) => {
    if (!unlocked.hidden) candidates.find((element) => element && !element.disabled)?.focus({ preventScroll: true });
  };
  const again = async () => {
    await load();
    settle(errors.querySelector("button"), heading);
  };
  const nothing = () =>
    el("p", { class: "card" }, applied.size > 0 || cursors.length > 1 ? "Nothing here that the filters let through." : empty);

  tokenForm.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = tokenForm.elements.token.value.trim();
    if (!isSendable(value)) {
      lock(new ApiError(0, "Not sent", "A token has visible ASCII characters only."));
      return;
    }
    setToken("admin", value);
    tokenForm.elements.token.value = "";
    busy(tokenForm, first).then(() => {
      if (tokenForm.hidden) filters.elements.status.focus();
    });
  });
  filters.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(filters, first);
  });
  // The fields are cleared after this event.
  filters.addEventListener("reset", () => setTimeout(first));
  // Accept a hash that was copied with spaces or in upper case.
  filters.elements.credential_hash.addEventListener("change", ({ target }) => {
    target.value = target.value.trim().toLowerCase();
  });
  part("lock").addEventListener("click", () => {
    for (const each of locks) each();
  });
  /** Loads a page and scrolls to its top. The button may be disabled there: then `other` gets the focus. */
  const turn = async (button, other) => {
    await load();
    settle(button, other, errors.querySelector("button"));
    if (rows.getBoundingClientRect().top < 0) rows.scrollIntoView();
  };
  older.addEventListener("click", () => {
    if (next === null) return;
    cursors.push(next);
    turn(older, newer);
  });
  newer.addEventListener("click", () => {
    cursors.pop();
    turn(newer, older);
  });

  return { load, call: admin, part };
}

/** A table. Its roles keep it a table for screen readers where the style shows its rows as cards. */
function table(name, rows, all) {
  const columns = all.filter(([, , has]) => has === undefined || rows.some(has));
  return el(
    "table",
    { role: "table", "aria-label": name },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(([name]) => el("th", { role: "columnheader", scope: "col" }, name)))),
    el("tbody", { role: "rowgroup" }, rows.map((row) =>
      el("tr", { role: "row" }, columns.map(([name, cell]) => el("td", { role: "cell", "data-label": name }, el("div", {}, cell(row))))))),
  );
}

/** The start of a hash, with the whole hash in its title. */
export function shortHash(hash) {
  return el("span", { class: "hash", title: hash }, `${hash.slice(0, 12)}…`);
}

/** A button that copies a hash, among others like it. */
export function copyHash(hash) {
  return copyButton(hash, "Copy", hash.slice(0, 12));
}

/** A status as a coloured word. */
export function badge(status, kind) {
  return el("span", { class: `badge ${kind}` }, status.replaceAll("_", " "));
}

// Shared by History and Credentials: the token, the filters, the chart, the table and its pages.

import { ApiError, call } from "./api.js";
import { busy, copyButton, el, errorNotice, say, utc, wait } from "./dom.js";
import { isSendable, setToken, token } from "./session.js";
import { statistics } from "./statistics.js";

const PAGE_SIZE = 20;

/** A function to lock each list. They share one token. */
const locks = [];

/**
 * Sets up a list in a section.
 *
 * `path` is the route, `member` the name of its rows, `statuses` the choices of the filter, and `counts` describes the
 * chart. Each of the `columns` has a name, a function from a row to a cell, and, if it is optional, one that tells
 * whether a row has it. `shown` is called with the element above the table after the first page was loaded.
 *
 * Returns `load`, which reloads the page, `call`, which calls an admin route, and `part`, which finds elements.
 */
export function list(section, { path, member, statuses, columns, empty, counts, shown = () => {} }) {
  section.append(document.getElementById("list").content.cloneNode(true));
  const part = (name) => section.querySelector(`[data-${name}]`);
  const [tokenForm, unlocked, filters] = [part("token"), part("unlocked"), part("filters")];
  const [rows, errors, newer, older] = [part("rows"), part("error"), part("newer"), part("older")];
  const heading = section.querySelector("h1");
  filters.elements.status.append(...statuses.map(([value, name]) => el("option", { value }, name)));

  /** The cursors of all pages up to this one. The first is null. */
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
    // The focused element is hidden now.
    if (!unlocked.hidden) tokenForm.elements.token.focus();
    unlocked.hidden = true;
  };
  locks.push(lock);

  /** Calls an admin route, and forgets a token that is refused. */
  const admin = async (method, route, options = {}) => {
    try {
      return await call(method, route, { ...options, token: token("admin") });
    } catch (error) {
      if (error.status === 401) lock(error);
      throw error;
    }
  };

  const figures = statistics(part("statistics"), counts, admin);

  /** The filters as filled in. They apply once submitted, because a cursor is bound to its filters. */
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
      const response = await admin("GET", `${path}?${page}`, { signal });
      if (signal.aborted) return;
      next = response.next_cursor;
      rows.replaceChildren(response[member].length === 0 ? nothing() : table(heading.textContent, response[member], columns));
      say(`Page ${cursors.length}, rows: ${response[member].length}.`);
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
  /** Focuses the first of these elements that is enabled; the focused one may be disabled by now. */
  const settle = (...candidates) => {
    if (!unlocked.hidden) candidates.find((element) => element && !element.disabled)?.focus({ preventScroll: true });
  };
  const again = async () => {
    await load();
    settle(errors.querySelector("button"), heading);
  };
  const nothing = () =>
    el("p", { class: "card" }, applied.size > 0 || cursors.length > 1 ? "Nothing matches the filters." : empty);

  tokenForm.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = tokenForm.elements.token.value.trim();
    if (!isSendable(value)) {
      lock(new ApiError(0, "Not sent", "A token consists of visible ASCII characters only."));
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
  // Fields are cleared after this event.
  filters.addEventListener("reset", () => setTimeout(first));
  // Accept hashes copied with spaces or in upper case.
  filters.elements.credential_hash.addEventListener("change", ({ target }) => {
    target.value = target.value.trim().toLowerCase();
  });
  part("lock").addEventListener("click", () => {
    for (const each of locks) each();
  });
  /** Loads a page and scrolls to its top. `other` gets the focus if the button is disabled there. */
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

/** A table. The roles keep it one for screen readers when CSS shows rows as cards. */
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

/** A button that copies a hash. */
export function copyHash(hash) {
  return copyButton(hash, "Copy", hash.slice(0, 12));
}

/** A status as a coloured badge. */
export function badge(status, kind) {
  return el("span", { class: `badge ${kind}` }, status.replaceAll("_", " "));
}

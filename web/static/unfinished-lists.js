// Shows the lists that were begun and not finished, to be continued or forgotten.

import { inputError } from "./api.js";
import { generated, lines } from "./batch.js";
import { el, errorNotice, notice, number, plural, time } from "./dom.js";
import { forget, keptUntil, unfinished } from "./unfinished.js";

/**
 * Sets up the place for them in a section. `isCurrent` tells which list is shown elsewhere, and `proceed` continues one
 * from its first credential, given its items.
 *
 * Returns `draw`, to be called after changes.
 */
export function unfinishedLists(section, { isCurrent, proceed }) {
  const place = section.querySelector("[data-unfinished]");
  /** The card of each list, by its key. */
  const cards = new Map();

  const draw = () => {
    const lists = unfinished();
    const keys = new Set(lists.map(({ key }) => key));
    for (const [key, card] of cards) {
      if (keys.has(key)) continue;
      card.remove();
      cards.delete(key);
    }
    for (const list of lists) {
      if (!cards.has(list.key)) {
        const card = describe(list, { proceed, discard: () => discard(list) });
        cards.set(list.key, card);
        place.append(card);
      }
      const card = cards.get(list.key);
      card.querySelector("[data-done]").textContent = soFar(list);
      card.hidden = isCurrent(list);
    }
  };

  const discard = (list) => {
    if (!mayForget(list)) return;
    forget(list);
    draw();
    // The focused button is gone.
    section.querySelector("h1").focus();
  };

  // Another tab began, continued or finished one.
  addEventListener("storage", draw);
  return draw;
}

/** Asks the user whether a list may be forgotten, if that could lose credentials. */
export function mayForget({ generates }) {
  return !generates || confirm("Forget this list? Credentials that were generated and not saved cannot be had again.");
}

function soFar({ count, done }) {
  return done === count ? "All of it was done, but not saved." : `Done: ${number(done)} of ${number(count)}.`;
}

function describe(list, { proceed, discard }) {
  const { count, generates } = list;
  const title = `${generates ? plural(count, "generated credential") : `A list of ${plural(count, "credential")}`}: not finished`;
  const [begun, until] = [new Date(list.begun), keptUntil(list)].map((date) => time(date.toISOString()));
  const errors = el("div", {});
  const field = generates ? null : el("textarea", {
    name: "again", rows: 3, dir: "auto", autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true,
  });
  const form = el(
    "form",
    {
      autocomplete: "off",
      "aria-label": title,
      onsubmit: (event) => {
        event.preventDefault();
        errors.replaceChildren();
        const items = generates ? generated(count) : lines(field.value);
        if (items.length === count) proceed(items, list);
        else errors.replaceChildren(errorNotice(inputError("again", `The list that was begun has ${plural(count, "credential")}, this one ${number(items.length)}.`)));
      },
    },
    field === null ? null : el("label", { class: "field" }, el("span", {}, "The same list again"), field),
    errors,
    el(
      "div",
      { class: "buttons" },
      el("button", { type: "submit", class: "primary" }, "Continue"),
      el("button", { type: "button", onclick: discard }, "Forget it"),
    ),
  );
  return notice(
    "warn",
    title,
    el("p", {}, "This list was begun on ", begun, " and may be open in another tab. ", el("span", { "data-done": "" })),
    el("p", {}, generates
      ? "“Continue” fetches those that were issued and issues the rest, so that one file has them all."
      : "This browser has not kept its credentials. Paste it again: nothing is issued twice, and its expiry, uses and metadata stay as they were."),
    el("p", {}, "This is possible until ", until, ", with the same issuer token, if there is one.", generates
      ? " Until then, anyone who uses this browser can do it: forget the list on a shared computer."
      : ""),
    form,
  );
}

// Creating elements, and what all views show: times, notices, errors. No string becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an element. Properties are attributes or `on…` listeners; children are nodes, text, or null, which is
 * skipped.
 */
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** Creates an SVG element. */
export function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An RFC 3339 time in the user's time zone and language, with the original in its title. */
export function time(text) {
  const date = new Date(text);
  const shown = Number.isNaN(date.valueOf())
    ? text
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return el("time", { datetime: text, title: text }, shown);
}

/** A number in the user's language. */
export function number(value) {
  return value.toLocaleString();
}

/** A number with a noun: `1 day`, `2 days`. */
export function plural(value, noun) {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** How many lines are listed. */
const NAMED = 10;

/** Line numbers in words: `line 5`, `lines 1, 2 and 3 more`. */
export function lineNumbers(lines) {
  const more = lines.length > NAMED ? ` and ${number(lines.length - NAMED)} more` : "";
  return `${lines.length === 1 ? "line" : "lines"} ${lines.slice(0, NAMED).join(", ")}${more}`;
}

/** The value of a `datetime-local` input as RFC 3339 in UTC; null if it is empty. */
export function utc(local) {
  return local === "" ? null : new Date(local).toISOString();
}

let saying;

/** Announces a text to screen readers. A text that follows at once replaces it. */
export function say(text) {
  const region = document.querySelector("[data-said]");
  region.textContent = "";
  clearTimeout(saying);
  // Screen readers announce the same text again only if the region was empty in between.
  saying = setTimeout(() => { region.textContent = text; }, 100);
}

/** A button that copies a text. `what` tells screen readers which one it is of several. */
export function copyButton(text, label = "Copy", what = "") {
  const shown = el("span", {}, label);
  const button = el("button", {
    type: "button",
    class: "small",
    onclick: async () => {
      shown.textContent = (await copied(text)) ? "Copied" : "Cannot copy";
      // The fallback below moves the focus.
      button.focus();
      say(shown.textContent);
      setTimeout(() => { shown.textContent = label; }, 2500);
    },
  }, shown, what === "" ? null : el("span", { class: "visually-hidden" }, ` ${what}`));
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages loaded over plain HTTP from another machine have no clipboard API.
    const area = el("textarea", { class: "visually-hidden", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A list of names and values, leaving out missing values. */
export function facts(entries) {
  const given = entries.filter(([, value]) => value !== null && value !== undefined);
  return el("dl", {}, given.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** A JSON value, pretty-printed. */
export function json(value) {
  return value === undefined ? null : el("pre", {}, JSON.stringify(value, null, 2));
}

const MARKS = { good: "M5 13l4.5 4.5L19 7", bad: "M6 6l12 12M18 6L6 18", warn: "M12 5v9M12 18.5v.5" };

/** A card with a heading, coloured by its kind: `good`, `bad` or `warn`. */
export function notice(kind, title, ...children) {
  const mark = svg("svg", { class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: MARKS[kind] }));
  return el("div", { class: `card notice ${kind}` }, el("h2", {}, mark, title), ...children);
}

/** An error as the service reported it: its detail, what is wrong where, and the request id for the log. */
export function errorNotice(error, retry = null) {
  const { title = "The page failed", message, errors = [], requestId = null, retryAfter = null } = error;
  const card = notice(
    "warn",
    title,
    el("p", {}, message),
    errors.length > 1
      ? el("ul", {}, errors.map((error) => el("li", {}, el("code", {}, error.location), `: ${error.message}`)))
      : null,
    retryAfter === null ? null : el("p", {}, `Wait ${plural(retryAfter, "second")}, until `, clock(retryAfter), "."),
    requestId ? el("p", { class: "hint" }, "Request id: ", el("code", {}, requestId)) : null,
    retry ? el("button", { type: "button", onclick: retry }, "Try again") : null,
  );
  card.setAttribute("role", "alert");
  return card;
}

/** The time of day this many seconds from now. */
function clock(seconds) {
  const date = new Date(Date.now() + seconds * 1000);
  return el("time", { datetime: date.toISOString() }, date.toLocaleTimeString());
}

/** Shows a card and scrolls to it, because on a phone it would be off the screen. */
export function present(place, card) {
  place.replaceChildren(card);
  card.scrollIntoView({ block: "nearest" });
}

/** Shows that a request is under way. */
export function wait(place, what) {
  place.replaceChildren(el("p", { class: "loading" }, what));
  say(what);
}

/** Runs a form's task with the buttons disabled, so that nothing is sent twice. */
export async function busy(form, task) {
  if (form.hasAttribute("aria-busy")) return;
  const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
  const focused = document.activeElement;
  form.setAttribute("aria-busy", "true");
  for (const button of buttons) button.disabled = true;
  try {
    await task();
  } finally {
    form.removeAttribute("aria-busy");
    for (const button of buttons) button.disabled = false;
    // Disabled buttons lose the focus.
    if (buttons.includes(focused) && document.activeElement === document.body) focused.focus();
  }
}

// Elements, and the few things that every view shows: times, hashes, notices, errors. No string becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. Properties are attributes, `on…` listeners; a child is a node, or text; null is left out. */
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** Makes an SVG element. */
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

/** An RFC 3339 time in the reader's own zone and language, with the exact one in its title. */
export function time(text) {
  const date = new Date(text);
  const shown = Number.isNaN(date.valueOf())
    ? text
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return el("time", { datetime: text, title: text }, shown);
}

/** What a `datetime-local` input says, as RFC 3339 in UTC; null where it is empty. */
export function utc(local) {
  return local === "" ? null : new Date(local).toISOString();
}

/** A button that copies a text. */
export function copyButton(text, label = "Copy") {
  const button = el("button", {
    type: "button",
    class: "small",
    "aria-live": "polite",
    onclick: async () => {
      button.textContent = (await copied(text)) ? "Copied" : "Cannot copy";
      setTimeout(() => { button.textContent = label; }, 2500);
    },
  }, label);
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Browsers have no clipboard for pages that came by plain HTTP from another machine: there, the old way.
    const area = el("textarea", { class: "visually-hidden", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A list of names and values; a value that is missing is left out with its name. */
export function facts(entries) {
  const given = entries.filter(([, value]) => value !== null && value !== undefined);
  return el("dl", {}, given.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** A JSON value as it was sent, over several lines. */
export function json(value) {
  return value === undefined ? null : el("pre", {}, JSON.stringify(value, null, 2));
}

const MARKS = { good: "M5 13l4.5 4.5L19 7", bad: "M6 6l12 12M18 6L6 18", warn: "M12 5v9M12 18.5v.5" };

/** A card with a heading, coloured and marked by what it means: `good`, `bad` or `warn`. */
export function notice(kind, title, ...children) {
  const mark = svg("svg", { class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: MARKS[kind] }));
  return el("div", { class: `card notice ${kind}` }, el("h2", {}, mark, title), ...children);
}

/** An error as the service gave it: its detail, what is wrong where, and the id to find it in the log by. */
export function errorNotice(error, retry = null) {
  const card = notice(
    "warn",
    error.title,
    el("p", {}, error.message),
    error.errors.length > 1
      ? el("ul", {}, error.errors.map(({ location, message }) => el("li", {}, el("code", {}, location), `: ${message}`)))
      : null,
    error.requestId ? el("p", { class: "hint" }, "Request id: ", el("code", {}, error.requestId)) : null,
    retry ? el("button", { type: "button", onclick: retry }, "Try again") : null,
  );
  card.setAttribute("role", "alert");
  return card;
}

/** What stands where an answer will be. */
export function loading(what) {
  return el("p", { class: "loading" }, what);
}

/** Runs what a form does, with its buttons disabled meanwhile, so that nothing is sent twice. */
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
    // A disabled button loses the focus.
    if (buttons.includes(focused) && document.activeElement === document.body) focused.focus();
  }
}

/** Enter sends a credential, as from a field of one line; Shift+Enter is a line break in it. Says where spaces hide. */
export function credentialField(form) {
  const field = form.elements.credential;
  const warning = form.querySelector("[data-spaces]");
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit(form.querySelector("[type=submit]"));
  });
  const warn = () => {
    const spaces = field.value !== field.value.trim();
    warning.textContent = spaces ? "It begins or ends with white space, which counts as part of it." : "";
  };
  if (warning) {
    field.addEventListener("input", warn);
    form.addEventListener("reset", () => { warning.textContent = ""; });
  }
}

// Issues credentials: the user's own, or generated ones that are shown once.

import { inputError, repeatable } from "./api.js";
import { generated, lines } from "./batch.js";
import { copyButton, el, errorNotice, facts, notice, number, plural, present, say, time, utc, wait } from "./dom.js";
import { credentialField, tell, warningOfLines } from "./field.js";
import { issueList } from "./issue-list.js";
import { token, tokenField } from "./session.js";

const AGAIN = "Press “Issue” again before you close this page: nothing is issued twice.";

const ONCE = "This is your credential. It is shown this once: copy it now.";

/** The input field of each source that has one. */
const FIELDS = { own: "credential", lines: "lines", several: "count" };

export function start(section) {
  const form = section.querySelector("[data-form]");
  const result = section.querySelector("[data-result]");
  const fields = form.elements;
  credentialField(form);

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  section.querySelector("[data-zone]").textContent = `(your time, ${zone})`;
  const count = () => {
    const items = lines(fields.lines.value);
    tell(section.querySelector("[data-counted]"), counted(fields.lines.value, items));
    tell(section.querySelector("[data-unseen-lines]"), warningOfLines(items));
  };
  fields.lines.addEventListener("input", count);
  const arrange = () => {
    for (const [source, field] of Object.entries(FIELDS)) {
      const chosen = fields.source.value === source;
      section.querySelector(`[data-${source}]`).hidden = !chosen;
      fields[field].required = chosen;
      fields[field].disabled = !chosen;
    }
    const at = fields.expiry.value === "at";
    section.querySelector("[data-at]").hidden = !at;
    fields.expires_at.required = at;
    count();
  };
  form.addEventListener("change", arrange);
  // On Back, browsers may restore earlier choices.
  addEventListener("pageshow", arrange);

  const act = tokenField(form, "issuer");
  const send = repeatable("/issue");
  const fail = (error) => {
    const card = errorNotice(error);
    if (error.isUncertain) card.append(el("p", { class: "hint" }, AGAIN));
    present(result, card);
  };
  const list = issueList(section, act);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!list.mayDrop()) return;
    const typed = ["credential", "lines", "metadata"].map((name) => [fields[name], fields[name].value]);
    const clear = () => {
      for (const [field, value] of typed) {
        // The user may type the next list while this one is issued.
        if (field.value !== value) continue;
        field.value = "";
        field.dispatchEvent(new Event("input"));
      }
    };
    let items, common;
    try {
      items = listed(fields);
      common = terms(fields);
    } catch (error) {
      fail(error);
      return;
    }
    if (items !== null) {
      list.start(items, common, clear);
      return;
    }
    act(async () => {
      wait(result, "Issuing…");
      const own = fields.source.value === "own";
      const credential = own ? `"credential":${JSON.stringify(fields.credential.value)}` : '"generate":true';
      const response = await send(`{${credential}${common}}`, token("issuer"));
      present(result, issued(response));
      say(response.credential === undefined ? "Issued." : `Issued. ${ONCE}`);
      clear();
    }, fail);
  });

  return () => {
    arrange();
    list.shown();
  };
}

/** How many credentials and empty lines a text has. */
function counted(text, items) {
  if (text === "") return "";
  const ignored = text.replace(/\n$/, "").split("\n").length - items.length;
  const parts = [`${plural(items.length, "credential")}.`];
  if (ignored > 0) parts.push(`${plural(ignored, "empty line")} left out.`);
  return parts.join(" ");
}

/** The items of a list, or null for a single credential. */
function listed(fields) {
  if (fields.source.value === "several") return generated(Number(fields.count.value));
  if (fields.source.value !== "lines") return null;
  const items = lines(fields.lines.value);
  if (items.length === 0) throw inputError("lines", "All lines are empty.");
  return items;
}

/**
 * The JSON text of all members except the credential, each after a comma. Metadata is copied as it was typed, so that
 * numbers keep their digits.
 */
function terms(fields) {
  let text = "";
  if (fields.expiry.value === "at") text = `,"expires_at":${JSON.stringify(utc(fields.expires_at.value))}`;
  else if (fields.expiry.value !== "") text = `,"ttl_seconds":${fields.expiry.value}`;
  if (fields.max_uses.value !== "") text += `,"max_uses":${Number(fields.max_uses.value)}`;
  const metadata = fields.metadata.value.trim();
  if (metadata === "") return text;
  let value;
  try {
    value = JSON.parse(metadata);
  } catch (error) {
    throw inputError("metadata", `The metadata is not JSON: ${error.message}.`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw inputError("metadata", "The metadata must be a JSON object, such as {\"owner\": \"ops\"}.");
  }
  return `${text},"metadata":${metadata}`;
}

function issued(response) {
  const hash = el("span", { class: "hash" }, response.credential_hash);
  return notice(
    "good",
    "Issued",
    response.credential === undefined ? null : once(response.credential),
    facts([
      ["Hash", el("span", {}, hash, " ", copyButton(response.credential_hash, "Copy hash"))],
      ["Issued by", response.worker_id],
      ["Issued", time(response.issued_at)],
      ["Expires", response.expires_at === undefined ? "never" : time(response.expires_at)],
      ["Uses", response.max_uses === undefined ? "any number" : number(response.max_uses)],
      ["Key", el("code", {}, response.key_id)],
    ]),
  );
}

function once(credential) {
  const text = el("code", { class: "credential", "data-credential": "" }, credential);
  const box = el("div", { class: "once" }, text, copyButton(credential, "Copy credential"));
  return el("div", {}, el("p", {}, ONCE), box);
}

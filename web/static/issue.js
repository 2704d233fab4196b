// Issues a credential: the user's own, or a generated one that is shown once.

import { ApiError, call } from "./api.js";
import { busy, copyButton, credentialField, el, errorNotice, facts, notice, present, say, time, utc, wait } from "./dom.js";
import { isSendable, setToken, token } from "./session.js";

const ONCE = "This is your credential. It is shown this once: copy it now.";

export function start(section) {
  const form = section.querySelector("[data-form]");
  const result = section.querySelector("[data-result]");
  const fields = form.elements;
  const issuer = section.querySelector("[data-issuer]");
  credentialField(form);

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  section.querySelector("[data-zone]").textContent = `(your time, ${zone})`;
  const arrange = () => {
    const own = fields.source.value === "own";
    section.querySelector("[data-own]").hidden = !own;
    fields.credential.required = own;
    const at = fields.expiry.value === "at";
    section.querySelector("[data-at]").hidden = !at;
    fields.expires_at.required = at;
  };
  form.addEventListener("change", arrange);
  // On Back, browsers may restore what was chosen before.
  addEventListener("pageshow", arrange);

  const askForToken = () => {
    issuer.hidden = false;
    fields.token.required = true;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form, async () => {
      wait(result, "Issuing…");
      try {
        const given = fields.token.value.trim();
        if (given !== "") {
          if (!isSendable(given)) throw inputError("body", "A token has visible ASCII characters only.");
          setToken("issuer", given);
        }
        const answer = await call("POST", "/issue", { body: request(fields), token: token("issuer") });
        present(result, issued(answer));
        say(answer.credential === undefined ? "Issued." : `Issued. ${ONCE}`);
        fields.credential.value = "";
        fields.metadata.value = "";
        fields.token.value = "";
        form.querySelector("[data-spaces]").textContent = "";
        issuer.hidden = true;
        fields.token.required = false;
      } catch (error) {
        present(result, errorNotice(error));
        if (error.status === 401) {
          setToken("issuer", null);
          askForToken();
          fields.token.focus();
        }
      }
    });
  });

  return arrange;
}

/** The request's JSON text. Metadata goes into it as it was typed, so that its numbers keep their digits. */
function request(fields) {
  const members = fields.source.value === "own" ? { credential: fields.credential.value } : { generate: true };
  if (fields.expiry.value === "at") members.expires_at = utc(fields.expires_at.value);
  else if (fields.expiry.value !== "") members.ttl_seconds = Number(fields.expiry.value);
  const text = JSON.stringify(members);
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
  return `${text.slice(0, -1)},"metadata":${metadata}}`;
}

function inputError(location, message) {
  return new ApiError(400, "Not sent", message, { errors: [{ location, message }] });
}

function issued(answer) {
  const hash = el("span", { class: "hash" }, answer.credential_hash);
  return notice(
    "good",
    "Issued",
    answer.credential === undefined ? null : once(answer.credential),
    facts([
      ["Hash", el("span", {}, hash, " ", copyButton(answer.credential_hash, "Copy hash"))],
      ["Issued by", answer.worker_id],
      ["Issued", time(answer.issued_at)],
      ["Expires", answer.expires_at === undefined ? "never" : time(answer.expires_at)],
      ["Key", el("code", {}, answer.key_id)],
    ]),
  );
}

function once(credential) {
  const text = el("code", { class: "credential", "data-credential": "" }, credential);
  const box = el("div", { class: "once" }, text, copyButton(credential, "Copy credential"));
  return el("div", {}, el("p", {}, ONCE), box);
}

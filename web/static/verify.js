// Verifies a credential and shows the verdict.

import { repeatable } from "./api.js";
import { el, errorNotice, facts, json, notice, plural, present, say, time, wait } from "./dom.js";
import { credentialField } from "./field.js";
import { token, tokenField } from "./session.js";

const TITLES = {
  valid: "Valid",
  expired: "Not valid: expired",
  revoked: "Not valid: revoked",
  used_up: "Not valid: used up",
  not_found: "Not valid: never issued here",
};

const NONE = "There is no verdict: this says nothing about the credential.";
const AGAIN = "Verify it again: a use that was taken is not taken twice.";
const LOOKED = "This was only a look: no use was taken.";

export function start(section) {
  const form = section.querySelector("[data-form]");
  const result = section.querySelector("[data-result]");
  credentialField(form);
  const act = tokenField(form, "verifier");
  // A look in between must not change the key of a verification that got no response.
  const [verify, look] = [repeatable("/verify"), repeatable("/verify")];
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const looks = event.submitter?.name === "look";
    act(async () => {
      wait(result, "Verifying…");
      const body = { credential: form.elements.credential.value, ...(looks ? { use: false } : {}) };
      const response = await (looks ? look : verify)(JSON.stringify(body), token("verifier"));
      present(result, verdict(response, looks));
      say(`${title(response)}. ${response.message}`);
    }, (error) => {
      const card = errorNotice(error);
      if (error.status !== 400) card.append(el("p", { class: "hint" }, error.isUncertain && !looks ? `${NONE} ${AGAIN}` : NONE));
      present(result, card);
    });
  });
  return () => {};
}

function title({ status, isValid, usesLeft }) {
  const text = TITLES[status] ?? status;
  if (!isValid || usesLeft === undefined) return text;
  return `${text}, ${usesLeft === 0 ? "no uses" : plural(usesLeft, "use")} left`;
}

function verdict(response, looked) {
  return notice(
    response.isValid ? "good" : "bad",
    title(response),
    el("p", {}, response.message),
    looked && response.usesLeft !== undefined ? el("p", {}, LOOKED) : null,
    facts([
      ["Issued by", response.issuedBy],
      ["Issued", response.issuedAt && time(response.issuedAt)],
      ["Expires", response.expiresAt ? time(response.expiresAt) : response.isValid ? "never" : null],
      ["Metadata", json(response.metadata)],
      ["Verified", time(response.verifiedAt)],
      ["Verification", el("code", {}, response.verificationId)],
    ]),
  );
}

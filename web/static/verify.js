// Verifies a credential and shows the verdict.

import { call } from "./api.js";
import { el, errorNotice, facts, json, notice, present, say, time, wait } from "./dom.js";
import { credentialField } from "./field.js";
import { token, tokenField } from "./session.js";

const TITLES = {
  valid: "Valid",
  expired: "Not valid: expired",
  revoked: "Not valid: revoked",
  not_found: "Not valid: never issued here",
};

export function start(section) {
  const form = section.querySelector("[data-form]");
  const result = section.querySelector("[data-result]");
  credentialField(form);
  const act = tokenField(form, "verifier");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(async () => {
      wait(result, "Verifying…");
      const body = { credential: form.elements.credential.value };
      const response = await call("POST", "/verify", { body, token: token("verifier") });
      present(result, verdict(response));
      say(`${title(response)}. ${response.message}`);
    }, (error) => {
      const card = errorNotice(error);
      if (error.status !== 400) card.append(el("p", { class: "hint" }, "There is no verdict: this says nothing about the credential."));
      present(result, card);
    });
  });
  return () => {};
}

function title(response) {
  return TITLES[response.status] ?? response.status;
}

function verdict(response) {
  return notice(
    response.isValid ? "good" : "bad",
    title(response),
    el("p", {}, response.message),
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

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
      const answer = await call("POST", "/verify", { body, token: token("verifier") });
      present(result, verdict(answer));
      say(`${title(answer)}. ${answer.message}`);
    }, (error) => {
      const card = errorNotice(error);
      if (error.status !== 400) card.append(el("p", { class: "hint" }, "There is no verdict: this says nothing about the credential."));
      present(result, card);
    });
  });
  return () => {};
}

function title(answer) {
  return TITLES[answer.status] ?? answer.status;
}

function verdict(answer) {
  return notice(
    answer.isValid ? "good" : "bad",
    title(answer),
    el("p", {}, answer.message),
    facts([
      ["Issued by", answer.issuedBy],
      ["Issued", answer.issuedAt && time(answer.issuedAt)],
      ["Expires", answer.expiresAt ? time(answer.expiresAt) : answer.isValid ? "never" : null],
      ["Metadata", json(answer.metadata)],
      ["Verified", time(answer.verifiedAt)],
      ["Verification", el("code", {}, answer.verificationId)],
    ]),
  );
}

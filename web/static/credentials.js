// The list of issued credentials, their chart, and revocation.

import { busy, el, errorNotice, json, notice, number, say, time } from "./dom.js";
import { credentialField } from "./field.js";
import { badge, copyHash, list, shortHash } from "./list.js";

const KINDS = { active: "good", expired: "warn", used_up: "warn", revoked: "bad" };

export function start(section) {
  const dialog = document.querySelector("[data-revoke]");
  const view = list(section, {
    path: "/credentials",
    member: "credentials",
    statuses: [["active", "Active"], ["expired", "Expired"], ["used_up", "Used up"], ["revoked", "Revoked"]],
    empty: "Nothing has been issued yet.",
    columns: [
      ["Credential", (row) => el("span", {}, shortHash(row.credential_hash), " ", copyHash(row.credential_hash))],
      ["Status", (row) => badge(row.status, KINDS[row.status])],
      ["Issued", (row) => el("span", {}, time(row.issued_at), el("br"), el("small", {}, `by ${row.worker_id}`))],
      ["Ends", ends],
      ["Metadata", metadata],
      ["Action", (row) => (row.status === "revoked" ? "" : el("button", {
        type: "button",
        class: "small danger",
        "aria-label": `Revoke ${row.credential_hash.slice(0, 12)}`,
        onclick: () => open(row.credential_hash),
      }, "Revoke"))],
    ],
    counts: {
      path: "/statistics/issuance",
      title: "All credentials",
      series: [
        { name: "issued", kind: "valid", kinds: ["issued"] },
        { name: "revoked", kind: "invalid", kinds: ["revoked"] },
        { name: "used", kind: "used", kinds: ["used"] },
      ],
    },
    shown: (above) => above.replaceChildren(anyButton),
  });

  const form = dialog.querySelector("form");
  const errors = dialog.querySelector("[data-error]");
  const field = dialog.querySelector("[data-credential]");
  let hash = null;
  credentialField(form);

  /** Opens the dialog. Without a hash, it asks for the credential itself. */
  const open = (credentialHash) => {
    hash = credentialHash;
    form.reset();
    errors.replaceChildren();
    dialog.querySelector("[data-hash]").textContent = hash ?? "";
    field.hidden = hash !== null;
    form.elements.credential.required = hash === null;
    dialog.showModal();
    (hash === null ? form.elements.credential : form.elements.reason).focus();
  };
  dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  // Forget what was typed.
  dialog.addEventListener("close", () => form.reset());
  // Escape must not hide the outcome of a revocation under way.
  dialog.addEventListener("cancel", (event) => {
    if (form.hasAttribute("aria-busy")) event.preventDefault();
  });
  // Back also leaves the dialog.
  addEventListener("hashchange", () => dialog.close());

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form, async () => {
      const body = hash === null ? { credential: form.elements.credential.value } : { credential_hash: hash };
      if (form.elements.reason.value !== "") body.reason = form.elements.reason.value;
      try {
        const response = await view.call("POST", "/revoke", { body });
        dialog.close();
        const card = notice("good", "Revoked", el("p", {}, "The credential ", shortHash(response.credential_hash), " no longer counts, since ", time(response.revoked_at), "."));
        await view.load();
        view.part("above").replaceChildren(card, anyButton);
        section.querySelector("h1").focus({ preventScroll: true });
        card.scrollIntoView({ block: "nearest" });
        say("Revoked.");
      } catch (error) {
        if (error.status === 401) {
          dialog.close();
          view.part("token").elements.token.focus();
        } else errors.replaceChildren(errorNotice(error));
      }
    });
  });

  const anyButton = el("p", {}, el("button", { type: "button", onclick: () => open(null) }, "Revoke a credential I have"));
  return view.load;
}

/** Metadata on one line, folded if long. */
function metadata(row) {
  if (row.metadata === undefined) return "";
  const text = JSON.stringify(row.metadata);
  if (text.length <= 60) return el("code", {}, text);
  return el("details", {}, el("summary", {}, el("code", {}, `${text.slice(0, 40)}…`)), json(row.metadata));
}

/** When and why a credential stops or stopped counting, and how much of it is used. */
function ends(row) {
  const used = row.max_uses === undefined
    ? []
    : [el("br"), el("small", {}, `${number(row.uses)} of ${number(row.max_uses)} used`)];
  if (row.revoked_at !== undefined) {
    return el("span", {}, "revoked ", time(row.revoked_at), row.reason ? el("small", {}, " (", el("bdi", {}, row.reason), ")") : null, used);
  }
  return el("span", {}, row.expires_at === undefined ? "never" : time(row.expires_at), used);
}

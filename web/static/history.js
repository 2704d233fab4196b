// The list of audit rows and a chart of all verifications.

import { el, time } from "./dom.js";
import { badge, copyHash, list, shortHash } from "./list.js";

export function start(section) {
  const { load } = list(section, {
    path: "/verifications",
    member: "verifications",
    statuses: [["valid", "Valid"], ["not_found", "Not found"], ["expired", "Expired"], ["used_up", "Used up"], ["revoked", "Revoked"]],
    empty: "Nothing has been verified yet.",
    columns: [
      ["Verified", (row) => time(row.verified_at)],
      ["Verdict", (row) => badge(row.status, row.is_valid ? "good" : "bad")],
      ["Credential", (row) => el("span", {}, shortHash(row.credential_hash), " ", copyHash(row.credential_hash))],
      ["By", (row) => row.verified_by],
      ["Request id", (row) => el("code", {}, row.request_id)],
      ["Client", (row) => client(row.client_address), (row) => row.client_address !== undefined],
    ],
    counts: {
      path: "/statistics/verification",
      title: "All verifications",
      series: [
        { name: "valid", kind: "valid", kinds: ["valid"] },
        { name: "not valid", kind: "invalid", kinds: ["not_found", "expired", "used_up", "revoked"] },
        { name: "refused after too many failures", kind: "refused", kinds: ["refused"] },
      ],
    },
  });
  return load;
}

function client(address) {
  return address === undefined ? "" : el("code", { class: "address" }, address);
}

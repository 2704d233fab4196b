// The list of audit rows, and a chart of them.

import { chart } from "./chart.js";
import { el, time } from "./dom.js";
import { badge, copyHash, list, shortHash } from "./list.js";

/** How many rows the chart shows at most, and how many it reads at a time. */
const CHARTED = 1000;
const BATCH = 100;

export function start(section) {
  const { load } = list(section, {
    path: "/verifications",
    member: "verifications",
    statuses: [["valid", "Valid"], ["not_found", "Not found"], ["expired", "Expired"], ["revoked", "Revoked"]],
    empty: "Nothing has been verified yet.",
    columns: [
      ["Verified", (row) => time(row.verified_at)],
      ["Verdict", (row) => badge(row.status, row.is_valid ? "good" : "bad")],
      ["Credential", (row) => el("span", {}, shortHash(row.credential_hash), " ", copyHash(row.credential_hash))],
      ["By", (row) => row.verified_by],
      ["Request id", (row) => el("code", {}, row.request_id)],
    ],
    shown: draw,
  });
  return load;
}

/** Draws the newest rows that match the filters. The table does not wait for it. */
async function draw({ filters, call, signal, above }) {
  const rows = [];
  let cursor = null;
  try {
    do {
      filters.set("limit", BATCH);
      if (cursor !== null) filters.set("cursor", cursor);
      const page = await call("GET", `/verifications?${filters}`, { signal });
      rows.push(...page.verifications);
      cursor = page.next_cursor;
    } while (cursor !== null && rows.length < CHARTED);
  } catch {
    // The table has its own request, and shows the error.
    if (!signal.aborted) above.replaceChildren();
    return;
  }
  if (signal.aborted) return;
  const points = rows.map((row) => ({ at: Date.parse(row.verified_at), valid: row.is_valid }));
  above.replaceChildren(...(points.length === 0 ? [] : [chart(points, cursor !== null)]));
}

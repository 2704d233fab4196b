// Takes the screenshots for README.md.

import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import { SCREENSHOT_APP, SCREENSHOTS, api, open, unlock, verify, view } from "./harness.mjs";

/** Statistics of a day that is busiest at noon, with some guesses at night. */
function aDay(query) {
  const [since, until] = ["since", "until"].map((name) => query.get(name));
  const buckets = Array.from({ length: 24 }, (_, index) => {
    const start = new Date(Date.parse(since) + index * 3_600_000);
    const hour = start.getUTCHours();
    const valid = Math.round(130 + 120 * Math.cos(((hour - 12) / 12) * Math.PI) + 17 * Math.sin(hour * 2));
    const guessed = hour === 2 || hour === 3;
    const failed = { expired: hour % 3, revoked: hour % 5 === 0 ? 1 : 0, used_up: hour % 4, not_found: guessed ? 60 : 4 + (hour % 4) };
    return { start: start.toISOString(), valid, ...failed, refused: guessed ? 25 : 0 };
  });
  const kinds = ["valid", "expired", "revoked", "used_up", "not_found", "refused"];
  const total = (kind) => buckets.reduce((sum, bucket) => sum + bucket[kind], 0);
  const totals = Object.fromEntries(kinds.map((kind) => [kind, total(kind)]));
  return { by: "hour", since, until, buckets, totals };
}

test("the screenshots are taken", async (t) => {
  const credential = "LICENCE-4711-ACME";
  await api("/issue", { credential, ttl_seconds: 31_536_000, metadata: { owner: "ops", plan: "team" } }, SCREENSHOT_APP);
  const taken = [];
  const take = async (page, name) => {
    const path = `${SCREENSHOTS}/${name}.png`;
    await page.screenshot({ path, caret: "hide", animations: "disabled" });
    taken.push(path);
  };

  const page = await open(t, SCREENSHOT_APP, { viewport: { width: 900, height: 850 }, colorScheme: "light" });
  const section = await view(page, "Issue");
  await section.getByLabel("Generate one for me").check();
  await section.getByRole("combobox", { name: "Expires" }).selectOption("In a year");
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  await section.locator("[data-credential]").waitFor();
  await take(page, "issue");

  const phone = await open(t, SCREENSHOT_APP, { viewport: { width: 390, height: 1140 }, isMobile: true, colorScheme: "dark" });
  await verify(phone, credential);
  await phone.getByText('"plan": "team"').waitFor();
  await take(phone, "verify");

  for (let second = 0; second < 12; second += 1) {
    await api("/verify", { credential }, SCREENSHOT_APP);
    if (second % 3 === 1) await api("/verify", { credential: "guesswork" }, SCREENSHOT_APP);
    await new Promise((resolve) => setTimeout(resolve, 400 + 120 * (second % 5)));
  }
  const dark = await open(t, SCREENSHOT_APP, { viewport: { width: 900, height: 960 }, colorScheme: "dark" });
  // The application has been running for seconds only, so its own statistics would show next to nothing.
  const query = (route) => new URL(route.request().url()).searchParams;
  await dark.route("**/statistics/verification?*", (route) => route.fulfill({ json: aDay(query(route)) }));
  const history = await unlock(dark, "History");
  await history.getByRole("img", { name: "not valid" }).waitFor();
  await dark.evaluate(() => document.activeElement.blur());
  await take(dark, "history");

  for (const path of taken) {
    const { size } = await stat(path);
    assert(size > 5_000 && size < 150_000, `${path} has ${size} bytes`);
  }
});

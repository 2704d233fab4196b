// The charts, and the message for a client with too many failures.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ADMIN_TOKEN, APP, FRIEND, LIMITED_APP, api, open, said, unique, unlock, verify, view, words,
} from "./harness.mjs";

const STATUS = /the server responded with a status of/;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Reads a service's totals of the last day. */
async function statistics(service) {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const response = await fetch(`${LIMITED_APP}/statistics/${service}`, { headers });
  return (await response.json()).totals;
}

/** Verifies guesses until the service refuses. */
async function useUpFailures() {
  for (let failures = 0; failures < 10; failures += 1) {
    if ((await api("/verify", { credential: "guess" }, LIMITED_APP)).status === 429) return;
  }
  assert.fail("no verification was refused");
}

/** Fakes statistics with 2 valid and 1 revoked in every hour or day, and returns the queries of the requests. */
async function invent(page) {
  const asked = [];
  await page.route("**/statistics/verification?*", (route) => {
    const query = Object.fromEntries(new URL(route.request().url()).searchParams);
    asked.push(query);
    const length = query.by === "hour" ? HOUR : DAY;
    const [first, last] = [Math.floor(Date.parse(query.since) / length), Math.ceil(Date.parse(query.until) / length)];
    const buckets = Array.from({ length: last - first }, (_, index) => ({
      start: new Date((first + index) * length).toISOString(),
      valid: 2,
      expired: 0,
      revoked: 1,
      used_up: 0,
      not_found: 0,
      refused: 0,
    }));
    const totals = { valid: 2 * buckets.length, expired: 0, revoked: buckets.length, used_up: 0, not_found: 0, refused: 0 };
    const [since, until] = [first, last].map((bucket) => new Date(bucket * length).toISOString());
    return route.fulfill({ json: { by: query.by, since, until, buckets, totals } });
  });
  return asked;
}

const span = ({ since, until }) => Date.parse(until) - Date.parse(since);

test("the chart counts all verifications, including refused ones", async (t) => {
  const page = await open(t, LIMITED_APP);
  const credential = unique("counted");
  await api("/issue", { credential }, LIMITED_APP);
  for (let sent = 0; sent < 3; sent += 1) await api("/verify", { credential }, LIMITED_APP);
  await useUpFailures();
  const { valid, not_found: notFound, refused } = await statistics("verification");
  assert(valid >= 3 && notFound >= 2 && refused >= 1);
  const section = await unlock(page, "History");
  const name = `${valid} valid, ${notFound} not valid, ${refused} refused after too many failures, from `;
  const chart = section.getByRole("img", { name });
  await chart.waitFor();
  for (const kind of ["valid", "invalid", "refused"]) assert((await chart.locator(`rect.${kind}`).count()) >= 1, kind);
  await section.getByText(`${notFound} not valid (${notFound} not found)`, { exact: true }).waitFor();
  await section.getByText(`${refused} refused after too many failures`, { exact: true }).waitFor();
  // The filters apply to the list.
  await section.getByLabel("Status").selectOption("Revoked");
  await section.getByRole("button", { name: "Show" }).click();
  await section.getByText("status and hash narrow only the list").waitFor();
  await chart.waitFor();
});

test("the credentials' chart counts what was issued and revoked", async (t) => {
  const page = await open(t, LIMITED_APP);
  const credentials = [unique("kept"), unique("revoked")];
  await api("/issue/batch", { credentials: credentials.map((credential) => ({ credential })) }, LIMITED_APP);
  const list = await unlock(page, "Credentials");
  await list.getByRole("button", { name: "Revoke a credential I have" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: "Credential" }).fill(credentials[1]);
  await dialog.getByRole("button", { name: "Revoke", exact: true }).click();
  await list.getByText("no longer counts").waitFor();
  const { issued, revoked, used } = await statistics("issuance");
  assert(issued >= 2 && revoked >= 1);
  await list.getByRole("img", { name: `${issued} issued, ${revoked} revoked, ${used} used, from ` }).waitFor();
});

test("the range of the chart can be chosen, and the bars adapt to it", async (t) => {
  const page = await open(t, APP);
  const asked = await invent(page);
  const section = await unlock(page, "History");
  const range = section.getByRole("combobox", { name: "Time" });
  for (const [choice, by, length, bars, each, bar] of [
    ["The last 24 hours", "hour", DAY, 24, "2 valid, 1 not valid", "1 hour"],
    ["The last 7 days", "hour", 7 * DAY, 56, "6 valid, 3 not valid", "3 hours"],
    ["The last 30 days", "day", 30 * DAY, 30, "2 valid, 1 not valid", "1 day (UTC)"],
    ["The last 52 weeks", "day", 364 * DAY, 52, "14 valid, 7 not valid", "7 days (UTC)"],
  ]) {
    if (asked.length > 0) await range.selectOption(choice);
    await section.getByText(`a bar is ${bar}`, { exact: true }).waitFor();
    const query = asked.at(-1);
    assert.equal(query.by, by);
    assert.equal(span(query), length);
    const until = Date.parse(query.until) - Date.now();
    assert(until >= 0 && until <= DAY, "the range ends now");
    const titles = await section.locator(".chart g title").allTextContents();
    assert.equal(titles.length, bars);
    assert(titles.every((title) => title.includes(`: ${each}, 0 refused`)), `${titles}`);
  }
  await said(page, "728 valid, 364 not valid, 0 refused after too many failures, from ");
});

test("the chart takes its range from the submitted filters", async (t) => {
  const page = await open(t, APP);
  const asked = await invent(page);
  const section = await unlock(page, "History");
  const range = section.getByRole("combobox", { name: "Time" });
  const [from, until] = ["From", "Until"].map((name) => section.getByRole("textbox", { name, exact: true }));
  const show = async (count) => {
    await section.getByRole("button", { name: "Show" }).click();
    while (asked.length < count) await page.waitForTimeout(20);
  };
  await section.getByText("a bar is 1 hour", { exact: true }).waitFor();
  assert(await range.locator("[value=filters]").evaluate((option) => option.disabled));
  await from.fill("2026-03-10T12:00");
  await until.fill("2026-03-12T12:00");
  await show(2);
  assert.equal(await range.inputValue(), "filters");
  // Berlin is an hour ahead of UTC.
  assert.deepEqual(asked[1], { since: "2026-03-10T11:00:00.000Z", until: "2026-03-12T11:00:00.000Z", by: "hour" });
  await section.getByRole("img", { name: "from 10 Mar 2026, 12:00 to 12 Mar 2026, 11:59" }).waitFor();

  // Chosen but not submitted.
  await from.fill("");
  await range.selectOption("The last 24 hours");
  while (asked.length < 3) await page.waitForTimeout(20);
  await range.selectOption("As in the filters");
  while (asked.length < 4) await page.waitForTimeout(20);
  assert.deepEqual(asked[3], asked[1]);
  // Without a beginning.
  await show(5);
  assert.deepEqual([span(asked[4]), asked[4].until, asked[4].by], [30 * DAY, "2026-03-12T11:00:00.000Z", "day"]);
  // Longer than the service accepts.
  await from.fill("1970-01-01T00:00");
  await until.fill("");
  await show(6);
  assert.equal(span(asked[5]), 3_999 * DAY);
  assert.equal(asked[5].by, "day");

  await section.getByRole("button", { name: "Clear" }).click();
  while (asked.length < 7) await page.waitForTimeout(20);
  assert.equal(span(asked[6]), DAY);
  assert.equal(await range.inputValue(), "24");
});

test("the service accepts the longest range", async (t) => {
  const page = await open(t, APP);
  const section = await unlock(page, "History");
  await section.getByRole("textbox", { name: "From", exact: true }).fill("1970-01-01T00:00");
  await section.getByRole("button", { name: "Show" }).click();
  await section.getByText("a bar is 91 days (UTC)", { exact: true }).waitFor();
  assert.equal(await section.getByRole("alert").count(), 0);
});

test("a chart that cannot be loaded says why, and leaves the list alone", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  await api("/verify", { credential: unique("listed") });
  const problem = { title: "Service unavailable", status: 503, detail: "Not now.", request_id: "r-503" };
  const contentType = "application/problem+json";
  const refuse = (route) => route.fulfill({ status: 503, contentType, body: JSON.stringify(problem) });
  await page.route("**/statistics/verification?*", refuse);
  const section = await unlock(page, "History");
  const alert = section.getByRole("alert");
  await alert.waitFor();
  assert.match(await words(alert), /Not now\.[^]*r-503/);
  assert((await section.locator("tbody tr").count()) >= 1);
  await page.unroute("**/statistics/verification?*", refuse);
  await alert.getByRole("button", { name: "Try again" }).click();
  await section.getByRole("img", { name: " valid, " }).waitFor();
});

test("the history shows clients' addresses if there are any", async (t) => {
  await api("/verify", { credential: unique("client") });
  await api("/verify", { credential: unique("client") }, LIMITED_APP);
  for (const [app, shown] of [[APP, false], [LIMITED_APP, true]]) {
    const page = await open(t, app);
    const section = await unlock(page, "History");
    await section.locator("tbody tr").first().waitFor();
    assert.equal(await section.getByRole("columnheader", { name: "Client" }).count(), shown ? 1 : 0);
    assert.equal((await section.getByRole("cell", { name: "127.0.0.1" }).count()) > 0, shown);
  }
});

test("a client with too many failures is told how long to wait, even from another origin", async (t) => {
  const page = await open(t, FRIEND, { expected: STATUS });
  await page.route(`${APP}/verify`, async (route) => {
    await route.fulfill({ response: await route.fetch({ url: `${LIMITED_APP}/verify` }) });
  });
  let text;
  // A new minute, with a fresh allowance, may begin in between.
  for (let tries = 0; tries < 10 && !/^Too many failures/.test(text); tries += 1) {
    text = await words(await verify(page, "guess"));
  }
  assert.match(text, /^Too many failures\nToo many of your verifications/);
  assert.match(text, /Wait \d+ seconds?, until \d\d:\d\d:\d\d\./);
  assert.match(text, /There is no verdict/);
});

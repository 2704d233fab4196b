// Issuing a list: the requests, the outcome, and the warnings before anything is lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APP, GUARDED_APP, ISSUER_TOKEN, api, open, said, unique, view, words } from "./harness.mjs";
import { fill, outcome, save, several, submit } from "./lists.mjs";

const STATUS = /the server responded with a status of/;

/** Records the bodies of requests that issue lists. */
function requests(page) {
  const sent = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/issue/batch")) sent.push(request.postData());
  });
  return sent;
}

test("each line of a list is issued as it is, and the file has the outcome", async (t) => {
  const page = await open(t, APP);
  const [plain, spaced, quoted, known] = ["plain", " spaced ", 'quo"ted, ', "known"].map(unique);
  // A spreadsheet may take these for formulas (the last one after splitting the cell) or for a number.
  const [signed, wide, split] = ["=signed", "＠wide", 'split;"-'].map(unique);
  const digits = `0${Date.now()}`;
  await api("/issue", { credential: known });
  const long = "x".repeat(65_536);
  const section = await fill(page, [plain, spaced, "", quoted, known, signed, plain, long, wide, split, digits, ""]);
  await section.getByText("10 credentials. 1 empty line left out.", { exact: true }).waitFor();
  await section.getByText("White space before or after 1 credential counts as part of it: line 2.", { exact: true }).waitFor();
  await section.getByRole("combobox", { name: "Expires" }).selectOption("In an hour");
  await section.getByText("Metadata").click();
  await section.getByLabel("A JSON object").fill('{"serial": 12345678901234567890}');
  await submit(section);
  const notice = await words(await outcome(section, "Issued 7 of 10 credentials"));
  assert.match(notice, /Already issued\n2\nRefused\n1\n/);
  assert.match(notice, /already issued: lines 5, 7/);
  assert.match(notice, /too long: a request has at most 64 KiB: line 8/);
  assert.match(notice, /4 credentials that a spreadsheet would take for a formula or a number have an apostrophe/);
  assert.equal(await section.getByLabel("Credentials, one per line").inputValue(), "");

  const rows = await save(page);
  assert.deepEqual(rows.map(({ line, credential, status }) => [line, credential, status]), [
    ["1", plain, "issued"],
    ["2", spaced, "issued"],
    ["4", quoted, "issued"],
    ["5", known, "already issued"],
    ["6", `'${signed}`, "issued"],
    ["7", plain, "already issued"],
    ["8", long, "too long: a request has at most 64 KiB"],
    ["9", `'${wide}`, "issued"],
    ["10", split.replace("-", "'-"), "issued"],
    ["11", `'${digits}`, "issued"],
  ]);
  for (const row of rows) {
    const issued = row.status === "issued";
    assert.equal(/^[0-9a-f]{64}$/.test(row.credential_hash), issued);
    assert.equal(Date.parse(row.expires_at) - Date.parse(row.issued_at) === 3_600_000, issued);
  }
  assert.equal(await section.getByRole("button", { name: "Save as CSV file" }).count(), 0);
  const checked = await fetch(`${APP}/verify`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ credential: spaced }),
  });
  assert.match(await checked.text(), /"status":"valid".*"metadata":\{"serial": ?12345678901234567890\}/);
});

test("generated credentials are issued by the hundred, saved once, and valid", async (t) => {
  const page = await open(t, APP);
  const sent = requests(page);
  const section = await several(page, 250);
  await submit(section);
  const notice = await outcome(section, "Issued 250 of 250 credentials");
  assert.match(await words(notice), /there is only one chance/);
  assert.deepEqual(sent.map((body) => JSON.parse(body).credentials.length), [100, 100, 50]);
  const rows = await save(page);
  assert.equal(new Set(rows.map(({ credential }) => credential)).size, 250);
  assert.deepEqual(rows.map(({ line }) => Number(line)), Array.from({ length: 250 }, (_, index) => index + 1));
  for (const { credential, status } of [rows[0], rows[249]]) {
    assert.match(credential, /^kc_[0-9A-Za-z]{49}$/);
    assert.equal(status, "issued");
    assert.equal((await api("/verify", { credential })).status, "valid");
  }
  assert.equal(await notice.getByRole("button").count(), 0);
  assert(!(await page.content()).includes(rows[0].credential));
});

test("the number of generated credentials is at least 1 and at most 10,000", async (t) => {
  const page = await open(t, APP);
  const sent = requests(page);
  for (const count of ["0", "10001", "1.5", ""]) {
    const section = await several(page, count);
    await submit(section);
    assert.equal(await section.getByLabel("How many").evaluate((field) => field.validity.valid), false, count);
  }
  assert.deepEqual(sent, []);
});

test("a list of empty lines is not sent", async (t) => {
  const page = await open(t, APP);
  const sent = requests(page);
  const section = await fill(page, ["", "", ""]);
  await submit(section);
  assert.match(await words(section.getByRole("alert")), /^Not sent\nAll lines are empty/);
  assert.deepEqual(sent, []);
});

test("a request has at most 64 KiB, and as many credentials as that allows", async (t) => {
  const page = await open(t, APP);
  const sent = requests(page);
  // Each takes over 3,000 bytes in the request: é has two bytes, and quotation marks are escaped.
  const lines = Array.from({ length: 50 }, () => unique('é"'.repeat(740)));
  const section = await fill(page, lines);
  await submit(section);
  await outcome(section, "Issued 50 of 50 credentials");
  assert.deepEqual(sent.map((body) => JSON.parse(body).credentials.length), [21, 21, 8]);
  assert(sent.every((body) => Buffer.byteLength(body) <= 65_536));
  assert.deepEqual(sent.flatMap((body) => JSON.parse(body).credentials.map(({ credential }) => credential)), lines);
});

test("equal reasons are listed once, with their lines", async (t) => {
  const page = await open(t, APP);
  const section = await fill(page, Array.from({ length: 12 }, () => unique("late")));
  await section.getByRole("combobox", { name: "Expires" }).selectOption("At a time of your choice");
  await section.getByLabel("Expires at").fill("2001-02-03T04:05");
  await submit(section);
  const notice = await outcome(section, "Issued 0 of 12 credentials");
  const reason = "expires_at must be in the future: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more";
  assert((await words(notice)).includes(`Refused\n12\n${reason}`));
  // The file has no credential where none was generated.
  await submit(await several(page, 1));
  await outcome(section, "Issued 0 of 1 credential");
  const [{ credential, status }] = await save(page);
  assert.deepEqual([credential, status], ["", "expires_at must be in the future"]);
});

test("a list can be stopped and continued, and each part is saved once", async (t) => {
  const page = await open(t, APP);
  const held = [];
  await page.route("**/issue/batch", (route) => { held.push(route); });
  /** Lets the next request through. */
  const proceed = async () => {
    while (held.length === 0) await page.waitForTimeout(10);
    await held.shift().continue();
  };
  const section = await several(page, 250);
  await submit(section);
  const progress = section.getByRole("progressbar", { name: "Credentials done" });
  assert.deepEqual(await progress.evaluate(({ value, max }) => [value, max]), [0, 250]);
  await section.getByText("0 of 250 credentials done", { exact: true }).waitFor();
  await proceed();
  await section.getByText("100 of 250 credentials done").waitFor();
  assert.equal(await progress.evaluate(({ value }) => value), 100);
  await section.getByRole("button", { name: "Stop" }).click();
  await proceed();
  assert.match(await words(await outcome(section, "Stopped: issued 200 of 250 credentials")), /Not done\n50\n/);
  const first = await save(page);
  await section.getByRole("button", { name: "Continue" }).click();
  await proceed();
  await outcome(section, "Issued 50 of 50 credentials");
  const second = await save(page);
  assert.deepEqual([first.length, second.length], [200, 50]);
  assert.equal(new Set([...first, ...second].map(({ credential }) => credential)).size, 250);
  assert.equal(second[0].line, "201");
});

test("the issuer token is asked for, and the list continues", async (t) => {
  const page = await open(t, GUARDED_APP, { expected: STATUS });
  const section = await several(page, 2);
  await submit(section);
  const notice = await words(await outcome(section, "Interrupted: issued 0 of 2 credentials"));
  assert.match(notice, /Unauthorized/);
  assert.doesNotMatch(notice, /repeats the failed request/);
  const field = section.getByLabel("Issuer token");
  assert(await field.evaluate((element) => element === document.activeElement));
  await field.fill(ISSUER_TOKEN);
  await section.getByRole("button", { name: "Continue" }).click();
  await outcome(section, "Issued 2 of 2 credentials");
  assert(await field.isHidden());
  assert.equal((await save(page)).length, 2);
});

test("a list is continued with the issuer token after the page was closed", async (t) => {
  const page = await open(t, GUARDED_APP, { expected: /ERR_FAILED|the server responded with a status of/ });
  await page.evaluate((token) => sessionStorage.setItem("token:issuer", token), ISSUER_TOKEN);
  let lost;
  await page.route("**/issue/batch", async (route) => {
    lost = await (await route.fetch()).json();
    await route.abort();
  });
  await submit(await several(page, 2));
  await outcome(page.locator("[data-view=issue]"), "Interrupted: issued 0 of 2 credentials");
  const next = await page.context().newPage();
  await page.close();
  await next.goto(GUARDED_APP);
  const section = await view(next, "Issue");
  await section.getByRole("button", { name: "Continue" }).click();
  await section.getByRole("alert").filter({ hasText: "Unauthorized" }).waitFor();
  await section.getByLabel("Issuer token").fill(ISSUER_TOKEN);
  await section.getByRole("button", { name: "Continue" }).click();
  await outcome(section, "Issued 2 of 2 credentials");
  const rows = await save(next);
  assert.deepEqual(rows.map(({ credential }) => credential), lost.results.map(({ credential }) => credential));
});

test("unsaved generated credentials are not lost without a warning", async (t) => {
  const page = await open(t, APP);
  const asked = [];
  let choice = "dismiss";
  page.on("dialog", (dialog) => {
    asked.push(dialog.type());
    return dialog[choice]();
  });
  const reload = () => page.evaluate(() => location.reload());
  const section = await several(page, 3);
  await submit(section);
  await outcome(section, "Issued 3 of 3 credentials");
  const reminder = page.getByText("Generated credentials are not saved yet");
  assert(await reminder.isHidden());
  await view(page, "Verify");
  await reminder.waitFor();
  await page.getByRole("link", { name: "Go to them" }).click();
  await outcome(section, "Issued 3 of 3 credentials");
  await reminder.waitFor({ state: "hidden" });

  await reload();
  await section.getByLabel("I have one").check();
  await section.getByRole("textbox", { name: "Credential", exact: true }).fill(unique("next"));
  await submit(section);
  assert.deepEqual(asked, ["beforeunload", "confirm"]);
  await outcome(section, "Issued 3 of 3 credentials");
  choice = "accept";
  await submit(section);
  await section.getByRole("heading", { name: "Issued", exact: true }).waitFor();
  assert.deepEqual(asked, ["beforeunload", "confirm", "confirm"]);

  await submit(await several(page, 4));
  await outcome(section, "Issued 4 of 4 credentials");
  await save(page);
  await view(page, "Verify");
  assert(await reminder.isHidden());
  await submit(await several(page, 5));
  await outcome(section, "Issued 5 of 5 credentials");
  await save(page);
  await Promise.all([page.waitForEvent("load"), reload()]);
  assert.equal(asked.length, 3);
});

test("a list can be issued and saved by keyboard alone, and is announced sparingly", async (t) => {
  const page = await open(t, APP);
  await page.evaluate(() => {
    globalThis.heard = [];
    const region = document.querySelector("[data-said]");
    const listen = () => region.textContent && globalThis.heard.push(region.textContent);
    new MutationObserver(listen).observe(region, { childList: true });
  });
  // A list that is issued at once is announced by its outcome only.
  await page.route("**/issue/batch", async (route) => {
    await page.waitForFunction(() => globalThis.heard.length > 0);
    await route.continue();
  });
  const press = (key) => page.keyboard.press(key);
  await page.getByLabel("I have one").focus();
  await press("ArrowUp");
  assert(await page.getByLabel("Generate a list for me").isChecked());
  await press("Tab");
  await press("Control+A");
  await page.keyboard.type("450");
  await press("Enter");
  await said(page, "Issued 450 of 450 credentials");
  const heard = await page.evaluate(() => globalThis.heard);
  assert.deepEqual(heard, ["Issuing 450 credentials.", "Issued 450 of 450 credentials"]);
  const save = page.getByRole("button", { name: "Save as CSV file" });
  const reached = () => save.evaluate((button) => button === document.activeElement);
  for (let tabs = 0; tabs < 6 && !(await reached()); tabs += 1) await press("Tab");
  const downloading = page.waitForEvent("download");
  await press("Enter");
  await downloading;
  assert.match(await page.evaluate(() => document.activeElement.textContent), /^The file is being saved/);
});

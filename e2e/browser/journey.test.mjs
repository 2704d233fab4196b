// A user's journey: issue, verify, revoke, verify again, and look at the history.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_TOKEN, APP, api, issue, open, unique, unlock, verify, view, words } from "./harness.mjs";

test("a credential is issued, verified, revoked and refused, and the history shows it", async (t) => {
  const page = await open(t, APP);
  const credential = `  ${unique("journey")} `;
  const section = await view(page, "Issue");
  await section.getByRole("combobox", { name: "Expires" }).selectOption("In 30 days");
  await section.getByText("Metadata").click();
  await section.getByLabel("A JSON object").fill('{"owner": "ops", "serial": 12345678901234567890}');
  const issued = await issue(page, credential);
  assert.match(await words(issued), /^Issued\n/);
  const hash = await issued.locator(".hash").innerText();
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert(!(await words(issued)).includes(credential.trim()), "a credential that was typed in is not shown again");
  assert.equal(await section.getByRole("textbox", { name: "Credential", exact: true }).inputValue(), "");

  const valid = await words(await verify(page, credential));
  assert.match(valid, /^Valid\ncredential verified by verification-worker-/);
  for (const fact of ["Issued by\nworker-", "Expires\n", '"owner": "ops"', '"serial": 12345678901234567890']) {
    assert(valid.includes(fact), `${fact} in ${valid}`);
  }
  assert.match(await words(await verify(page, credential.trim())), /^Not valid: never issued here/);
  await page.getByText("begins or ends with white space").waitFor({ state: "hidden" });

  const list = await unlock(page, "Credentials");
  const row = list.getByRole("row").filter({ has: page.getByTitle(hash) });
  assert.match(await words(row), /active/);
  const revoke = row.getByRole("button", { name: `Revoke ${hash.slice(0, 12)}` });
  await revoke.click();
  const dialog = page.getByRole("dialog", { name: "Revoke this credential?" });
  assert(await dialog.getByText(hash).isVisible());
  await dialog.getByRole("button", { name: "Keep it" }).click();
  await dialog.waitFor({ state: "hidden" });
  assert.match(await words(await verify(page, credential)), /^Valid/);

  await view(page, "Credentials");
  await revoke.click();
  await dialog.getByLabel("Reason").fill("lost laptop");
  await dialog.getByRole("button", { name: "Revoke", exact: true }).click();
  await list.getByText("no longer counts").waitFor();
  assert.match(await words(row), /revoked[^]*lost laptop/);
  assert.equal(await row.getByRole("button", { name: /Revoke/ }).count(), 0);
  assert.match(await words(await verify(page, credential)), /^Not valid: revoked/);

  const history = await view(page, "History");
  await history.getByLabel("Credential hash").fill(hash);
  const show = history.getByRole("button", { name: "Show" });
  await show.click();
  await show.and(page.locator(":enabled")).waitFor();
  const verdicts = await history.locator("tbody tr td:nth-child(2)").allInnerTexts();
  assert.deepEqual(verdicts.map((text) => text.trim()), ["revoked", "valid", "valid"]);
  const chart = history.getByRole("img", { name: / valid, \d+ not valid/ });
  await chart.waitFor();
  assert((await chart.locator("rect.valid").count()) >= 1);
  assert((await chart.locator("rect.invalid").count()) >= 1);
});

test("the lists show how often a credential was used", async (t) => {
  const page = await open(t, APP);
  const credential = unique("uses");
  const { credential_hash: hash } = await api("/issue", { credential, max_uses: 1200 });
  await api("/verify", { credential });
  const { credential_hash: spent } = await api("/issue", { credential: `${credential} once`, max_uses: 1 });
  for (let sent = 0; sent < 2; sent += 1) await api("/verify", { credential: `${credential} once` });
  const list = await unlock(page, "Credentials");
  const row = (hash) => list.getByRole("row").filter({ has: page.getByTitle(hash) });
  assert.match(await words(row(hash)), /active[^]*1 of 1,200 used/);
  await list.getByLabel("Status").selectOption("Used up");
  await list.getByRole("button", { name: "Show" }).click();
  await row(hash).waitFor({ state: "detached" });
  assert.match(await words(row(spent)), /used up[^]*1 of 1 used/);
  await list.locator(".chart rect.used").first().waitFor();
  await list.getByLabel("Credential hash").fill(hash);
  await list.getByLabel("Status").selectOption("Any");
  await list.getByRole("button", { name: "Show" }).click();
  await row(spent).waitFor({ state: "detached" });
  const revoke = row(hash).getByRole("button", { name: /Revoke/ });
  await revoke.waitFor();

  const history = await view(page, "History");
  await history.getByLabel("Credential hash").fill(spent);
  await history.getByLabel("Status").selectOption("Used up");
  const show = history.getByRole("button", { name: "Show" });
  await show.click();
  await show.and(page.locator(":enabled")).waitFor();
  await history.getByText(/ not valid \(.*\d used up/).waitFor();
  const verdicts = await history.locator("tbody tr td:nth-child(2)").allInnerTexts();
  assert.deepEqual(verdicts.map((text) => text.trim()), ["used up"]);
});

test("a generated credential is shown once, can be copied, and is valid", async (t) => {
  const page = await open(t, APP, { permissions: ["clipboard-read", "clipboard-write"] });
  const section = await view(page, "Issue");
  await section.getByLabel("Generate one for me").check();
  await section.getByRole("combobox", { name: "Expires" }).selectOption("At a time of your choice");
  await section.getByLabel("Expires at").fill("2099-01-02T03:04");
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  const shown = section.locator("[data-credential]");
  const credential = await shown.innerText();
  assert.match(credential, /^kc_[0-9A-Za-z]{49}$/);
  await section.getByRole("button", { name: "Copy credential" }).click();
  await section.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), credential);
  const { isValid, expiresAt } = await api("/verify", { credential });
  // 03:04 in Berlin, this browser's time zone, in winter.
  assert.deepEqual({ isValid, expiresAt }, { isValid: true, expiresAt: "2099-01-02T02:04:00.000Z" });
  await page.reload();
  assert.equal(await shown.count(), 0);
  assert(!(await page.content()).includes(credential));
});

test("a double click or a key held down sends one request", async (t) => {
  const page = await open(t, APP);
  const sent = [];
  page.on("request", (request) => { if (request.method() === "POST") sent.push(new URL(request.url()).pathname); });
  let section = await view(page, "Issue");
  await section.getByLabel("Generate one for me").check();
  // Slow enough for the response to arrive in between: a second request would replace the credential.
  await section.getByRole("button", { name: "Issue", exact: true }).dblclick({ delay: 100 });
  await section.locator("[data-credential]").waitFor();
  section = await view(page, "Verify");
  await section.getByRole("textbox", { name: "Credential" }).fill("held");
  for (let repeat = 0; repeat < 10; repeat += 1) {
    await page.keyboard.down("Enter");
    await page.waitForTimeout(30);
  }
  await page.keyboard.up("Enter");
  await section.locator(".notice").waitFor();
  assert.deepEqual(sent, ["/issue", "/verify"]);
});

test("a credential can also be revoked by its text", async (t) => {
  const page = await open(t, APP);
  const credential = unique("text");
  await issue(page, credential);
  const section = await unlock(page, "Credentials");
  await section.getByRole("button", { name: "Revoke a credential I have" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("textbox", { name: "Credential" }).fill(credential);
  await dialog.getByRole("button", { name: "Revoke", exact: true }).click();
  await section.getByText("no longer counts").waitFor();
  assert.equal((await api("/verify", { credential })).status, "revoked");
});

test("the history can be filtered and paged through without repeated or missing rows", async (t) => {
  const page = await open(t, APP);
  const credential = unique("pages");
  const { credential_hash: hash } = await api("/issue", { credential });
  for (let sent = 0; sent < 45; sent += 1) await api("/verify", { credential });
  const section = await unlock(page, "History");
  await section.getByLabel("Credential hash").fill(hash);
  await section.getByRole("button", { name: "Show" }).click();
  const ids = section.locator("tbody tr td:nth-child(5)");
  const [newer, older] = ["Newer", "Older"].map((name) => section.getByRole("button", { name, exact: true }));
  const seen = [];
  for (const [count, last] of [[20, false], [20, false], [5, true]]) {
    await page.waitForFunction(
      ([rows, before]) => {
        const cells = [...document.querySelectorAll("[data-view=history] tbody td:nth-child(5)")];
        return cells.length === rows && cells[0].innerText !== before;
      },
      [count, seen.at(-count) ?? ""],
    );
    seen.push(...(await ids.allInnerTexts()));
    if (last) assert(await older.isDisabled());
    else await older.click();
  }
  assert.equal(new Set(seen).size, 45);
  await newer.click();
  await newer.click();
  await page.waitForFunction((first) => document.querySelector("[data-view=history] tbody td:nth-child(5)")?.innerText === first, seen[0]);
  assert(await newer.isDisabled());

  await section.getByLabel("Status").selectOption("Revoked");
  await section.getByRole("button", { name: "Show" }).click();
  await section.getByText("Nothing matches the filters").waitFor();
  await section.getByRole("button", { name: "Clear" }).click();
  await section.locator("tbody tr").first().waitFor();
  assert.equal(await section.getByLabel("Credential hash").inputValue(), "");
});

test("the pages use the filters that were submitted", async (t) => {
  const page = await open(t, APP);
  const credential = unique("sent");
  const { credential_hash: hash } = await api("/issue", { credential });
  for (let sent = 0; sent < 25; sent += 1) await api("/verify", { credential });
  const section = await unlock(page, "History");
  await section.getByLabel("Credential hash").fill(` ${hash.toUpperCase()} `);
  await section.getByRole("button", { name: "Show" }).click();
  await section.getByRole("button", { name: "Older" }).and(page.locator(":enabled")).waitFor();
  // Chosen but not submitted.
  await section.getByLabel("Status").selectOption("Revoked");
  await section.getByRole("button", { name: "Older" }).click();
  await page.waitForFunction(() => document.querySelectorAll("[data-view=history] tbody tr").length === 5);
});

test("the admin's token stays in the tab, and Lock forgets it", async (t) => {
  const page = await open(t, APP);
  await unlock(page, "History");
  await page.getByRole("button", { name: "Lock" }).waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Lock" }).waitFor();
  const kept = await page.evaluate(() => ({ local: localStorage.length, cookies: document.cookie, session: Object.values(sessionStorage) }));
  assert.deepEqual(kept, { local: 0, cookies: "", session: [ADMIN_TOKEN] });
  assert(!(await page.content()).includes(ADMIN_TOKEN));
  await page.getByRole("button", { name: "Lock" }).click();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.equal(await page.locator("[data-view=history] tbody tr").count(), 0);
  await page.getByRole("button", { name: "Unlock" }).waitFor();
});

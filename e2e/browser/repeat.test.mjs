// Requests whose responses are lost: nothing is issued or used twice, and no generated credential is lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { api, assertAccessible, assertFits, issuedWith, open, unique, view, words } from "./harness.mjs";
import { fill, outcome, save, several } from "./lists.mjs";
import { unreliable } from "./unreliable.mjs";

/** What Chromium logs for lost connections and for each status of 400 and above. */
const FAILED = /net::ERR_|the server responded with a status of/;

const LOSSES = ["unsent", "unanswered", "cut", "unavailable"];

const WAYS = [
  ["with the mouse", {}, (button) => button.click(), (button) => button.dblclick()],
  ["with the keyboard", {}, (button) => button.press("Enter"), async (button) => {
    await button.focus();
    await Promise.all([1, 2].map(() => button.page().keyboard.press("Enter")));
  }],
  ["on a phone", { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true }, (button) => button.tap(), async (button) => {
    await button.scrollIntoViewIfNeeded();
    const { x, y } = await button.boundingBox();
    await Promise.all([1, 2].map(() => button.page().touchscreen.tap(x + 9, y + 9)));
  }],
];

/** Marks what the form issues next with metadata that nothing else has. */
async function mark(section) {
  const metadata = { test: unique("repeat") };
  const field = section.getByLabel("A JSON object");
  if (await field.isHidden()) await section.getByText("Metadata", { exact: true }).click();
  await field.fill(JSON.stringify(metadata));
  return metadata;
}

/** Asserts that a file has all credentials with this metadata in the database, and each once. */
async function assertComplete(rows, metadata, count) {
  const hashes = (list) => list.map((row) => row.credential_hash).sort();
  assert.equal(rows.length, count);
  assert.equal(new Set(rows.map(({ credential }) => credential)).size, count);
  assert.deepEqual(hashes(rows), hashes(await issuedWith(metadata)));
}

/** What the page keeps, as text. */
const kept = (page) => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
const NOTHING = "[{},{}]";

/** Closes the page and opens it again. */
async function reopen(page, url) {
  const next = await page.context().newPage();
  await page.close();
  await next.goto(url);
  return next;
}

/** Waits for the silent request, which the service has carried out. */
async function carriedOut(metadata, count) {
  while ((await issuedWith(metadata)).length < count) await new Promise((resolve) => setTimeout(resolve, 100));
}

const issueButton = (section) => section.getByRole("button", { name: "Issue", exact: true });

for (const [way, options, press, pressTwice] of WAYS) {
  test(`a credential whose response is lost is issued once and shown, ${way}`, async (t) => {
    const { url, faults, sent } = await unreliable(t);
    const page = await open(t, url, { expected: FAILED, ...options });
    const section = await view(page, "Issue");
    await section.getByLabel("Generate one for me").check();
    await section.getByLabel("Number of uses").fill("3");
    for (const fault of LOSSES) {
      const metadata = await mark(section);
      faults.push(fault);
      await press(issueButton(section));
      assert.match(await words(section.getByRole("alert")), /Press “Issue” again/);
      await assertAccessible(page, fault);
      await press(issueButton(section));
      const credential = await section.locator("code[data-credential]").innerText();
      assert.match(await words(section.locator(".notice")), /Uses\n3\n/);
      const [first, second] = sent.splice(0);
      assert.match(first.key, /^"[0-9a-f]{32}"$/);
      assert.deepEqual(second, first);
      const rows = await issuedWith(metadata);
      assert.deepEqual(rows.map(({ max_uses: limit }) => limit), [3], fault);
      assert.equal((await section.locator(".hash").innerText()), rows[0].credential_hash);
      assert.equal((await api("/verify", { credential })).usesLeft, 2);
    }
    // What follows a decision, or another form, is another request.
    faults.push("unanswered");
    await press(issueButton(section));
    await section.getByRole("alert").waitFor();
    await section.getByLabel("Number of uses").fill("");
    await press(issueButton(section));
    await section.getByText("any number", { exact: true }).waitFor();
    await press(issueButton(section));
    await section.locator("form:not([aria-busy])").waitFor();
    assert.equal(new Set(sent.map(({ key }) => key)).size, 3);
    assert.equal(await kept(page), NOTHING);
  });

  test(`a list goes on after each kind of loss, ${way}`, async (t) => {
    const { url, faults } = await unreliable(t);
    const page = await open(t, url, { expected: FAILED, ...options });
    const section = await several(page, 350);
    const metadata = await mark(section);
    faults.push("none", "unsent", "none", "unanswered", "none", "cut", "unavailable");
    await press(issueButton(section));
    for (const issued of [100, 200, 300, 300]) {
      const notice = await outcome(section, `Interrupted: issued ${issued} of 350 credentials`);
      await assertFits(page, "an interrupted list");
      await press(notice.getByRole("button", { name: "Continue" }));
      await section.getByRole("progressbar").waitFor({ state: "detached" });
    }
    await outcome(section, "Issued 350 of 350 credentials");
    await assertComplete(await save(page), metadata, 350);
    assert.equal(await kept(page), NOTHING);
  });

  test(`a generated list is continued after the page was closed, ${way}`, async (t) => {
    const { url, faults } = await unreliable(t);
    let page = await open(t, url, { expected: FAILED, ...options });
    let section = await several(page, 250);
    const metadata = await mark(section);
    await section.getByLabel("Number of uses").fill("2");
    faults.push("none", "silent");
    await press(issueButton(section));
    await carriedOut(metadata, 200);
    page = await reopen(page, url);
    assert.doesNotMatch(await kept(page), /kc_/);
    section = await view(page, "Issue");
    const card = section.getByRole("form", { name: "250 generated credentials: not finished" });
    await section.getByText("Done: 100 of 250.").waitFor();
    await assertAccessible(page, "a list that is not finished");
    await assertFits(page, "a list that is not finished");
    // Nothing is lost if this fails as well, or the page is closed again before the file is saved.
    faults.push("cut");
    await press(card.getByRole("button", { name: "Continue" }));
    await outcome(section, "Interrupted: issued 0 of 250 credentials");
    assert(await card.isHidden());
    await press(section.getByRole("button", { name: "Continue" }));
    await outcome(section, "Issued 250 of 250 credentials");
    page = await reopen(page, url);
    section = await view(page, "Issue");
    await section.getByText("All of it was done, but not saved.").waitFor();
    await press(section.getByRole("button", { name: "Continue" }));
    const notice = await outcome(section, "Issued 250 of 250 credentials");
    assert.match(await words(notice), /this browser can get them again until/);
    const rows = await save(page);
    await assertComplete(rows, metadata, 250);
    assert(rows.every((row) => row.max_uses === "2"));
    assert.equal(await kept(page), NOTHING);
    page = await reopen(page, url);
    await view(page, "Issue");
    assert.equal(await page.getByRole("button", { name: "Forget it" }).count(), 0);
  });

  test(`a list is continued after the page was closed, if it is pasted again, ${way}`, async (t) => {
    const { url, faults } = await unreliable(t);
    let page = await open(t, url, { expected: FAILED, ...options });
    const lines = Array.from({ length: 250 }, () => unique("pasted"));
    let section = await fill(page, lines);
    const metadata = await mark(section);
    await section.getByRole("combobox", { name: "Expires" }).selectOption("In an hour");
    faults.push("none", "silent");
    await press(issueButton(section));
    await carriedOut(metadata, 200);
    page = await reopen(page, url);
    assert.doesNotMatch(await kept(page), /pasted/);
    section = await view(page, "Issue");
    const card = section.getByRole("form", { name: "A list of 250 credentials: not finished" });
    const [field, proceed] = [card.getByLabel("The same list again"), card.getByRole("button", { name: "Continue" })];
    await field.fill(lines.slice(1).join("\n"));
    await press(proceed);
    assert.match(await words(card.getByRole("alert")), /The list that was begun has 250 credentials, this one 249\./);
    await assertAccessible(page, "a list of another length");
    await field.fill(lines.with(150, "another").join("\n"));
    await press(proceed);
    await outcome(section, "Interrupted: issued 100 of 250 credentials");
    assert.match(await words(section.locator("[data-result]")), /Another list\nWithin lines 101 to 200, this is not the list/);
    assert.equal((await issuedWith(metadata)).length, 200);
    await field.fill(lines.join("\n"));
    await press(proceed);
    await outcome(section, "Issued 250 of 250 credentials");
    assert.equal(await kept(page), NOTHING);
    const rows = await save(page);
    assert.deepEqual(rows.map(({ credential, status }) => [credential, status]), lines.map((line) => [line, "issued"]));
    await assertComplete(rows, metadata, 250);
  });

  test(`a lost verdict costs no use, and a look none either, ${way}`, async (t) => {
    const { url, faults, sent } = await unreliable(t);
    const page = await open(t, url, { expected: FAILED, ...options });
    const credential = unique("invite");
    const metadata = { test: credential };
    await api("/issue", { credential, max_uses: 5, metadata });
    const section = await view(page, "Verify");
    const field = section.getByRole("textbox", { name: "Credential" });
    const [look, verify] = ["Look only", "Verify"].map((name) => section.getByRole("button", { name }));
    await field.fill(credential);
    let left = 5;
    for (const fault of LOSSES) {
      faults.push(fault);
      await press(verify);
      assert.match(await words(section.getByRole("alert")), /There is no verdict.* not taken twice/);
      await press(look);
      await section.getByText("only a look").waitFor();
      await press(verify);
      left -= 1;
      await section.getByRole("heading", { name: `Valid, ${left} use${left === 1 ? "" : "s"} left`, exact: true }).waitFor();
      await press(look);
      assert.match(await words(section.locator(".notice", { hasText: "only a look" })), new RegExp(`^Valid, ${left} use`));
      assert.deepEqual(sent.splice(0).map(({ body }) => body.use), [undefined, false, undefined, false]);
      assert.equal((await issuedWith(metadata))[0].uses, 5 - left, fault);
    }
    await assertAccessible(page, "uses left");
    await assertFits(page, "uses left");
    // Enter verifies: it does not look.
    await field.press("Enter");
    await section.getByRole("heading", { name: "Valid, no uses left", exact: true }).waitFor();
    await press(verify);
    await section.getByRole("heading", { name: "Not valid: used up", exact: true }).waitFor();
    await assertAccessible(page, "used up");
    assert.equal((await issuedWith(metadata))[0].uses, 5);
  });

  test(`a button pressed twice, and a request that arrives twice, do one thing once, ${way}`, async (t) => {
    const { url, faults } = await unreliable(t);
    const page = await open(t, url, options);
    let section = await view(page, "Issue");
    await section.getByLabel("Generate one for me").check();
    await section.getByLabel("Number of uses").fill("9");
    const metadata = await mark(section);
    faults.push("twice");
    await pressTwice(issueButton(section));
    const credential = await section.locator("code[data-credential]").innerText();
    assert.equal((await issuedWith(metadata)).length, 1);
    const listed = await mark(section);
    await several(page, 150);
    faults.push("twice", "twice");
    await pressTwice(issueButton(section));
    await outcome(section, "Issued 150 of 150 credentials");
    await assertComplete(await save(page), listed, 150);
    section = await view(page, "Verify");
    await section.getByRole("textbox", { name: "Credential" }).fill(credential);
    faults.push("twice");
    await pressTwice(section.getByRole("button", { name: "Verify" }));
    await section.getByRole("heading", { name: "Valid, 8 uses left" }).waitFor();
    assert.equal((await issuedWith(metadata))[0].uses, 1);
  });
}

test("a list is forgotten when the user says so, and after a day", async (t) => {
  const { url, faults } = await unreliable(t);
  let page = await open(t, url, { expected: FAILED });
  const asked = [];
  let choice = "dismiss";
  page.context().on("dialog", (dialog) => {
    if (dialog.type() === "confirm") asked.push(dialog.message());
    return dialog.type() === "confirm" ? dialog[choice]() : dialog.accept();
  });
  /** Leaves a list of two unfinished. */
  const leave = async () => {
    faults.push("unanswered");
    await (await issueButton(await several(page, 2))).click();
    await outcome(page.locator("[data-view=issue]"), "Interrupted: issued 0 of 2 credentials");
    page = await reopen(page, url);
  };
  await leave();
  const forget = () => page.getByRole("button", { name: "Forget it" });
  await forget().click();
  assert.match(asked.join(), /^Forget this list\? .* cannot be had again/);
  assert(await forget().isVisible());
  choice = "accept";
  // A page in another tab notices.
  const other = await page.context().newPage();
  await other.goto(url);
  await other.getByRole("button", { name: "Forget it" }).waitFor();
  await forget().click();
  await other.getByRole("button", { name: "Forget it" }).waitFor({ state: "detached" });
  assert(await page.getByRole("heading", { name: "Issue a credential" }).evaluate((heading) => heading === document.activeElement));
  assert.equal(await kept(page), NOTHING);

  await leave();
  await forget().waitFor();
  await page.clock.install({ time: Date.now() + 24 * 3_600_000 });
  await page.reload();
  await view(page, "Issue");
  assert.equal(await forget().count(), 0);
  assert.equal(await kept(page), NOTHING);
});

test("a list that is discarded is forgotten", async (t) => {
  const { url, faults } = await unreliable(t);
  const page = await open(t, url, { expected: FAILED });
  page.on("dialog", (dialog) => dialog.accept());
  let section = await several(page, 150);
  faults.push("none", "unsent");
  await issueButton(section).click();
  await outcome(section, "Interrupted: issued 100 of 150 credentials");
  await save(page);
  await section.getByText("It can get them again until the list is finished or forgotten.").waitFor();
  assert.notEqual(await kept(page), NOTHING);
  await assertAccessible(page, "a part that was saved");
  await section.getByRole("button", { name: "Forget it" }).click();
  assert.equal(await section.getByRole("heading", { name: "Interrupted" }).count(), 0);
  assert.equal(await kept(page), NOTHING);

  section = await several(page, 2);
  await issueButton(section).click();
  await outcome(section, "Issued 2 of 2 credentials");
  assert.notEqual(await kept(page), NOTHING);
  await section.getByLabel("Generate one for me").check();
  await issueButton(section).click();
  await section.getByRole("heading", { name: "Issued", exact: true }).waitFor();
  assert.equal(await kept(page), NOTHING);
});

for (const [how, block] of [
  ["blocked", () => Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } })],
  ["full", () => { Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }; }],
]) {
  test(`if the local storage is ${how}, a list goes on as long as the page is open`, async (t) => {
    const { url, faults } = await unreliable(t);
    const page = await open(t, url, { expected: FAILED });
    await page.addInitScript(block);
    await page.reload();
    const section = await several(page, 2);
    const metadata = await mark(section);
    faults.push("cut");
    await issueButton(section).click();
    await outcome(section, "Interrupted: issued 0 of 2 credentials");
    await section.getByRole("button", { name: "Continue" }).click();
    assert.match(await words(await outcome(section, "Issued 2 of 2 credentials")), /exist only in this page/);
    await assertComplete(await save(page), metadata, 2);
  });
}

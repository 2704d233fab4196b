// Accessibility: by keyboard, on a phone, with a screen reader, in light and dark.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_TOKEN, APP, api, assertAccessible, assertFits, issue, open, said, unique, unlock, verify, view } from "./harness.mjs";

const STATUS = /the server responded with a status of/;
const PHONE = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true };

for (const [name, options] of [
  ["in light", { colorScheme: "light" }],
  ["in dark", { colorScheme: "dark" }],
  ["on a tablet", { viewport: { width: 768, height: 1024 }, hasTouch: true }],
  ["on a phone in light", { ...PHONE, colorScheme: "light" }],
  ["on a phone in dark", { ...PHONE, colorScheme: "dark" }],
]) {
  test(`every view is accessible and fits, ${name}`, async (t) => {
    const page = await open(t, APP, { expected: STATUS, ...options });
    const look = async (what) => {
      await assertAccessible(page, what);
      await assertFits(page, what);
    };
    await look("issue");
    const section = await view(page, "Issue");
    await section.getByText("Metadata").click();
    await section.getByLabel("A JSON object").fill(JSON.stringify({ owner: "o".repeat(200) }));
    const credential = unique("x".repeat(300));
    await issue(page, credential);
    await look("issued");
    await issue(page, credential);
    await section.getByRole("alert").waitFor();
    await look("an error");
    await section.getByLabel("Generate one for me").check();
    await section.getByRole("button", { name: "Issue", exact: true }).click();
    await section.locator("[data-credential]").waitFor();
    await look("a generated credential");
    await section.getByLabel("I have a list").check();
    await section.getByLabel("Credentials, one per line").fill(`${credential}\n${unique(" listed")}\n${"x".repeat(65_536)}`);
    await look("a list");
    // Stays in progress until it has been checked.
    let proceed;
    const looked = new Promise((resolve) => { proceed = resolve; });
    await page.route("**/issue/batch", async (route) => {
      await looked;
      await route.continue();
    });
    await section.getByRole("button", { name: "Issue", exact: true }).click();
    await section.getByRole("progressbar").waitFor();
    await look("a list in progress");
    proceed();
    await section.getByRole("heading", { name: "Issued 1 of 3 credentials" }).waitFor();
    await look("a list that was issued");
    await section.getByLabel("Generate a list for me").check();
    await section.getByRole("button", { name: "Issue", exact: true }).click();
    await section.getByRole("heading", { name: "Issued 10 of 10 credentials" }).waitFor();
    await look("a generated list");
    await verify(page, credential);
    await look("valid");
    await verify(page, " never issued");
    await look("not valid");
    await view(page, "History");
    await look("locked");
    await unlock(page, "History");
    await page.getByRole("img", { name: "not valid" }).waitFor();
    await look("history and the reminder to save");
    const list = await view(page, "Credentials");
    await list.locator("tbody tr").first().waitFor();
    await look("credentials");
    await list.getByRole("button", { name: /^Revoke [0-9a-f]{12}$/ }).first().click();
    await page.getByRole("dialog").waitFor();
    await look("the revocation dialog");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await view(page, "Health");
    await page.getByRole("heading", { name: "Verification: healthy" }).waitFor();
    await look("health");
  });
}

test("everything can be done by keyboard alone", async (t) => {
  const page = await open(t, APP);
  const press = (key) => page.keyboard.press(key);
  const focused = () => page.evaluate(() => {
    const { activeElement: element } = document;
    return element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent.trim() ?? element.textContent.trim();
  });
  /** Presses Tab until an element with this name is focused. */
  const reach = async (pattern) => {
    for (let tabs = 0; tabs < 60; tabs += 1) {
      await press("Tab");
      if (pattern.test(await focused())) return;
    }
    assert.fail(`${pattern} is not reached by Tab`);
  };
  await press("Tab");
  assert.equal(await focused(), "Skip to content");
  await press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  const credential = unique("keys");
  await reach(/^Credential$/);
  await page.keyboard.type(credential);
  await press("Enter");
  await page.getByRole("heading", { name: "Issued" }).waitFor();
  assert.match(await focused(), /^Credential/);

  await page.reload();
  await page.getByRole("heading", { name: "Issue a credential" }).waitFor();
  await reach(/^Verify$/);
  await press("Enter");
  await page.getByRole("heading", { name: "Verify a credential" }).waitFor();
  assert.equal(await focused(), "Verify a credential");
  await reach(/^Credential$/);
  await page.keyboard.type(credential);
  await press("Enter");
  await page.getByRole("heading", { name: "Valid", exact: true }).waitFor();

  await page.goto(`${APP}/#/credentials`);
  await reach(/^Admin token$/);
  await page.keyboard.type(ADMIN_TOKEN);
  await press("Enter");
  await page.locator("[data-view=credentials] tbody tr").first().waitFor();
  await reach(/^Revoke [0-9a-f]{12}$/);
  const first = await page.evaluate(() => document.activeElement.closest("tr").querySelector(".hash").title);
  await press("Enter");
  assert.match(await focused(), /^Reason/);
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  assert.match(await focused(), /^Revoke [0-9a-f]{12}$/, "the focus is back where it was");
  await press("Enter");
  await page.keyboard.type("by keyboard");
  await press("Enter");
  await page.getByText("no longer counts").waitFor();
  assert.equal(await focused(), "Issued credentials");
  const { results } = await api("/check", { credential_hashes: [first] });
  assert.equal(results[0].status, "revoked");
});

test("screen readers announce each outcome once", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  const credential = unique("listen");
  await issue(page, credential);
  await said(page, "Issued.");
  await verify(page, credential);
  await said(page, "Valid. credential verified by");
  await verify(page, " never issued");
  await said(page, "Not valid: never issued here.");
  await unlock(page, "Credentials");
  await said(page, "Page 1, rows: ");
  await view(page, "Health");
  await said(page, "Verification: healthy");
  // Alerts inside a live region would be announced twice.
  assert.equal(await page.locator("[aria-live] [role=alert], [role=status] [role=alert]").count(), 0);
});

test("copying without the clipboard API leaves the focus where it was", async (t) => {
  const page = await open(t, APP);
  // Pages loaded over plain HTTP from another machine have no clipboard API.
  await page.addInitScript(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
  await page.reload();
  const notice = await issue(page, unique("copy"));
  const button = notice.getByRole("button");
  await button.click();
  await said(page, "Copied");
  assert.equal(await button.innerText(), "Copied");
  assert(await button.evaluate((element) => element === document.activeElement));
  const section = await view(page, "Verify");
  const field = section.getByRole("textbox", { name: "Credential" });
  await field.focus();
  await page.keyboard.press("Control+V");
  assert.equal(await field.inputValue(), await notice.locator(".hash").textContent());
});

test("invisible characters in a credential are pointed out", async (t) => {
  const page = await open(t, APP);
  const section = await view(page, "Verify");
  const field = section.getByRole("textbox", { name: "Credential" });
  await field.fill("one\ntwo ");
  await section.getByText("begins or ends with white space").waitFor();
  await section.getByText("sent as one line feed").waitFor();
  const sent = page.waitForRequest("**/verify");
  await field.press("Enter");
  assert.deepEqual((await sent).postDataJSON(), { credential: "one\ntwo " });
});

test("Back leaves the revocation dialog", async (t) => {
  const page = await open(t, APP);
  await api("/issue", { credential: unique("back") });
  const list = await unlock(page, "Credentials");
  await list.getByRole("button", { name: /^Revoke [0-9a-f]{12}$/ }).first().click();
  await page.getByRole("dialog").waitFor();
  await page.goBack();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.getByRole("heading", { name: "Issue a credential" }).waitFor();
});

test("a view can be linked to, and Back leads to the previous one", async (t) => {
  const page = await open(t, `${APP}/#/verify`);
  await page.getByRole("heading", { name: "Verify a credential" }).waitFor();
  assert.match(await page.title(), /^Verify a credential/);
  await view(page, "Health");
  assert.equal(await page.locator("nav [aria-current=page]").innerText(), "Health");
  await page.goBack();
  await page.getByRole("heading", { name: "Verify a credential" }).waitFor();
});

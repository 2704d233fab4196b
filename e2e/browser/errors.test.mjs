// Errors are shown in the service's own words, with the request id.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APP, BROKEN_APP, GUARDED_APP, ISSUER_TOKEN, VERIFIER_TOKEN, api, assertAccessible, issue, open, unique, unlock, verify, view, words } from "./harness.mjs";

/** Chromium logs this to the console for every status of 400 and above. */
const STATUS = /the server responded with a status of/;

test("an error shows the problem's detail and the request id that the service sent", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  const credential = unique("twice");
  await issue(page, credential);
  const section = await view(page, "Issue");
  await section.getByRole("textbox", { name: "Credential", exact: true }).fill(credential);
  const responding = page.waitForResponse((response) => response.url().endsWith("/issue"));
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  const response = await responding;
  assert.equal(response.status(), 409);
  const alert = section.getByRole("alert");
  await alert.waitFor();
  const text = await words(alert);
  assert.match(text, /^Already issued\nThis credential has been issued before\./);
  assert(text.includes(response.headers()["x-request-id"]));
  assert.equal(await section.getByRole("textbox", { name: "Credential", exact: true }).inputValue(), credential);
});

test("metadata that is not an object is refused before anything is sent", async (t) => {
  const page = await open(t, APP);
  const section = await view(page, "Issue");
  const sent = [];
  page.on("request", (request) => { if (request.method() === "POST") sent.push(request.url()); });
  await section.getByText("Metadata").click();
  for (const [metadata, message] of [["{owner: 1}", "is not JSON"], ["[1]", "must be a JSON object"]]) {
    await section.getByLabel("A JSON object").fill(metadata);
    await issue(page, "never sent");
    assert.match(await words(section.getByRole("alert")), new RegExp(message));
  }
  assert.deepEqual(sent, []);
});

test("an outage is no verdict", async (t) => {
  const page = await open(t, BROKEN_APP, { expected: STATUS });
  const text = await words(await verify(page, "anything"));
  assert.match(text, /^Service unavailable\n/);
  assert.match(text, /There is no verdict/);
  assert.match(text, /Request id: [0-9a-f]{32}/);
  assert.doesNotMatch(text, /[Nn]ot valid/);
  const health = await view(page, "Health");
  await health.getByText("Verification: unhealthy").waitFor();
  assert.match(await words(health.locator(".notice.bad")), /issuance\n/);
  await health.getByText("Issuance: healthy").waitFor();
});

test("the problem of a service that cannot report its health is shown", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  const problem = { title: "Service unavailable", status: 503, detail: "The service is not configured.", request_id: "r-503" };
  await page.route("**/health/issuance", (route) =>
    route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(problem) }));
  const section = await view(page, "Health");
  assert.match(await words(section.getByRole("alert")), /not configured[^]*r-503/);
});

test("a page whose script does not load says so", async (t) => {
  const page = await open(t, APP, { expected: /ERR_FAILED/ });
  assert(await page.getByText("The page did not start").isHidden());
  await page.route("**/api.js", (route) => route.abort());
  await page.reload();
  await page.getByText("The page did not start").waitFor();
});

test("a browser that is offline says so, and nothing is lost", async (t) => {
  const page = await open(t, APP, { expected: /ERR_INTERNET_DISCONNECTED/ });
  const credential = unique("offline");
  await page.context().setOffline(true);
  await page.getByText("You are offline. What you see").waitFor();
  const notice = await issue(page, credential);
  assert.match(await words(notice), /^You are offline\n/);
  await page.context().setOffline(false);
  await page.getByText("You are offline. What you see").waitFor({ state: "hidden" });
  const section = await view(page, "Issue");
  assert.equal(await section.getByRole("textbox", { name: "Credential", exact: true }).inputValue(), credential);
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  await section.getByRole("heading", { name: "Issued" }).waitFor();
});

test("a list that cannot be loaded says why, and can be tried again", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  const problem = { type: "urn:kube-credentials:problem:unavailable", title: "Service unavailable", status: 503, detail: "Not now.", message: "Not now.", request_id: "r-503" };
  const refuse = (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(problem) });
  await page.route("**/verifications?*", refuse);
  const section = await unlock(page, "History");
  const alert = section.getByRole("alert");
  await alert.waitFor();
  assert.match(await words(alert), /Not now\.[^]*r-503/);
  await page.unroute("**/verifications?*", refuse);
  await alert.getByRole("button", { name: "Try again" }).click();
  await section.locator("tbody tr, p.card").first().waitFor();
  assert.equal(await section.getByRole("alert").count(), 0);
});

test("a wrong admin token is refused, forgotten and asked for again", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  const section = await unlock(page, "Credentials", "wrong");
  const alert = section.getByRole("alert");
  await alert.waitFor();
  assert.match(await words(alert), /^Unauthorized\n/);
  assert(await section.getByLabel("Admin token").isVisible());
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("a token that a revocation refuses is asked for again", async (t) => {
  const page = await open(t, APP, { expected: STATUS });
  await api("/issue", { credential: unique("refused") });
  const section = await unlock(page, "Credentials");
  await section.getByRole("button", { name: /^Revoke [0-9a-f]{12}$/ }).first().click();
  await page.evaluate(() => sessionStorage.setItem("token:admin", "outdated"));
  await page.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
  await section.getByRole("alert").waitFor();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  assert(await section.getByLabel("Admin token").evaluate((field) => field === document.activeElement));
});

for (const [how, block] of [
  ["blocked", () => Object.defineProperty(window, "sessionStorage", { get() { throw new DOMException("no", "SecurityError"); } })],
  ["full", () => { Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }; }],
]) {
  test(`if the session storage is ${how}, a token is kept in memory`, async (t) => {
    const page = await open(t, APP);
    await page.addInitScript(block);
    await page.reload();
    await api("/issue", { credential: unique(how) });
    await unlock(page, "History");
    const section = await view(page, "Credentials");
    await section.locator("tbody tr").first().waitFor();
    await section.getByRole("button", { name: "Lock" }).click();
    await view(page, "History");
    await page.getByRole("button", { name: "Unlock" }).waitFor();
  });
}

test("without an admin token configured, the view says so", async (t) => {
  const page = await open(t, GUARDED_APP, { expected: STATUS });
  const section = await unlock(page, "Credentials", "any");
  const alert = section.getByRole("alert");
  await alert.waitFor();
  assert.match(await words(alert), /^Forbidden\n/);
});

test("an issuer token is asked for and sent", async (t) => {
  const page = await open(t, GUARDED_APP, { expected: STATUS });
  const credential = unique("guarded");
  assert.match(await words(await issue(page, credential)), /^Unauthorized\n/);
  const section = await view(page, "Issue");
  await section.getByLabel("Issuer token").fill(ISSUER_TOKEN);
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  await section.getByRole("heading", { name: "Issued" }).waitFor();
  assert(await section.getByLabel("Issuer token").isHidden());
  assert.match(await words(await issue(page, unique("guarded"))), /^Issued\n/);
});

test("a verifier token is asked for and sent, and a wrong one is asked for again", async (t) => {
  const page = await open(t, GUARDED_APP, { expected: STATUS });
  assert.match(await words(await verify(page, unique("guarded"))), /^Unauthorized\n/);
  const section = page.locator("[data-view=verify]");
  await assertAccessible(page, "a verifier token is asked for");
  const field = section.getByLabel("Verifier token");
  assert(await field.evaluate((element) => element === document.activeElement));
  await field.fill("a-wrong-verifier-token");
  await section.getByRole("button", { name: "Verify", exact: true }).click();
  await section.locator("form:not([aria-busy])").waitFor();
  assert.match(await words(section.getByRole("alert")), /^Unauthorized\n[^]*There is no verdict/);
  await field.fill(VERIFIER_TOKEN);
  await section.getByRole("button", { name: "Verify", exact: true }).click();
  await section.getByRole("heading", { name: "Not valid: never issued here" }).waitFor();
  assert(await field.isHidden());
  assert.match(await words(await verify(page, unique("guarded"))), /^Not valid: never issued here\n/);
});

test("an unknown URL has a page that leads back", async (t) => {
  const page = await open(t, `${APP}/no/such/page`, { expected: STATUS });
  await page.getByRole("heading", { name: "Nothing here" }).waitFor();
  await page.getByRole("link", { name: "Kube Credentials" }).click();
  await page.getByRole("heading", { name: "Issue a credential" }).waitFor();
});

// Shared by the browser tests: the browser, pages that tolerate no errors, and the applications under test.

import { after } from "node:test";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { chromium } from "playwright-core";

// Set by browser.rs.
export const ADMIN_TOKEN = required("ADMIN_TOKEN");
export const ISSUER_TOKEN = required("ISSUER_TOKEN");
export const VERIFIER_TOKEN = required("VERIFIER_TOKEN");
/** The application of most tests. */
export const APP = required("APP_URL");
/** An application with an issuer and a verifier token, but no admin token. */
export const GUARDED_APP = required("GUARDED_APP_URL");
/** An application whose verification cannot reach issuance. */
export const BROKEN_APP = required("BROKEN_APP_URL");
/** An application that refuses clients after two failed verifications and records their addresses. */
export const LIMITED_APP = required("LIMITED_APP_URL");
/** APP behind a proxy that serves it below a path. */
export const BELOW = required("BELOW_URL");
/** The page on static hosts, with APP as its API. APP's cors_origin lists the first and not the second. */
export const FRIEND = required("FRIEND_URL");
export const STRANGER = required("STRANGER_URL");
/** An application for the screenshots only, and the folder they go to. */
export const SCREENSHOT_APP = required("SCREENSHOT_APP_URL");
export const SCREENSHOTS = required("SCREENSHOTS");

function required(name) {
  const value = process.env[name];
  assert(value, `${name} is not set: run these tests with cargo xtask test browser`);
  return value;
}

const browser = await chromium.launch({
  executablePath: required("CHROMIUM"),
  // Containers lack what the sandbox needs and have little shared memory. Only our own page is opened.
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
after(() => browser.close());

const axe = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

/** Opens the page in a new browser context. Console errors and warnings that do not match `expected` fail the test. */
export async function open(test, url, { expected = null, ...options } = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Europe/Berlin", ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const complaints = [];
  context.on("weberror", (error) => complaints.push(error.error().message));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  const urls = [];
  context.on("request", (request) => urls.push(request.url()));
  test.after(async () => {
    await context.close();
    assert.deepEqual(complaints.filter((text) => !expected?.test(text)), []);
    for (const secret of [ADMIN_TOKEN, ISSUER_TOKEN]) {
      assert(!urls.some((called) => called.includes(secret)), "a URL contains a token");
    }
  });
  await page.goto(url);
  return page;
}

/** Goes to a view by its link and returns its section. */
export async function view(page, name) {
  await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
  const section = page.locator(`[data-view=${name.toLowerCase()}]`);
  await section.waitFor();
  return section;
}

/** Issues a credential on the page and returns the resulting notice. */
export async function issue(page, credential) {
  const section = await view(page, "Issue");
  await section.getByRole("textbox", { name: "Credential", exact: true }).fill(credential);
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  const notice = section.locator(".notice");
  await notice.waitFor();
  return notice;
}

/** Verifies a credential on the page and returns the resulting notice. */
export async function verify(page, credential) {
  const section = await view(page, "Verify");
  await section.getByRole("textbox", { name: "Credential" }).fill(credential);
  await section.getByRole("button", { name: "Verify" }).click();
  await section.locator("form:not([aria-busy])").waitFor();
  return section.locator(".notice");
}

/** Waits until screen readers announce a text. */
export async function said(page, text) {
  await page.locator("[data-said]", { hasText: text }).waitFor({ state: "attached" });
}

/** The visible text of an element, without empty lines. */
export async function words(locator) {
  return (await locator.innerText()).replace(/\n+/g, "\n");
}

/** Unlocks an admin view. */
export async function unlock(page, name, token = ADMIN_TOKEN) {
  const section = await view(page, name);
  await section.getByLabel("Admin token").fill(token);
  await section.getByRole("button", { name: "Unlock" }).click();
  return section;
}

/** Calls the API directly. */
export async function api(path, body, app = APP) {
  const response = await fetch(app + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

/** The credentials in the database that have this metadata. */
export async function issuedWith(metadata) {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const found = [];
  for (let cursor = ""; cursor !== null;) {
    const response = await fetch(`${APP}/credentials?limit=1000${cursor && `&cursor=${cursor}`}`, { headers });
    const page = await response.json();
    found.push(...page.credentials.filter((row) => isDeepStrictEqual(row.metadata, metadata)));
    cursor = page.next_cursor;
  }
  return found;
}

/** A credential that no other test uses. */
export function unique(name) {
  return `${name}-${randomUUID()}`;
}

/** Asserts that axe finds no violation of WCAG 2.2 AA or its best practices. */
export async function assertAccessible(page, what) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  assert(passes.length > 10, "axe checked nothing");
  const found = violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ target }) => target.join(" "))}`);
  assert.deepEqual(found, [], what);
}

/** Asserts that nothing is wider than the screen. (On a phone, innerWidth grows with the content.) */
export async function assertFits(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert(over <= 0, `${what} is ${over} pixels wider than the screen`);
}

// The page on a static host of another origin, and its content security policy.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ADMIN_TOKEN, APP, BELOW, FRIEND, STRANGER, issue, open, unique, unlock, verify, view, words } from "./harness.mjs";

test("a page from an allowed origin can do everything, including preflights with Authorization", async (t) => {
  const page = await open(t, FRIEND);
  const calls = [];
  page.on("request", (request) => {
    if (request.resourceType() === "fetch") calls.push(new URL(request.url()).origin);
  });
  const credential = unique("friend");
  assert.match(await words(await issue(page, credential)), /^Issued/);
  assert.match(await words(await verify(page, credential)), /^Valid/);
  const list = await unlock(page, "Credentials");
  await list.locator("tbody tr").first().waitFor();
  await list.getByRole("button", { name: /^Revoke [0-9a-f]{12}$/ }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
  await list.getByText("no longer counts").waitFor();
  await view(page, "Health");
  await page.getByRole("heading", { name: "Verification: healthy" }).waitFor();
  assert(calls.length >= 6);
  assert(calls.every((origin) => origin === new URL(APP).origin), `${calls}`);
});

test("the page can be in a folder, and its API below a path", async (t) => {
  const page = await open(t, `${FRIEND}/folder/`);
  assert.match(await words(await issue(page, unique("folder"))), /^Issued/);

  await page.route(`${FRIEND}/folder/`, async (route) => {
    const html = await (await route.fetch()).text();
    await route.fulfill({ contentType: "text/html", body: html.replace(/(api-base" content=")[^"]*/, "$1/api/") });
  });
  await page.route(`${FRIEND}/api/**`, async (route) => {
    const url = route.request().url().replace(`${FRIEND}/api`, APP);
    await route.fulfill({ response: await route.fetch({ url }) });
  });
  await page.reload();
  await page.getByText(`${FRIEND}/api`, { exact: true }).waitFor();
  assert.match(await words(await issue(page, unique("path"))), /^Issued/);
});

test("the page works below a path, and an unknown URL there leads back to it", async (t) => {
  const page = await open(t, `${BELOW}/no/such/page`, { expected: /the server responded with a status of 404/ });
  const display = await page.evaluate(() => getComputedStyle(document.body).display);
  assert.equal(display, "flex", "the style sheet is missing");
  await page.getByRole("link", { name: "Kube Credentials" }).click();
  await page.waitForURL(`${BELOW}/`);
  assert.match(await words(await issue(page, unique("below"))), /^Issued/);
  await page.getByText(BELOW, { exact: true }).waitFor();
  const link = page.getByRole("link", { name: "openapi.yaml" });
  assert.equal(await link.evaluate((element) => element.href), `${BELOW}/openapi.yaml`);
});

test("a page on another origin can read the request id of an error", async (t) => {
  const page = await open(t, FRIEND, { expected: /the server responded with a status of 401/ });
  const section = await unlock(page, "History", "wrong");
  assert.match(await words(section.getByRole("alert")), /Unauthorized[^]*Request id: [0-9a-f]{32}/);
});

test("a page from a forbidden origin reads nothing and names the possible cause", async (t) => {
  const page = await open(t, STRANGER, { expected: /blocked by CORS policy|ERR_FAILED/ });
  const text = await words(await verify(page, "anything"));
  assert.match(text, /^The service cannot be reached/);
  assert.match(text, /cors_origin/);
  assert.match(text, /There is no verdict/);
  const section = await unlock(page, "Credentials");
  await section.getByText("The service cannot be reached").waitFor();
  assert.equal(await section.locator("tbody tr").count(), 0);
});

test("a preflight grants headers to an allowed origin and nothing to any other", async () => {
  const preflight = (origin) => fetch(`${APP}/credentials`, {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" },
  });
  const friend = await preflight(new URL(FRIEND).origin);
  assert.equal(friend.status, 204);
  assert.equal(friend.headers.get("access-control-allow-origin"), new URL(FRIEND).origin);
  assert.match(friend.headers.get("access-control-allow-headers"), /authorization/);
  const stranger = await preflight(new URL(STRANGER).origin);
  assert.equal(stranger.headers.get("access-control-allow-origin"), null);
});

for (const [name, url] of [["the component", APP], ["a static host", FRIEND]]) {
  test(`the policy of a page from ${name} allows nothing inline and nothing from other origins`, async (t) => {
    const page = await open(t, url, { expected: /Content Security Policy|Trusted|TrustedHTML|Refused|violates/i });
    await page.getByRole("heading", { name: "Issue a credential" }).waitFor();
    const outcome = await page.evaluate(async ([stranger]) => {
      const violated = [];
      addEventListener("securitypolicyviolation", (event) => violated.push(event.effectiveDirective));
      const tries = [];
      const attempt = (name, run) => {
        try {
          run();
          tries.push(name);
        } catch { /* Refused by Trusted Types. */ }
      };
      attempt("innerHTML", () => { document.createElement("p").innerHTML = "<b>x</b>"; });
      const script = document.createElement("script");
      attempt("script text", () => { script.textContent = "globalThis.ran = true"; });
      attempt("script source", () => { script.src = `${stranger}/app.js`; });
      const image = document.createElement("img");
      image.src = `${stranger}/icon.svg`;
      document.body.append(script, image);
      const fetched = await fetch(`${stranger}/app.js`, { mode: "no-cors" }).then(() => true, () => false);
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { tries, fetched, ran: globalThis.ran === true, violated: [...new Set(violated)].sort() };
    }, [STRANGER]);
    assert.deepEqual(outcome.tries, []);
    assert.equal(outcome.fetched, false);
    assert.equal(outcome.ran, false);
    assert.deepEqual(outcome.violated, ["connect-src", "img-src", "require-trusted-types-for"]);
  });
}

test("a page on a static host does not send the token to that host", async (t) => {
  const page = await open(t, FRIEND);
  const told = [];
  page.on("request", (request) => {
    if (request.headers().authorization?.includes(ADMIN_TOKEN)) told.push(new URL(request.url()).origin);
  });
  const section = await unlock(page, "History");
  await section.locator("tbody tr, p.card").first().waitFor();
  assert(told.length > 0);
  assert(told.every((origin) => origin === new URL(APP).origin), `${told}`);
});

// Lists on the page: filling them in, their outcome and their file.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { view } from "./harness.mjs";

const HEADER = ["line", "credential", "status", "credential_hash", "issued_at", "expires_at", "max_uses"];

/** Chooses a list and fills in these lines. */
export async function fill(page, lines) {
  const section = await view(page, "Issue");
  await section.getByLabel("I have a list").check();
  await section.getByLabel("Credentials, one per line").fill(lines.join("\n"));
  return section;
}

/** Chooses a list of generated credentials. */
export async function several(page, count) {
  const section = await view(page, "Issue");
  await section.getByLabel("Generate a list for me").check();
  await section.getByLabel("How many").fill(String(count));
  return section;
}

export async function submit(section) {
  await section.getByRole("button", { name: "Issue", exact: true }).click();
}

/** Waits for the outcome of a list and returns its notice. */
export async function outcome(section, heading) {
  await section.getByRole("heading", { name: heading, exact: true }).waitFor();
  return section.locator("[data-result] > .notice");
}

/** Saves the file and returns its rows without the header. */
export async function save(page) {
  const downloading = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as CSV file" }).click();
  const download = await downloading;
  assert.match(download.suggestedFilename(), /^credentials-[0-9T-]+\.csv$/);
  const text = await readFile(await download.path(), "utf8");
  assert(text.startsWith('\u{feff}"line",'), "the file has no byte order mark");
  const [header, ...rows] = parse(text.slice(1));
  assert.deepEqual(header, HEADER);
  await page.locator("[data-file]", { hasText: "This page no longer has the credentials" }).waitFor();
  return rows.map((row) => Object.fromEntries(row.map((cell, index) => [HEADER[index], cell])));
}

/** Parses CSV (RFC 4180) in which all cells are quoted. */
function parse(text) {
  const rows = [[]];
  for (const [, quoted, end] of text.matchAll(/"((?:[^"]|"")*)"(,|\r\n)/g)) {
    rows.at(-1).push(quoted.replaceAll('""', '"'));
    if (end === "\r\n") rows.push([]);
  }
  assert.deepEqual(rows.pop(), []);
  assert(rows.every((row) => row.length === HEADER.length), "a row is too short or too long");
  return rows;
}

// Invisible characters in a credential: the page warns about them and names them, but sends them all the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { APP, api, assertAccessible, assertFits, issue, open, said, unique, unlock, verify, view, words } from "./harness.mjs";

/** A certificate's serial number, copied from its properties in Windows. */
const SERIAL = "\u{200e}5f3a9c0d12e4";

const HAS = "It contains invisible characters, which count as part of it: ";
const SPACED = "It begins or ends with white space, which counts as part of it.";
const BROKEN = "It has line breaks: each is sent as one line feed (LF).";

/** Credentials with their warnings. */
const WARNINGS = [
  [SERIAL, `${HAS}U+200E (left-to-right mark) at the beginning.`],
  ["a\u{200b}", `${HAS}U+200B (zero-width space) at the end.`],
  ["a\u{ad}b", `${HAS}U+00AD (soft hyphen) inside.`],
  ["\u{2060}a\u{2060}\u{2060}b\u{2060}", `${HAS}U+2060 (word joiner) at the beginning, U+2060 (word joiner) inside, U+2060 (word joiner) at the end.`],
  ["a\u{200c}b\u{200d}", `${HAS}U+200C (zero-width non-joiner) inside, U+200D (zero-width joiner) at the end.`],
  ["\u{feff}a\u{200f}", `${HAS}U+FEFF (byte order mark) at the beginning, U+200F (right-to-left mark) at the end.`],
  ["\u{200e}", `${HAS}U+200E (left-to-right mark) at the beginning.`],
  [" a", SPACED],
  ["a ", SPACED],
  [" ", SPACED],
  ["a\t", `${SPACED} ${HAS}U+0009 (tab) at the end.`],
  ["a\u{a0}", `${SPACED} ${HAS}U+00A0 (no-break space) at the end.`],
  ["\u{200e} a", `${SPACED} ${HAS}U+200E (left-to-right mark) at the beginning.`],
  ["a\n", `${SPACED} ${BROKEN}`],
  ["a\nb", BROKEN],
  ["a \nb", `${HAS}U+0020 (space) at the end of a line. ${BROKEN}`],
  // A joiner with nothing to join; tags without their flag; a selector on a letter.
  ["👨\u{200d}", `${HAS}U+200D (zero-width joiner) at the end.`],
  ["a\u{e0041}b\u{fe0f}", `${HAS}U+E0041 inside, U+FE0F at the end.`],
  ["a\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}b", `${HAS}U+0001 inside, U+0002 inside, U+0003 inside, U+0004 inside, U+0005 inside, U+0006 inside, and others.`],
];

/** Samples of each kind: control and format characters, white space, fillers, selectors, blanks. */
const UNSEEN = [
  0x09, 0x1b, 0x7f, 0x85, 0xa0, 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x1680, 0x17b4, 0x17b5, 0x180b, 0x180e, 0x180f, 0x2000,
  0x2007, 0x2009, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x202f, 0x205f, 0x2060, 0x2064,
  0x2065, 0x2066, 0x2069, 0x206a, 0x206f, 0x2800, 0x3000, 0x3164, 0xfe00, 0xfe0e, 0xfe0f, 0xfeff, 0xffa0, 0xfff0, 0xfff9, 0xfffe,
  0x13442, 0x16fe4, 0x1bca0, 0x1d159, 0x1d173, 0xe0001, 0xe0020, 0xe007f, 0xe0100, 0xe01ef,
];

/** Credentials that need no warning. */
const SEEN = [
  "MySecurePassword123!", "correct horse battery staple", "Ünïcödé", "пароль", "密码", "كلمة", "e\u{301}", "€", "¿?", "\u{1f511}", "❤️", "1️⃣", "🇩🇪",
  "👨‍👩‍👧‍👦", "🏳️‍🌈", "🧑🏽‍💻", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "a👍🏾b",
];

async function fill(section, name, text) {
  await section.getByRole("textbox", { name, exact: true }).fill(text);
}

test("invisible characters are named with their place wherever a credential is typed in", async (t) => {
  const page = await open(t, APP);
  await api("/issue", { credential: unique("listed") });
  const list = await unlock(page, "Credentials");
  await list.getByRole("button", { name: "Revoke a credential I have" }).click();
  const check = async (section) => {
    const warning = section.locator("[data-unseen]");
    for (const [credential, expected] of WARNINGS) {
      await fill(section, "Credential", credential);
      assert.equal(await warning.textContent(), expected, JSON.stringify(credential));
    }
    await fill(section, "Credential", "a");
    assert.equal(await warning.textContent(), "");
  };
  await check(page.getByRole("dialog"));
  await page.keyboard.press("Escape");
  for (const name of ["Issue", "Verify"]) await check(await view(page, name));
});

test("each kind of invisible character is named", async (t) => {
  const page = await open(t, APP);
  const section = await view(page, "Verify");
  const warning = section.locator("[data-unseen]");
  for (const point of UNSEEN) {
    await fill(section, "Credential", `a${String.fromCodePoint(point)}b`);
    const code = `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
    assert.match(await warning.textContent(), new RegExp(`: ${code.replace("+", "\\+")}( \\([a-z -]+\\))? inside\\.$`), code);
  }
});

test("visible characters, including emoji, cause no warning", async (t) => {
  const page = await open(t, APP);
  const section = await view(page, "Verify");
  for (const credential of SEEN) {
    await fill(section, "Credential", credential);
    assert.equal(await section.locator("[data-unseen]").textContent(), "", credential);
  }
});

test("a serial number copied from a Windows dialog causes a warning, but is issued and verified as it is", async (t) => {
  const page = await open(t, APP);
  const serial = SERIAL + unique("");
  const warned = (section) => section.getByText("U+200E (left-to-right mark) at the beginning").waitFor();
  let section = await view(page, "Issue");
  await fill(section, "Credential", serial);
  await warned(section);
  const described = await section.getByRole("textbox", { name: "Credential", exact: true }).evaluate((field) =>
    field.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id).textContent).join(" "));
  assert.match(described, /as it is\. It contains/);
  assert.equal(await section.locator("[data-unseen]").getAttribute("role"), "status");
  assert.match(await words(await issue(page, serial)), /^Issued/);
  assert.equal(await section.locator("[data-unseen]").textContent(), "");

  section = await view(page, "Verify");
  await fill(section, "Credential", serial);
  await warned(section);
  assert.match(await words(await verify(page, serial)), /^Valid/);
  const [seen] = serial.match(/[!-~]+/);
  assert(!(await section.locator("[data-unseen]").textContent()).includes(seen), "the credential is shown back");
  assert.match(await words(await verify(page, seen)), /^Not valid: never issued here/);
  assert.equal(await section.locator("[data-unseen]").textContent(), "");
});

test("a list says which lines have which invisible characters", async (t) => {
  const page = await open(t, APP);
  const section = await view(page, "Issue");
  await section.getByLabel("I have a list").check();
  const warning = section.locator("[data-unseen-lines]");
  const name = "Credentials, one per line";
  const names = ["a", "b", "c", "d"].map(unique);
  const [first, spaced, both, seen] = names;
  await fill(section, name, [SERIAL + first, "", ` ${spaced}\t`, seen, `\u{200e}${both}\u{200b}`].join("\n"));
  assert.equal(
    await warning.textContent(),
    "White space before or after 1 credential counts as part of it: line 3. "
      + "3 credentials have invisible characters, which count as part of them. "
      + "U+200E (left-to-right mark) at the beginning: lines 1, 5. U+0009 (tab) at the end: line 3. "
      + "U+200B (zero-width space) at the end: line 5.",
  );
  assert.equal(await section.locator("[data-counted]").textContent(), "4 credentials. 1 empty line left out.");
  await section.getByRole("button", { name: "Issue", exact: true }).click();
  await said(page, "Issued 4 of 4 credentials");
  assert.equal(await warning.textContent(), "");
  assert.equal((await api("/verify", { credential: `\u{200e}${both}\u{200b}` })).status, "valid");
  assert.equal((await api("/verify", { credential: both })).status, "not_found");

  await fill(section, name, Array.from({ length: 12 }, (_, index) => `${index}\u{ad}`).join("\n"));
  assert.equal(
    await warning.textContent(),
    "12 credentials have invisible characters, which count as part of them. "
      + "U+00AD (soft hyphen) at the end: lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more.",
  );
  await fill(section, name, "one\n\u{200b}two");
  assert.match(await warning.textContent(), /^1 credential has invisible characters, which count as part of it\. /);
  await fill(section, name, "one\ntwo words");
  assert.equal(await warning.textContent(), "");
});

for (const colorScheme of ["light", "dark"]) {
  test(`the warnings are readable on a narrow screen, ${colorScheme}`, async (t) => {
    const page = await open(t, APP, { viewport: { width: 320, height: 900 }, colorScheme });
    const section = await view(page, "Issue");
    await fill(section, "Credential", `${SERIAL}\u{200b}\n${"x".repeat(200)}\u{e0041}\u{e0042}`);
    await assertFits(page, "the warning");
    await assertAccessible(page, "the warning");
    await section.getByLabel("I have a list").check();
    await fill(section, "Credentials, one per line", Array.from({ length: 99 }, (_, index) => `\u{200e}${index}\u{feff}`).join("\n"));
    await assertFits(page, "the warning of a list");
    await assertAccessible(page, "the warning of a list");
  });
}

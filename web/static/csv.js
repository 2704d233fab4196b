// CSV files (RFC 4180) whose cells spreadsheets take for text, like the service's: platform/src/edge/csv.rs.

import { el } from "./dom.js";

/** How long a browser may take to save a file: Safari asks the user first. */
const SAVING = 60_000;

/** Has the browser save these rows to a file. */
export function save(name, rows) {
  const text = rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  // Excel recognises UTF-8 only by a byte order mark.
  const url = URL.createObjectURL(new Blob(["\u{feff}", text], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), SAVING);
}

/** Characters that begin a formula. */
const SIGN = /[=+\-@＝＋－＠]/;

/** Characters at which Excel may split a cell, even within quotes. */
const SEPARATOR = /[;\t\r\n]/;

/**
 * Characters that programs may strip from a cell: white space, control and format characters, and other invisible ones.
 */
const DROPPED = String.raw`\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}`;
const DROPPED_OR_QUOTE = new RegExp(`[${DROPPED}"]`, "u");

/** A number, perhaps with a decimal point or comma and an exponent. */
const NUMBER = new RegExp(`^[${DROPPED}]*(?=[.,]?[0-9])[0-9]*(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?[${DROPPED}]*$`, "u");

/**
 * Adds apostrophes so that a spreadsheet takes the text for text: before each sign that could begin a formula, before
 * white space that it would drop, and before a number, of which it would keep 15 digits and no leading zeros.
 */
export function asText(text) {
  let safe = /^[\t\r\n]/.test(text) || isNumber(text) ? "'" : "";
  let begins = true;
  for (const character of text) {
    if (begins && SIGN.test(character)) safe += "'";
    begins = SEPARATOR.test(character) || (begins && DROPPED_OR_QUOTE.test(character));
    safe += character;
  }
  return safe;
}

/** Whether a spreadsheet takes the text for a number. */
function isNumber(text) {
  // Spreadsheets also read full-width digits.
  const narrow = text.replace(/[！-～]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0));
  return NUMBER.test(narrow);
}

function cell(value) {
  return `"${(typeof value === "number" ? String(value) : asText(value)).replaceAll('"', '""')}"`;
}

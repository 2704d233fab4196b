// CSV files (RFC 4180) whose cells a spreadsheet takes for text, as those of the service: platform/src/edge/csv.rs.

import { el } from "./dom.js";

/** How long a browser may take to save a file: Safari asks the user first. */
const SAVING = 60_000;

/** Has the browser save a file of these rows. */
export function save(name, rows) {
  const text = rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  // Excel takes the text for UTF-8 only if it begins with a byte order mark.
  const url = URL.createObjectURL(new Blob(["\u{feff}", text], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), SAVING);
}

/** What a formula begins with. */
const SIGN = /[=+\-@＝＋－＠]/;

/** Where Excel may split a cell, even within its quotes. */
const SEPARATOR = /[;\t\r\n]/;

/** What programs may drop from the ends of a cell: white space, control and format characters, what is not drawn. */
const DROPPED = String.raw`\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}`;
const DROPPED_OR_QUOTE = new RegExp(`[${DROPPED}"]`, "u");

/** A number, with a decimal point or comma and an exponent perhaps. */
const NUMBER = new RegExp(`^[${DROPPED}]*(?=[.,]?[0-9])[0-9]*(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]+)?[${DROPPED}]*$`, "u");

/**
 * The text with apostrophes, so that a spreadsheet takes it for text: at the beginning of a number, of which it would keep
 * 15 digits and no leading zeros, or of white space that it drops; and before each sign that could begin a formula.
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
  // It reads full-width digits, too.
  const narrow = text.replace(/[！-～]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0));
  return NUMBER.test(narrow);
}

function cell(value) {
  return `"${(typeof value === "number" ? String(value) : asText(value)).replaceAll('"', '""')}"`;
}

// CSV files (RFC 4180) that spreadsheets read as text, and not as formulas.

import { el } from "./dom.js";

/** How a formula begins in some spreadsheet: with these characters, or their full-width forms. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;

/** How long a browser may take to save a file: Safari asks the user first. */
const SAVING = 60_000;

/** Whether a cell gets an apostrophe before it, so that it is no formula. */
export function looksLikeFormula(text) {
  return FORMULA.test(text);
}

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

function cell(value) {
  const text = looksLikeFormula(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

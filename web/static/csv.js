// CSV files as the service has them: RFC 4180, and no cell is a formula to a spreadsheet.

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

/**
 * A text with an apostrophe before each sign that could begin a formula, and before white space that a spreadsheet
 * drops from the beginning of a cell. Excel may also split a cell at semicolons and tabs, even within its quotes.
 */
export function withoutFormula(text) {
  return text.replace(/(^|[;\t\r\n])("*)(?=[=+\-@＝＋－＠])/g, "$1$2'").replace(/^(?=[\t\r\n])/, "'");
}

function cell(value) {
  return `"${withoutFormula(String(value)).replaceAll('"', '""')}"`;
}

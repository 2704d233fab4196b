// Cells of CSV files stay text where a spreadsheet would otherwise see a formula or a number. The service's own CSV is
// tested with the same cases.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { APP, open } from "./harness.mjs";

const CASES = new URL("../../platform/src/edge/csv_cells.json", import.meta.url);

test("a spreadsheet takes no text in a cell for a formula or a number", async (t) => {
  const page = await open(t, APP);
  const { signs, before, changed, unchanged } = JSON.parse(await readFile(CASES, "utf8"));
  const all = (texts) => page.evaluate(async (texts) => {
    const { asText } = await import("/csv.js");
    return texts.map(asText);
  }, texts);
  const formulas = before.flatMap((start) => signs.map((sign) => [start, `${sign}1`]));
  assert.deepEqual(await all(formulas.map((parts) => parts.join(""))), formulas.map((parts) => parts.join("'")));
  assert.deepEqual(await all(changed.map(([text]) => text)), changed.map(([, safe]) => safe));
  const same = [...unchanged, ...["a", "a ", "1", "é", ".", "(", "a;b"].flatMap((start) => signs.map((sign) => `${start}${sign}1`))];
  assert.deepEqual(await all(same), same);
});

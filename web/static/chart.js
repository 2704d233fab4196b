// A chart of verifications over time: valid and not valid, as stacked bars.

import { el, svg } from "./dom.js";

const WIDTH = 720;
const HEIGHT = 120;
const BARS = 36;

/** A card with the chart. `points` are `{at, valid}`, `at` in milliseconds; `more` if there are older ones. */
export function chart(points, more) {
  const from = points.reduce((least, { at }) => Math.min(least, at), Infinity);
  const to = points.reduce((most, { at }) => Math.max(most, at), -Infinity);
  // At least a second per bar, so that a burst does not spread over the whole chart.
  const span = Math.max(to - from + 1, BARS * 1000);
  const start = to + 1 - span;
  const bars = Array.from({ length: BARS }, () => ({ valid: 0, invalid: 0 }));
  for (const { at, valid } of points) {
    bars[Math.min(BARS - 1, Math.floor(((at - start) / span) * BARS))][valid ? "valid" : "invalid"] += 1;
  }
  const most = Math.max(...bars.map(({ valid, invalid }) => valid + invalid));
  const total = { valid: sum(bars, "valid"), invalid: sum(bars, "invalid") };
  const when = (at) => new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: span < 86_400_000 ? "medium" : "short" });
  const summary = `${total.valid} valid and ${total.invalid} not valid, from ${when(start)} to ${when(to)}`;

  const width = WIDTH / BARS;
  const rect = (kind, x, y, height) => svg("rect", { class: kind, x: x + 1, y, width: width - 2, height, rx: 1.5 });
  const drawn = bars.flatMap(({ valid, invalid }, index) => {
    if (valid + invalid === 0) return [];
    const scale = (count) => (count / most) * HEIGHT;
    const x = index * width;
    const title = `${when(start + (index * span) / BARS)}: ${valid} valid, ${invalid} not valid`;
    return [svg(
      "g",
      {},
      svg("title", {}, title),
      valid ? rect("valid", x, HEIGHT - scale(valid), scale(valid)) : null,
      invalid ? rect("invalid", x, HEIGHT - scale(valid) - scale(invalid), scale(invalid)) : null,
    )];
  });
  const picture = svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT + 4}`, role: "img", "aria-label": summary },
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT + 1, y2: HEIGHT + 1 }),
    ...drawn,
  );
  const ends = el("div", { class: "legend ends" }, el("span", {}, when(start)), el("span", {}, when(to)));
  const legend = el(
    "div",
    { class: "legend" },
    el("span", {}, el("i", { class: "valid" }), `${total.valid} valid`),
    el("span", {}, el("i", { class: "invalid" }), `${total.invalid} not valid`),
    more ? el("span", {}, `the newest ${points.length}; there are more`) : null,
  );
  return el("figure", { class: "card figure" }, picture, ends, legend);
}

function sum(bars, kind) {
  return bars.reduce((total, bar) => total + bar[kind], 0);
}

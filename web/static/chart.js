// A chart of counts over time, as stacked bars.

import { el, number, plural, svg } from "./dom.js";

const WIDTH = 720;
const HEIGHT = 120;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The smallest height that is visible. */
const SEEN = 2;

/** A figure of statistics from the service. Each bar stands for the buckets in `step` milliseconds. */
export function chart({ buckets, totals, ...range }, series, step) {
  const [since, until] = [Date.parse(range.since), Date.parse(range.until)];
  const bars = Array.from({ length: Math.ceil((until - since) / step) }, () => series.map(() => 0));
  for (const bucket of buckets) {
    const bar = bars[Math.floor((Date.parse(bucket.start) - since) / step)];
    series.forEach(({ kinds }, index) => { bar[index] += sum(kinds, bucket); });
  }
  const most = Math.max(...bars.map((counts) => counts.reduce((total, count) => total + count)));
  const when = range.by === "day" ? day : hour;
  // A time within the last hour or day, which may not be over yet.
  const end = Math.min(until - 1, Date.now());
  const told = (counts) => series.map(({ name }, index) => `${number(counts[index])} ${name}`).join(", ");
  const summary = `${told(series.map(({ kinds }) => sum(kinds, totals)))}, from ${when(since)} to ${when(end)}`;

  const width = WIDTH / bars.length;
  const drawn = bars.flatMap((counts, index) => {
    if (counts.every((count) => count === 0)) return [];
    let y = HEIGHT;
    const rects = series.map(({ kind }, which) => {
      if (counts[which] === 0) return null;
      const height = Math.max(SEEN, (counts[which] / most) * HEIGHT);
      y -= height;
      return svg("rect", { class: kind, x: index * width + 1, y, width: width - 2, height, rx: 1.5 });
    });
    return [svg("g", {}, svg("title", {}, `${when(since + index * step)}: ${told(counts)}`), ...rects)];
  });
  const picture = svg(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${WIDTH} ${HEIGHT + 4}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": summary,
    },
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT + 1, y2: HEIGHT + 1 }),
    ...drawn,
  );
  const length = step < DAY ? plural(step / HOUR, "hour") : `${plural(step / DAY, "day")} (UTC)`;
  const ends = el("div", { class: "legend ends" }, el("span", {}, when(since)), el("span", {}, when(end)));
  const legend = el(
    "div",
    { class: "legend" },
    series.map((one) => el("span", {}, el("i", { class: one.kind }), figures(one, totals))),
    el("span", {}, `a bar is ${length}`),
  );
  return el("figure", { class: "figure" }, picture, ends, legend);
}

/** The total of a series and, if it has several kinds, of each kind. */
function figures({ name, kinds }, totals) {
  const total = `${number(sum(kinds, totals))} ${name}`;
  const counted = kinds.filter((kind) => totals[kind] > 0);
  if (kinds.length === 1 || counted.length === 0) return total;
  return `${total} (${counted.map((kind) => `${number(totals[kind])} ${kind.replaceAll("_", " ")}`).join(", ")})`;
}

function sum(kinds, counts) {
  return kinds.reduce((total, kind) => total + counts[kind], 0);
}

function hour(at) {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function day(at) {
  return new Date(at).toLocaleDateString(undefined, { dateStyle: "medium", timeZone: "UTC" });
}

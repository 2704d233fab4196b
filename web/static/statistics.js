// A service's statistics over time: the range, the request, and the chart.

import { chart } from "./chart.js";
import { el, errorNotice, say } from "./dom.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Possible lengths of a bar. */
const STEPS = [1, 3, 6, 12, 24, 48, 168, 336, 672, 2184].map((hours) => hours * HOUR);

/** The most bars that fit on a phone. */
const BARS = 56;

/** The longest range of days that the service accepts, whatever hours it begins and ends at. */
const LONGEST = 3_999 * DAY;

/** The length of the range if the filters have no `since`. */
const USUAL = 30 * DAY;

const NARROWED = "The chart counts everything: status and hash narrow only the list.";

/**
 * Sets up a card with a chart. `path` is the route; each of the `series` has a name, a `kind` for its colour, and the
 * `kinds` of counts that it adds up. `call` calls an admin route.
 *
 * Returns `draw`, which loads the chart for the filters of a list, and `clear`, which removes it.
 */
export function statistics(card, { path, title, series }, call) {
  const [range, place] = [card.querySelector("[data-range]"), card.querySelector("[data-chart]")];
  const asFiltered = range.querySelector("[value=filters]");
  const byDefault = range.value;
  let filters = new URLSearchParams();
  let request = null;
  card.querySelector("[data-title]").textContent = title;

  const load = async () => {
    request?.abort();
    request = new AbortController();
    const { signal } = request;
    const [since, until] = range.value === "filters" ? filtered(filters) : latest(Number(range.value) * HOUR);
    const step = STEPS.find((length) => until - since <= length * BARS) ?? STEPS.at(-1);
    const query = new URLSearchParams({
      since: new Date(since).toISOString(),
      until: new Date(until).toISOString(),
      by: step < DAY ? "hour" : "day",
    });
    place.setAttribute("aria-busy", "true");
    try {
      const response = await call("GET", `${path}?${query}`, { signal });
      if (signal.aborted) return;
      const narrowed = filters.has("status") || filters.has("credential_hash");
      place.replaceChildren(
        chart(response, series, step),
        ...(narrowed ? [el("p", { class: "hint" }, NARROWED)] : []),
      );
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(errorNotice(error, load));
    } finally {
      if (!signal.aborted) place.removeAttribute("aria-busy");
    }
  };
  range.addEventListener("change", async () => {
    await load();
    say(place.querySelector("[role=img]")?.getAttribute("aria-label") ?? "");
  });

  return {
    draw: (applied) => {
      const before = [filters.get("since"), filters.get("until")];
      const now = [applied.get("since"), applied.get("until")];
      filters = applied;
      asFiltered.disabled = now.every((time) => time === null);
      if (asFiltered.disabled && range.value === "filters") range.value = byDefault;
      else if (!asFiltered.disabled && now.join() !== before.join()) range.value = "filters";
      return load();
    },
    clear: () => {
      request?.abort();
      place.replaceChildren();
    },
  };
}

/** The range of this length that ends now, in whole bars. */
function latest(length) {
  const step = Math.min(DAY, STEPS.find((step) => length <= step * BARS));
  const until = Math.ceil(Date.now() / step) * step;
  return [until - length, until];
}

/** The range of the filters, up to now. */
function filtered(filters) {
  const until = Math.min(Date.now(), Date.parse(filters.get("until") ?? "9999-12-31"));
  const since = filters.has("since") ? Date.parse(filters.get("since")) : until - USUAL;
  return [Math.max(until - LONGEST, Math.min(since, until - 1)), until];
}

// Issues a list: shows its progress and its outcome, and offers a file that can be saved once.

import { Batch } from "./batch.js";
import { asText, save } from "./csv.js";
import { el, errorNotice, facts, lineNumbers, notice, number, plural, present, say, time } from "./dom.js";
import { token } from "./session.js";
import { begin, forget, isKept, keptUntil, progress } from "./unfinished.js";
import { mayForget, unfinishedLists } from "./unfinished-lists.js";

const COLUMNS = ["line", "credential", "status", "credential_hash", "issued_at", "expires_at", "max_uses"];

/** The interval at which screen readers announce progress, in milliseconds. */
const ANNOUNCE_EVERY = 10_000;

const SAVED = "The file is being saved. This page no longer has the credentials.";

const SAVED_PART = `${SAVED} It can get them again until the list is finished or forgotten.`;

/**
 * Sets up lists in a section. `act` runs a task with the form busy and passes errors to its second argument.
 *
 * Returns `start`, which issues a list and calls its last argument on completion, `mayDrop`, which asks the user
 * whether the last list may be discarded, and `shown`, to be called whenever the section is shown.
 */
export function issueList(section, act) {
  const place = section.querySelector("[data-result]");
  const form = section.querySelector("[data-form]");
  const reminder = document.querySelector("[data-unsaved]");
  let batch = null;
  let kept = null;
  let completed = null;
  let running = false;

  /** Whether there are credentials that exist nowhere else. */
  const unsaved = () => batch !== null && batch.generates && batch.done.some(({ kind }) => kind === "issued");
  const warn = (event) => event.preventDefault();
  /** Warns before credentials are lost: when the user leaves the page, and in the other views. */
  const guard = () => {
    if (running || unsaved()) addEventListener("beforeunload", warn);
    else removeEventListener("beforeunload", warn);
    const remind = unsaved() && section.hidden;
    if (remind === (reminder.childElementCount > 0)) return;
    reminder.replaceChildren(...(remind
      ? ["Generated credentials are not saved yet. ", el("a", { href: "#/issue" }, "Go to them")]
      : []));
  };
  // Views change after this event.
  addEventListener("hashchange", () => setTimeout(guard));

  /** Forgets the list once there is nothing left to get from it. */
  const settle = () => {
    if (batch.pending.length === 0 && !unsaved()) forget(kept);
    guard();
    drawOthers();
  };

  const send = () => act(async () => {
    const bar = el("progress", { "aria-label": "Credentials done", max: batch.total });
    const text = el("p", {});
    let stopping = false;
    const stop = el("button", {
      type: "button",
      onclick: () => {
        stopping = true;
        stop.textContent = "Stopping…";
      },
    }, "Stop");
    const show = () => {
      bar.value = batch.done.length;
      text.textContent = `${number(batch.done.length)} of ${plural(batch.total, "credential")} done`;
    };
    show();
    present(place, el("div", { class: "card" }, el("h2", {}, "Issuing the list"), bar, text, stop));
    say(`Issuing ${plural(batch.total, "credential")}.`);
    let announced = Date.now();
    running = true;
    try {
      while (batch.pending.length > 0 && !stopping) {
        guard();
        await batch.next(token("issuer"));
        progress(kept, kept.count - batch.pending.length);
        show();
        if (Date.now() - announced > ANNOUNCE_EVERY) {
          announced = Date.now();
          say(text.textContent);
        }
      }
    } finally {
      running = false;
    }
    finish(null);
    if (batch.pending.length === 0) completed();
  }, finish);

  const finish = (error) => {
    const card = summary(batch, kept, error, { download, send, discard });
    settle();
    present(place, card);
    say(card.querySelector("h2").textContent);
    // The focused button is disabled or gone by now.
    if (document.activeElement === document.body) card.querySelector("button")?.focus();
  };

  const download = () => {
    const rows = batch.take().map((row) => COLUMNS.map((column) => row[column] ?? ""));
    save(`credentials-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.csv`, [COLUMNS, ...rows]);
    settle();
    const after = el("p", { tabindex: -1 }, batch.generates && isKept(kept) ? SAVED_PART : SAVED);
    place.querySelector("[data-file]").replaceChildren(after);
    after.focus();
  };

  const drop = () => {
    batch = null;
    guard();
    drawOthers();
  };

  const mayDrop = () => {
    if (form.hasAttribute("aria-busy")) return false;
    if (unsaved()) {
      if (!confirm("Generated credentials are not saved yet. Discard them?")) return false;
      forget(kept);
    }
    drop();
    return true;
  };

  const discard = () => {
    if (!mayForget(kept)) return;
    forget(kept);
    drop();
    place.replaceChildren();
    section.querySelector("h1").focus();
  };

  const run = (items, list, whenCompleted) => {
    [batch, kept, completed] = [new Batch(items, list), list, whenCompleted];
    drawOthers();
    return send();
  };

  const drawOthers = unfinishedLists(section, {
    isCurrent: ({ key }) => batch?.key === key && !batch.isAnother,
    proceed: (items, list) => {
      if (mayDrop()) run(items, list, () => {});
    },
  });

  return {
    start: (items, terms, whenCompleted) => {
      const generates = items[0].credential === null;
      run(items, begin({ count: items.length, terms, generates }), whenCompleted);
    },
    mayDrop,
    shown: drawOthers,
  };
}

const AGAIN = "“Continue” repeats the failed request: nothing is issued twice, and what it issued is not lost.";

/** The outcome of a list so far. */
function summary({ generates, pending, done, total, isAnother }, kept, error, { download, send, discard }) {
  const count = (kind) => done.filter((row) => row.kind === kind).length;
  const issued = count("issued");
  const state = error !== null ? "Interrupted: issued" : pending.length > 0 ? "Stopped: issued" : "Issued";
  const others = [["Already issued", count("known")], ["Refused", count("refused")], ["Not done", pending.length]];
  return notice(
    issued === total ? "good" : "warn",
    `${state} ${number(issued)} of ${plural(total, "credential")}`,
    error === null ? null : errorNotice(error),
    facts(others.map(([name, rows]) => [name, rows > 0 ? number(rows) : null])),
    reasons(done),
    error?.isUncertain ? el("p", {}, AGAIN) : null,
    done.length > 0 ? file(done, generates, kept, download) : null,
    pending.length > 0 && !isAnother
      ? el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", onclick: send }, "Continue"),
        el("button", { type: "button", onclick: discard }, "Forget it"),
      )
      : null,
  );
}

/** The reasons why lines were not issued, each with its lines. */
function reasons(done) {
  const groups = Map.groupBy(done.filter(({ kind }) => kind !== "issued"), ({ status }) => status);
  if (groups.size === 0) return null;
  const lines = (rows) => lineNumbers(rows.map(({ line }) => line));
  return el("ul", {}, [...groups].map(([status, rows]) => el("li", {}, `${status}: ${lines(rows)}`)));
}

function file(done, generates, kept, download) {
  const known = done.map(({ credential }) => credential).filter((credential) => credential !== null);
  const changed = known.filter((credential) => credential !== asText(credential)).length;
  const some = `${plural(changed, "credential")} that a spreadsheet would take for a formula or a number`;
  return el(
    "div",
    { "data-file": "" },
    generates ? once(kept) : el("p", {}, "The file contains the credentials in plain text and can be saved only once."),
    changed > 0
      ? el("p", {}, `In the file, ${some} ${changed === 1 ? "has" : "have"} an apostrophe added to prevent that.`)
      : null,
    el("button", { type: "button", class: "primary", onclick: download }, "Save as CSV file"),
  );
}

/** How generated credentials can be lost. */
function once(kept) {
  if (!isKept(kept)) {
    return el("p", {}, "The credentials exist only in this page. Save them before you close it: there is only one chance.");
  }
  const until = time(keptUntil(kept).toISOString());
  return el("p", {}, "Save the credentials: there is only one chance. If the page is closed before that, this browser can get them again until ", until, ".");
}

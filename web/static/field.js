// The credential field: Enter submits it, and a warning names invisible characters, because they count.

import { lineNumbers, plural } from "./dom.js";

/** White space, control and format characters, other invisible ones, and blank letters and symbols. */
const UNSEEN = /[\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u{2800}\u{13441}\u{13442}\u{16fe4}\u{1d159}]/u;

/** An emoji is visible as a whole, including joiners and selectors. */
const EMOJI = /\p{RGI_Emoji}/gv;

/** Visible ASCII with spaces only inside. */
const PLAIN = /^[!-~](?:[ -~]*[!-~])?$/;

const NAMES = {
  "\t": "tab",
  " ": "space",
  "\u{a0}": "no-break space",
  "\u{ad}": "soft hyphen",
  "\u{200b}": "zero-width space",
  "\u{200c}": "zero-width non-joiner",
  "\u{200d}": "zero-width joiner",
  "\u{200e}": "left-to-right mark",
  "\u{200f}": "right-to-left mark",
  "\u{2060}": "word joiner",
  "\u{feff}": "byte order mark",
};

/** How many kinds of characters are listed. */
const NAMED = 6;

/** Has Enter submit a credential field and Shift+Enter break the line, and warns about invisible characters. */
export function credentialField(form) {
  const field = form.elements.credential;
  const place = form.querySelector("[data-unseen]");
  field.addEventListener("keydown", (event) => {
    // Safari ends a composition before it reports the key that ended it, which has this code.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!event.repeat) form.requestSubmit(form.querySelector("[type=submit]"));
  });
  const warn = () => tell(place, warning(field.value));
  field.addEventListener("input", warn);
  form.addEventListener("reset", () => tell(place, ""));
  // On Back, browsers may restore earlier input.
  addEventListener("pageshow", warn);
}

/** Shows a text that screen readers announce when it changes. */
export function tell(place, text) {
  // Assigning the same text would announce it again.
  if (place.textContent !== text) place.textContent = text;
}

/** A warning about invisible characters and line breaks, which browsers turn into line feeds. */
function warning(credential) {
  const { isSpaced, others } = unseen(credential);
  const parts = [];
  if (isSpaced) parts.push("It begins or ends with white space, which counts as part of it.");
  if (others.length > 0) {
    parts.push(`It contains invisible characters, which count as part of it: ${named(others).join(", ")}.`);
  }
  if (credential.includes("\n")) parts.push("It has line breaks: each is sent as one line feed (LF).");
  return parts.join(" ");
}

/** A warning about invisible characters in a list, with their lines. */
export function warningOfLines(items) {
  const [spaced, affected, kinds] = [[], [], new Map()];
  for (const { line, credential } of items) {
    const { isSpaced, others } = unseen(credential);
    if (isSpaced) spaced.push(line);
    if (others.length > 0) affected.push(line);
    for (const kind of others) {
      if (!kinds.has(kind)) kinds.set(kind, []);
      kinds.get(kind).push(line);
    }
  }
  const parts = [];
  if (spaced.length > 0) {
    parts.push(`White space before or after ${plural(spaced.length, "credential")} counts as part of it: ${lineNumbers(spaced)}.`);
  }
  if (affected.length > 0) {
    const [have, them] = affected.length === 1 ? ["has", "it"] : ["have", "them"];
    parts.push(`${plural(affected.length, "credential")} ${have} invisible characters, which count as part of ${them}.`);
    parts.push(...named([...kinds].map(([kind, lines]) => `${kind}: ${lineNumbers(lines)}`)).map((text) => `${text}.`));
  }
  return parts.join(" ");
}

/** Whether a credential has white space at its ends, and its other invisible characters, each once for each place. */
function unseen(credential) {
  if (PLAIN.test(credential)) return { isSpaced: false, others: [] };
  const characters = Array.from(credential.replaceAll(EMOJI, "x"));
  const isSeen = (character) => !UNSEEN.test(character);
  const [first, last] = [characters.findIndex(isSeen), characters.findLastIndex(isSeen)];
  const place = (index) => {
    if (index < first || first < 0) return "at the beginning";
    if (index > last) return "at the end";
    return characters[index + 1] === "\n" ? "at the end of a line" : "inside";
  };
  const others = new Set();
  let isSpaced = false;
  characters.forEach((character, index) => {
    if (isSeen(character)) return;
    const isInside = first < index && index < last;
    if (!isInside && /\p{White_Space}/u.test(character)) isSpaced = true;
    // Line breaks and spaces at the ends have sentences of their own, and spaces between words are visible.
    const isTold = character === "\n" || (character === " " && place(index) !== "at the end of a line");
    if (!isTold) others.add(`${name(character)} ${place(index)}`);
  });
  return { isSpaced, others: [...others] };
}

/** A character's code point, with its name if it is common. */
function name(character) {
  const code = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  return NAMES[character] === undefined ? code : `${code} (${NAMES[character]})`;
}

function named(kinds) {
  return kinds.length > NAMED ? [...kinds.slice(0, NAMED), "and others"] : kinds;
}

// The health of both services.

import { call } from "./api.js";
import { busy, el, errorNotice, facts, notice, say, time, wait } from "./dom.js";

const SERVICES = [["Issuance", "/health/issuance"], ["Verification", "/health/verification"]];

export function start(section) {
  const form = section.querySelector("[data-form]");
  const result = section.querySelector("[data-result]");
  const check = () => busy(form, async () => {
    if (result.childElementCount === 0) wait(result, "Checking both services…");
    result.replaceChildren(...(await Promise.all(SERVICES.map(card))));
    say([...result.querySelectorAll("h2")].map((heading) => heading.textContent).join(". "));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  return check;
}

async function card([name, path]) {
  try {
    // An unhealthy service reports its checks with a 503.
    const response = await call("GET", path, { also: [503] });
    const healthy = response.status === "healthy";
    return notice(
      healthy ? "good" : "bad",
      `${name}: ${healthy ? "healthy" : "unhealthy"}`,
      facts([...Object.entries(response.checks ?? {}), ["Worker", response.worker], ["Version", response.version], ["Time", response.timestamp && time(response.timestamp)]]),
    );
  } catch (error) {
    return el("div", {}, el("h2", {}, name), errorNotice(error));
  }
}

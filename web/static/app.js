// The page: shows the view named in the URL (#/verify).

import { API } from "./api.js";
import * as credentials from "./credentials.js";
import * as health from "./health.js";
import * as history from "./history.js";
import * as issue from "./issue.js";
import * as verify from "./verify.js";

const modules = { issue, verify, history, credentials, health };
const views = new Map();
for (const section of document.querySelectorAll("[data-view]")) {
  const name = section.dataset.view;
  // Each view is set up once and returns a function to call whenever it is shown.
  views.set(name, { section, shown: modules[name].start(section) });
}

function show(move) {
  const wanted = location.hash.replace(/^#\//, "");
  const name = views.has(wanted) ? wanted : "issue";
  for (const [other, { section }] of views) section.hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const { section, shown } = views.get(name);
  const heading = section.querySelector("h1");
  document.title = `${heading.textContent} · Kube Credentials`;
  if (move) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  shown();
}

addEventListener("hashchange", () => show(true));
show(false);

// Following the link would overwrite the view's name in the URL.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});

// A double click or a key held down submits only once.
addEventListener("click", (event) => {
  if (event.detail > 1 && event.target.closest("[type=submit]")) event.preventDefault();
});
addEventListener("keydown", (event) => {
  if (event.repeat && event.key === "Enter" && !event.target.matches("textarea")) event.preventDefault();
});

const offline = document.querySelector("[data-offline]");
const online = () => { offline.textContent = navigator.onLine ? "" : "You are offline. What you see may be out of date."; };
addEventListener("online", online);
addEventListener("offline", online);
online();

document.querySelector("[data-api]").textContent = API;
document.querySelector("[data-openapi]").href = `${API}/openapi.yaml`;

// Which page is shown, and what all pages share: the feed, the theme, how many alerts fire, what is wrong.

import { get } from "./api.js";
import { alertsPage } from "./alerts.js";
import { listPage } from "./list.js";
import { seriesPage } from "./series.js";
import { systemPage } from "./system.js";

const page = document.getElementById("page"), trouble = document.getElementById("trouble"), feedBox = document.getElementById("feed");
let leave = null;

export function say(error) {
  trouble.textContent = error ? error.message : "";
  trouble.hidden = !error;
}

// Runs `work` now and every so often until the page is left; says what fails and goes on.
function repeat(work, everyMs) {
  let going = true, timer = 0;
  const turn = async () => {
    try { await work(() => going); if (going) say(null); } catch (error) { if (going) say(error); }
    if (going) timer = setTimeout(turn, everyMs);
  };
  const wake = () => { if (!document.hidden && going) { clearTimeout(timer); turn(); } };
  document.addEventListener("visibilitychange", wake);
  turn();
  return () => { going = false; clearTimeout(timer); document.removeEventListener("visibilitychange", wake); };
}

function show() {
  if (leave) leave();
  const [, name = "", ...rest] = location.hash.replace(/^#/, "").split("/");
  const feed = feedBox.value;
  const pages = {
    "": ["series", "Series", () => listPage(page, feed, repeat)],
    series: ["series", "Series", () => seriesPage(page, decodeURIComponent(rest[0] || ""), decodeURIComponent(rest.slice(1).join("/")), repeat)],
    alerts: ["alerts", "Alerts", () => alertsPage(page, repeat)],
    system: ["system", "System", () => systemPage(page, feeds.map((one) => one.name), repeat)],
  };
  const [tab, title, open] = pages[name] || pages[""];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} · Tidecast`;
  leave = open();
}

const kept = localStorage.getItem("theme");
const dark = () => document.documentElement.dataset.theme === "dark";
document.documentElement.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
  show();
});
document.addEventListener("keydown", (event) => {
  const box = document.querySelector("input[type=search]");
  if (event.key === "/" && box && !["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
});

let feeds = [];
async function begin() {
  try {
    feeds = await get("/api/feeds");
  } catch (error) {
    say(error);
    setTimeout(begin, 2000);
    return;
  }
  feedBox.replaceChildren(...feeds.map((feed) => new Option(feed.name, feed.name)));
  feedBox.hidden = feeds.length < 2;
  feedBox.addEventListener("change", () => { location.hash = "#/"; show(); });
  addEventListener("hashchange", () => { show(); page.focus(); });
  show();
  const badge = document.getElementById("firing");
  repeat(async () => {
    const open = await get("/api/alerts/open");
    badge.hidden = !open.length;
    badge.textContent = open.length;
    badge.setAttribute("aria-label", `${open.length} firing`);
  }, 4000);
}
begin();

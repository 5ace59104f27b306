// The list of all series: search, filter, sort, and more lines as one scrolls.

import { get } from "./api.js";
import { h, number, percent, sparkline, time } from "./dom.js";

const CHUNK = 60, EVERY_MS = 2000;
const STATES = [["", "all"], ["firing", "firing"], ["ready", "ready"], ["warming", "warming"], ["stale", "stale"]];
const COLUMNS = [["series", "Series", ""], [null, "Lately", ""], ["value", "Value", "n"], ["error_ratio", "Error / last value’s", "n phone-off"],
  ["coverage", "In interval", "n phone-off"], ["alerts", "Alerts", "n"], ["cutoff", "Last observation (UTC)", "phone-off"]];
const remembered = { search: "", state: "", sort: "alerts", descending: true };

export function listPage(page, feed, repeat) {
  const asked = remembered;
  let shown = CHUNK, total = 0, answers = 0;
  const box = h("input", { type: "search", placeholder: "Search series   ( / )", "aria-label": "Search series", value: asked.search, autocomplete: "off" });
  const chips = h("div", { class: "bar", role: "group", "aria-label": "State" });
  const count = h("p", { class: "dim", role: "status" });
  const head = h("tr"), body = h("tbody"), end = h("div", { "aria-hidden": "true" });
  const grid = h("div", { class: "table" }, h("table", {}, h("thead", {}, head), body));
  page.replaceChildren(h("h1", {}, "Series"), h("div", { class: "bar" }, box), chips, count, grid, end);

  async function load(still = () => true) {
    const mine = ++answers;
    const query = new URLSearchParams({ feed, search: asked.search, state: asked.state, sort: asked.sort, descending: asked.descending, limit: Math.min(shown, 500) });
    const told = await get(`/api/series?${query}`);
    // An older question's answer may come later.
    if (!still() || mine !== answers) return;
    total = told.total;
    count.textContent = told.counts.all ? `${total.toLocaleString("en")} of ${told.counts.all.toLocaleString("en")} series` : "No series yet: has a worker run, and has the feed sent anything?";
    chips.replaceChildren(...STATES.map(([state, text]) => h("button", {
      type: "button", "aria-pressed": String(asked.state === state), onclick: () => { asked.state = state; shown = CHUNK; load(); },
    }, `${text} ${(told.counts[state || "all"] || 0).toLocaleString("en")}`)));
    heads();
    body.replaceChildren(...(told.rows.length ? told.rows.map((row) => line(feed, row)) : [h("tr", {}, h("td", { class: "empty", colspan: COLUMNS.length }, "No series matches."))]));
  }

  function heads() {
    head.replaceChildren(...COLUMNS.map(([sort, text, kind]) => {
      const sorted = asked.sort === sort ? (asked.descending ? "descending" : "ascending") : null;
      const click = () => { asked.descending = asked.sort === sort ? !asked.descending : sort !== "series"; asked.sort = sort; load(); };
      const arrow = sorted ? (asked.descending ? " ↓" : " ↑") : "";
      return h("th", { scope: "col", class: kind, "aria-sort": sorted }, sort ? h("button", { type: "button", onclick: click }, text + arrow) : text);
    }));
  }

  box.addEventListener("input", () => { asked.search = box.value; shown = CHUNK; load(); });
  const watch = new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting) && shown < Math.min(total, 500)) { shown += CHUNK; load(); }
  }, { rootMargin: "300px" });
  watch.observe(end);
  const stop = repeat(load, EVERY_MS);
  return () => { stop(); watch.disconnect(); };
}

function line(feed, row) {
  const link = `#/series/${encodeURIComponent(feed || "")}/${encodeURIComponent(row.series)}`;
  const ratio = row.error_ratio === null ? "" : row.error_ratio <= 1 ? "good" : "wait";
  return h("tr", {},
    h("th", { scope: "row", title: row.series }, h("span", { class: `state ${row.state}` }), h("a", { href: link }, row.series)),
    h("td", {}, sparkline(row.recent)), h("td", { class: "n" }, number(row.value)), h("td", { class: `n phone-off ${ratio}` }, number(row.error_ratio)),
    h("td", { class: "n phone-off" }, percent(row.coverage)), h("td", { class: "n" }, row.alerts ? h("span", { class: "badge" }, row.alerts) : "–"),
    h("td", { class: "phone-off" }, time(row.cutoff)));
}

// Alerts: what fires now, and what has.

import { get } from "./api.js";
import { h, table, time } from "./dom.js";

export const ALERT_HEADS = [["When (UTC)", ""], ["Status", ""], ["What", ""], ["Kind", "phone-off"], ["Severity", "phone-off"]];

export function alertLine(alert, linked = true) {
  const link = `#/series/${encodeURIComponent(alert.feed)}/${encodeURIComponent(alert.series)}`;
  const kind = alert.status === "resolved" ? "good" : alert.severity === "critical" ? "bad" : "wait";
  const evidence = Object.entries(alert.evidence).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(" · ");
  return h("tr", {}, h("td", {}, time(alert.at)), h("td", { class: kind }, alert.status),
    h("td", { class: "wide" }, linked ? h("a", { href: link }, alert.title) : alert.title, evidence ? h("div", { class: "dim" }, evidence) : null),
    h("td", { class: "phone-off" }, alert.kind), h("td", { class: "phone-off" }, alert.severity));
}

export function alertsPage(page, repeat) {
  const asked = { text: "", severity: "" };
  const box = h("input", { type: "search", placeholder: "Filter by series, kind or words   ( / )", "aria-label": "Filter alerts" });
  const severity = h("select", { "aria-label": "Severity" }, ["", "info", "warning", "critical"].map((name) => h("option", { value: name }, name || "any severity")));
  const open = h("div"), past = h("div");
  page.replaceChildren(h("h1", {}, "Alerts"), h("div", { class: "bar" }, box, severity), h("h2", {}, "Firing now"), open, h("h2", {}, "Newest first"), past);
  let firing = [], newest = [];
  const wanted = (alert) => (!asked.severity || alert.severity === asked.severity)
    && asked.text.toLowerCase().split(/\s+/).every((word) => `${alert.series} ${alert.kind} ${alert.title}`.toLowerCase().includes(word));
  const draw = () => {
    open.replaceChildren(table("Firing now", ALERT_HEADS, firing.filter(wanted).map((alert) => alertLine(alert))));
    past.replaceChildren(table("Newest alerts", ALERT_HEADS, newest.filter(wanted).map((alert) => alertLine(alert))));
  };
  box.addEventListener("input", () => { asked.text = box.value; draw(); });
  severity.addEventListener("change", () => { asked.severity = severity.value; draw(); });
  return repeat(async (still) => {
    const told = await Promise.all([get("/api/alerts/open"), get("/api/alerts?count=300")]);
    if (!still()) return;
    [firing, newest] = told;
    draw();
  }, 3000);
}

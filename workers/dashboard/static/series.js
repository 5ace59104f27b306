// One series: the live fan over what was observed, forecasts as they were issued, what they rest on.

import { get, seriesPath as path } from "./api.js";
import { alertLine, ALERT_HEADS } from "./alerts.js";
import { fan } from "./chart.js";
import { fact, h, number, percent, table, time } from "./dom.js";

const KEPT = 300;

export function seriesPage(page, feed, series, repeat) {
  const forecasts = [];
  let chosen = null, drawn = null, stopped = false;
  const state = h("p", { class: "dim" }), facts = h("dl", { class: "facts" }), weights = h("div", { class: "weights" }), alerts = h("div");
  const picture = h("div", { class: "chart", role: "img", "aria-label": `Observed values of ${series} and the forecast` });
  const slider = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Forecast issued at" });
  const issued = h("output", { class: "dim" }), live = h("button", { type: "button", "aria-pressed": "true" }, "Live");
  page.replaceChildren(
    h("p", {}, h("a", { href: "#/" }, "← Series")), h("h1", {}, series), state, facts,
    h("div", { class: "panel" },
      h("p", { class: "legend" }, h("span", {}, h("i", { class: "truth" }), "observed"), h("span", {}, h("i", { class: "median" }), "forecast, median"), h("span", {}, h("i", { class: "band" }), "intervals")),
      picture, h("div", { class: "scrub" }, live, slider, issued)),
    h("h2", {}, "Mixed from"), weights, h("h2", {}, "Alerts of this series"), alerts,
    h("h2", {}, "For programs"), h("pre", {}, `curl '${location.origin}${path(series, "forecast", { feed })}'`));

  function draw() {
    if (!forecasts.length) return;
    const at = chosen === null ? forecasts.length - 1 : chosen;
    slider.max = forecasts.length - 1;
    slider.value = at;
    live.setAttribute("aria-pressed", String(chosen === null));
    const one = forecasts[at];
    issued.textContent = `issued ${time(one.issued)} UTC, after ${time(one.cutoff)}`;
    drawn = fan(picture, drawn, forecasts, at);
    weights.replaceChildren(...Object.entries(one.weights).sort((a, b) => b[1] - a[1]).flatMap(([name, share]) =>
      [h("span", {}, name), h("meter", { min: 0, max: 1, value: share, "aria-label": name }), h("span", { class: "n" }, percent(share))]));
  }

  slider.addEventListener("input", () => { chosen = Number(slider.value) === forecasts.length - 1 ? null : Number(slider.value); draw(); });
  live.addEventListener("click", () => { chosen = null; draw(); });

  // The live stream tells the newest forecast a few times a second; those between come from the history.
  let filling = false;
  async function take(forecast) {
    const last = forecasts.at(-1);
    if (last && forecast.cutoff <= last.cutoff) return;
    const missed = last ? Math.round((Date.parse(forecast.cutoff) - Date.parse(last.cutoff)) / 1000 / forecast.step_s) - 1 : 0;
    if (missed > 0 && !filling) {
      filling = true;
      const between = await get(path(series, "history", { feed, count: Math.min(missed + 20, 200) })).catch(() => []);
      filling = false;
      for (const one of between) add(one);
    }
    add(forecast);
    draw();
  }

  function add(forecast) {
    const last = forecasts.at(-1);
    if (last && forecast.cutoff <= last.cutoff) return;
    forecasts.push(forecast);
    if (forecasts.length > KEPT) { forecasts.shift(); if (chosen !== null) chosen = Math.max(0, chosen - 1); }
  }

  let source = null;
  get(path(series, "history", { feed, count: 200 })).catch(() => []).then((told) => {
    if (stopped) return;
    forecasts.push(...told);
    draw();
    source = new EventSource(path(series, "live", { feed }));
    source.onmessage = (event) => take(JSON.parse(event.data));
  });
  const stop = repeat(async (still) => {
    const [card, told] = await Promise.all([get(path(series, "card", { feed })), get(`/api/alerts?count=500&${new URLSearchParams({ series })}`)]);
    if (!still()) return;
    const better = card.error_ratio === null ? "" : card.error_ratio <= 1 ? "good" : "wait";
    state.replaceChildren(h("span", { class: `state ${card.state}` }, card.state), ` · feed ${card.feed} · model ${card.model} · every ${card.step_s} s`);
    facts.replaceChildren(
      fact("value", number(card.value)), fact("last observation (UTC)", time(card.cutoff)), fact("recent error, next step", number(card.error)),
      fact("that of the last value", number(card.error_last_value)), fact("ratio", number(card.error_ratio), better),
      fact(`inside the ${percent(card.nominal)} interval`, percent(card.coverage[String(Number(card.nominal.toPrecision(6)))] ?? null)),
      fact("observations", card.observations.toLocaleString("en")), fact("gaps / late / doubled", `${card.gaps} / ${card.late} / ${card.duplicates}`));
    alerts.replaceChildren(table("Alerts of this series", ALERT_HEADS, told.map((alert) => alertLine(alert, false))));
  }, 2000);
  return () => { stopped = true; stop(); if (source) source.close(); if (drawn) drawn.destroy(); };
}

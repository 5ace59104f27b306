// The system: what works, where it stands, which models there are.

import { get } from "./api.js";
import { fact, h, table, time } from "./dom.js";

const count = (value) => (value === undefined || value === null ? "–" : Number(value).toLocaleString("en"));

export function systemPage(page, feeds, repeat) {
  const facts = h("dl", { class: "facts" }), workers = h("div"), partitions = h("div"), models = h("div");
  page.replaceChildren(h("h1", {}, "System"), facts, h("h2", {}, "Workers"), workers, h("h2", {}, "Partitions"), partitions, models);
  let before = null;
  return repeat(async (still) => {
    const [beats, held, ...registries] = await Promise.all([get("/api/workers"), get("/api/partitions"), ...feeds.map((feed) => get(`/api/models/${encodeURIComponent(feed)}`))]);
    if (!still()) return;
    const sum = (name) => Object.values(beats).reduce((total, beat) => total + (beat[name] || 0), 0);
    const now = { at: performance.now(), forecasts: sum("forecasts") };
    const rate = before && now.forecasts >= before.forecasts ? (now.forecasts - before.forecasts) / ((now.at - before.at) / 1000) : null;
    if (!before || now.at - before.at > 5000) before = now;
    facts.replaceChildren(fact("workers", count(Object.keys(beats).length)), fact("series held", count(sum("series"))), fact("forecasts a second", rate === null ? "–" : rate.toFixed(0)),
      fact("records waiting", count(sum("waiting")), sum("waiting") > 10000 ? "wait" : ""), fact("rejected", count(sum("rejected")), sum("rejected") ? "wait" : ""), fact("alerts raised", count(sum("alerts"))));
    workers.replaceChildren(table("Workers", [["Worker", ""], ["Host", "phone-off"], ["Partitions", "n"], ["Series", "n"], ["Forecasts", "n"], ["Waiting", "n"], ["Learns at every", "n phone-off"]],
      Object.entries(beats).map(([name, beat]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "phone-off" }, beat.host || "–"), ...["partitions", "series", "forecasts", "waiting"].map((key) => h("td", { class: "n" }, count(beat[key]))), h("td", { class: "n phone-off" }, count(beat.learn_at_every))))));
    partitions.replaceChildren(table("Partitions", [["Partition", ""], ["Owner", ""], ["Epoch", "n phone-off"], ["Published up to", "n"], ["At (UTC)", "phone-off"]],
      held.map((one) => h("tr", {}, h("th", { scope: "row" }, `${one.topic}/${one.partition}`), h("td", {}, one.owner || "–"), h("td", { class: "n phone-off" }, count(one.epoch)), h("td", { class: "n" }, count(one.offset)), h("td", { class: "phone-off" }, time(one.updated))))));
    models.replaceChildren(...registries.flatMap((registry) => [h("h2", {}, `Models of ${registry.feed}`),
      table(`Models of ${registry.feed}`, [["Version", ""], ["", ""], ["Made (UTC)", ""]], Object.entries(registry.versions).reverse().map(([version, manifest]) =>
        h("tr", {}, h("th", { scope: "row" }, version), h("td", { class: "good" }, version === registry.champion ? "champion" : ""), h("td", {}, time(manifest.created || manifest.trained || null)))))]));
  }, 3000);
}

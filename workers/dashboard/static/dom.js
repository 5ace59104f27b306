// Building pieces of the page. Text goes in as text only: ids and titles come from strangers.

export function h(tag, attributes = {}, ...children) {
  const svg = tag === "svg" || tag === "path";
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) => (child.nodeType ? child : String(child))));
  return made;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toPrecision(4);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3);
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);

export const time = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–");

export function sparkline(values) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return h("svg", { class: "spark", "aria-hidden": "true" });
  const low = Math.min(...known), span = Math.max(...known) - low || 1;
  let path = "", pen = "M";
  values.forEach((value, at) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${(1 + (108 * at) / (values.length - 1)).toFixed(1)} ${(24 - (22 * (value - low)) / span).toFixed(1)}`;
    pen = "L";
  });
  return h("svg", { class: "spark", viewBox: "0 0 110 26", preserveAspectRatio: "none", "aria-hidden": "true" }, h("path", { d: path }));
}

export function table(caption, heads, rows) {
  return h("div", { class: "table", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
      h("tbody", {}, rows.length ? rows : h("tr", {}, h("td", { class: "empty", colspan: heads.length }, "Nothing here yet.")))));
}

export const fact = (term, told, kind = "") => h("div", { class: "fact" }, h("dt", {}, term), h("dd", { class: kind }, told));

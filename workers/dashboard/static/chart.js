// The fan of a forecast over what was observed.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SHOWN = 160;
const DAY_S = 86_400;

// Times on a 24 hour clock; the day stands where it changes.
function moments(_chart, splits, _axis, _space, apart) {
  let day = "";
  return splits.map((seconds) => {
    const text = new Date(seconds * 1e3).toISOString(), date = text.slice(5, 10);
    const told = apart >= DAY_S ? date : `${text.slice(11, apart < 60 ? 19 : 16)}${date === day ? "" : `\n${date}`}`;
    day = date;
    return told;
  });
}

// Columns for the chart: times in seconds, observed values, and one column a level of the forecast chosen.
export function columns(forecasts, at) {
  const one = forecasts[at], step = one.step_s, last = Date.parse(one.cutoff) / 1000;
  const levels = Object.keys(one.quantiles).sort((a, b) => a - b);
  const truth = new Map(forecasts.map((forecast) => [Date.parse(forecast.cutoff) / 1000, forecast.value]));
  const ends = last + step * one.horizon, begins = last - step * SHOWN;
  const ahead = one.median.map((_, lead) => Math.round((last + step * (lead + 1)) * 1e3) / 1e3);
  const times = [...new Set([...truth.keys(), ...ahead])].filter((moment) => moment >= begins && moment <= ends).sort((a, b) => a - b);
  const place = new Map(ahead.map((moment, lead) => [moment, lead]));
  const of = (values) => times.map((moment) => (moment === last ? one.value : place.has(moment) ? values[place.get(moment)] : null));
  return { levels, rows: [times, times.map((moment) => truth.get(moment) ?? null), of(one.median), ...levels.map((level) => of(one.quantiles[level]))] };
}

export function fan(box, drawn, forecasts, at) {
  const { levels, rows } = columns(forecasts, at);
  const shape = levels.join();
  if (drawn && drawn.shape === shape) { drawn.setData(rows); return drawn; }
  if (drawn) drawn.destroy();
  const band = colour("--band"), half = Math.floor(levels.length / 2);
  const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const pairs = Array.from({ length: half }, (_, from) => ({ series: [3 + levels.length - 1 - from, 3 + from], fill: `${band}${from === 0 ? "2e" : "3d"}` }));
  const options = {
    width: box.clientWidth || 600, height: Math.min(380, Math.max(240, innerHeight * 0.42)), tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
    cursor: { points: { size: 5 } }, bands: pairs, axes: [{ ...axis, values: moments }, { ...axis, size: 62 }], scales: { x: { time: true } },
    series: [{}, { label: "observed", stroke: colour("--truth"), width: 2, spanGaps: true, points: { show: false } }, { label: "median", stroke: colour("--median"), width: 2, points: { show: false } },
      ...levels.map((level) => ({ label: level, stroke: "transparent", width: 0, points: { show: false } }))],
  };
  const made = new uPlot(options, rows, box);
  made.shape = shape;
  const fit = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: made.height }));
  fit.observe(box);
  const destroy = made.destroy.bind(made);
  made.destroy = () => { fit.disconnect(); destroy(); };
  return made;
}

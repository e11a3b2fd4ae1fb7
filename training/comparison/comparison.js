"use strict";
// Curves of runs, and lines through the values of their fields, as SVG.
const data = JSON.parse(document.getElementById("data").textContent);
const W = 520, H = 270, LEFT = 58, RIGHT = 24, TOP = 10, BOTTOM = 30;
const hidden = new Set();
const axis = document.getElementById("axis");
const smoothing = document.getElementById("smoothing");
const log = document.getElementById("log");
// The golden angle keeps neighbouring hues apart.
const color = group => `hsl(${(210 + group * 137.5) % 360} 62% var(--tone))`;
const short = value => value === null || value === undefined ? ""
  : typeof value !== "number" ? String(value)
  : value === 0 ? "0"
  : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2)
  : String(Number(value.toPrecision(4)));

function element(name, attributes, parent, text) {
  const made = name === "div" || name === "span" || name === "label" || name === "input" || name === "h3"
    ? document.createElement(name)
    : document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function abscissas(line) {
  const run = data.runs[line.run];
  if (axis.value === "hours") return line.hours;
  const factor = {steps: 1, samples: run.batch, flops: run.batch ? run.flop : 0}[axis.value];
  return line.steps.map(step => step * factor);
}

// Mean with equally many neighbours on both sides, so that nothing lags.
function smooth(values) {
  const reach = Math.round(values.length * smoothing.value / 200);
  return values.map((value, i) => {
    const r = Math.min(reach, i, values.length - 1 - i);
    const near = values.slice(i - r, i + r + 1).filter(x => x !== null);
    return value === null ? null : near.reduce((a, b) => a + b, 0) / near.length;
  });
}

function ticks(low, high) {
  const rough = (high - low) / 4 || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(x => x * power).find(x => x >= rough);
  const listed = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-9); i++) listed.push(i * step);
  return listed;
}

function draw(chart, holder) {
  holder.replaceChildren();
  element("h3", {}, holder, chart.name);
  const lines = chart.lines.filter(line => !hidden.has(data.runs[line.run].group)).map(line => {
    const x = abscissas(line), y = smooth(line.values);
    return {line, points: x.map((v, i) => [v, y[i]]).filter(p =>
      p[0] !== null && p[1] !== null && (!log.checked || p[1] > 0))};
  }).filter(line => line.points.length);
  const svg = element("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": chart.name}, holder);
  const readout = element("div", {class: "readout"}, holder);
  if (!lines.length) { element("text", {x: LEFT, y: H / 2}, svg, "no values on this axis"); return; }
  const f = log.checked ? Math.log10 : v => v;
  const xs = lines.flatMap(l => l.points.map(p => p[0])), ys = lines.flatMap(l => l.points.map(p => f(p[1])));
  const range = v => v.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
  const [x0, x1] = range(xs), [y0, y1] = range(ys), pad = (y1 - y0) * 0.05 || Math.abs(y1) * 0.05 || 1;
  const X = v => LEFT + (v - x0) / (x1 - x0 || 1) * (W - LEFT - RIGHT);
  const Y = v => H - BOTTOM - (f(v) - y0 + pad) / (y1 - y0 + 2 * pad) * (H - TOP - BOTTOM);
  for (const tick of ticks(y0 - pad, y1 + pad)) {
    const value = log.checked ? 10 ** tick : tick, y = Y(value);
    element("line", {class: "grid", x1: LEFT, x2: W - RIGHT, y1: y, y2: y}, svg);
    element("text", {x: LEFT - 6, y: y + 4, "text-anchor": "end"}, svg, short(value));
  }
  for (const tick of ticks(x0, x1))
    element("text", {x: X(tick), y: H - 10, "text-anchor": "middle"}, svg, short(tick));
  for (const {line, points} of lines)
    element("path", {class: "curve", stroke: color(data.runs[line.run].group),
      "stroke-dasharray": data.runs[line.run].complete ? "none" : "5 4",
      d: points.map((p, i) => (i ? "L" : "M") + X(p[0]).toFixed(1) + " " + Y(p[1]).toFixed(1)).join("")}, svg);
  const cursor = element("line", {class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden"}, svg);
  svg.onmousemove = event => {
    const box = svg.getBoundingClientRect();
    const at = x0 + ((event.clientX - box.left) / box.width * W - LEFT) / (W - LEFT - RIGHT) * (x1 - x0);
    const near = lines.map(({line, points}) => [line, points.reduce((a, b) =>
      Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
    const x = Math.min(Math.max(at, x0), x1);
    cursor.setAttribute("x1", X(x)); cursor.setAttribute("x2", X(x)); cursor.setAttribute("visibility", "visible");
    readout.replaceChildren();
    // On the side of the chart where the pointer is not.
    readout.style.cssText = at > (x0 + x1) / 2 ? `left: ${LEFT}px` : "right: 24px";
    element("div", {}, readout, `${short(x)} ${axis.value === "flops" ? "FLOPs" : axis.value}`);
    near.sort((a, b) => b[1][1] - a[1][1]);
    for (const [line, point] of near) {
      const run = data.runs[line.run];
      const row = element("div", {style: `color: ${color(run.group)}`}, readout);
      element("span", {}, row, run.name);
      element("span", {}, row, short(point[1]));
    }
  };
  svg.onmouseleave = () => {
    readout.replaceChildren();
    cursor.setAttribute("visibility", "hidden");
  };
}

function drawAll() {
  const holders = document.getElementById("charts").children;
  data.charts.forEach((chart, i) => draw(chart, holders[i]));
}

function drawParallel() {
  const axes = data.axes.map((name, i) => {
    const values = data.points.map(p => p.values[i]).filter(v => v !== null && v !== undefined);
    const isNumber = values.every(v => typeof v === "number");
    const kinds = [...new Set(values.map(String))];
    if (!isNumber) return {name, at: v => kinds.length > 1 ? kinds.indexOf(String(v)) / (kinds.length - 1) : 0.5,
      ends: kinds.map((v, k) => [kinds.length > 1 ? k / (kinds.length - 1) : 0.5, v])};
    const low = Math.min(...values), high = Math.max(...values);
    const f = low > 0 && high / low > 20 ? Math.log : v => v;
    return {name, at: v => high > low ? (f(v) - f(low)) / (f(high) - f(low)) : 0.5, ends: [[0, short(low)], [1, short(high)]]};
  });
  const width = 1040, height = 300, top = 44, bottom = 24, side = 90;
  const svg = element("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "fields and figure"},
    document.getElementById("lines"));
  const X = i => side + i * (width - 2 * side) / (axes.length - 1), Y = v => height - bottom - v * (height - top - bottom);
  for (const point of data.points) {
    const run = data.runs[point.run];
    const corners = axes.map((a, i) => [X(i), point.values[i] === null || point.values[i] === undefined ? null : Y(a.at(point.values[i]))]);
    const path = element("path", {class: "curve", stroke: color(run.group), opacity: 0.75,
      d: corners.filter(c => c[1] !== null).map((c, i) => (i ? "L" : "M") + c[0] + " " + c[1].toFixed(1)).join("")}, svg);
    element("title", {}, path, run.name + "\n" + axes.map((a, i) => `${a.name}: ${short(point.values[i])}`).join("\n"));
  }
  const last = axes.length - 1;
  axes.forEach((a, i) => {
    element("line", {class: "grid", x1: X(i), x2: X(i), y1: top, y2: height - bottom}, svg);
    element("text", {x: X(i), y: i % 2 ? 30 : 14, "text-anchor": i === 0 ? "start" : i === last ? "end" : "middle"}, svg, a.name);
    for (const [at, text] of a.ends) element("text", {x: X(i) + 6, y: Y(at) + (at === 1 ? 10 : -2)}, svg, text.slice(0, 24));
  });
}

for (const swatch of document.querySelectorAll(".swatch")) swatch.style.background = color(Number(swatch.dataset.group));
if (data.charts.length) {
  document.getElementById("curves").hidden = false;
  for (const chart of data.charts) element("div", {class: "panel"}, document.getElementById("charts"));
  const names = new Map();
  for (const run of data.runs) names.set(run.group, [...(names.get(run.group) || []), run.name]);
  for (const [group, members] of names) {
    const label = element("label", {}, document.getElementById("legend"));
    const box = element("input", {type: "checkbox", checked: ""}, label);
    element("span", {class: "swatch", style: `background: ${color(group)}; margin: 0`}, label);
    element("span", {}, label, members.join(", "));
    box.onchange = () => { hidden[box.checked ? "delete" : "add"](group); drawAll(); };
  }
  for (const control of [axis, smoothing, log]) control.oninput = drawAll;
  drawAll();
}
if (data.axes.length > 1 && data.points.length > 1) {
  document.getElementById("parallel").hidden = false;
  drawParallel();
}

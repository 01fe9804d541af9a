"use strict";
// Draws the figures of the page with its own colours, again when the colour scheme or the question changes.
(() => {
  const figures = JSON.parse(document.getElementById("data-figures").textContent);
  const config = { displayModeBar: false };

  function coloured(value, styles) {
    if (typeof value === "string") {
      const name = value.match(/^var\((--[a-z0-9-]+)\)$/);
      return name ? styles.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, styles)]));
    }
    return value;
  }

  // Keeps the names under a figure that have room, the widest parts first.
  function roomy(names, range, width) {
    const scale = (width - 80) / (range[1] - range[0]), kept = [];
    for (const name of [...names].sort((a, b) => b.width - a.width)) {
      const half = 3.6 * name.text.length, middle = name.x * scale;
      if (kept.every((other) => Math.abs(other.middle - middle) > half + other.half)) kept.push({ name, middle, half });
    }
    return kept.map(({ name: { width: _, ...rest } }) => ({ ...rest, font: { size: 11 } }));
  }

  function fitted(name, layout, width) {
    layout.width = width;
    layout.font.family = getComputedStyle(document.body).fontFamily;
    if (layout.annotations) layout.annotations = roomy(layout.annotations, layout.xaxis.range, width);
    if (width >= 620) return layout;
    layout.margin = { ...layout.margin, l: 40, r: 4 };
    layout.font.size = 11;
    if (name === "heat") layout.yaxis.showticklabels = false;
    else layout.yaxis.title = { text: "" };
    return layout;
  }

  function draw(element) {
    const { figure: name, question } = element.dataset;
    const { data, layout } = coloured(figures[name][question], getComputedStyle(document.documentElement));
    for (const curve of data) if (curve.hovertemplate && !curve.text && layout.meta) curve.text = curve.x.map((place) => layout.meta[place]);
    Plotly.react(element, data, fitted(name, layout, element.clientWidth), config);
  }

  const charts = [...document.querySelectorAll(".chart")];
  const widths = new Map(charts.map((chart) => [chart, 0]));
  const drawAll = () => charts.forEach(draw);
  document.querySelectorAll(".switch input").forEach((input) => input.addEventListener("change", () => {
    const chart = document.getElementById("figure-" + input.name.replace("question-", ""));
    chart.dataset.question = input.value;
    draw(chart);
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  const resized = new ResizeObserver(() => requestAnimationFrame(() => charts.forEach((chart) => {
    if (chart.clientWidth && chart.clientWidth !== widths.get(chart)) draw(chart);
    widths.set(chart, chart.clientWidth);
  })));
  charts.forEach((chart) => resized.observe(chart));
})();

"use strict";
// Draws the figures of the page with its own colours, again when the colour scheme or the question changes.
(() => {
  const figures = JSON.parse(document.getElementById("data-figures").textContent);
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

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

  function fitted(name, layout, width) {
    layout.font.family = getComputedStyle(document.body).fontFamily;
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
    Plotly.react(element, data, fitted(name, layout, element.clientWidth), config);
  }

  const charts = [...document.querySelectorAll(".chart")];
  const drawAll = () => charts.forEach(draw);
  document.querySelectorAll(".switch input").forEach((input) => input.addEventListener("change", () => {
    const chart = document.getElementById("figure-" + input.name.replace("question-", ""));
    chart.dataset.question = input.value;
    draw(chart);
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();

"use strict";
// The table of all pairs: a row for each pair, columns stay columns.
(() => {
  const { count, measures, columns, texts, outside, worst, FAILING, GRAVITY, text, address, value, numeric, shownMeasure, element, badge, addressCell, gridOf } = pairTable;
  const all = Array.from({ length: count }, (_, row) => row);

  // What a column sorts by: a rank for texts, the number itself for numbers.
  function keys(name) {
    if (name === "address") {
      const rank = new Map([...new Set(all.map(address))].sort().map((text, place) => [text, place]));
      return all.map((row) => rank.get(address(row)));
    }
    if (!texts[name]) return all.map((row) => numeric(value(name, row)));
    const values = texts[name].values;
    const sorted = name === "shown" ? GRAVITY : [...values].sort();
    const rank = values.map((text) => sorted.indexOf(text));
    return texts[name].at.map((place) => rank[place]);
  }
  // What was not measured comes last, whichever way a column is sorted.
  function sorting(name, sign) {
    const key = keys(name);
    return (a, b) => (Number.isNaN(key[a]) - Number.isNaN(key[b])) || sign * (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : 0) || a - b;
  }

  let haystack = null;
  function searched(row) {
    haystack ??= all.map((row) => `${address(row)} ${text("native", row)} ${text("flags", row)} ${text("verdict", row)}`.toLowerCase());
    return haystack[row];
  }

  function cells(row) {
    const verdict = element("td");
    verdict.append(badge(text("shown", row)));
    return [verdict, addressCell(row), ...["stage", "question", "mode", "dtype"].map((column) => element("td", column, text(column, row) || "–")),
      ...columns.map((measure) => element("td", `${measure.name.replaceAll("_", "-")} number`, shownMeasure(measure, row))), element("td", "flags", text("flags", row))];
  }

  function facts(rows) {
    const list = element("dl", "facts");
    for (const [name, found] of rows) {
      if (found === "" || found === "–") continue;
      const made = element("div");
      made.append(element("dt", "", name), element("dd", "", found));
      list.append(made);
    }
    return list;
  }
  const sameAddress = (row) => all.filter((other) => texts.path.at[other] === texts.path.at[row] && texts.rest.at[other] === texts.rest.at[row]);
  function detail(row) {
    const [index, reference, candidate] = worst[row] || [];
    const list = facts([
      ["native path", text("native", row)], ["stage", text("stage", row)], ["shape", text("shape", row)], ["limit", text("limit", row)], ["basis", text("basis", row)],
      ["flags", text("flags", row)], ["worst element", index === undefined ? "" : `[${index}]: reference ${reference}, candidate ${candidate}`],
      ["elements outside", outside[row] || ""], ["detail", text("detail", row)],
      ...measures.map((measure) => [measure.words, shownMeasure(measure, row, 3)]), ["order of completion", String(value("order", row))],
    ]);
    const { table, scroll } = gridOf(["question", "replay", "type", "verdict", ...columns.map((measure) => measure.column), "flags"]);
    for (const other of sameAddress(row)) {
      const made = table.createTBody().insertRow();
      const asked = ["question", "mode", "dtype"].map((column) => text(column, other));
      const cells = [...asked, badge(text("shown", other)), ...columns.map((measure) => shownMeasure(measure, other)), text("flags", other)];
      for (const cell of cells) made.insertCell().append(cell);
      if (other === row) made.className = "chosen";
    }
    const title = element("h3");
    title.append(element("code", "", address(row)));
    return [title, scroll, list];
  }

  const total = count.toLocaleString("en");
  rowTable({
    name: "pair", all, searched, sorting, cells, detail,
    pairOf: (row) => row,
    checks: { failing: (row) => FAILING.has(text("verdict", row)) },
    counted: (shown) => (shown === count ? `${total} pairs` : `${shown.toLocaleString("en")} of ${total} pairs`),
    falling: (name) => !texts[name] && name !== "address",
  });
})();

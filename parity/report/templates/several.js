"use strict";
// The table of several candidates: a row for each address, question and replay, a column for each candidate.
(() => {
  const { count, columns, texts, outside, worst, FAILING, GRAVITY, text, address, value, numeric, shownNumber, shownRatio, shownMeasure, element, badge, icon, slug, addressCell, gridOf } = pairTable;
  const labels = [...document.querySelectorAll("#several-table th[data-candidate]")].map((head) => head.dataset.candidate);

  // The pairs of one address, question and replay: `of[k]` is that of candidate k, or undefined.
  function gathered() {
    const rows = new Map(), column = new Map(labels.map((label, place) => [label, place]));
    for (let pair = 0; pair < count; pair++) {
      const key = [texts.path.at[pair], texts.rest.at[pair], texts.question.at[pair], texts.mode.at[pair], twin(pair)].join();
      if (!rows.has(key)) rows.set(key, { pair, place: rows.size, of: [] });
      rows.get(key).of[column.get(text("candidate", pair))] = pair;
    }
    return [...rows.values()];
  }
  // A float64 run that answers for precision has rows of its own beside the working type's.
  const twin = (pair) => text("question", pair) === "precision" && text("dtype", pair) === "float64";

  const all = gathered();
  const shown = (pair) => (pair === undefined ? "not measured" : text("shown", pair));
  const differ = (row) => labels.some((_, place) => shown(row.of[place]) !== shown(row.of[0]));
  const failing = (row) => row.of.some((pair) => pair !== undefined && FAILING.has(text("verdict", pair)));
  const height = (pair) => (pair === undefined ? null : text("question", pair) === "precision" ? value("ratio_to_floor", pair) : value("rel_l2", pair));
  const told = (pair) => (text("question", pair) === "precision" ? `${shownRatio(height(pair))}${height(pair) === null ? "" : "x"}` : shownNumber(height(pair)));

  // A candidate's column sorts by verdict, then by the number.
  function key(name) {
    if (name === "address") return (row) => address(row.pair);
    if (texts[name]) return (row) => text(name, row.pair);
    const place = Number(name);
    return (row) => [-GRAVITY.indexOf(shown(row.of[place])), numeric(height(row.of[place]))];
  }
  function before(first, second) {
    if (!Array.isArray(first)) return first < second ? -1 : first > second ? 1 : 0;
    return first[0] - second[0] || Number.isNaN(second[1]) - Number.isNaN(first[1]) || (first[1] < second[1] ? -1 : first[1] > second[1] ? 1 : 0);
  }
  function sorting(name, sign) {
    const by = key(name);
    return (a, b) => sign * before(by(a), by(b)) || a.place - b.place;
  }

  function cell(pair) {
    const made = element("td", "candidate " + slug(shown(pair)));
    if (pair === undefined) return made.append("–"), made;
    made.append(icon(shown(pair)), element("span", "hidden", shown(pair)), element("span", "value", told(pair)));
    made.title = shown(pair);
    return made;
  }
  const cells = (row) => [addressCell(row.pair), ...["stage", "question", "mode"].map((column) => element("td", column, text(column, row.pair))), ...labels.map((_, at) => cell(row.of[at]))];

  function detail(row) {
    const { table, scroll } = gridOf(["candidate", "verdict", "type", ...columns.map((measure) => measure.column), "limit", "flags", "worst element", "detail"]);
    for (const [place, label] of labels.entries()) {
      const made = table.createTBody().insertRow(), pair = row.of[place];
      made.append(Object.assign(element("th", "", label), { scope: "row" }));
      made.insertCell().append(badge(shown(pair)));
      if (pair === undefined) continue;
      const found = worst[pair];
      const cells = [text("dtype", pair), ...columns.map((measure) => shownMeasure(measure, pair, 3)),
        text("limit", pair), text("flags", pair), found ? `${found[0] ? `[${found[0]}]: ` : ""}reference ${found[1]}, candidate ${found[2]}` : "", [outside[pair] ? `${outside[pair]} outside` : "", text("detail", pair)].filter(Boolean).join(", ")];
      for (const content of cells) made.insertCell().append(content);
    }
    const title = element("h3");
    title.append(element("code", "", address(row.pair)), ` ${[...new Set([text("question", row.pair), text("mode", row.pair)])].join(", ")}`);
    return [title, scroll];
  }

  rowTable({
    name: "several", all, sorting, cells, detail,
    pairOf: (row) => row.pair,
    searched: (row) => address(row.pair).toLowerCase(),
    checks: { failing, differ },
    counted: (shown) => `${shown.toLocaleString("en")} of ${all.length.toLocaleString("en")} rows`,
    falling: (name) => /^\d+$/.test(name),
  });
})();

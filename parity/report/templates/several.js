"use strict";
// The table of several candidates: a row for each address, question and replay, a column for each candidate.
(() => {
  const { count, columns, texts, outside, worst, FAILING, GRAVITY, text, address, value, numeric, shownNumber, shownRatio, shownMeasure, element, icon, slug, tail } = pairTable;
  const ROW = 31, AHEAD = 12;
  const byId = (id) => document.getElementById(id);
  const box = byId("several-rows"), body = box.querySelector("tbody"), detail = byId("several-detail");
  const labels = [...box.querySelectorAll("th[data-candidate]")].map((head) => head.dataset.candidate);
  const state = { order: [], sort: null, down: false, chosen: null, drawn: "" };

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
  function refresh() {
    const words = byId("several-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [...document.querySelectorAll("#several-tools select")].filter((select) => select.value !== "")
      .map((select) => [texts[select.dataset.column].at, Number(select.value)]);
    const only = { failing: byId("several-failing").checked, differ: byId("several-differ").checked };
    state.order = all.filter((row) => wanted.every(([at, place]) => at[row.pair] === place) && (!only.failing || failing(row)) && (!only.differ || differ(row))
      && (!words.length || words.every((word) => address(row.pair).toLowerCase().includes(word))));
    if (state.sort) {
      const by = key(state.sort), sign = state.down ? -1 : 1;
      state.order.sort((a, b) => sign * before(by(a), by(b)) || a.place - b.place);
    }
    byId("several-count").textContent = `${state.order.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} rows`;
    state.drawn = "";
    box.scrollTop = 0;
    draw();
  }

  function spacer(rows) {
    const made = element("tr", "spacer");
    made.setAttribute("aria-hidden", "true");
    made.style.height = rows * ROW + "px";
    return made;
  }
  function cell(pair) {
    const made = element("td", "candidate " + slug(shown(pair)));
    if (pair === undefined) return made.append("–"), made;
    made.append(icon(shown(pair)), element("span", "hidden", shown(pair)), element("span", "value", told(pair)));
    made.title = shown(pair);
    return made;
  }
  function line(row, place) {
    const made = element("tr", row === state.chosen ? "chosen" : ""), name = element("td", "address"), button = element("button", "open");
    made.dataset.place = place;
    made.setAttribute("aria-rowindex", place + 2);
    button.type = "button";
    button.title = address(row.pair);
    const path = text("path", row.pair), cut = tail(path);
    button.append(element("span", "head", path.slice(0, cut)), element("b", "", path.slice(cut)), element("span", "", text("rest", row.pair)));
    name.append(button);
    made.append(name, ...["stage", "question", "mode"].map((column) => element("td", column, text(column, row.pair))), ...labels.map((_, at) => cell(row.of[at])));
    return made;
  }
  function draw() {
    const rows = state.order, first = Math.max(0, Math.floor(box.scrollTop / ROW) - AHEAD);
    const last = Math.min(rows.length, first + Math.ceil(box.clientHeight / ROW) + 2 * AHEAD);
    if (state.drawn === `${first}-${last}`) return;
    state.drawn = `${first}-${last}`;
    const focused = document.activeElement?.closest?.("#several-table tbody tr")?.dataset.place;
    body.replaceChildren(spacer(first), ...rows.slice(first, last).map((row, place) => line(row, first + place)), spacer(rows.length - last));
    byId("several-table").setAttribute("aria-rowcount", rows.length + 1);
    if (focused !== undefined) body.querySelector(`tr[data-place="${focused}"] .open`)?.focus({ preventScroll: true });
  }

  function explain(row) {
    const table = element("table", "grid"), head = table.createTHead().insertRow();
    for (const title of ["candidate", "verdict", "type", ...columns.map((measure) => measure.column), "limit", "flags", "worst element", "detail"]) {
      head.append(Object.assign(element("th", "", title), { scope: "col" }));
    }
    for (const [place, label] of labels.entries()) {
      const made = table.createTBody().insertRow(), pair = row.of[place], badge = element("span", "badge " + slug(shown(pair)));
      badge.append(icon(shown(pair)), shown(pair));
      made.append(Object.assign(element("th", "", label), { scope: "row" }));
      made.insertCell().append(badge);
      if (pair === undefined) continue;
      const found = worst[pair];
      const cells = [text("dtype", pair), ...columns.map((measure) => shownMeasure(measure, pair, 3)),
        text("limit", pair), text("flags", pair), found ? `${found[0] ? `[${found[0]}]: ` : ""}reference ${found[1]}, candidate ${found[2]}` : "", [outside[pair] ? `${outside[pair]} outside` : "", text("detail", pair)].filter(Boolean).join(", ")];
      for (const content of cells) made.insertCell().append(content);
    }
    const title = element("h3"), scroll = element("div", "scroll");
    title.append(element("code", "", address(row.pair)), ` ${[...new Set([text("question", row.pair), text("mode", row.pair)])].join(", ")}`);
    scroll.append(table);
    detail.replaceChildren(title, scroll);
    detail.hidden = false;
  }
  function choose(place) {
    if (place < 0 || place >= state.order.length) return;
    state.chosen = state.order[place];
    const top = place * ROW, head = box.querySelector("thead").offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + ROW > box.scrollTop + box.clientHeight - head) box.scrollTop = top + ROW - box.clientHeight + head;
    state.drawn = "";
    draw();
    body.querySelector(`tr[data-place="${place}"] .open`)?.focus({ preventScroll: true });
    explain(state.chosen);
  }
  function sortBy(button) {
    const name = button.dataset.sort, number = /^\d+$/.test(name);
    if (state.sort !== name) [state.sort, state.down] = [name, number];
    else if (state.down === number) state.down = !number;
    else state.sort = null;
    box.querySelectorAll("th").forEach((head) => head.setAttribute("aria-sort", "none"));
    if (state.sort) button.parentElement.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    refresh();
  }

  document.querySelectorAll("#several-tools select").forEach((select) => {
    texts[select.dataset.column].values.forEach((name, place) => select.add(new Option(name, place)));
    select.addEventListener("change", refresh);
  });
  byId("several-search").addEventListener("input", refresh);
  for (const name of ["failing", "differ"]) byId(`several-${name}`).addEventListener("change", refresh);
  byId("several-tools").addEventListener("submit", (event) => event.preventDefault());
  byId("several-tools").addEventListener("reset", () => setTimeout(refresh));
  box.querySelectorAll("[data-sort]").forEach((button) => button.addEventListener("click", () => sortBy(button)));
  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(box);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-place]");
    if (row) choose(Number(row.dataset.place));
  });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15 }[event.key];
    const row = event.target.closest("tr[data-place]");
    if (!step || !row) return;
    event.preventDefault();
    choose(Math.min(Math.max(Number(row.dataset.place) + step, 0), state.order.length - 1));
  });
  document.querySelectorAll("[data-stage]").forEach((link) => link.addEventListener("click", () => {
    byId("several-tools").reset();
    const place = texts.stage.values.indexOf(link.dataset.stage);
    document.querySelector('#several-tools select[data-column="stage"]').value = place < 0 ? "" : String(place);
    setTimeout(refresh);
  }));
  refresh();
})();

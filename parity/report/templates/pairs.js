"use strict";
// The table of all pairs: columns stay columns, only the rows in sight exist as elements.
(() => {
  const { count, measures, columns, texts, outside, worst, FAILING, GRAVITY, text, address, value, numeric, shownMeasure, element, icon, slug, tail } = pairTable;
  const ROW = 31, AHEAD = 12;
  const byId = (id) => document.getElementById(id);
  const box = byId("pair-rows"), body = box.querySelector("tbody"), detail = byId("pair-detail");
  const state = { order: null, sort: null, down: false, chosen: -1, drawn: "" };

  // What a column sorts by: a rank for texts, the number itself for numbers.
  function keys(name) {
    if (name === "address") {
      const rank = new Map([...new Set(Array.from({ length: count }, (_, row) => address(row)))].sort().map((text, place) => [text, place]));
      return Array.from({ length: count }, (_, row) => rank.get(address(row)));
    }
    if (!texts[name]) return Array.from({ length: count }, (_, row) => numeric(value(name, row)));
    const values = texts[name].values;
    const sorted = name === "shown" ? GRAVITY : [...values].sort();
    const rank = values.map((text) => sorted.indexOf(text));
    return texts[name].at.map((place) => rank[place]);
  }

  let haystack = null;
  function searched(words) {
    if (!words.length) return () => true;
    haystack ??= Array.from({ length: count }, (_, row) => `${address(row)} ${text("native", row)} ${text("flags", row)} ${text("verdict", row)}`.toLowerCase());
    return (row) => words.every((word) => haystack[row].includes(word));
  }

  function refresh() {
    const words = byId("pair-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = searched(words), failing = byId("pair-failing").checked;
    const wanted = [...document.querySelectorAll("#pair-tools select")].filter((select) => select.value !== "")
      .map((select) => [texts[select.dataset.column].at, Number(select.value)]);
    const rows = [];
    for (let row = 0; row < count; row++) {
      if (wanted.every(([at, place]) => at[row] === place) && (!failing || FAILING.has(text("verdict", row))) && found(row)) rows.push(row);
    }
    if (state.sort) {
      const key = keys(state.sort), sign = state.down ? -1 : 1;
      rows.sort((a, b) => (Number.isNaN(key[a]) - Number.isNaN(key[b])) || sign * (key[a] < key[b] ? -1 : key[a] > key[b] ? 1 : 0) || a - b);
    }
    state.order = rows;
    byId("pair-count").textContent = rows.length === count ? `${count.toLocaleString("en")} pairs` : `${rows.length.toLocaleString("en")} of ${count.toLocaleString("en")} pairs`;
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
  function line(row, place) {
    const made = element("tr", row === state.chosen ? "chosen" : "");
    made.dataset.place = place;
    made.setAttribute("aria-rowindex", place + 2);
    const verdict = text("shown", row), cell = element("td");
    const badge = element("span", "badge " + slug(verdict));
    badge.append(icon(verdict), verdict);
    cell.append(badge);
    const name = element("td", "address"), button = element("button", "open");
    button.type = "button";
    button.title = address(row);
    const path = text("path", row), cut = tail(path);
    button.append(element("span", "head", path.slice(0, cut)), element("b", "", path.slice(cut)), element("span", "", text("rest", row)));
    name.append(button);
    made.append(cell, name, ...["stage", "question", "mode", "dtype"].map((column) => element("td", column, text(column, row) || "–")),
      ...columns.map((measure) => element("td", `${measure.name.replaceAll("_", "-")} number`, shownMeasure(measure, row))), element("td", "flags", text("flags", row)));
    return made;
  }
  function draw() {
    const rows = state.order, first = Math.max(0, Math.floor(box.scrollTop / ROW) - AHEAD);
    const last = Math.min(rows.length, first + Math.ceil(box.clientHeight / ROW) + 2 * AHEAD);
    if (state.drawn === `${first}-${last}`) return;
    state.drawn = `${first}-${last}`;
    const focused = document.activeElement?.closest?.("#pair-table tbody tr")?.dataset.place;
    body.replaceChildren(spacer(first), ...rows.slice(first, last).map((row, place) => line(row, first + place)), spacer(rows.length - last));
    byId("pair-table").setAttribute("aria-rowcount", rows.length + 1);
    if (focused !== undefined) body.querySelector(`tr[data-place="${focused}"] .open`)?.focus({ preventScroll: true });
  }

  function facts(list, rows) {
    for (const [name, found] of rows) {
      if (found === "" || found === "–") continue;
      const made = element("div");
      made.append(element("dt", "", name), element("dd", "", found));
      list.append(made);
    }
    return list;
  }
  function explain(row) {
    const element_ = worst[row] || [];
    const list = facts(element("dl", "facts"), [
      ["native path", text("native", row)], ["stage", text("stage", row)], ["shape", text("shape", row)], ["limit", text("limit", row)], ["basis", text("basis", row)],
      ["flags", text("flags", row)], ["worst element", element_.length ? `[${element_[0]}]: reference ${element_[1]}, candidate ${element_[2]}` : ""],
      ["elements outside", outside[row] || ""], ["detail", text("detail", row)],
      ...measures.map((measure) => [measure.words, shownMeasure(measure, row, 3)]), ["order of completion", String(value("order", row))],
    ]);
    const table = element("table", "grid"), head = table.createTHead().insertRow();
    for (const title of ["question", "replay", "type", "verdict", ...columns.map((measure) => measure.column), "flags"]) {
      head.append(Object.assign(element("th", "", title), { scope: "col" }));
    }
    for (let other = 0; other < count; other++) {
      if (texts.path.at[other] !== texts.path.at[row] || texts.rest.at[other] !== texts.rest.at[row]) continue;
      const made = table.createTBody().insertRow(), badge = element("span", "badge " + slug(text("shown", other)));
      badge.append(icon(text("shown", other)), text("shown", other));
      const cells = [text("question", other), text("mode", other), text("dtype", other), badge, ...columns.map((measure) => shownMeasure(measure, other)), text("flags", other)];
      for (const cell of cells) made.insertCell().append(cell);
      if (other === row) made.className = "chosen";
    }
    const title = element("h3");
    title.append(element("code", "", address(row)));
    const scroll = element("div", "scroll");
    scroll.append(table);
    detail.replaceChildren(title, scroll, list);
    detail.hidden = false;
  }
  function choose(place, focus) {
    if (place < 0 || place >= state.order.length) return;
    state.chosen = state.order[place];
    const top = place * ROW, head = box.querySelector("thead").offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + ROW > box.scrollTop + box.clientHeight - head) box.scrollTop = top + ROW - box.clientHeight + head;
    state.drawn = "";
    draw();
    if (focus) body.querySelector(`tr[data-place="${place}"] .open`)?.focus({ preventScroll: true });
    explain(state.chosen);
  }

  function sortBy(button) {
    const name = button.dataset.sort, number = !texts[name] && name !== "address";
    if (state.sort !== name) [state.sort, state.down] = [name, number];
    else if (state.down === number) state.down = !number;
    else state.sort = null;
    box.querySelectorAll("th").forEach((head) => head.setAttribute("aria-sort", "none"));
    if (state.sort) button.parentElement.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    refresh();
  }

  document.querySelectorAll("#pair-tools select").forEach((select) => {
    const values = texts[select.dataset.column].values;
    const order = values.map((_, place) => place);
    if (select.dataset.column === "shown") order.sort((a, b) => GRAVITY.indexOf(values[a]) - GRAVITY.indexOf(values[b]));
    for (const place of order) select.add(new Option(values[place] || "none", place));
    select.addEventListener("change", refresh);
  });
  byId("pair-search").addEventListener("input", refresh);
  byId("pair-failing").addEventListener("change", refresh);
  byId("pair-tools").addEventListener("submit", (event) => event.preventDefault());
  byId("pair-tools").addEventListener("reset", () => setTimeout(refresh));
  box.querySelectorAll("[data-sort]").forEach((button) => button.addEventListener("click", () => sortBy(button)));
  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(box);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-place]");
    if (row) choose(Number(row.dataset.place), true);
  });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15 }[event.key];
    const row = event.target.closest("tr[data-place]");
    if (!step || !row) return;
    event.preventDefault();
    choose(Math.min(Math.max(Number(row.dataset.place) + step, 0), state.order.length - 1), true);
  });
  document.querySelectorAll("[data-stage]").forEach((link) => link.addEventListener("click", () => {
    byId("pair-tools").reset();
    for (const column of ["stage", "question", "mode"]) {
      const place = texts[column].values.indexOf(link.dataset[column]);
      document.querySelector(`#pair-tools select[data-column="${column}"]`).value = place < 0 ? "" : String(place);
    }
    setTimeout(refresh);
  }));
  refresh();
})();

"use strict";
// A table of which only the rows in sight exist as elements: searched, filtered, sorted, walked with the arrow keys.
//
// name      what the identifiers of its parts begin with: NAME-rows, NAME-tools, NAME-search, NAME-count, NAME-detail
// all       every row, in the order of the result; what a row is only the functions below know
// pairOf    the pair that stands for a row, by which the selections filter
// searched  a row's text in small letters
// checks    the check boxes by the end of their identifiers: which rows each keeps
// counted   what is said of how many rows are shown
// sorting   (column, sign) -> how two rows compare
// falling   whether a column is first sorted with the largest on top
// cells     a row's cells
// detail    what the panel below says of a row
function rowTable({ name, all, pairOf, searched, checks, counted, sorting, falling, cells, detail }) {
  const { texts, GRAVITY, element } = pairTable;
  const ROW = 31, AHEAD = 12;
  const part = (end) => document.getElementById(`${name}-${end}`);
  const box = part("rows"), body = box.querySelector("tbody"), tools = part("tools");
  const selects = [...tools.querySelectorAll("select")];
  const state = { order: [], sort: null, down: false, chosen: null, drawn: "" };

  function refresh() {
    const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value !== "").map((select) => [texts[select.dataset.column].at, Number(select.value)]);
    const asked = Object.keys(checks).filter((end) => part(end).checked).map((end) => checks[end]);
    state.order = all.filter((row) => wanted.every(([at, place]) => at[pairOf(row)] === place) && asked.every((keeps) => keeps(row))
      && words.every((word) => searched(row).includes(word)));
    if (state.sort) state.order.sort(sorting(state.sort, state.down ? -1 : 1));
    part("count").textContent = counted(state.order.length);
    box.scrollTop = 0;
    redraw();
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
    made.append(...cells(row));
    return made;
  }
  const opener = (place) => body.querySelector(`tr[data-place="${place}"] .open`);
  function draw() {
    const rows = state.order, first = Math.max(0, Math.floor(box.scrollTop / ROW) - AHEAD);
    const last = Math.min(rows.length, first + Math.ceil(box.clientHeight / ROW) + 2 * AHEAD);
    if (state.drawn === `${first}-${last}`) return;
    state.drawn = `${first}-${last}`;
    // The row that has the focus is drawn anew, so the focus is given to its successor.
    const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.place : null;
    body.replaceChildren(spacer(first), ...rows.slice(first, last).map((row, place) => line(row, first + place)), spacer(rows.length - last));
    part("table").setAttribute("aria-rowcount", rows.length + 1);
    if (focused !== null) opener(focused)?.focus({ preventScroll: true });
  }
  function redraw() {
    state.drawn = "";
    draw();
  }

  function choose(place) {
    if (place < 0 || place >= state.order.length) return;
    state.chosen = state.order[place];
    const top = place * ROW, head = box.querySelector("thead").offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + ROW > box.scrollTop + box.clientHeight - head) box.scrollTop = top + ROW - box.clientHeight + head;
    redraw();
    opener(place)?.focus({ preventScroll: true });
    part("detail").replaceChildren(...detail(state.chosen));
    part("detail").hidden = false;
  }
  // A column is sorted one way, then the other, then not at all.
  function sortBy(button) {
    const column = button.dataset.sort, first = falling(column);
    if (state.sort !== column) [state.sort, state.down] = [column, first];
    else if (state.down === first) state.down = !first;
    else state.sort = null;
    box.querySelectorAll("th").forEach((head) => head.setAttribute("aria-sort", "none"));
    if (state.sort) button.parentElement.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    refresh();
  }
  function fill(select) {
    const { column } = select.dataset, { values } = texts[column];
    const order = values.map((_, place) => place);
    if (column === "shown") order.sort((a, b) => GRAVITY.indexOf(values[a]) - GRAVITY.indexOf(values[b]));
    for (const place of order) select.add(new Option(values[place] || "none", place));
    select.addEventListener("change", refresh);
  }
  function follow(link) {
    tools.reset();
    for (const select of selects) {
      const place = texts[select.dataset.column].values.indexOf(link.dataset[select.dataset.column]);
      select.value = place < 0 ? "" : String(place);
    }
    setTimeout(refresh);
  }

  selects.forEach(fill);
  part("search").addEventListener("input", refresh);
  Object.keys(checks).forEach((end) => part(end).addEventListener("change", refresh));
  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("reset", () => setTimeout(refresh));
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
  document.querySelectorAll("[data-stage]").forEach((link) => link.addEventListener("click", () => follow(link)));
  refresh();
}

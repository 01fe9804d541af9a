"use strict";
// The columns of all pairs, what every table of them is drawn with, and the buttons that copy a command.
const pairTable = (() => {
  const { count, measures, addresses, texts, numbers, outside, worst } = JSON.parse(document.getElementById("data-pairs").textContent);
  for (const columns of [texts, addresses.texts]) for (const column of Object.values(columns)) column.at ??= spread(column.runs);
  for (const columns of [numbers, addresses.numbers]) for (const [name, column] of Object.entries(columns)) columns[name] = column.split(",").map(read);
  const placed = addressOfRows(addresses.runs);
  for (const [name, { values, at }] of Object.entries(addresses.texts)) texts[name] = { values, at: placed.map((place) => at[place]) };
  for (const [name, column] of Object.entries(addresses.numbers)) numbers[name] = placed.map((place) => column[place]);

  function addressOfRows(runs) {
    const at = [];
    for (let part = 0; part < runs.length; part += 2) for (let next = 0; next < runs[part + 1]; next++) at.push(runs[part] + next);
    return at;
  }
  function spread(runs) {
    const at = [];
    for (let part = 0; part < runs.length; part += 2) for (let left = runs[part + 1]; left > 0; left--) at.push(runs[part]);
    return at;
  }
  function read(text) {
    return text === "" ? null : /^(nan|-?inf)$/.test(text) ? text : Number(text);
  }

  const FAILING = new Set(["MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED"]);
  const GRAVITY = ["MISMATCH", "INCOMPARABLE", "MISSING", "UNEXPECTED", "reference off", "undecided", "inherited", "contains", "equivalent", "MATCH"];
  const text = (name, row) => texts[name].values[texts[name].at[row]];
  const address = (row) => text("path", row) + text("rest", row);
  const value = (name, row) => (numbers[name] ? numbers[name][row] : null);
  const numeric = (found) => (found === null || found === undefined ? NaN : found === "nan" || found === "inf" ? Infinity : found === "-inf" ? -Infinity : found);

  function shownNumber(found, digits = 1) {
    if (found === null || found === undefined) return "–";
    if (typeof found === "string") return found;
    if (found === 0) return "0";
    const [mantissa, power] = found.toExponential(digits).split("e");
    const size = Math.abs(Number(power));
    return `${mantissa}e${Number(power) < 0 ? "-" : "+"}${size < 10 ? "0" : ""}${size}`;
  }
  function shownRatio(found) {
    if (found === null || found === undefined) return "–";
    if (typeof found === "string") return found;
    const size = Math.abs(found);
    return size >= 1e6 || (size < 0.01 && size > 0) ? shownNumber(found) : size >= 100 ? found.toFixed(0) : String(Number(found.toPrecision(3)));
  }
  // A measure of a row as its format writes it.
  const FORMATS = { number: shownNumber, ratio: shownRatio, digits: (found) => String(found ?? "–"), count: (found) => String(found ?? "–") };
  const shownMeasure = (measure, row, digits) => FORMATS[measure.format](value(measure.name, row), digits);
  const columns = measures.filter((measure) => measure.column);

  function element(name, className, content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }
  function icon(verdict) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "use")).setAttribute("href", "#icon-" + slug(verdict));
    return svg;
  }
  function badge(verdict) {
    const made = element("span", "badge " + slug(verdict));
    made.append(icon(verdict), verdict);
    return made;
  }
  // A table with its head, and the element in which it scrolls.
  function gridOf(titles) {
    const table = element("table", "grid"), head = table.createTHead().insertRow(), scroll = element("div", "scroll");
    for (const title of titles) head.append(Object.assign(element("th", "", title), { scope: "col" }));
    scroll.append(table);
    return { table, scroll };
  }
  // The cell of an address, with the button that opens its row.
  function addressCell(row) {
    const cell = element("td", "address"), button = element("button", "open"), path = text("path", row), cut = tail(path);
    button.type = "button";
    button.title = address(row);
    button.append(element("span", "head", path.slice(0, cut)), element("b", "", path.slice(cut)), element("span", "", text("rest", row)));
    cell.append(button);
    return cell;
  }
  // Where the last two names of a path begin, numbers not counted: what tells modules apart is never cut off.
  function tail(path) {
    let cut = path.length;
    for (let names = 0; names < 2 && cut > 0;) {
      const start = path.lastIndexOf(".", cut - 1);
      names += /^\d+$/.test(path.slice(start + 1, cut)) ? 0 : 1;
      cut = start;
    }
    return Math.max(cut, 0) + (cut > 0 ? 1 : 0);
  }
  const slug = (verdict) => verdict.replace(/ /g, "-").toLowerCase();

  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
    const source = button.parentElement.querySelector("pre");
    getSelection().selectAllChildren(source);
    navigator.clipboard?.writeText(source.textContent).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Selected"; });
  }));

  return { count, measures, columns, texts, numbers, outside, worst, FAILING, GRAVITY, text, address, value, numeric, shownNumber, shownRatio, shownMeasure, element, icon, badge, slug, addressCell, gridOf };
})();

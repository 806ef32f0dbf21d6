// The page of a layer: its units as a list that is sorted and filtered, and filled only where it is seen.
(function () {
  "use strict";
  const self = window.convscope, data = self.layerData, layer = self.here(), list = document.getElementById("units");
  const controls = ["sort", "only", "class", "detects"].map((name) => document.getElementById(name)).filter(Boolean);
  const flagged = Object.entries(data.flags).map(([name, rows]) => [name, new Set(rows)]);
  const items = data.units.map((unit, row) => self.element(null, "li", { id: "u" + unit, "class": "unit", "data-row": row }));
  // The list is cut into parts of whole rows: what changes in one is laid out without the others, and looking which are
  // near takes next to no time, however many units there are.
  const PART = 60;

  function options() {
    flagged.forEach(([name, rows]) => self.element(document.getElementById("only"), "option", { value: name }, name + " (" + rows.size + ")"));
    const select = document.getElementById("class");
    if (!select) return;
    const counts = new Map();
    data.columns.favourite.forEach((index) => index >= 0 && counts.set(index, (counts.get(index) || 0) + 1));
    [...counts].sort((a, b) => data.classes[a[0]].localeCompare(data.classes[b[0]])).forEach(([index, count]) =>
      self.element(select, "option", { value: index }, data.classes[index] + " (" + count + ")"));
  }

  // What units detect, the most frequent concept first, in groups by category, each of which can be chosen as a whole.
  function concepts() {
    const select = document.getElementById("detects");
    if (!select) return;
    const counts = new Map(), option = (parent, value, name, count) => self.element(parent, "option", { value }, name + " (" + count + ")");
    data.units.forEach((unit) => { const number = layer.labels[unit]; counts.set(number, (counts.get(number) || 0) + 1); });
    const found = [...counts].filter(([number]) => number).sort((a, b) => b[1] - a[1]).map(([number, count]) => [self.concept(number), count]);
    if (counts.get(0)) option(select, "nothing", "nothing", counts.get(0));
    Object.keys(self.network.colours).forEach((category) => {
      const some = found.filter(([concept]) => concept.category === category);
      if (!some.length) return;
      const group = self.element(select, "optgroup", { label: category });
      if (some.length > 1) option(group, category, "any " + category, some.reduce((sum, each) => sum + each[1], 0));
      some.forEach(([concept, count]) => option(group, concept.number, concept.name, count));
    });
  }

  function detected(row, wanted) {
    const concept = self.label(layer, data.units[row]);
    return wanted === "" || (wanted === "nothing" ? !concept : concept && (concept.category === wanted || String(concept.number) === wanted));
  }

  function fill(item) {
    if (item.firstChild) return;
    const row = Number(item.dataset.row), unit = data.units[row], columns = data.columns;
    const flags = flagged.filter(([, rows]) => rows.has(row)).map(([name]) => name);
    const link = self.element(item, "a", { href: "unit.html#" + unit, "class": flags.includes("dead") ? "dead" : "" });
    const what = self.element(link, "span", { "class": "what" });
    self.element(what, "b", {}, unit);
    flags.forEach((flag) => self.element(what, "i", { "class": "flag" }, flag));
    if (columns.iou && columns.iou[row] > 0) {
      const concept = self.concept(columns.nearest[row]), label = self.element(what, "i", { "class": layer.labels[unit] ? "kind" : "kind faint" }, concept.name + " " + self.ratio(columns.iou[row]));
      label.style.setProperty("--kind", concept.colour);
    }
    if (!flags.includes("dead")) {
      const liked = columns.favourite[row] >= 0 && columns.selectivity[row] ? data.classes[columns.favourite[row]] : "";
      self.element(what, "i", { "class": "liked" }, liked && columns.iou ? "likes " + liked : liked);
      const active = columns.nonpositive[row] === null ? null : 1 - columns.nonpositive[row];
      self.element(what, "i", {}, "max " + self.figure(columns.maximum[row]) + " · active " + self.percent(active));
    }
    self.element(link, "span", { "class": "strip" + (layer.sharp ? " sharp" : ""), role: "img", "aria-label": "best patches of unit " + unit,
                                 style: self.strip(layer, unit, layer.ranks) });
  }
  const watch = self.lazily((part) => [...part.children].forEach(fill));

  function order(name) {
    const rows = data.units.map((_, row) => row), column = data.columns[name.replace("-", "")];
    if (!column) return rows;
    const sign = name.startsWith("-") ? -1 : 1, last = (value) => (value === null ? Infinity : sign * value);
    return rows.sort((a, b) => (last(column[a]) === last(column[b]) ? a - b : last(column[a]) - last(column[b])));
  }

  function show() {
    const [sort, only, liked, detects] = ["sort", "only", "class", "detects"].map((name) => (document.getElementById(name) || {}).value || "");
    const chosen = (flagged.find(([name]) => name === only) || [])[1];
    const rows = order(sort).filter((row) => (!chosen || chosen.has(row)) && (liked === "" || data.columns.favourite[row] === Number(liked)) && detected(row, detects));
    const parts = [];
    for (let start = 0; start < rows.length; start += PART) {
      parts.push(self.element(null, "ol", { "class": "units" }));
      parts[parts.length - 1].append(...rows.slice(start, start + PART).map((row) => items[row]));
    }
    list.replaceChildren(...parts);
    parts.forEach(watch);
    document.getElementById("count").textContent = rows.length === data.units.length && rows.length === layer.units
      ? rows.length.toLocaleString("en-US") + " units" : rows.length.toLocaleString("en-US") + " of " + layer.units.toLocaleString("en-US") + " units";
    document.getElementById("none").hidden = rows.length > 0;
  }

  // The address keeps what is chosen, so that a view can be passed on; #u37 leads to a unit.
  function restore() {
    const hash = location.hash.slice(1), state = self.state();
    if (!/^u\d+$/.test(hash)) controls.forEach((control) => {
      const wanted = state.get(control.id) || "";
      control.value = [...control.options].some((option) => option.value === wanted) ? wanted : "";
    });
    show();
    const unit = /^u\d+$/.test(hash) && document.getElementById(hash);
    if (unit) unit.scrollIntoView({ block: "center" });
  }

  const [high, wide] = self.seen(layer, layer.ranks);
  list.style.setProperty("--ratio", wide + "/" + high);
  options();
  concepts();
  controls.forEach((control) => control.addEventListener("change", () => {
    self.keep(Object.fromEntries(controls.map((each) => [each.id, each.value])));
    show();
  }));
  document.getElementById("reset").addEventListener("click", () => { self.keep({}); restore(); });
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", restore);
  restore();
  self.panels(document.getElementById("spread"), data.panels);
})();

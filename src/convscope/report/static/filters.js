// The page of a layer's filters: one pixel a weight, magnified without a blur; filled only where it is seen.
(function () {
  "use strict";
  const self = window.convscope, data = self.filterData, layer = self.here(), list = document.getElementById("filters");
  const controls = ["sort", "only", "scale"].map((name) => document.getElementById(name)).filter(Boolean);
  const noisy = new Set(data.noisy), flat = new Set(data.flat);
  const items = data.units.map((unit) => self.element(null, "li", { id: "u" + unit }));
  const value = (name) => (document.getElementById(name) || {}).value || "";

  function picture(parent, kind, row, label) {
    const [height, width, rows] = data.sheets[kind], sheet = Math.floor(row / rows);
    const here = Math.min(rows, data.units.length - sheet * rows), down = 100 * (row % rows) / Math.max(1, here - 1);
    const file = self.root + "filters/" + layer.slug + "-" + kind + "-" + String(sheet).padStart(3, "0") + ".png";
    self.element(parent, "span", { "class": "weights " + kind, role: "img", "aria-label": label,
      style: "background-image:url('" + file + "');background-position:0 " + down.toFixed(4) + "%;background-size:100% " + 100 * here +
             "%;--wide:" + width + ";--high:" + height });
  }

  function fill(item) {
    const row = Number(item.dataset.row), unit = data.units[row];
    item.replaceChildren();
    const link = self.element(item, "a", { href: "unit.html#" + unit });
    const pictures = self.element(link, "span", { "class": "pair" });
    picture(pictures, value("scale") || "own", row, "weights of unit " + unit);
    if (data.sheets.frequencies) picture(pictures, "frequencies", row, "its frequencies");
    const what = self.element(link, "span", { "class": "what" });
    self.element(what, "b", {}, unit);
    if (noisy.has(row)) self.element(what, "i", { "class": "flag" }, "noisy");
    if (flat.has(row)) self.element(what, "i", { "class": "flag" }, "flat");
    const noise = data.columns;
    if (noise.hf) self.element(link, "span", { "class": "numbers" },
      [noise.autocorrelation[row].toFixed(2), (100 * noise.hf[row]).toFixed(0) + " %", noise.entropy[row].toFixed(1) + " bit"].join(" · "));
    if (data.channels.length) self.element(link, "span", { "class": "channels" }, "inputs " + data.channels[row].join(", "));
  }
  const watch = self.lazily(fill);

  function show() {
    const sort = value("sort"), column = data.columns[sort.replace("-", "")], rows = data.units.map((_, row) => row);
    const last = (row) => (column[row] === null ? -Infinity : column[row]);
    if (column) rows.sort((a, b) => (last(a) === last(b) ? a - b : last(b) - last(a)));
    const tests = { noisy: (row) => noisy.has(row), grey: (row) => data.columns.ratio[row] < 0.5, coloured: (row) => data.columns.ratio[row] >= 0.5 };
    const chosen = rows.filter(tests[value("only")] || (() => true)), all = document.createDocumentFragment();
    chosen.forEach((row) => { items[row].dataset.row = row; items[row].replaceChildren(); all.appendChild(items[row]); });
    list.replaceChildren(all);
    chosen.forEach((row) => watch(items[row]));
    document.getElementById("count").textContent = chosen.length.toLocaleString("en-US") + " filters";
    document.getElementById("none").hidden = chosen.length > 0;
  }

  function restore() {
    const state = self.state();
    controls.forEach((control) => { if (state.get(control.id)) control.value = state.get(control.id); });
    show();
    const unit = /^#u\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (unit) unit.scrollIntoView({ block: "center" });
  }
  controls.forEach((control) => control.addEventListener("change", () => {
    self.keep(Object.fromEntries(controls.map((each) => [each.id, each.value])));
    show();
  }));
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  list.classList.toggle("slices", !data.coloured && data.sheets.own[1] > data.sheets.own[0]);
  window.addEventListener("hashchange", restore);
  restore();
  self.panels(document.getElementById("panels"), data.panels);
})();

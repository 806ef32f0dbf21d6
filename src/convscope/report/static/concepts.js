// The page of concepts: rows that are sorted and filtered, and units that are filled in only where they are seen.
(function () {
  "use strict";
  const self = window.convscope, data = self.detectorData, list = document.getElementById("concepts"), FEW = 12;
  const controls = ["sort", "category", "layer"].map((name) => document.getElementById(name));
  const items = [...list.children].map((item) => {
    const number = Number(item.id.slice(1));
    return { item, concept: self.concept(number), units: data[number], tiles: item.querySelector(".tiles"), all: false };
  });

  const layerOf = (unit) => self.network.layers[unit[0]];
  const owns = (each, unit) => layerOf(unit).labels[unit[1]] === each.concept.number;

  // The units that are seen of a concept: its detectors, and after them those that another concept fits better.
  function chosen(each) {
    const layer = document.getElementById("layer").value;
    const units = each.units.filter((unit) => !layer || layerOf(unit).address === layer);
    return [...units.filter((unit) => owns(each, unit)), ...units.filter((unit) => !owns(each, unit))];
  }

  function tile(each, unit) {
    const layer = layerOf(unit), address = layer.address + ":" + unit[1], label = self.label(layer, unit[1]);
    const words = address + ", IoU " + self.ratio(unit[2]) + (owns(each, unit) ? "" : "; it detects " + label.name);
    const link = self.element(each.tiles, "a", { "class": "told" + (owns(each, unit) ? "" : " other"), href: self.home(layer) + "unit.html#" + unit[1], "aria-label": words, "data-tip": words });
    self.element(link, "span", { "class": "strip-link" + (layer.sharp ? " sharp" : ""), style: self.strip(layer, unit[1], 1) });
    self.element(link, "b", {}, self.ratio(unit[2]));
    self.element(link, "small", {}, address);
  }

  function fill(each) {
    const units = chosen(each), some = each.all || units.length <= FEW ? units : units.slice(0, FEW - 1);
    each.tiles.replaceChildren();
    some.forEach((unit) => tile(each, unit));
    if (some.length === units.length) return;
    const more = self.element(each.tiles, "button", { type: "button", "aria-label": "all " + units.length + " units with " + each.concept.name }, "all " + units.length);
    more.addEventListener("click", () => {
      each.all = true;
      fill(each);
      each.tiles.children[FEW - 1].focus();
    });
  }
  const watch = self.lazily((item) => fill(items.find((each) => each.item === item)));

  function show() {
    const [sort, category] = controls.map((control) => control.value);
    const rows = items.filter((each) => (!category || each.concept.category === category) && chosen(each).length);
    rows.forEach((each) => {
      each.own = chosen(each).filter((unit) => owns(each, unit)).length;
      each.best = Math.max(...chosen(each).map((unit) => unit[2]));
    });
    const order = {
      "": (a, b) => b.own - a.own,
      iou: (a, b) => b.best - a.best,
      name: (a, b) => a.concept.name.localeCompare(b.concept.name),
    };
    rows.sort(order[sort]);
    rows.forEach((each) => each.tiles.replaceChildren());
    list.replaceChildren(...rows.map((each) => each.item));
    rows.forEach((each) => watch(each.item));
    const detected = rows.filter((each) => each.own).length, rest = rows.length - detected;
    document.getElementById("count").textContent = detected + (detected === 1 ? " concept" : " concepts") + (rest ? ", and " + rest + " that another always fits better" : "");
  }

  function restore() {
    const mark = location.hash.slice(1), state = self.state(), single = /^(c\d+|others)$/.test(mark);
    if (!single) controls.forEach((control) => {
      const wanted = state.get(control.id) || "";
      control.value = [...control.options].some((option) => option.value === wanted) ? wanted : "";
    });
    show();
    if (single && document.getElementById(mark)) document.getElementById(mark).scrollIntoView({ block: mark === "others" ? "start" : "center" });
  }

  controls.forEach((control) => control.addEventListener("change", () => {
    self.keep(Object.fromEntries(controls.map((each) => [each.id, each.value])));
    show();
  }));
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", restore);
  restore();
})();

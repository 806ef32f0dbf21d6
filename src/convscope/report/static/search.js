// The search field of every page: addresses of layers and units, and the words, classes, images and faults of the network.
(function () {
  "use strict";
  const self = window.convscope, most = 12;
  const field = document.getElementById("search"), list = document.getElementById("found");
  let chosen = -1;

  // How well a text fits: it is the same, begins so, or holds it; the smaller the better, -1 where it does not fit.
  function fit(text, wanted) {
    const at = text.toLowerCase().indexOf(wanted);
    return at < 0 ? -1 : text.length === wanted.length ? 0 : at === 0 ? 1 : 2;
  }

  // Layers whose address holds the text before a colon, and the unit behind it; a number alone is a unit of this layer.
  function addresses(text) {
    const [, name, unit] = text.match(/^(.*?)(?::(\d*))?$/), number = unit ? parseInt(unit, 10) : null;
    const there = (layer, index) => (layer.shown ? layer.shown.includes(index) : index < layer.units);
    const found = [], here = self.here(), own = /^\d+$/.test(text) ? parseInt(text, 10) : null;
    if (own !== null && here && there(here, own)) {
      found.push([0, ["unit", here.address + ":" + own, "of this layer", self.home(here) + "unit.html#" + own]]);
    }
    self.network.layers.forEach((layer) => {
      const score = fit(layer.address, name);
      if (score < 0 || (number !== null && !there(layer, number))) return;
      const link = self.home(layer) + (number === null ? "index.html" : "unit.html#" + number);
      found.push([score, number === null ? ["layer", layer.address, layer.units + " units", link] : ["unit", layer.address + ":" + number, "", link]]);
    });
    return found;
  }

  function words(text) {
    return self.network.search.map(([kind, name, remark, link]) => {
      const score = fit(name, text);
      return [score >= 0 ? score : fit(remark, text) >= 0 ? 3 : -1, [kind, name, remark, self.root + link]];
    }).filter(([score]) => score >= 0);
  }

  function look() {
    const text = field.value.trim().toLowerCase();
    list.replaceChildren();
    chosen = -1;
    field.removeAttribute("aria-activedescendant");
    const found = !text ? [] : [...addresses(text), ...words(text)].sort((a, b) => a[0] - b[0]).map((each) => each[1]);
    found.slice(0, most).forEach((entry, index) => {
      const item = self.element(list, "li", { role: "option", id: "found-" + index, "aria-selected": "false", "data-href": entry[3] });
      self.element(item, "i", {}, entry[0]);
      self.element(item, "b", {}, entry[1]);
      self.element(item, "span", {}, entry[2]);
    });
    if (text && !found.length) self.element(list, "li", { role: "option", "aria-disabled": "true", "class": "nothing" },
      "Nothing is called so. Try a layer, layer:unit, a class, or a word such as “dead”.");
    list.hidden = !text;
    field.setAttribute("aria-expanded", String(!list.hidden));
    if (found.length) choose(0);
  }

  function choose(index) {
    const items = list.querySelectorAll("[data-href]");
    if (!items.length) return;
    chosen = (index + items.length) % items.length;
    items.forEach((item, i) => item.setAttribute("aria-selected", String(i === chosen)));
    field.setAttribute("aria-activedescendant", "found-" + chosen);
    items[chosen].scrollIntoView({ block: "nearest" });
  }

  function close() {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
  }

  function go(item) {
    if (!item) return;
    field.value = "";
    close();
    field.blur();
    location.href = item.dataset.href;
  }

  field.addEventListener("input", look);
  field.addEventListener("focus", () => field.value && look());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const actions = {
      "ArrowDown": () => choose(chosen + 1),
      "ArrowUp": () => choose(chosen - 1),
      "Enter": () => go(list.querySelectorAll("[data-href]")[chosen]),
      "Escape": () => { field.value = ""; close(); field.blur(); },
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  });
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();  // the field would lose the focus, and the list close, before the click
    go(event.target.closest("[data-href]"));
  });
})();

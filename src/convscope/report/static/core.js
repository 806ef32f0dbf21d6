// What every page has: data handed over by scripts, numbers as people read them, strips, tooltips, keys, light and dark.
window.convscope = (function () {
  "use strict";
  const svgSpace = "http://www.w3.org/2000/svg";
  const self = { root: document.body.dataset.root, chunks: {} };

  // Data come as scripts that call these: pages from disk may not fetch anything.
  self.know = (network) => { self.network = network; };
  self.see = (images) => { self.images = images; };
  self.layer = (data) => { self.layerData = data; };
  self.geometry = (data) => { self.geometryData = data; };
  self.maps = (data) => { self.mapData = data; };
  self.filters = (data) => { self.filterData = data; };
  self.detectors = (data) => { self.detectorData = data; };
  self.units = (number, packed, maps) => { self.chunks[number] = { packed, maps }; };

  self.script = (source) => new Promise((done, failed) => {
    const made = document.createElement("script");
    made.src = source;
    made.onload = done;
    made.onerror = () => failed(new Error(source + " cannot be read"));
    document.head.appendChild(made);
  });

  self.element = (parent, name, attributes, text) => {
    const svg = name === "svg" || parent instanceof SVGElement;
    const made = svg ? document.createElementNS(svgSpace, name) : document.createElement(name);
    for (const key in attributes || {}) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.appendChild(made);
    return made;
  };

  // Four significant digits, thousands apart, – where there is nothing: as everywhere in convscope.
  self.figure = (value) => {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    let text;
    if (size >= 1000) text = Math.round(value).toLocaleString("en-US");
    else if (size >= 1e-3) text = String(Number(value.toPrecision(4)));
    else text = value.toExponential(1);
    return text.replace("-", "−");
  };
  self.percent = (share) => (share === null || share === undefined ? "–" : (share * 100).toFixed(1) + " %");

  // How the first `ranks` tiles of a strip lie in their cells, which are whole blocks of a JPEG and can be larger: the
  // height and width of what is seen, without what fills the last cells.
  self.seen = (layer, ranks) => [layer.tile[0], (Math.min(ranks, layer.ranks) - 1) * layer.cell[1] + layer.tile[1]];

  // The place of a layer's unit on its sheet of strips, as a style; null where the report does not show the unit.
  self.strip = (layer, unit, ranks) => {
    const row = layer.shown ? layer.shown.indexOf(unit) : unit;
    if (row < 0) return null;
    const count = layer.shown ? layer.shown.length : layer.units, sheet = Math.floor(row / layer.rows);
    const rows = Math.min(layer.rows, count - sheet * layer.rows), [height, width] = self.seen(layer, ranks), cell = layer.cell;
    const down = 100 * (row % layer.rows) * cell[0] / Math.max(1, rows * cell[0] - height), part = (pixels) => (100 * pixels / width).toFixed(4) + "%";
    return "background-image:url('" + self.root + layer.sheets[sheet] + "');background-position:0 " + down.toFixed(4) +
      "%;background-size:" + part(layer.ranks * cell[1]) + " auto;aspect-ratio:" + width + "/" + height +
      ";--tall:" + (height / width).toPrecision(4) + ";--cell:" + part(cell[1]) + ";--gap:" + part(cell[1] - layer.tile[1]);
  };
  // A concept by its number: its name, category and colour; null where a unit detects none, or nobody looked.
  self.concept = (number) => {
    if (!number || !self.network.concepts) return null;
    const [name, category] = self.network.concepts[number];
    return { number, name, category, colour: self.network.colours[category] };
  };
  self.label = (layer, unit) => self.concept(layer.labels && layer.labels[unit]);
  // An IoU: two decimals, and three below 0.1.
  self.ratio = (value) => value.toFixed(value >= 0.0995 ? 2 : 3);

  self.home = (layer) => self.root + "layers/" + layer.slug + "/";
  self.layerBySlug = (slug) => self.network.layers.find((layer) => layer.slug === slug);
  // The layer whose page this is.
  self.here = () => {
    const parts = location.pathname.split("/");
    return self.layerBySlug(parts[parts.length - 2]);  // slugs are letters, digits, dots and hyphens
  };

  // Fills elements when they come near to what is seen, so that a list of any length opens at once.
  self.lazily = (fill) => {
    const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (!entry.isIntersecting) return;
      watcher.unobserve(entry.target);
      fill(entry.target);
    }), { rootMargin: "600px 0px" });
    return (element) => watcher.observe(element);
  };

  // The part of the address behind # as names and values, and back.
  self.state = () => new URLSearchParams(location.hash.slice(1));
  self.keep = (values) => {
    const state = new URLSearchParams();
    for (const name in values) if (values[name]) state.set(name, values[name]);
    history.replaceState(null, "", "#" + state.toString());
  };

  // What was chosen on another page; browsers that keep nothing for pages from disk start anew on each.
  function remember(name, value) {
    try { localStorage.setItem("convscope-" + name, value); } catch (error) { /* then for this page alone */ }
  }
  function remembered(name) {
    try { return localStorage.getItem("convscope-" + name); } catch (error) { return null; }
  }

  function theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light"), next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    remember("theme", next);
    document.dispatchEvent(new Event("themechange"));
  }

  // One tooltip for all words and pictures that carry one; the pointer and the keyboard both open it.
  function tips() {
    const tip = document.getElementById("tip");
    function show(event) {
      const owner = event.target.closest && event.target.closest("[data-tip]");
      if (!owner || !owner.dataset.tip) { tip.hidden = true; return; }
      tip.textContent = owner.dataset.tip;
      tip.hidden = false;
      const box = owner.getBoundingClientRect(), size = tip.getBoundingClientRect();
      const above = box.top > size.height + 12;
      tip.style.left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - size.width - 8)) + "px";
      tip.style.top = (above ? box.top - size.height - 8 : box.bottom + 8) + "px";
    }
    // Where the tip of one element changes under the pointer: it stands beside the pointer then.
    self.tip = (words, event) => {
      tip.textContent = words;
      tip.hidden = !words;
      tip.style.left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8) + "px";
      tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 10) + "px";
    };
    document.addEventListener("mouseover", show);
    document.addEventListener("focusin", show);
    document.addEventListener("focusout", () => { tip.hidden = true; });
    document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
  }

  function follow(selector) {
    const link = document.querySelector(selector);
    if (link && link.getAttribute("href")) link.click();
    return Boolean(link);
  }

  function keys(event) {
    const typing = event.target.closest && event.target.closest("input, select, textarea");
    if (typing || !document.getElementById("single").checked || event.ctrlKey || event.metaKey || event.altKey || document.getElementById("keys").open) return;
    const actions = {
      "/": () => document.getElementById("search").focus(),
      "?": () => document.getElementById("keys").showModal(),
      "t": theme,
      "ArrowLeft": () => follow("#before"),
      "ArrowRight": () => follow("#after"),
      "ArrowUp": () => window.scrollY === 0 && follow("[data-up]"),
    };
    const inside = event.target.closest && event.target.closest(".scroll, .drawing");
    if (!(event.key in actions) || (inside && event.key.startsWith("Arrow"))) return;
    if (actions[event.key]() !== false) event.preventDefault();
  }

  // A click on a heading sorts the rows below it, by number where all are numbers; what is empty comes last.
  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    const number = (text) => {
      const scale = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
      const found = text.replace(/,/g, "").replace(/−/g, "-").match(/^(?:inside |up to )?(-?[\d.]+(?:e-?\d+)?)(?: ([kMGT%])$| ×|$)/);
      return found ? parseFloat(found[1]) * (scale[found[2]] || 1) : text === "whole image" ? Infinity : NaN;
    };
    heads.forEach((head, column) => {
      const button = self.element(null, "button", { type: "button", "class": "sorter", "aria-label": "sort by " + head.textContent }, "↕");
      head.appendChild(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
        const some = rows.filter(([text]) => text && text !== "–"), none = rows.filter(([text]) => !text || text === "–");
        const numbers = some.every(([text]) => !Number.isNaN(number(text)));
        const order = numbers ? (a, b) => number(a) - number(b) || 0 : (a, b) => a.localeCompare(b);
        some.sort((a, b) => (up ? order(a[0], b[0]) : order(b[0], a[0])));
        [...some, ...none].forEach((row) => body.appendChild(row[1]));
      });
    });
  }

  // Who speaks to the machine, or touches keys by chance, can turn them off, here and on all pages [WCAG 2.1.4].
  function single() {
    const choice = document.getElementById("single");
    choice.checked = remembered("keys") !== "off";
    choice.addEventListener("change", () => remember("keys", choice.checked ? "on" : "off"));
  }

  document.addEventListener("keydown", keys);
  document.getElementById("theme").addEventListener("click", theme);
  document.getElementById("help").addEventListener("click", () => document.getElementById("keys").showModal());
  document.querySelectorAll("table.sortable").forEach(sortable);
  single();
  tips();
  return self;
})();

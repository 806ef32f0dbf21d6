// The page of one unit: the number behind # says which.
(function () {
  "use strict";
  const self = window.convscope, geometry = self.geometryData, layer = self.here();
  const units = layer.shown || Array.from({ length: layer.units }, (_, unit) => unit);
  const place = (name) => document.getElementById(name);

  function box(position) {
    const row = Math.floor(position / geometry.columns), column = position % geometry.columns;
    const [y0, y1] = geometry.crops[0][row], [x0, x1] = geometry.crops[1][column];
    return [y0, x0, y1, x1];
  }

  // The response, or what share it is of the unit's largest [Girshick et al. 2014], and the class or name of the image.
  function caption(figure, top, rank, shared) {
    const about = self.image(top[0]), row = Math.floor(top[2] / geometry.columns), column = top[2] % geometry.columns;
    const line = self.element(figure, "figcaption", {
      title: about.name + " (image " + top[0] + "), row " + row + " and column " + column + " of the map" });
    self.element(line, "b", {}, shared && top[3] !== null ? (100 * top[3]).toFixed(0) + " %" : top[1]);
    line.appendChild(document.createTextNode(" " + (about.label === null ? about.name : about.label)));
    figure.setAttribute("aria-label", "rank " + (rank + 1));
  }

  // The response as a veil: clear where it is strong; none where it is nowhere above zero. Cells lie around the centres
  // of their fields; beyond the outermost ones the border value goes on.
  function veil(svg, values) {
    if (!values.some((value) => value)) return;
    const [rows, columns] = geometry.map.cells, pitch = geometry.map.pitch, origin = geometry.map.origin;
    const y = Math.max(1, Math.ceil(origin[0] / pitch[0])), x = Math.max(1, Math.ceil(origin[1] / pitch[1]));
    const canvas = document.createElement("canvas");
    canvas.height = rows + 2 * y; canvas.width = columns + 2 * x;
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    for (let i = 0; i < canvas.height; i++) for (let j = 0; j < canvas.width; j++) {
      const row = Math.min(Math.max(i - y, 0), rows - 1), column = Math.min(Math.max(j - x, 0), columns - 1);
      pixels.data[4 * (i * canvas.width + j) + 3] = 150 * (1 - Math.sqrt(values[row * columns + column] / 255));
    }
    context.putImageData(pixels, 0, 0);
    self.element(svg, "image", { href: canvas.toDataURL(), preserveAspectRatio: "none",
      x: origin[1] - x * pitch[1], y: origin[0] - y * pitch[0],
      width: canvas.width * pitch[1], height: canvas.height * pitch[0] });
  }

  async function unpacked(text) {
    if (!text) return new Uint8Array();
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function patch(parent, unit, index, rank) {
    const top = unit.top[rank], part = box(top[2]), figure = self.element(parent, "figure");
    const words = "rank " + (rank + 1) + ", " + self.image(top[0]).name;
    if (self.image(top[0]).kept) {
      const svg = self.drawing(figure, part, "patch, " + words);
      self.picture(svg, top[0], Math.max(part[2] - part[0], part[3] - part[1]));
    } else if (rank < layer.ranks) {  // its strip was kept all the same
      const tile = self.element(figure, "span", { "class": "tile" + (layer.sharp ? " sharp" : ""), role: "img", "aria-label": "patch, " + words,
                                                  style: self.strip(layer, index, 1) });
      tile.style.backgroundPositionX = 100 * rank * layer.cell[1] / Math.max(1, layer.ranks * layer.cell[1] - layer.tile[1]) + "%";
    } else {
      self.element(figure, "span", { "class": "gone" }, "picture not kept");
    }
    caption(figure, top, rank);
  }

  // What of the patches excites the unit, one by one beside them; see `write_projections` of the report's sheets.
  function projections(unit, index) {
    const kept = geometry.projections;
    if (!kept) return;
    const row = kept.units.indexOf(index), sheet = Math.floor(row / kept.rows), ranks = Math.min(geometry.ranks, unit.top.length);
    const size = [Math.min(kept.rows, kept.units.length - sheet * kept.rows) * kept.cell[0], kept.rules.length * geometry.ranks * kept.cell[1]];
    const place_of = (axis, number) => 100 * number * kept.cell[axis] / Math.max(1, size[axis] - kept.tile[axis]) + "%";
    kept.rules.forEach((rule, side) => {
      const parent = place(rule);
      if (row < 0) self.element(parent, "p", { "class": "hint none" }, unit.flags.includes("dead") ? "Nothing to project." :
        "Kept for the " + kept.kept + " units of this layer whose best image stands out most; convscope scan --projections N keeps more.");
      for (let rank = 0; row >= 0 && rank < ranks; rank++) {
        const figure = self.element(parent, "figure", { "aria-label": "rank " + (rank + 1) });
        self.element(figure, "span", { "class": "tile" + (kept.sharp ? " sharp" : ""), role: "img", "aria-label": "projection, rank " + (rank + 1) + ", " + self.image(unit.top[rank][0]).name,
          style: "background-image:url('" + self.root + kept.sheets[sheet] + "');background-size:" + 100 * size[1] / kept.tile[1] + "% auto;aspect-ratio:" + kept.tile[1] + "/" + kept.tile[0] +
            ";background-position:" + place_of(1, side * geometry.ranks + rank) + " " + place_of(0, row % kept.rows) });
        self.element(figure, "figcaption", { "aria-hidden": "true" }, "\u00a0");  // as high as that of the patch
      }
    });
  }

  function whole(parent, unit, rank, maps) {
    const top = unit.top[rank], about = self.image(top[0]), figure = self.element(parent, "figure");
    if (about.kept) {
      const svg = self.drawing(figure, [0, 0, ...self.images.size], "image, rank " + (rank + 1) + ", " + about.name);
      const seen = self.picture(svg, top[0], Math.max(...self.images.size));
      const cells = geometry.map.cells[0] * geometry.map.cells[1];
      if (cells) veil(seen, maps.subarray(rank * cells, (rank + 1) * cells));
      self.outline(svg, box(top[2]));
    } else {
      self.element(figure, "span", { "class": "gone" }, "picture not kept");
    }
    caption(figure, top, rank, true);
  }

  function pictures(unit, index, maps) {
    const first = Math.min(geometry.ranks, unit.top.length);
    for (let rank = 0; rank < first; rank++) { patch(place("patches"), unit, index, rank); whole(place("whole"), unit, rank, maps); }
    if (!unit.top.length) self.element(place("patches"), "p", { "class": "hint" }, "Nothing to show: every response was NaN.");
    const more = place("more");
    more.hidden = unit.top.length <= first;
    const fill = () => {
      if (!more.open || place("later").firstChild) return;
      for (let rank = first; rank < unit.top.length; rank++) patch(place("later"), unit, index, rank);
    };
    more.ontoggle = fill;
    fill();
  }

  // The units that a connection leads to: a picture of each, its address, and a bar.
  function wires(list, found, empty) {
    if (!found.length) self.element(list, "li", { "class": "hint" }, empty);
    const most = Math.max(...found.map((each) => Math.abs(each[3])), 1e-30);
    found.forEach(([where, unit, weight, strength]) => {
      const other = typeof where === "number" ? self.network.layers[where] : null, style = other && self.strip(other, unit, 3);
      const address = (other ? other.address : where) + ":" + unit, item = self.element(list, "li");
      const words = address + (weight < 0 ? " inhibits, strength " : " excites, strength ") + self.figure(strength);
      const link = style ? self.element(item, "a", { href: self.home(other) + "unit.html#" + unit, "aria-label": words }) : self.element(item, "span");
      if (style) self.element(link, "span", { "class": "tile" + (other.sharp ? " sharp" : ""), style });
      const name = self.element(link, "b", {}, address), label = other && self.label(other, unit);
      if (label) self.element(name, "small", { "class": "kind" }, label.name).style.setProperty("--kind", label.colour);
      const bar = self.element(link, "span", { "class": "bar " + (weight < 0 ? "minus" : "plus"), title: words });
      bar.style.setProperty("--part", Math.abs(strength) / most);
      self.element(link, "span", { "class": "value" }, (weight < 0 ? "−" : "+") + self.figure(strength));
    });
  }

  function classes(unit) {
    place("classes").hidden = !unit.classes;
    if (!unit.classes) return;
    const all = [...unit.classes.best, ...unit.classes.least], most = Math.max(...all.map((each) => Math.abs(each[2])), 1e-30);
    const line = (each, kind) => {
      const item = self.element(place("best"), "li", { "class": kind }), name = self.element(item, "span", { "class": "name" });
      self.element(name, "a", { href: self.root + "classes.html#c" + each[0] }, each[1]);
      self.element(item, "span", { "class": "bar" + (each[2] < 0 ? " minus" : "") }).style.setProperty("--part", Math.abs(each[2]) / most);
      self.element(item, "span", { "class": "value" }, self.figure(each[2]));
    };
    unit.classes.best.forEach((each) => line(each, ""));
    unit.classes.least.forEach((each, i) => line(each, i ? "" : "least"));
  }

  function fields(unit) {
    const best = unit.top.find((top) => self.image(top[0]).kept), parent = place("fields");
    if (!best) return;
    const { field, exact } = geometry.fields, [height, width] = self.images.size;
    const svg = self.drawing(parent, [0, 0, height, width], "the field of the middle position, on " + self.image(best[0]).name);
    self.picture(svg, best[0], Math.max(height, width));
    if (exact) self.outline(svg, exact, true);
    self.outline(svg, field);
  }

  function link(name, row) {
    if (row >= 0 && row < units.length) place(name).setAttribute("href", "#" + units[row]);
    else place(name).removeAttribute("href");
  }

  function clear() {
    ["patches", "deconvnet", "guided", "whole", "later", "inputs", "outputs", "best", "fields"].forEach((name) => place(name) && place(name).replaceChildren());
  }

  // What is the matter with the unit, and whether another one was asked for, which this report does not show.
  function notices(unit, wanted) {
    const others = unit.flags.filter((flag) => flag !== "dead"), flags = place("flags");
    const words = others.map((flag) => "This unit is " + (flag === "NaN" ? "NaN at some positions" : flag) + ".");
    if (wanted !== "" && !units.includes(Number(wanted))) words.unshift("Unit " + wanted + " is not in this report; this is another one.");
    place("dead").hidden = !unit.flags.includes("dead");
    flags.hidden = !words.length;
    flags.textContent = words.join(" ");
  }

  // The data of a unit, and its maps.
  async function read(row) {
    const chunk = Math.floor(row / geometry.unit_chunk), at = row % geometry.unit_chunk;
    if (!self.chunks[chunk]) await self.script("units-" + String(chunk).padStart(3, "0") + ".js");
    const data = self.chunks[chunk];
    data.units = data.units || JSON.parse(new TextDecoder().decode(await unpacked(data.packed)));
    return [data.units[at], await unpacked(data.maps[at])];
  }

  let wanted = 0;
  async function show() {
    const turn = ++wanted, number = parseInt(location.hash.slice(1), 10), row = Math.max(0, units.indexOf(number)), index = units[row];
    const [unit, maps] = await read(row);
    if (turn !== wanted) return;  // another unit was asked for meanwhile
    const address = layer.address + ":" + index;
    document.title = address + " · convscope";
    place("address").textContent = address;
    place("crumb").textContent = index;
    link("before", row - 1);
    link("after", row + 1);
    if (place("weights")) place("weights").setAttribute("href", "filters.html#u" + index);
    document.querySelector("[data-up]").setAttribute("href", "index.html#u" + index);
    clear();
    place("facts").querySelectorAll("dd").forEach((fact, i) => { fact.textContent = unit.facts[i] === undefined ? "–" : unit.facts[i]; });
    notices(unit, location.hash.slice(1));
    pictures(unit, index, maps);
    projections(unit, index);
    if (self.detects) self.detects(unit, maps, caption);
    wires(place("inputs"), unit.inputs, "No unit of a layer below is known to feed it.");
    wires(place("outputs"), unit.outputs, "No layer that was scanned hears it.");
    place("wires").hidden = !unit.inputs.length && !unit.outputs.length;
    classes(unit);
    fields(unit);
    if (self.measured) self.measured(place("fields"), unit.field);
    self.panels(place("panels"), unit.panels);
    document.body.dataset.shown = index;  // says that this unit is there, all of it
  }

  function failed(error) {
    place("flags").hidden = false;
    place("flags").textContent = "The data of this unit cannot be read (" + error.message + "). Write the report again: convscope report ATLAS -o REPORT.";
  }

  window.addEventListener("hashchange", () => show().catch(failed));
  show().catch(failed);
})();

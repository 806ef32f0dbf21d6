// What a unit detects, on its page: its label, the concepts that fit it, and its best images, dark below its threshold.
(function () {
  "use strict";
  const self = window.convscope, DIM = 0.2;  // of the brightness is left where the map is not above the threshold
  const place = (name) => document.getElementById(name);

  function named(parent, concept) {
    const link = self.element(parent, "a", { "class": "kind", href: self.root + "concepts.html#c" + concept.number }, concept.name);
    link.style.setProperty("--kind", concept.colour);
  }

  function label(detects) {
    const parent = place("label"), best = detects.matches[0], found = best && best[1] > 0.04;
    parent.className = found ? "label" : "label faint";
    if (!best) { parent.textContent = "meets no concept"; return; }
    if (!found) self.element(parent, "span", {}, "no detector; nearest");
    named(parent, self.concept(best[0]));
    self.element(parent, "span", {}, self.concept(best[0]).category);
    self.element(parent, "b", {}, self.ratio(best[1]));
  }

  // Bars of the concepts that fit best, on one scale; the track ends at the cap.
  function matches(detects) {
    const scale = Math.max(0.1, ...detects.matches.map((match) => 1.05 * match[3]));
    detects.matches.forEach(([number, iou, low, high, cap]) => {
      const concept = self.concept(number), row = self.element(place("matches"), "tr", { "class": iou > 0.04 ? "" : "faint" });
      named(self.element(row, "th", { scope: "row" }), concept);
      const bar = self.element(self.element(row, "td"), "span", { "class": "match", "data-tip": concept.name + " (" + concept.category + ")" });
      const parts = { part: iou, low, high, cap, cut: 0.04 };
      for (const name in parts) bar.style.setProperty("--" + name, Math.min(1, parts[name] / scale).toFixed(4));
      bar.style.setProperty("--kind", concept.colour);
      self.element(row, "td", { "class": "n" }, self.ratio(iou));
      self.element(row, "td", { "class": "n soft" }, self.ratio(low) + "–" + self.ratio(high));
      self.element(row, "td", { "class": "n soft" }, "cap " + self.ratio(cap));
    });
    if (!detects.matches.length) self.element(self.element(place("matches"), "tr"), "td", { "class": "soft" }, "Its mask meets no concept.");
  }

  // Between which two values each pixel of an axis lies, and the share of the second one; constant beyond the outermost.
  // Of blocks of cells the nearest one counts, as nothing is known between them.
  function axis(centres, length, nearest) {
    return Array.from({ length }, (_, pixel) => {
      let after = centres.findIndex((centre) => centre >= pixel);
      if (after < 0) after = centres.length - 1;
      const before = Math.max(0, after - 1), gap = centres[after] - centres[before];
      const share = gap ? Math.min(1, (pixel - centres[before]) / gap) : 0;
      return [before, after, nearest ? Number(share >= 0.5) : share];
    });
  }

  // Black over all pixels of the image at which the map, placed at the centres of fields, is not above the level.
  function shade(values, level, rows, columns, width) {
    const canvas = document.createElement("canvas");
    canvas.height = rows.length; canvas.width = columns.length;
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    let at = 3;
    rows.forEach(([top, bottom, down]) => columns.forEach(([left, right, along]) => {
      const upper = values[top * width + left] * (1 - along) + values[top * width + right] * along;
      const lower = values[bottom * width + left] * (1 - along) + values[bottom * width + right] * along;
      if (upper * (1 - down) + lower * down <= level) pixels.data[at] = Math.round(255 * (1 - DIM));
      at += 4;
    }));
    context.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  function segmented(unit, maps, caption) {
    const masks = self.geometryData.masks, levels = unit.detects.levels, [height, width] = self.images.size;
    place("threshold").textContent = unit.detects.threshold;
    if (masks.reason) return;
    if (!levels) self.element(place("segmented"), "p", { "class": "hint none" }, "Its threshold is below zero, where the maps that were kept end.");
    const [rows, columns] = masks.centres.map((centres, i) => axis(centres, self.images.size[i], masks.block > 1));
    const cells = masks.centres[0].length * masks.centres[1].length;
    (levels || []).slice(0, unit.top.length).forEach((level, rank) => {
      const top = unit.top[rank], about = self.image(top[0]), figure = self.element(place("segmented"), "figure");
      if (about.kept) {
        const svg = self.drawing(figure, [0, 0, height, width], "what is above the threshold, rank " + (rank + 1) + ", " + about.name);
        const href = shade(maps.subarray(rank * cells, (rank + 1) * cells), level, rows, columns, masks.centres[1].length);
        const dark = self.element(self.picture(svg, top[0], Math.max(height, width)), "image", { href, width, height, preserveAspectRatio: "none" });
        if (Math.max(height, width) <= 64) dark.style.imageRendering = "pixelated";  // as the picture below
      } else {
        self.element(figure, "span", { "class": "gone" }, "picture not kept");
      }
      caption(figure, top, rank);
    });
  }

  // `caption` is that of the other pictures of the page.
  self.detects = (unit, maps, caption) => {
    ["label", "matches", "segmented"].forEach((name) => place(name).replaceChildren());
    label(unit.detects);
    matches(unit.detects);
    segmented(unit, maps, caption);
  };
})();

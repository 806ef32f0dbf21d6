// The measured field of a unit, on its page: how far hiding each place moves it, the field of theory, and its region.
(function () {
  "use strict";
  const self = window.convscope, UNKNOWN = [150, 150, 150];

  // The colour of a share of the peak, 0 to 1: between two of the palette.
  function colour(palette, share) {
    const at = share * (palette.length - 1), low = Math.min(Math.floor(at), palette.length - 2);
    return palette[low].map((value, i) => value + (palette[low + 1][i] - value) * (at - low));
  }

  function heat(map, palette) {
    const canvas = document.createElement("canvas"), side = Math.round(Math.sqrt(map.length));
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), pixels = context.createImageData(side, side);
    map.forEach((value, i) => pixels.data.set([...(value < 0 ? UNKNOWN : colour(palette, value / 255)), 255], 4 * i));
    context.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  self.measured = (parent, field) => {
    const { side, box, palette } = self.geometryData.measured, figure = self.element(parent, "figure");
    if (!field) { self.element(figure, "p", { "class": "hint" }, "No image excites the unit, so nothing was measured."); return; }
    const size = field.size === null ? "nothing above half of the peak" : self.figure(field.size) + " px";
    const theory = box[0] === box[1] ? box[0] : box[0] + " × " + box[1], whole = Math.max(side, ...box.map((each) => 1.06 * each));
    const svg = self.element(figure, "svg", { viewBox: [(side - whole) / 2, (side - whole) / 2, whole, whole].join(" "), role: "img", "aria-label": "measured field: " + size + " of " + theory + " px" });
    self.element(svg, "image", { href: heat(field.map, palette), width: side, height: side, preserveAspectRatio: "none" });
    const line = { fill: "none", "vector-effect": "non-scaling-stroke" };
    self.element(svg, "rect", { ...line, x: (side - box[1]) / 2, y: (side - box[0]) / 2, width: box[1], height: box[0], stroke: "#fff", "stroke-width": 1.5 });
    self.element(svg, "path", { ...line, d: field.edge, stroke: "#66e07a", "stroke-width": 2, "stroke-linecap": "square" });
    const words = self.element(figure, "figcaption");
    self.element(words, "b", {}, size);
    words.appendChild(document.createTextNode(" of " + theory + " px, over " + field.images + (field.images === 1 ? " image" : " images")));
  };
})();

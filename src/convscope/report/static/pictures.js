// Pictures cut out of their sheets: whole images, and patches of them.
(function () {
  "use strict";
  const self = window.convscope;

  // What is known of an image: its name, its label, and whether its picture was kept.
  self.image = (id) => {
    const [name, label, sheet, y, x] = self.images.images[id];
    return { name, label: label < 0 ? null : self.images.labels[label], kept: sheet !== undefined, sheet, y, x };
  };

  // The image of a sheet, placed so that pixel (0, 0) of the image lies at (0, 0) of the drawing; what is returned
  // shows only what lies on the image. `side` is how many pixels are seen: few are shown as they are, without a blur.
  self.picture = (svg, id, side) => {
    const [height, width] = self.images.size, about = self.image(id);
    const inside = self.element(svg, "svg", { x: 0, y: 0, width, height, overflow: "hidden" });
    const sheet = new Image(), shown = self.element(inside, "image", { x: -about.x, y: -about.y });
    sheet.onload = () => {
      shown.setAttribute("width", sheet.naturalWidth);
      shown.setAttribute("height", sheet.naturalHeight);
      shown.setAttribute("href", sheet.src);
    };
    sheet.onerror = () => {  // a plain colour would look as if there were nothing to see
      const text = { x: "50%", y: "50%", "text-anchor": "middle", "font-size": height / 10, fill: "#fff", stroke: "#000", "paint-order": "stroke" };
      self.element(inside, "text", text, "picture missing");
    };
    sheet.src = self.root + self.images.sheets[about.sheet];
    if (side <= 64) shown.style.imageRendering = "pixelated";
    return inside;
  };

  // A drawing whose units are the pixels of the image; `box` is the part that is seen, (y0, x0, y1, x1).
  self.drawing = (parent, box, label) => {
    const height = box[2] - box[0], width = box[3] - box[1];
    const svg = self.element(parent, "svg", { viewBox: [box[1], box[0], width, height].join(" "), role: "img",
                                              "aria-label": label, style: "aspect-ratio:" + width + "/" + height });
    self.element(svg, "rect", { x: box[1], y: box[0], width, height, fill: "rgb(" + self.images.padding.join(",") + ")" });
    return svg;
  };

  self.outline = (svg, box, dashed) => {
    // Inside the image, so that every side of the box can be seen.
    const y0 = Math.max(0, box[0]), x0 = Math.max(0, box[1]);
    const y1 = Math.min(self.images.size[0], box[2]), x1 = Math.min(self.images.size[1], box[3]);
    [["#000", 3.5], ["#fff", 1.8]].forEach((line) => {
      self.element(svg, "rect", { x: x0, y: y0, width: Math.max(0, x1 - x0), height: Math.max(0, y1 - y0), fill: "none",
        stroke: line[0], "stroke-width": line[1], "vector-effect": "non-scaling-stroke", "stroke-dasharray": dashed ? "7 5" : "none" });
    });
  };

  document.querySelectorAll("[data-picture]").forEach((place) => {
    const id = Number(place.dataset.picture), whole = [0, 0, ...self.images.size];
    if (!self.image(id).kept) return;
    const svg = self.drawing(place, whole, place.getAttribute("aria-label"));
    svg.setAttribute("aria-hidden", "true");
    self.picture(svg, id, Math.max(...self.images.size));
  });
})();

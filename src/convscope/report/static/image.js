// The page of a sample image: a click on a map leads to its unit, and the pointer says which one it is.
(function () {
  "use strict";
  const self = window.convscope;

  // What is said of a map: its maximum, where that is, and how much of the map is silent.
  function words(grid, layer, index) {
    const [maxima, zeros, positions] = self.mapData[layer.slug], width = Number(grid.dataset.width);
    const row = Math.floor(positions[index] / width), column = positions[index] % width;
    const label = self.label(layer, index);
    return layer.address + ":" + index + (label ? " (" + label.name + ")" : "") + ", maximum " + self.figure(maxima[index]) + " at row " + row + ", column " + column +
      "; " + self.percent(zeros[index]) + " zero or less";
  }

  document.querySelectorAll(".maps").forEach((grid) => {
    const [columns, rows, units] = grid.dataset.grid.split(",").map(Number), layer = self.layerBySlug(grid.dataset.layer);
    const unit = (event) => {
      const box = grid.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * columns), row = Math.floor((event.clientY - box.top) / box.height * rows);
      const index = row * columns + column;
      return index < units && index >= 0 && self.strip(layer, index, 1) ? index : null;
    };
    grid.addEventListener("mousemove", (event) => {
      const index = unit(event);
      self.tip(index === null ? "" : words(grid, layer, index), event);
      grid.href = self.home(layer) + (index === null ? "index.html" : "unit.html#" + index);
    });
  });
})();

// Draws the page of one unit from window.CONVSCOPE, which data.js beside the page has set.
(function () {
  "use strict";
  var data = window.CONVSCOPE, svgSpace = "http://www.w3.org/2000/svg", root = "../../";

  function element(parent, name, attributes, text) {
    var svg = name === "svg" || parent instanceof SVGElement;
    var made = svg ? document.createElementNS(svgSpace, name) : document.createElement(name);
    for (var key in attributes || {}) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  // The image of a sheet, placed so that pixel (0, 0) of the image lies at (0, 0) of the drawing; what is returned
  // shows only what lies on the image. `side` is how many pixels are seen: few are shown as they are, without a blur.
  function picture(svg, image, side) {
    var height = data.size[0], width = data.size[1], place = data.pictures[image].place;
    var window_ = element(svg, "svg", { x: 0, y: 0, width: width, height: height, overflow: "hidden" });
    var sheet = new Image(), shown = element(window_, "image", { x: -place[2], y: -place[1] });
    sheet.onload = function () {
      shown.setAttribute("width", sheet.naturalWidth);
      shown.setAttribute("height", sheet.naturalHeight);
      shown.setAttribute("href", sheet.src);
    };
    sheet.src = root + data.sheets[place[0]];
    if (side <= 64) shown.style.imageRendering = "pixelated";
    return window_;
  }

  function drawing(parent, box, label) {
    var view = [box[1], box[0], box[3] - box[1], box[2] - box[0]].join(" ");
    var svg = element(parent, "svg", { viewBox: view, role: "img", "aria-label": label,
                                       style: "aspect-ratio:" + (box[3] - box[1]) + "/" + (box[2] - box[0]) });
    element(svg, "rect", { x: box[1], y: box[0], width: box[3] - box[1], height: box[2] - box[0],
                           fill: "rgb(" + data.padding.join(",") + ")" });
    return svg;
  }

  function caption(figure, top, rank) {
    var about = data.pictures[top[0]], label = about.label === null ? about.name : about.label;
    var line = element(figure, "figcaption", {
      title: about.name + " (image " + top[0] + "), row " + top[6] + " and column " + top[7] + " of the map" });
    element(line, "b", {}, top[1]);
    line.appendChild(document.createTextNode(" " + label));
    figure.setAttribute("aria-label", "rank " + (rank + 1));
  }

  // The response as a veil: clear where it is strong; none where it is nowhere above zero. Cells lie around the centres of their fields; beyond the
  // outermost ones the border value goes on.
  function veil(svg, values) {
    if (!values.some(function (value) { return value; })) return;
    var rows = data.map.cells[0], columns = data.map.cells[1], pitch = data.map.pitch, origin = data.map.origin;
    var y = Math.max(1, Math.ceil(origin[0] / pitch[0])), x = Math.max(1, Math.ceil(origin[1] / pitch[1]));
    var canvas = document.createElement("canvas");
    canvas.height = rows + 2 * y; canvas.width = columns + 2 * x;
    var context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    for (var i = 0; i < canvas.height; i++) for (var j = 0; j < canvas.width; j++) {
      var row = Math.min(Math.max(i - y, 0), rows - 1), column = Math.min(Math.max(j - x, 0), columns - 1);
      pixels.data[4 * (i * canvas.width + j) + 3] = 170 * (1 - Math.sqrt(values[row * columns + column] / 255));
    }
    context.putImageData(pixels, 0, 0);
    element(svg, "image", { href: canvas.toDataURL(), preserveAspectRatio: "none",
      x: origin[1] - x * pitch[1], y: origin[0] - y * pitch[0],
      width: canvas.width * pitch[1], height: canvas.height * pitch[0] });
  }

  function outline(svg, box) {
    // Inside the image, so that every side of the box can be seen.
    var y0 = Math.max(0, box[0]), x0 = Math.max(0, box[1]);
    var y1 = Math.min(data.size[0], box[2]), x1 = Math.min(data.size[1], box[3]);
    [["#000", 3.5], ["#fff", 1.8]].forEach(function (line) {
      element(svg, "rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none", stroke: line[0],
                             "stroke-width": line[1], "vector-effect": "non-scaling-stroke" });
    });
  }

  // From just below one value, so that a bar of one value can be seen, to just above the highest bar.
  function range(panel) {
    return [Math.log10(0.7), Math.log10(1.4 * Math.max.apply(null, panel.data[0].y.concat(1)))];
  }

  function chart(parent, panel) {
    var place = element(parent, "div", { "class": "chart" }), style = getComputedStyle(document.documentElement);
    function colour(name) { return style.getPropertyValue(name).trim(); }
    var axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), fixedrange: true };
    panel.data.forEach(function (trace) { trace.marker = { color: colour("--bar") }; });
    Plotly.newPlot(place, panel.data, {
      margin: { l: 56, r: 8, t: 8, b: 42 }, bargap: 0, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: colour("--soft"), size: 12, family: "inherit" },
      xaxis: Object.assign({ title: { text: panel.x } }, axis),
      yaxis: Object.assign({ title: { text: panel.y + " (log)" }, type: "log", nticks: 5, range: range(panel) }, axis)
    }, { displayModeBar: false, responsive: true });
    if (panel.note) element(parent, "p", { "class": "hint" }, "Counted: " + panel.note + ".");
  }

  function table(parent, panel) {
    var body = element(element(parent, "table"), "tbody");
    panel.rows.forEach(function (row) {
      var line = element(body, "tr");
      element(line, "td", {}, row[0]);
      element(line, "td", {}, row[1]);
    });
  }

  function link(id, index) {
    var anchor = document.getElementById(id);
    if (index >= 0 && index < data.units.length) anchor.setAttribute("href", "#" + index);
    else anchor.removeAttribute("href");
  }

  function show() {
    var index = parseInt(location.hash.slice(1), 10);
    if (!(index >= 0 && index < data.units.length)) index = 0;
    var unit = data.units[index], address = data.address + ":" + index;
    document.title = address + " · convscope";
    document.getElementById("address").textContent = address;
    document.getElementById("crumb").textContent = index;
    var others = unit.flags.filter(function (flag) { return flag !== "dead"; }), flags = document.getElementById("flags");
    document.getElementById("dead").hidden = unit.flags.indexOf("dead") < 0;
    flags.hidden = !others.length;
    flags.textContent = others.map(function (flag) { return flag + ": " + data.meaning[flag] + "."; }).join(" ");
    link("before", index - 1);
    link("after", index + 1);
    var patches = document.getElementById("patches"), whole = document.getElementById("whole");
    var panels = document.getElementById("panels");
    [patches, whole, panels].forEach(function (each) { each.replaceChildren(); });
    var cells = data.map.cells[0] * data.map.cells[1], bytes = atob(unit.maps), image = [0, 0].concat(data.size);
    unit.top.forEach(function (top, rank) {
      var box = top.slice(2, 6), place = "rank " + (rank + 1) + ", " + data.pictures[top[0]].name;
      var patch = element(patches, "figure");
      picture(drawing(patch, box, "patch, " + place), top[0], Math.max(box[2] - box[0], box[3] - box[1]));
      caption(patch, top, rank);
      var full = element(whole, "figure"), svg = drawing(full, image, "image, " + place);
      var seen = picture(svg, top[0], Math.max(data.size[0], data.size[1]));
      if (cells) veil(seen, Uint8Array.from(bytes.substr(rank * cells, cells), function (c) { return c.charCodeAt(0); }));
      outline(svg, box);
      caption(full, top, rank);
    });
    if (!unit.top.length) element(patches, "p", { "class": "hint" }, "Nothing to show: every response was NaN.");
    unit.panels.forEach(function (panel) {
      var section = element(panels, "section", { "class": "panel" });
      element(section, "h2", {}, panel.title);
      (panel.kind === "plot" ? chart : table)(section, panel);
    });
  }

  window.addEventListener("hashchange", show);
  show();
})();

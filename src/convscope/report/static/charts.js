// Panels: tables as they are, charts by Plotly, which is fetched from the report only when a chart comes into sight.
(function () {
  "use strict";
  const self = window.convscope;
  let plotly = null;

  // Plotly wants plain colours, and the style has one for light and one for dark in each name.
  function colour(name) {
    const probe = self.element(document.body, "span", { style: "display:none;color:var(" + name + ")" });
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function traces(panel) {
    const marker = { color: colour("--bar") };
    if (panel.kind === "scatter") {
      return [{ type: "scatter", mode: "markers", x: panel.xs, y: panel.ys, text: panel.names, marker: { ...marker, size: 9, opacity: 0.75 },
                hovertemplate: "%{text}<br>" + panel.x + " %{x:.3g}<br>" + panel.y + " %{y:.3g}<extra></extra>" }];
    }
    const x = panel.heights.map((_, i) => panel.start + i * panel.step);
    return [{ type: "bar", x, y: panel.heights, width: panel.step, marker,
              hovertemplate: panel.x + " %{x:.3g}<br>%{y:.0f} " + panel.y + "<extra></extra>" }];
  }

  // From just below one value, so that a bar of one value can be seen, to just above the highest bar.
  function range(panel) {
    return [Math.log10(0.7), Math.log10(1.4 * Math.max(...panel.heights, 1))];
  }

  function draw(place, panel) {
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), fixedrange: true };
    const vertical = panel.log ? { title: { text: panel.y + " (log)" }, type: "log", nticks: 5, range: range(panel) }
      : { title: { text: panel.y }, nticks: 5, rangemode: "tozero" };
    window.Plotly.react(place, traces(panel), {
      margin: { l: 56, r: 8, t: 8, b: 42 }, bargap: 0, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: colour("--soft"), size: 12, family: "inherit" }, dragmode: false,
      xaxis: Object.assign({ title: { text: panel.x }, nticks: 6 }, axis), yaxis: Object.assign(vertical, axis),
    }, { displayModeBar: false, responsive: true });
  }

  const charts = new Map();
  const watch = self.lazily((place) => {
    plotly = plotly || self.script(self.root + "assets/plotly.min.js");
    plotly.then(() => charts.has(place) && draw(place, charts.get(place)));
  });
  document.addEventListener("themechange", () => charts.forEach((panel, place) => window.Plotly && place.firstChild && draw(place, panel)));

  function chart(parent, panel) {
    const place = self.element(parent, "div", { "class": "chart", role: "img", "aria-label": panel.title });
    charts.set(place, panel);
    watch(place);
    if (panel.note) self.element(parent, "p", { "class": "hint" }, "Counted: " + panel.note + ".");
  }

  function table(parent, panel) {
    const body = self.element(self.element(parent, "table"), "tbody");
    panel.rows.forEach((row) => {
      const line = self.element(body, "tr");
      self.element(line, "th", { scope: "row" }, row[0]);
      self.element(line, "td", {}, row[1]);
    });
  }

  self.panels = (parent, panels) => {
    charts.forEach((_, place) => parent.contains(place) && charts.delete(place));
    parent.replaceChildren();
    panels.forEach((panel) => {
      const section = self.element(parent, "section", { "class": "panel" });
      self.element(section, "h2", {}, panel.title);
      (panel.kind === "table" ? table : chart)(section, panel);
    });
  };
})();

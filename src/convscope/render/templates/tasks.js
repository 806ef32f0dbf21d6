// The three tasks: what is answered is kept in the browser at once, and saved as a file when that is asked for.
(function () {
  "use strict";
  var $ = function (id) { return document.getElementById(id); };
  var data = JSON.parse($("data").textContent), tasks = data.tasks;
  var KEY = "convscope-tasks-" + $("data").dataset.key, NAME = "convscope-annotator";
  var answers = tasks.map(function () { return { description: "", category: "", rejected: [], seconds: 0 }; });
  var at = 0, touched = 0;

  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ at: at, answers: answers }));
      localStorage.setItem(NAME, $("annotator").value);
      $("lost").hidden = true;
    } catch (error) { $("lost").hidden = false; }
  }
  function recall() {
    try {
      $("annotator").value = localStorage.getItem(NAME) || "";
      var kept = JSON.parse(localStorage.getItem(KEY));
      if (kept && kept.answers.length === tasks.length) { answers = kept.answers; at = kept.at; }
    } catch (error) { $("lost").hidden = false; }
  }
  function isDone(answer) { return answer.description.trim() !== "" && answer.category !== ""; }
  function say(text) { $("said").textContent = text; }

  function showUnits() {
    Array.prototype.forEach.call($("units").children, function (button, i) {
      var done = isDone(answers[i]);
      button.className = done ? "done" : "";
      button.setAttribute("aria-label", name(i) + (done ? ", answered" : ""));
      if (i === at) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    });
    $("state").textContent = "unit " + (at + 1) + " of " + tasks.length + ", " + answers.filter(isDone).length + " answered";
  }
  function showCount() {
    var n = tasks[at].images.length, marks = answers[at].rejected.length;
    $("count").innerHTML = "<b></b> of " + n + " fit (" + (100 * (n - marks) / n).toFixed(1) + " %), " + marks + " marked";
    $("count").firstChild.textContent = n - marks;
  }
  function name(i) { return tasks[i].layer + ":" + tasks[i].unit; }

  function show(i) {
    at = i;
    var task = tasks[at], answer = answers[at];
    $("title").textContent = name(at);
    $("grid").textContent = "";
    $("grid").classList.toggle("few", task.images.length <= 30);
    task.images.forEach(function (image, rank) {
      var button = document.createElement("button"), picture = document.createElement("img");
      button.type = "button";
      button.tabIndex = rank ? -1 : 0;
      button.setAttribute("aria-pressed", answer.rejected.indexOf(rank) >= 0);
      button.setAttribute("aria-label", "image " + (rank + 1) + " does not fit");
      picture.src = image.uri;
      picture.alt = "";
      button.appendChild(picture);
      if (image.spot) {
        var spot = document.createElement("span");
        spot.className = "spot";
        spot.style.left = 100 * image.spot[0] + "%";
        spot.style.top = 100 * image.spot[1] + "%";
        button.appendChild(spot);
      }
      $("grid").appendChild(button);
    });
    $("description").value = answer.description;
    $("description").removeAttribute("aria-invalid");
    document.querySelectorAll("[name=category]").forEach(function (radio) { radio.checked = radio.value === answer.category; });
    $("previous").disabled = at === 0;
    $("next").textContent = at === tasks.length - 1 ? "Save answers" : "Next unit →";
    showUnits();
    showCount();
    keep();
  }
  function go(i) {
    if (i < 0 || i >= tasks.length) return;
    show(i);
    say(name(at) + ", unit " + (at + 1) + " of " + tasks.length);
    $("task").scrollIntoView({ block: "nearest" });
    $("description").focus({ preventScroll: true });
  }
  function mark(button) {
    var answer = answers[at], rank = Array.prototype.indexOf.call($("grid").children, button), place = answer.rejected.indexOf(rank);
    if (!answer.description.trim()) { // the images are judged by it
      $("description").setAttribute("aria-invalid", "true");
      $("description").focus();
      say("First write what the images have in common.");
      return;
    }
    if (place >= 0) answer.rejected.splice(place, 1);
    else answer.rejected = answer.rejected.concat(rank).sort(function (one, other) { return one - other; });
    button.setAttribute("aria-pressed", place < 0);
    showCount();
    keep();
  }
  function save() {
    var annotator = $("annotator").value.trim();
    if (!annotator) {
      $("annotator").setAttribute("aria-invalid", "true");
      $("annotator").focus();
      say("First write your name.");
      return;
    }
    var found = [];
    answers.forEach(function (answer, i) {
      if (isDone(answer)) found.push({ layer: tasks[i].layer, unit: tasks[i].unit, annotator: annotator, description: answer.description.trim(),
        category: answer.category, rejected: answer.rejected, n: tasks[i].images.length, seconds: answer.seconds });
    });
    var whole = Object.assign({}, data.about, { annotations: found });
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(whole, null, 1) + "\n"], { type: "application/json" }));
    link.download = "annotations-" + (annotator.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "somebody") + "-" + $("data").dataset.key.slice(0, 6) + ".json";
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 10000);
    $("state").textContent = "saved " + found.length + " of " + tasks.length + " units" + (found.length < tasks.length ? "; the others lack a description or a kind" : "");
    say($("state").textContent);
  }

  tasks.forEach(function (task, i) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = i + 1;
    button.addEventListener("click", function () { go(i); });
    $("units").appendChild(button);
  });
  $("grid").addEventListener("click", function (event) {
    var button = event.target.closest("button");
    if (!button) return;
    focusOn(button);
    mark(button);
  });
  function focusOn(button) {
    var before = $("grid").querySelector("[tabindex='0']");
    if (before) before.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  }
  $("grid").addEventListener("keydown", function (event) {
    var buttons = Array.prototype.slice.call($("grid").children), i = buttons.indexOf(document.activeElement);
    var columns = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
    var step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (buttons[i + step]) focusOn(buttons[i + step]);
  });
  $("description").addEventListener("input", function () {
    answers[at].description = this.value;
    this.removeAttribute("aria-invalid");
    showUnits();
    keep();
  });
  $("description").addEventListener("keydown", function (event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    $("grid").querySelector("[tabindex='0']").focus();
  });
  $("form").addEventListener("change", function (event) {
    if (event.target.name !== "category") return;
    answers[at].category = event.target.value;
    showUnits();
    keep();
  });
  $("form").addEventListener("submit", function (event) {
    event.preventDefault();
    if (at < tasks.length - 1) go(at + 1); else save();
  });
  $("previous").addEventListener("click", function () { go(at - 1); });
  $("save").addEventListener("click", save);
  $("annotator").addEventListener("input", function () { this.removeAttribute("aria-invalid"); keep(); });
  document.addEventListener("keydown", function (event) {
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    var step = { KeyN: 1, KeyP: -1 }[event.code];
    if (step) { event.preventDefault(); go(at + step); }
  });
  // Time counts while the page is seen and somebody does something.
  ["pointermove", "keydown", "scroll"].forEach(function (kind) {
    document.addEventListener(kind, function () { touched = Date.now(); }, { passive: true });
  });
  setInterval(function () { if (!document.hidden && Date.now() - touched < 60000) answers[at].seconds += 1; }, 1000);
  window.addEventListener("pagehide", keep);

  recall();
  show(Math.min(at, tasks.length - 1));
})();

// Before anything is drawn: the theme that was chosen here before, if one was. Without it the system's is followed.
(function () {
  "use strict";
  try {
    var chosen = localStorage.getItem("convscope-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (error) { /* a browser that keeps nothing for pages from disk follows the system */ }
})();

// Says so where the browser did not run the module of this page: it is too old for modules, or for how ours are written,
// or was not given one. Written as browsers read it that know no modules.

window.addEventListener("load", function () {
  if (document.documentElement.hasAttribute("data-module-runs")) return;
  var places = document.querySelectorAll("[data-not-run]");
  for (var at = 0; at < places.length; at += 1) places[at].textContent = places[at].getAttribute("data-not-run");
  var told = document.getElementById("cannot-seal");
  if (told) told.className += " shown";
});

// An open list takes in what is new: its data-newest-in names the element that is told of the newest by the socket.
"use strict";

const QUIET_MS = 300; // after the first new row, for those that come with it
const PAUSE_MS = 3000; // between two refreshes, however many come
let refreshedAt = 0;
let waiting = null;

function takeIn() {
  const list = document.querySelector("[data-newest-in]");
  const newest = list && document.getElementById(list.dataset.newestIn);
  if (!newest || waiting || Number(newest.dataset.newest) <= Number(list.dataset.newest)) return;
  const delay = Math.max(QUIET_MS, refreshedAt + PAUSE_MS - Date.now());
  waiting = setTimeout(() => {
    waiting = null;
    refreshedAt = Date.now();
    const field = list.querySelector("[data-search]");
    if (document.activeElement !== field) htmx.trigger(list, "fog:newer");
  }, delay);
}
document.addEventListener("htmx:wsAfterMessage", takeIn);

// The log follows its end until somebody scrolls up; the list takes in new tasks while its first page is open.
"use strict";

// --- Log ------------------------------------------------------------------------------------------------

const log = document.querySelector("[data-log]");
const follow = document.querySelector("[data-log-follow]");

if (log && follow) {
  let following = true;

  const show = () => {
    follow.setAttribute("aria-pressed", String(following));
    follow.querySelector("span").textContent = following ? "Following" : "Follow";
  };
  const toEnd = () => { if (following) log.scrollTop = log.scrollHeight; };

  follow.hidden = false;
  follow.addEventListener("click", () => { following = !following; show(); toEnd(); });
  log.addEventListener("scroll", () => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    if (atEnd !== following) { following = atEnd; show(); }
  });
  new MutationObserver(toEnd).observe(log, { childList: true, subtree: true, characterData: true });
  toEnd();
}

// --- List -----------------------------------------------------------------------------------------------

const QUIET_MS = 300; // after the first new task, for those that come with it
const PAUSE_MS = 3000; // between two refreshes, however many tasks come
let refreshedAt = 0;
let waiting = null;

function takeIn() {
  const list = document.getElementById("task-directory");
  const newest = document.getElementById("tasks-newest");
  if (!list || !newest || waiting || !("firstPage" in list.dataset)) return;
  if (Number(newest.dataset.newest) <= Number(list.dataset.newest)) return;
  const delay = Math.max(QUIET_MS, refreshedAt + PAUSE_MS - Date.now());
  waiting = setTimeout(() => {
    waiting = null;
    refreshedAt = Date.now();
    const field = list.querySelector("[data-search]");
    if (document.activeElement !== field) htmx.trigger("#task-directory", "fog:newer");
  }, delay);
}
document.addEventListener("htmx:wsAfterMessage", takeIn);

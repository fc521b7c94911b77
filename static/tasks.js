// The log follows its end until somebody scrolls up.
"use strict";

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

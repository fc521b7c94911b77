// What every page shares. Pages are complete without it: links and forms work, times are in UTC.
"use strict";

const all = (selector, root = document) => root.querySelectorAll(selector);

// --- Theme ----------------------------------------------------------------------------------------

for (const button of all("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    document.documentElement.dataset.bsTheme = next;
    document.dispatchEvent(new CustomEvent("fog:theme"));
  });
}

// --- Times: <time data-clock> in local time, <time data-ago> and <time data-left> counting -------------

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function ago(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function left(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 60) return `in ${Math.round(seconds)} s`;
  if (seconds < 3600) return `in ${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `in ${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function tellTimes() {
  const now = Date.now();
  for (const element of all("time[data-left]")) {
    const text = left((Date.parse(element.dateTime) - now) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of all("time[data-ago]")) {
    const text = ago((now - Date.parse(element.dateTime)) / 1000);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of all("time[data-clock]:not([data-told])")) {
    const at = new Date(element.dateTime);
    element.textContent = (element.dataset.clock === "full" ? full : clock).format(at);
    element.title = full.format(at);
    element.dataset.told = "";
  }
}
tellTimes();
setInterval(tellTimes, 1000);

// --- Live state -------------------------------------------------------------------------------------

const live = document.querySelector("[data-testid=ws-status]");
const words = { connected: "Live", reconnecting: "Reconnecting", offline: "Offline" };

function showLive(status) {
  if (!live || live.dataset.status === status) return;
  live.dataset.status = status;
  live.querySelector(".live-word").textContent = words[status];
}

let heardAt = Date.now();

function showUpdate() {
  heardAt = Date.now();
  showLive("connected");
  const time = live?.querySelector("[data-testid=last-update]");
  if (!time) return;
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = clock.format(now);
}

document.addEventListener("htmx:wsConnecting", () => showLive(navigator.onLine ? "reconnecting" : "offline"));
document.addEventListener("htmx:wsOpen", () => {
  showLive("connected");
  document.getElementById("live-reason").textContent = "";
});
document.addEventListener("htmx:wsAfterMessage", () => { showUpdate(); tellTimes(); });
document.addEventListener("htmx:wsClose", (event) => {
  const { code } = event.detail.event;
  // 4xxx is the panel's own word: it refused, and trying again would not help.
  const refused = code >= 4000;
  showLive(refused || !navigator.onLine ? "offline" : "reconnecting");
  // The extension tries again by itself after a broken connection, but not after an orderly goodbye.
  if (!refused && ![1006, 1011, 1012, 1013].includes(code)) {
    setTimeout(() => event.detail.socketWrapper.reconnect(), 500 + 1000 * Math.random());
  }
});

// Every page hears of its navigation every few seconds; a connection that is silent for long is not live.
const SILENCE_MS = 20_000;
setInterval(() => {
  if (live?.dataset.status === "connected" && Date.now() - heardAt > SILENCE_MS) showLive("reconnecting");
}, 1000);
window.addEventListener("offline", () => showLive("offline"));
if (live && live.dataset.status !== "connected") showLive("reconnecting");
document.addEventListener("htmx:afterSettle", tellTimes);

// --- A push replaces parts of the page: what was opened there stays open, what had the focus has it again -----

const REACHED = "a[href], button, summary, input, select, textarea, [tabindex]";
let before = { open: [] };

const said = (element) => `${element.tagName} ${element.getAttribute("href") ?? element.textContent}`;

document.addEventListener("htmx:wsBeforeMessage", () => {
  const focused = document.activeElement;
  const root = focused?.parentElement?.closest("main [id]");
  const open = [...all("details[id][open]")].map((details) => details.id);
  before = { open };
  if (root) Object.assign(before, { focused, root: root.id, place: [...all(REACHED, root)].indexOf(focused), said: said(focused) });
});
document.addEventListener("htmx:wsAfterMessage", () => {
  for (const id of before.open) document.getElementById(id)?.setAttribute("open", "");
  if (!before.root || before.focused.isConnected) return;
  const root = document.getElementById(before.root);
  const again = root && [...all(REACHED, root)][before.place];
  if (again && said(again) === before.said) again.focus({ preventScroll: true });
});

// --- Keyboard: "/" goes to the search field, Escape closes the menu -----------------------------------

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const field = document.querySelector("[data-search]");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  }
  if (event.key === "Escape" && location.hash === "#menu") location.hash = "";
});

// --- Dialogs: data-opens="id" opens one, data-closes closes it, data-forgets="id" then empties --
//     that; data-confirm asks before a form is sent ---------------------------------------------------

const confirmDialog = document.getElementById("confirm");
let asked = null;

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (dialog) {
    event.preventDefault();
    dialog.showModal();
  }
  if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
});

document.querySelectorAll("[data-forgets]").forEach((dialog) => {
  dialog.addEventListener("close", () => document.getElementById(dialog.dataset.forgets).replaceChildren());
});

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (!question || !confirmDialog || asked === event.target) {
    asked = null;
    return;
  }
  event.preventDefault();
  event.stopImmediatePropagation();
  const form = event.target;
  const submitter = event.submitter;
  confirmDialog.querySelector("[data-question]").textContent = question;
  confirmDialog.querySelector("[data-yes]").textContent = submitter?.textContent.trim() || "Yes";
  confirmDialog.returnValue = "";
  confirmDialog.showModal();
  confirmDialog.addEventListener("close", () => {
    if (confirmDialog.returnValue !== "yes") return;
    asked = form;
    form.requestSubmit(submitter);
  }, { once: true });
}, true);

// --- Copy buttons: data-copies="id" ---------------------------------------------------------------------

function copyText(element) {
  const text = element.value ?? element.textContent;
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  getSelection().selectAllChildren(element); // plain http on another machine has no clipboard
  return document.execCommand("copy") ? Promise.resolve() : Promise.reject(new Error("not allowed"));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const label = button.querySelector("[data-copy-label]") ?? button;
  const before = label.textContent;
  copyText(document.getElementById(button.dataset.copies))
    .then(() => { label.textContent = "Copied"; }, () => { label.textContent = "Select and copy it by hand"; })
    .finally(() => setTimeout(() => { label.textContent = before; }, 2000));
});
for (const button of all("[data-copies]")) button.hidden = false;
document.addEventListener("htmx:load", (event) => {
  for (const button of all("[data-copies]", event.detail.elt)) button.hidden = false;
});

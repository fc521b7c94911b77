// The form of a new task: chooses among the privacy levels, and hands a private task in, sealed, in place of the browser.

import { whyNot } from "./ability.js";
import { showCosts } from "./costs.js";
import * as keyring from "./keyring.js";
import { KeyChanged } from "./panel.js";
import { handIn } from "./private-tasks.js";
import { levelOf, readSubmission } from "./submission.js";

const PAUSE_MS = 400; // of typing, before costs are looked up
const AGAIN_MS = 10_000; // what can be had and what it costs changes without that, too
const FIELDS = { argv: "command", module: "upload" }; // what errors are about, where the form calls it otherwise

const form = document.querySelector(".task-form");
const levels = document.getElementById("field-privacy");
const notice = document.getElementById("seal-notice");
const progress = document.getElementById("seal-progress");
const button = form.querySelector("[data-testid=task-submit]");
let isBusy = false;

form.addEventListener("submit", onSubmit);
const why = await whyNot();
if (why) refuse();
else begin();
for (const waiting of form.querySelectorAll("[data-waits]")) waiting.disabled = false;

function refuse() {
  const told = document.getElementById("cannot-seal");
  told.querySelector("[data-why]").textContent = why;
  told.classList.add("shown");
}

function begin() {
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, PAUSE_MS);
  });
  setInterval(() => { if (!document.hidden) refresh(true); }, AGAIN_MS);
  offer(); // only now: what was chosen before could have been sent open
  refresh();
  window.addEventListener("pageshow", ({ persisted }) => { if (persisted) setBusy(false); }); // somebody came back
}

async function refresh(anew = false) {
  await showCosts(form, levels, anew).catch(() => {}); // what is shown stays
  offer();
}

// What is sealed can be chosen where the panel does not refuse it. What is chosen already stays so: then the panel
// refuses when it is asked for nodes.
function offer() {
  for (const level of levels.querySelectorAll("[data-level]")) {
    const input = level.querySelector("input");
    input.disabled = !input.checked && !level.querySelector(".refusal").hidden;
  }
}

function onSubmit(event) {
  if (levelOf(form) === "public") return;
  event.preventDefault(); // nothing of it is sent by the browser itself
  if (event.submitter?.hasAttribute("formaction")) htmx.trigger(form, "change");
  else if (why) say(why);
  else if (!isBusy) submit();
}

async function submit() {
  forget();
  setBusy(true);
  try {
    const task = await handIn(await readSubmission(form), tell);
    location.assign(`/tasks/${task.id}`);
  } catch (error) {
    setBusy(false);
    show(error);
  }
}

function setBusy(busy) {
  isBusy = busy;
  button.disabled = busy;
  progress.hidden = !busy;
}

function tell(what, share) {
  const [words, bar] = [progress.querySelector("span"), progress.querySelector("progress")];
  if (words.textContent !== what) words.textContent = what;
  bar.hidden = share === undefined;
  if (share !== undefined) bar.value = share;
}

// --- What went wrong ----------------------------------------------------------------------------------------------

function show(error) {
  const marked = (error.errors ?? []).filter(mark);
  say(marked.length ? "The task was not handed in: see the fields marked below." : error.message);
  if (error instanceof KeyChanged) offerTrust(error.shown);
}

function say(sentence) {
  notice.querySelector("[data-text]").textContent = sentence;
  notice.hidden = false;
  notice.focus();
}

function offerTrust(key) {
  const trust = notice.querySelector("[data-trust]");
  trust.hidden = false;
  trust.onclick = async () => {
    await keyring.trust(key);
    forget();
  };
}

// Put a sentence beside its field; whether there is one.
function mark({ field, message }) {
  const base = field.split(/[.[]/)[0];
  const name = FIELDS[base] ?? base;
  const place = document.getElementById(`field-${name}`) ?? form.elements[name]?.closest?.(".field");
  if (!place) return false;
  const sentence = document.createElement("p");
  sentence.className = "form-error";
  sentence.dataset.marked = "";
  sentence.textContent = message;
  place.append(sentence);
  place.closest("details")?.setAttribute("open", "");
  form.elements[name].setAttribute?.("aria-invalid", "true");
  return true;
}

function forget() {
  notice.hidden = true;
  notice.querySelector("[data-trust]").hidden = true;
  for (const sentence of form.querySelectorAll("[data-marked]")) sentence.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

// The form of a new task: chooses among the privacy levels, and hands a private task in, sealed, in place of the browser.

import { BadDirectory } from "../sealing/errors.js";
import { whyNot } from "./ability.js";
import { showCosts } from "./costs.js";
import * as keyring from "./keyring.js";
import { Doubt, KeyChanged, knownRelays, OlderDirectory } from "./panel.js";
import { handIn } from "./private-tasks.js";
import { levelOf, readSubmission } from "./submission.js";

const PAUSE_MS = 400; // of typing, before costs are looked up
const AGAIN_MS = 10_000; // what can be had and what it costs changes without that, too
const FIELDS = { argv: "command", module: "upload" }; // what errors are about, where the form calls it otherwise

const form = document.querySelector(".task-form");
const levels = document.getElementById("field-privacy");
const notice = document.getElementById("seal-notice");
const doubt = document.getElementById("seal-doubt");
const progress = document.getElementById("seal-progress");
const button = form.querySelector("[data-testid=task-submit]");
document.documentElement.dataset.moduleRuns = ""; // before anything is waited for: see not-run.js
let isBusy = false;
let doubted = null; // the error that says why nothing is sealed for the nodes that the panel names

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
  look();
  doubt.querySelector("[data-way=key]").addEventListener("click", () => accept(KeyChanged));
  document.getElementById("accept-older").addEventListener("submit", (event) => { // once somebody has said yes (static/fogpanel.js)
    event.preventDefault();
    accept(OlderDirectory);
  });
  window.addEventListener("pageshow", ({ persisted }) => { if (persisted) setBusy(false); }); // somebody came back
}

async function refresh(anew = false) {
  await showCosts(form, levels, anew).catch(() => {}); // what is shown stays
  offer();
  if (anew && doubted) await look();
}

// What is sealed can be chosen where the panel does not refuse it, and nothing speaks against the panel. What is chosen
// already stays so: then it is refused when it is handed in.
function offer() {
  for (const level of levels.querySelectorAll("[data-level]")) {
    const input = level.querySelector("input");
    const isSealed = level.dataset.level !== "public";
    input.disabled = !input.checked && (!level.querySelector(".refusal").hidden || (isSealed && doubted !== null));
  }
}

// --- Whether the panel is to be gone by ------------------------------------------------------------------------------

// Where something was sealed here before, it is known before anybody fills the form that nothing would be now. A panel
// that does not answer, or has no directory, is not doubted: what else is wrong is said when it is handed in.
async function look() {
  try {
    if (!(await keyring.knowsPanel())) return;
    await knownRelays();
    suspect(null);
  } catch (error) {
    if (isDoubt(error)) suspect(error);
  }
}

function isDoubt(error) {
  return error instanceof Doubt || error instanceof BadDirectory;
}

function suspect(error) {
  doubted = error;
  doubt.hidden = error === null;
  doubt.querySelector("[data-text]").textContent = error?.message ?? "";
  doubt.querySelector("[data-way=key]").hidden = !(error instanceof KeyChanged);
  doubt.querySelector("[data-way=directory]").hidden = !(error instanceof OlderDirectory);
  offer();
}

// What is doubted may have become something else while somebody was asked.
async function accept(kind) {
  if (!(doubted instanceof kind)) return;
  try {
    await doubted.accept();
    suspect(null);
  } catch (error) {
    say(error.message);
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
  if (isDoubt(error)) {
    suspect(error);
    doubt.focus();
    return;
  }
  const marked = (error.errors ?? []).filter(mark);
  say(marked.length ? "The task was not handed in: see the fields marked below." : error.message);
}

function say(sentence) {
  notice.querySelector("[data-text]").textContent = sentence;
  notice.hidden = false;
  notice.focus();
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
  for (const sentence of form.querySelectorAll("[data-marked]")) sentence.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

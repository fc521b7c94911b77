// The page of the keys that this browser holds: of which tasks they are, how those stand, and deleting them.

import * as keyring from "./keyring.js";
import { get, panelKey } from "./panel.js";

document.documentElement.dataset.moduleRuns = ""; // see not-run.js

const AT_ONCE = 6; // tasks that the panel is asked about
const ENDED = ["succeeded", "failed", "cancelled", "expired", "forgotten"];

const root = document.getElementById("sealed-keys");
const [mayGo, said, table, done] = ["[data-may-go]", "[data-said]", "table", "[data-done]"].map((part) => root.querySelector(part));
const row = document.getElementById("key-row");
let held = []; // {keys, standing: {state, name}, element}

done.addEventListener("submit", (event) => remove(event, held.filter(isDone)));
mayGo.querySelector("[data-ask]").addEventListener("click", (event) => trying(() => ask(event.currentTarget)));
trying(begin);

async function begin() {
  held = (await keyring.all()).sort(newestFirst).map((keys) => drawn(keys));
  table.tBodies[0].append(...held.map(({ element }) => element));
  said.textContent = "";
  show();
  mayGo.hidden = !held.length || (await keyring.last());
  await askAbout([...held]);
  if (held.length) await panelKey(); // or it is said that these may be of another panel's tasks
}

const newestFirst = (one, other) => (other.kept_at ?? 0) - (one.kept_at ?? 0) || (other.task ?? 0) - (one.task ?? 0);

// Do something, and say what went wrong.
async function trying(work) {
  const error = root.querySelector("[data-error]");
  error.hidden = true;
  try {
    await work();
  } catch ({ message }) {
    said.textContent = "";
    error.textContent = message;
    error.hidden = false;
  }
}

async function ask(button) {
  const text = mayGo.querySelector("[data-text]");
  button.hidden = true;
  text.textContent = "Waiting for the browser, which may ask you.";
  const granted = await keyring.askToLast();
  text.textContent = granted
    ? "This browser has promised to keep them."
    : "This browser refused: it may drop these keys when it is short of room. Save those that matter as files, on their tasks’ pages.";
}

// --- How the tasks stand ----------------------------------------------------------------------------------------------

async function askAbout(waiting) {
  const askOneByOne = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) tell(one, await standingOf(one.keys));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, askOneByOne));
  show();
}

async function standingOf({ task, content_sha256 }) {
  if (!task) return { state: "unknown" };
  try {
    const { state, name, content } = await get(`/tasks/${task}`);
    // A panel that was set up anew gives its numbers anew; whose content we may not see, we cannot tell.
    if (content && content.payload_sha256 !== content_sha256) return { state: "forgotten" };
    return content ? { state, name } : { state: "unknown", name };
  } catch (error) {
    return { state: error.status === 404 ? "forgotten" : "unknown" };
  }
}

const hasEnded = ({ standing }) => ENDED.includes(standing.state);
const isDone = (one) => hasEnded(one) && Boolean(one.keys.opened_at);

// --- What is shown ----------------------------------------------------------------------------------------------------

function drawn(keys) {
  const element = row.content.cloneNode(true).querySelector("tr");
  const one = { keys, element, standing: { state: "asked" } };
  element.querySelector("[data-level]").textContent = keys.privacy;
  tellTime(element.querySelector("[data-kept]"), keys.kept_at);
  if (keys.opened_at) element.querySelector("[data-opened]").textContent = "opened here";
  element.querySelector("form").addEventListener("submit", (event) => remove(event, [one]));
  tell(one, one.standing);
  return one;
}

function tellTime(element, at) {
  if (at) element.dateTime = new Date(at).toISOString();
  else element.replaceWith("not known");
}

function tell(one, standing) {
  const { keys, element } = Object.assign(one, { standing });
  const link = element.querySelector("[data-task]");
  link.textContent = nameOf(one);
  if (keys.task && standing.state !== "forgotten") link.href = `/tasks/${keys.task}`;
  else link.removeAttribute("href");
  for (const pill of element.querySelectorAll("[data-standing]")) pill.hidden = pill.dataset.standing !== standing.state;
  element.querySelector("[data-whose]").textContent = ` the keys of ${nameOf(one)}`;
  element.querySelector("form").dataset.confirm = question(one);
}

function nameOf({ keys: { task }, standing: { name } }) {
  if (!task) return "Task without a number";
  return name ? `${name} #${task}` : `Task #${task}`;
}

const tasks = (count) => `${count} task${count === 1 ? "" : "s"}`;

// What is lost with the keys of one task.
function question(one) {
  const lost = "Its result can never be opened, unless you saved its keys as a file.";
  if (one.standing.state === "forgotten") return "The panel has this task no more, so there is nothing that its keys could open.";
  if (isDone(one)) return "Its result, which was opened here, can never be opened again, unless you saved its keys as a file.";
  if (hasEnded(one)) return `It has ended and was not opened here. ${lost}`;
  if (one.standing.state === "unknown") return `Whether it has ended is not known. ${lost}`;
  return `It has not ended, and cannot be sealed for other nodes then. ${lost}`;
}

function show() {
  const count = held.filter(isDone).length;
  root.querySelector("[data-count]").textContent = held.length ? `of ${tasks(held.length)}` : "";
  table.hidden = !held.length;
  root.querySelector("[data-none]").hidden = held.length > 0;
  if (!held.length) mayGo.hidden = true;
  done.hidden = !count;
  done.dataset.confirm = `Results that were opened here can never be opened again, unless you saved the keys as files: ${tasks(count)}.`;
  done.querySelector("[data-label]").textContent = `Delete keys of ${tasks(count)} opened here`;
}

// --- Deleting ---------------------------------------------------------------------------------------------------------

// Called once somebody has said yes (static/fogpanel.js).
function remove(event, gone) {
  event.preventDefault();
  trying(async () => {
    await keyring.drop(gone.map(({ keys }) => keys.content_sha256));
    held = held.filter((one) => !gone.includes(one));
    for (const { element } of gone) element.remove();
    said.textContent = gone.length === 1 ? `The keys of ${nameOf(gone[0])} are deleted.` : `The keys of ${tasks(gone.length)} are deleted.`;
    show();
    said.focus();
  });
}

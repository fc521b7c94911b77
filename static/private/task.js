// The page of a sealed task: opens its result, and seals it for other nodes, where its keys are here.

import { whyNot } from "./ability.js";
import { amount, duration } from "./amounts.js";
import * as keyring from "./keyring.js";
import { Doubt } from "./panel.js";
import { reseal, result } from "./private-tasks.js";

document.documentElement.dataset.moduleRuns = ""; // see not-run.js

const SHOWN_BYTES = 64 * 1024;

const sealed = document.getElementById("sealed");
const resealing = document.querySelector(".resealing");
const opened = document.getElementById("opened");
const { task, content } = sealed.dataset;
let keys = null;

if (task) begin(); // else whoever looks may not see content

async function begin() {
  const why = await whyNot();
  if (why) {
    sealed.querySelector("[data-why]").textContent = why;
    return;
  }
  sealed.querySelector("[data-import]").hidden = false;
  listen();
  document.addEventListener("htmx:wsAfterMessage", show);
  await look();
}

function listen() {
  onClick(sealed, "[data-open]", "[data-error]", open);
  onClick(sealed, "[data-export]", "[data-error]", save);
  onClick(resealing, "[data-reseal]", "[data-reseal-error]", sealAgain);
  sealed.querySelector("#key-file").addEventListener("change", (event) => trying(sealed, "[data-error]", event.target, take));
}

const onClick = (root, button, error, work) =>
  root.querySelector(button)?.addEventListener("click", (event) => trying(root, error, event.currentTarget, work));

// Do something once at a time, and say what went wrong.
async function trying(root, place, control, work) {
  const said = root.querySelector(place);
  said.hidden = true;
  control.disabled = true;
  try {
    await work(control);
  } catch (error) {
    said.textContent = error.message;
    said.hidden = false;
  } finally {
    control.disabled = false;
  }
}

async function look() {
  keys = (await keyring.find(content)) ?? null;
  if (keys && !keys.task) await note({ task: Number(task) }); // the answer with its number was lost
  sealed.querySelector("[data-may-go]").hidden = keys === null || (await keyring.last());
  for (const root of [sealed, resealing]) {
    for (const part of root.querySelectorAll("[data-when]")) part.hidden = (part.dataset.when === "keys") !== (keys !== null);
  }
  show();
}

// Keep that with its keys, if there is room: nothing depends on it.
async function note(more) {
  keys = { ...keys, ...more };
  await keyring.change(content, (kept) => ({ ...kept, ...more })).catch(() => {});
}

function show() {
  const isThere = document.getElementById("sealed-state").dataset.state === "there";
  sealed.querySelector("[data-open]").hidden = !isThere || !opened.hidden;
}

// --- Keys as a file -------------------------------------------------------------------------------------------------

function save() {
  download(keyring.written(keys), `task-${task}-keys.json`, "application/json");
}

async function take(input) {
  const [file] = input.files;
  if (!file) return;
  const read = keyring.readFile(await file.text());
  input.value = "";
  if (read.content_sha256 !== content) throw new keyring.BadKeyFile("These are the keys of another task.");
  await keyring.keep(read);
  await look();
}

function download(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// --- Sealing for other nodes -----------------------------------------------------------------------------------------

async function sealAgain() {
  const told = resealing.querySelector("[data-resealed]");
  told.textContent = "Looking for other nodes…";
  try {
    await reseal(task, keys);
    told.textContent = "Sealed for other nodes.";
    await look();
  } catch (error) {
    told.textContent = "";
    throw error instanceof Doubt ? new Error(`${error.message} On the form of a new task it can be gone by all the same.`) : error;
  }
}

// --- Opening ---------------------------------------------------------------------------------------------------------

async function open() {
  fill(await result(task, keys));
  opened.hidden = false;
  show();
  opened.focus();
  await note({ opened_at: Date.now() });
}

function fill({ outcome, exit_code, sentence, usage, truncated, stdout, stderr, node }) {
  const succeeded = outcome === "succeeded";
  for (const pill of opened.querySelectorAll("[data-outcome]")) {
    pill.hidden = (pill.dataset.outcome === "succeeded") !== succeeded;
    pill.querySelector("span").textContent = words(outcome);
  }
  fact("exit_code", exit_code);
  fact("sentence", sentence);
  fact("used", `${duration(usage.wall_s ?? 0)} wall · ${duration(usage.cpu_s ?? 0)} CPU · ${usage.memory_peak_mb ?? 0} MB memory`);
  fact("printed", `${amount(stdout.length)} on standard output, ${amount(stderr.length)} on standard error${truncated ? " · cut at the limit of 1 MiB each" : ""}`);
  fact("node", node.slice(0, 16) + "…");
  stream("stdout", stdout);
  stream("stderr", stderr);
  compare(succeeded, outcome);
}

function fact(name, value) {
  const told = opened.querySelector(`[data-fact=${name}]`);
  const isNone = value === null || value === "";
  told.textContent = value;
  const row = told.closest("dd");
  for (const part of [row, row.previousElementSibling]) part.hidden = isNone;
}

function stream(name, bytes) {
  const part = opened.querySelector(`[data-stream=${name}]`);
  part.hidden = !bytes.length;
  part.querySelector("pre").textContent = new TextDecoder().decode(bytes.subarray(0, SHOWN_BYTES));
  part.querySelector("[data-cut]").hidden = bytes.length <= SHOWN_BYTES;
  part.querySelector("a").href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
}

// What the panel says of the end counts only as far as the node says the same.
function compare(succeeded, outcome) {
  const state = document.querySelector("[data-testid=task-status]").dataset.state;
  const differs = opened.querySelector("[data-differs]");
  differs.hidden = succeeded === (state === "succeeded");
  differs.querySelector("span").textContent = `The panel says that it ${state}; its node, which signed this, says ${words(outcome).toLowerCase()}. Go by this.`;
}

const words = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

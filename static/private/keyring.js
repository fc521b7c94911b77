// The keys of private tasks, in this browser alone: who has them can reseal a task and open what came of it.
//
// A task's keys are kept before the panel hears of it, under the hash of its sealed content, which the panel tells of
// every task: so they are found even if the answer with the task's number was lost. Beside them is the panel's key as
// it was first seen from here.

import { fromBase64, fromHex, toBase64, toHex } from "../sealing/bytes.js";

const DATABASE = "fogpanel";
const TASKS = "tasks"; // {content_sha256 (hex), privacy, terms, content_key, result_key, reservations: {number: [identity]}, task}
const PANEL = "panel";

// A key file that cannot be taken. The message is a sentence.
export class BadKeyFile extends Error {}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(TASKS, { keyPath: "content_sha256" });
      request.result.createObjectStore(PANEL);
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// Do something within one transaction; what it returns is waited for, and so is that it is on the disk.
async function within(store, mode, work) {
  const database = await opened();
  try {
    const transaction = database.transaction(store, mode, { durability: "strict" });
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [found] = await Promise.all([work(transaction.objectStore(store)), ended]);
    return found;
  } finally {
    database.close();
  }
}

const answer = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

// Raises where this browser keeps nothing.
export const check = () => within(TASKS, "readonly", (store) => answer(store.count()));

export function keep(keys) {
  navigator.storage?.persist?.(); // or the browser may drop them when it is short of room
  return within(TASKS, "readwrite", (store) => answer(store.put(keys)));
}

export const find = (contentSha256) => within(TASKS, "readonly", (store) => answer(store.get(contentSha256)));

// Keep what `change` makes of the keys; of two tabs that do so one waits for the other.
export const change = (contentSha256, made) => within(TASKS, "readwrite", async (store) => {
  const keys = await answer(store.get(contentSha256));
  if (keys) await answer(store.put(made(keys)));
});

// These keys and one more reservation {reservation, nodes: [{identity}]}.
export const sealedFor = (keys, { reservation, nodes }) => (
  { ...keys, reservations: { ...keys.reservations, [reservation]: nodes.map(({ identity }) => identity) } }
);

// The panel's key as it is known here; that is `shown`, where none is.
export const pinnedKey = (shown) => within(PANEL, "readwrite", async (store) => {
  const known = await answer(store.get("key"));
  if (known) return known;
  await answer(store.put(shown, "key"));
  return shown;
});

export const trust = (key) => within(PANEL, "readwrite", (store) => answer(store.put(key, "key")));

// --- As a file, in the format of the command line's keyring (fogagent/client/keyring.py) ------------------------------

export function written({ content_sha256, content_key, result_key, reservations, ...plain }) {
  return JSON.stringify({
    ...plain,
    content_key: toBase64(content_key),
    content_sha256: toBase64(fromHex(content_sha256)),
    result_key: toBase64(result_key),
    reservations: mapped(reservations, (identity) => toBase64(fromHex(identity))),
  });
}

// Raises BadKeyFile.
export function readFile(text) {
  try {
    const { content_sha256, content_key, result_key, reservations, terms, privacy, task } = JSON.parse(text);
    const keys = {
      content_sha256: toHex(key(content_sha256)),
      privacy: String(privacy),
      terms: { network: false, ...terms },
      content_key: key(content_key),
      result_key: key(result_key),
      reservations: mapped(reservations, (identity) => toHex(key(identity))),
    };
    return task ? { ...keys, task } : keys;
  } catch (error) {
    throw new BadKeyFile("This is not a file with the keys of a private task.", { cause: error });
  }
}

function key(base64) {
  const bytes = fromBase64(base64);
  if (bytes.length !== 32) throw new TypeError("A key has 32 bytes.");
  return bytes;
}

const mapped = (reservations, change) =>
  Object.fromEntries(Object.entries(reservations).map(([number, nodes]) => [number, nodes.map(change)]));

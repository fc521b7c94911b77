// The keys of private tasks, in this browser alone: who has them can reseal a task and open what came of it.
//
// A task's keys are kept before the panel hears of it, under the hash of its sealed content, which the panel tells of
// every task: so they are found even if the answer with the task's number was lost. Beside them is the panel's key as
// it was first seen from here, and by that key the newest version of its directory that was.

import { fromBase64, fromHex, toBase64, toHex } from "../sealing/bytes.js";
import { answer, PANEL, TASKS, within } from "./database.js";

// What is kept of each: {content_sha256 (hex), privacy, terms, content_key, result_key, reservations: {number: [identity]},
// task, kept_at, opened_at}. The number is missing until the panel has told it, the last time (ms since 1970) until its
// result was opened here, and the one before where keys are older than these pages.

// A key file that cannot be taken. The message is a sentence.
export class BadKeyFile extends Error {}

// All of them raise Unkept where the browser does not keep or give them.
export const check = () => within(TASKS, "readonly", (store) => answer(store.count()));

export async function keep(keys) {
  const isFirst = await within(TASKS, "readwrite", async (store) => {
    const count = await answer(store.count());
    await answer(store.put({ kept_at: Date.now(), ...keys }));
    return count === 0;
  });
  if (isFirst) askToLast(); // nobody waits for it: some browsers ask whoever sits there
}

export const all = () => within(TASKS, "readonly", (store) => answer(store.getAll()));

// There is no way back, but for those that were saved as files.
export const drop = (hashes) => within(TASKS, "readwrite", async (store) => {
  for (const hash of hashes) await answer(store.delete(hash));
});

// Whether the browser has promised to keep them also when it is short of room.
export const last = async () => (await navigator.storage?.persisted?.()) ?? false;

// Have it promise that; whether it does.
export const askToLast = async () => (await navigator.storage?.persist?.()) ?? false;

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

// Whether anything was sealed here before.
export const knowsPanel = async () => (await within(PANEL, "readonly", (store) => answer(store.count("key")))) > 0;

// The newest directory that was seen here of the panel with this key: {version, made_at, seen_at}, times in seconds since
// 1970; undefined where none was. It stands in a store that older pages leave alone.
export const seenDirectory = (panelKey) => within(PANEL, "readonly", (store) => answer(store.get(directoryOf(panelKey))));

// Keep it unless a newer one is: of two tabs at once, either may come last.
export async function noteDirectory(panelKey, given) {
  const isNewer = (seen) => !seen || given.version > seen.version;
  if (!isNewer(await seenDirectory(panelKey))) return; // as most often, and nothing is to be written
  await within(PANEL, "readwrite", async (store) => {
    if (isNewer(await answer(store.get(directoryOf(panelKey))))) await put(store, panelKey, given);
  });
}

// Keep it, whatever was seen before.
export const goByDirectory = (panelKey, given) => within(PANEL, "readwrite", (store) => put(store, panelKey, given));

const put = (store, panelKey, { version, made_at }) =>
  answer(store.put({ version, made_at, seen_at: Date.now() / 1000 }, directoryOf(panelKey)));

const directoryOf = (panelKey) => `directory of ${toHex(panelKey)}`;

// --- As a file, in the format of the command line's keyring (fogagent/client/keyring.py) ------------------------------

export function written({ content_sha256, content_key, result_key, reservations, kept_at, opened_at, ...plain }) {
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

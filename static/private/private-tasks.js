// Private tasks at a panel that is to learn nothing of them: hand in, seal for other nodes, open what came of it.
//
// The panel chooses the nodes. Their keys come from the signed directory, and whatever else the panel says is compared
// with what was asked for.

import { fromBase64, fromHex, toBase64, toHex } from "../sealing/bytes.js";
import { NotInDirectory } from "../sealing/errors.js";
import { openResult } from "../sealing/result.js";
import { sealTask, wrapsFor } from "../sealing/task.js";
import * as keyring from "./keyring.js";
import { get, knownRelays, post } from "./panel.js";

// The panel says something that must not be gone by.
export class NotAsAsked extends Error {}

// The task, as the panel took it. `tell` is told what is being done, and how much of 1 of it.
export async function handIn({ told, terms, inside }, tell) {
  tell("Looking for nodes");
  const reserved = asAsked(await post("/reservations", told), told.privacy, terms);
  tell("Sealing");
  const sealed = await sealTask(terms, inside);
  const wraps = await wrapped(sealed, reserved);
  const keys = keysOf(told.privacy, terms, sealed);
  await keyring.keep(keyring.sealedFor(keys, reserved));
  const body = { sealed: toBase64(sealed.content), wraps };
  const task = await post(`/reservations/${reserved.reservation}/task`, body, (share) => tell("Sending", share));
  await keyring.change(keys.content_sha256, (kept) => ({ ...kept, task: task.id }));
  return task;
}

// Wrap the content key of a task for other nodes; nothing is encrypted or sent twice.
export async function reseal(taskId, keys) {
  const reserved = asAsked(await post(`/tasks/${taskId}/reservation`, {}), keys.privacy, keys.terms);
  const content = { contentKey: keys.content_key, contentSha256: fromHex(keys.content_sha256) };
  const wraps = await wrapped(content, reserved);
  await keyring.change(keys.content_sha256, (kept) => keyring.sealedFor(kept, reserved));
  return post(`/tasks/${taskId}/reseal`, { reservation: reserved.reservation, wraps });
}

// What came of a task, opened, with the `node` that signed it.
export async function result(taskId, keys) {
  const { reservation, node, sealed } = await get(`/tasks/${taskId}/sealed-result`);
  if (!keys.reservations[reservation]?.includes(node)) {
    throw new NotAsAsked(
      `The panel gives a result of the node ${node.slice(0, 16)}…, for which this task was not sealed. It was not opened.`,
    );
  }
  return { ...(await openResult(fromBase64(sealed), keys.result_key, reservation, node)), node };
}

async function wrapped(content, reserved) {
  try {
    return await wrapsFor(content, reserved, await knownRelays());
  } catch (error) {
    if (!(error instanceof NotInDirectory)) throw error;
    return wrapsFor(content, reserved, await knownRelays()); // it may have come just after that one was made
  }
}

function asAsked(reserved, privacy, terms) {
  const told = { privacy: reserved.privacy, ...reserved.terms };
  for (const [name, asked] of Object.entries({ privacy, ...terms })) {
    if (told[name] !== asked) {
      throw new NotAsAsked(`The panel answers ${name} = ${told[name]}, but ${name} = ${asked} was asked for. Nothing was sent.`);
    }
  }
  return reserved;
}

const keysOf = (privacy, terms, { contentKey, contentSha256, resultKey }) => ({
  content_sha256: toHex(contentSha256),
  privacy,
  terms,
  content_key: contentKey,
  result_key: resultKey,
  reservations: {},
});

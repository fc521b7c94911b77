// A task, sealed for the nodes of a reservation: fogagent/sealing/task.py.

import { concat, fromHex, sha256, toBase64, toHex } from "./bytes.js";
import { newContentKey, sealContent } from "./content.js";
import { NotInDirectory, TooLarge } from "./errors.js";
import { pack, packedSize } from "./packing.js";
import { binding, TASK, wrapKey } from "./wrapping.js";
import * as x25519 from "./x25519.js";

export const MAX_STDIN_BYTES = 1024 * 1024;

// `inside` is {image, args, env, payload, stdin}; payload and stdin are bytes, args of a command or container
// are its argv. `terms` are {driver, timeout_s, cpu_millis, memory_mb, network}.
const headOf = (terms, inside, resultKey) => (
  { terms, result_key: toBase64(resultKey), image: inside.image, args: inside.args, env: inside.env }
);

// How many bytes it has before it is padded, with so many bytes of payload and standard input.
export const taskSize = (terms, inside, payloadBytes, stdinBytes) =>
  packedSize(headOf(terms, inside, new Uint8Array(x25519.KEY_BYTES)), [payloadBytes, stdinBytes]);

// The sealed content, its key and hash, and the private key with which the result will open. Raises TooLarge.
export async function sealTask(terms, inside) {
  if (inside.stdin.length > MAX_STDIN_BYTES) {
    throw new TooLarge(`Sealed standard input has at most ${MAX_STDIN_BYTES} bytes, here ${inside.stdin.length}.`);
  }
  const [contentKey, resultKey] = [newContentKey(), await x25519.newPrivateKey()];
  const head = headOf(terms, inside, await x25519.publicKey(resultKey));
  const content = await sealContent(pack(head, [inside.payload, inside.stdin]), contentKey);
  return { content, contentKey, contentSha256: await sha256(content), resultKey };
}

// The content key for each node of a reservation {reservation, nodes: [{identity}]}, as the API takes them. The keys
// come from the directory that was verified, never from whoever made the reservation. Raises NotInDirectory and WrongKey.
export function wrapsFor({ contentKey, contentSha256 }, { reservation, nodes }, relays) {
  return Promise.all(nodes.map(async ({ identity }) => {
    const relay = relays.get(identity);
    if (!relay) {
      throw new NotInDirectory(
        `The reserved node ${identity.slice(0, 16)}… is not in the signed directory of nodes. Nothing was sent; try again in a while.`,
      );
    }
    const info = concat(TASK, binding(reservation, fromHex(identity), contentSha256));
    return { node: toHex(relay.identity), wrapped: toBase64(await wrapKey(contentKey, relay.sealing_key, info)) };
  }));
}

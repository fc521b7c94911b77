// What came of a sealed task, sealed and signed by its node: fogagent/sealing/result.py.

import { concat, fromHex, fromText, sha256 } from "./bytes.js";
import { openContent } from "./content.js";
import { BadContent, Cut, NotByNode } from "./errors.js";
import { unpack } from "./packing.js";
import { binding, RESULT, unwrapKey, WRAPPED_BYTES } from "./wrapping.js";

const SIGNED = fromText("fogpanel sealed result v1\0");
const PREFACE_BYTES = WRAPPED_BYTES + 64;
export const OUTCOMES = [
  "succeeded", "exit_code", "timeout", "memory", "fuel", "trap", "invalid", "cancelled", "unavailable", "crashed", "unknown",
];

// {outcome, exit_code, sentence, usage, truncated, stdout, stderr}; `node` is the identity of the node that made it.
// Raises NotByNode, Cut, WrongKey, Damaged, UnknownVersion and BadContent.
export async function openResult(sealed, resultKey, reservation, node) {
  if (sealed.length < PREFACE_BYTES) throw new Cut("The sealed result is cut: it ends before its content.");
  const content = sealed.subarray(PREFACE_BYTES);
  const bound = binding(reservation, fromHex(node), await sha256(content));
  if (!(await isSignedBy(fromHex(node), concat(SIGNED, bound), sealed.subarray(WRAPPED_BYTES, PREFACE_BYTES)))) {
    throw new NotByNode(`The result was not signed by the node ${node.slice(0, 16)}… for this task, or was changed since.`);
  }
  const key = await unwrapKey(sealed.subarray(0, WRAPPED_BYTES), resultKey, concat(RESULT, bound));
  const { head, parts: [stdout, stderr] } = unpack(await openContent(content, key), 2);
  return { ...read(head), stdout, stderr };
}

async function isSignedBy(identity, message, signature) {
  try {
    const key = await crypto.subtle.importKey("raw", identity, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", key, signature, message);
  } catch (error) {
    if (error instanceof DOMException) return false; // no point of the curve
    throw error;
  }
}

function read({ outcome, exit_code = null, sentence = "", usage = {}, truncated = false }) {
  const right = OUTCOMES.includes(outcome)
    && (exit_code === null || Number.isInteger(exit_code))
    && typeof sentence === "string"
    && typeof usage === "object" && usage !== null && Object.values(usage).every((amount) => amount >= 0)
    && typeof truncated === "boolean";
  if (!right) throw new BadContent("What was sealed is not a result.");
  return { outcome, exit_code, sentence, usage, truncated };
}

// A content key wrapped for one receiver, one reservation and one content, as fogagent/sealing/wrapping.py does it.

import { concat, fromText, unsigned } from "./bytes.js";
import { KEY_BYTES } from "./content.js";
import { BadContent, WrongKey } from "./errors.js";
import * as hpke from "./hpke.js";

export const WRAPPED_BYTES = 80;
export const TASK = fromText("fogpanel sealed task key v1\0");
export const RESULT = fromText("fogpanel sealed result key v1\0");

// What a wrap, and the signature of a result, belong to: 72 bytes.
export function binding(reservation, node, contentSha256) {
  if (node.length !== 32 || contentSha256.length !== 32) throw new TypeError("Identities and hashes have 32 bytes.");
  return concat(unsigned(reservation, 8), node, contentSha256);
}

// `info` is a purpose and a binding. Raises WrongKey where nothing can be sealed for the public key.
export async function wrapKey(key, publicKey, info) {
  try {
    return await hpke.seal(publicKey, info, key);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new WrongKey("The directory has a key that nothing can be sealed for.", { cause: error });
  }
}

// Raises WrongKey, and BadContent where what was wrapped is not a content key.
export async function unwrapKey(wrapped, privateKey, info) {
  const key = await hpke.open(privateKey, info, wrapped).catch((error) => {
    if (!(error instanceof DOMException)) throw error;
    throw new WrongKey(
      "The content key does not unwrap: it was wrapped for another key, reservation, node or content, or was damaged.",
      { cause: error },
    );
  });
  if (key.length !== KEY_BYTES) throw new BadContent(`What was wrapped has ${key.length} bytes; a content key has ${KEY_BYTES}.`);
  return key;
}

// X25519 key pairs (RFC 7748) over WebCrypto. Private keys are 32 bytes, as everywhere else in Fogpanel.

import { concat, fromHex } from "./bytes.js";

export const KEY_BYTES = 32;

// What stands before the 32 bytes of a private key in PKCS #8 (RFC 8410).
const PKCS8 = fromHex("302e020100300506032b656e04220420");
const BASE_POINT = Uint8Array.of(9, ...new Array(31).fill(0));

export async function newPrivateKey() {
  const pair = await crypto.subtle.generateKey("X25519", true, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey)).slice(PKCS8.length);
}

export const publicKey = (privateKey) => exchange(privateKey, BASE_POINT);

// The shared secret. Raises OperationError for the few public keys with which it would be zero for everybody,
// and DataError for what is no key.
export async function exchange(privateKey, publicKey) {
  const mine = await crypto.subtle.importKey("pkcs8", concat(PKCS8, privateKey), "X25519", false, ["deriveBits"]);
  const theirs = await crypto.subtle.importKey("raw", publicKey, "X25519", false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, mine, 8 * KEY_BYTES));
}

// HPKE (RFC 9180), single-shot, base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
// Names in quotes are the RFC's.

import { concat, fromText, unsigned } from "./bytes.js";
import * as x25519 from "./x25519.js";

export const ENC_BYTES = x25519.KEY_BYTES;

const KEM = 0x0020;
const KDF = 0x0001;
const AEAD = 0x0002;
const HASH_BYTES = 32;
const NONCE_BYTES = 12;
const BASE_MODE = 0;

const NOTHING = new Uint8Array(0);
const VERSION = fromText("HPKE-v1");
const KEM_SUITE = concat(fromText("KEM"), unsigned(KEM, 2));
const SUITE = concat(fromText("HPKE"), unsigned(KEM, 2), unsigned(KDF, 2), unsigned(AEAD, 2));

// "enc" and then the ciphertext. The ephemeral key is a new one, but where a published vector is checked.
export async function seal(publicKey, info, plaintext, aad = NOTHING, ephemeral = null) {
  const mine = ephemeral ?? (await x25519.newPrivateKey());
  const enc = await x25519.publicKey(mine);
  const shared = await sharedSecret(await x25519.exchange(mine, publicKey), concat(enc, publicKey));
  const { key, iv } = await schedule(shared, info, "encrypt");
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: aad }, key, plaintext);
  return concat(enc, new Uint8Array(sealed));
}

// The plaintext. Raises OperationError where it was sealed for another key or another `info`, or changed.
export async function open(privateKey, info, sealed, aad = NOTHING) {
  const enc = sealed.subarray(0, ENC_BYTES);
  const context = concat(enc, await x25519.publicKey(privateKey));
  const shared = await sharedSecret(await x25519.exchange(privateKey, enc), context);
  const { key, iv } = await schedule(shared, info, "decrypt");
  const algorithm = { name: "AES-GCM", iv, additionalData: aad };
  return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, sealed.subarray(ENC_BYTES)));
}

// "ExtractAndExpand"
async function sharedSecret(dh, context) {
  const prk = await labeledExtract(KEM_SUITE, NOTHING, "eae_prk", dh);
  return labeledExpand(KEM_SUITE, prk, "shared_secret", context, HASH_BYTES);
}

// "KeySchedule" without a pre-shared key
async function schedule(shared, info, usage) {
  const pskIdHash = await labeledExtract(SUITE, NOTHING, "psk_id_hash", NOTHING);
  const infoHash = await labeledExtract(SUITE, NOTHING, "info_hash", info);
  const context = concat([BASE_MODE], pskIdHash, infoHash);
  const secret = await labeledExtract(SUITE, shared, "secret", NOTHING);
  const raw = await labeledExpand(SUITE, secret, "key", context, HASH_BYTES);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, [usage]);
  return { key, iv: await labeledExpand(SUITE, secret, "base_nonce", context, NONCE_BYTES) };
}

// HKDF-Extract. A salt of nothing is the same as zeros, and WebCrypto knows no HMAC key of nothing.
const labeledExtract = (suite, salt, label, material) =>
  hmac(salt.length ? salt : new Uint8Array(HASH_BYTES), concat(VERSION, suite, fromText(label), material));

// HKDF-Expand, which for no more than one hash is a single HMAC
async function labeledExpand(suite, prk, label, info, length) {
  const labeled = concat(unsigned(length, 2), VERSION, suite, fromText(label), info);
  return (await hmac(prk, concat(labeled, [1]))).subarray(0, length);
}

async function hmac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

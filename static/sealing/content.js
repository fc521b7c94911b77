// Content sealed once under a random key, in numbered chunks; the format is written down in
// fogagent/sealing/content.py, to the byte.

import { concat, equal, fromText, unsigned } from "./bytes.js";
import { Cut, Damaged, UnknownVersion, WrongKey } from "./errors.js";

export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const HEADER_BYTES = 64;
export const CHUNK_LOG2 = 16;

const MAGIC = fromText("sealed");
const VERSION = 1;
const INTRODUCTION_BYTES = 8; // magic, version and chunk size
const SALT_BYTES = 24;
const CHUNK_LOG2_LEAST = 10;
const CHUNK_LOG2_MOST = 20;
const DERIVATION = fromText("fogpanel sealed content v1\0");

export const newContentKey = () => crypto.getRandomValues(new Uint8Array(KEY_BYTES));

// Seal what fits into memory.
export async function sealContent(content, key, chunkLog2 = CHUNK_LOG2) {
  const introduction = concat(MAGIC, [VERSION, chunkLog2]);
  const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
  const { chunkKey, commitment } = await derive(key, introduction, salt);
  const chunks = cut(content.length, 1 << chunkLog2);
  const sealed = new Uint8Array(HEADER_BYTES + content.length + chunks.length * TAG_BYTES);
  sealed.set(concat(introduction, salt, commitment));
  for (const { number, start, end, last } of chunks) {
    const algorithm = { name: "AES-GCM", iv: nonce(number, last) };
    const chunk = await crypto.subtle.encrypt(algorithm, chunkKey, content.subarray(start, end));
    sealed.set(new Uint8Array(chunk), HEADER_BYTES + start + number * TAG_BYTES);
  }
  return sealed;
}

// The content. Raises UnknownVersion, WrongKey, Damaged or Cut.
export async function openContent(sealed, key) {
  const { introduction, salt, commitment, chunkLog2 } = readHeader(sealed);
  const derived = await derive(key, introduction, salt);
  if (!equal(commitment, derived.commitment)) {
    throw new WrongKey("The key does not fit: it belongs to other content, or the header was changed.");
  }
  const rest = sealed.subarray(HEADER_BYTES);
  const opened = [];
  for (const chunk of cut(rest.length, (1 << chunkLog2) + TAG_BYTES)) {
    opened.push(await openChunk(derived.chunkKey, chunk, rest.subarray(chunk.start, chunk.end)));
  }
  return concat(...opened);
}

function readHeader(sealed) {
  const header = sealed.subarray(0, HEADER_BYTES);
  const begun = Math.min(header.length, MAGIC.length);
  if (!equal(header.subarray(0, begun), MAGIC.subarray(0, begun))) {
    throw new Damaged("This is not sealed content: it does not begin as such.");
  }
  if (header.length < HEADER_BYTES) throw new Cut("The sealed content is cut: it ends before its first chunk.");
  const [version, chunkLog2] = header.subarray(MAGIC.length, INTRODUCTION_BYTES);
  if (version !== VERSION) {
    throw new UnknownVersion(`This is sealed in version ${version} of the format; this page knows version ${VERSION} only.`);
  }
  if (chunkLog2 < CHUNK_LOG2_LEAST || chunkLog2 > CHUNK_LOG2_MOST) {
    throw new Damaged("The sealed content is damaged: its header names an impossible chunk size.");
  }
  return {
    introduction: header.subarray(0, INTRODUCTION_BYTES),
    salt: header.subarray(INTRODUCTION_BYTES, INTRODUCTION_BYTES + SALT_BYTES),
    commitment: header.subarray(INTRODUCTION_BYTES + SALT_BYTES),
    chunkLog2,
  };
}

async function derive(key, introduction, salt) {
  if (key.length !== KEY_BYTES) throw new TypeError(`A content key has ${KEY_BYTES} bytes, not ${key.length}.`);
  const material = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
  const algorithm = { name: "HKDF", hash: "SHA-256", salt, info: concat(DERIVATION, introduction) };
  const both = new Uint8Array(await crypto.subtle.deriveBits(algorithm, material, 8 * 2 * KEY_BYTES));
  const chunkKey = await crypto.subtle.importKey("raw", both.subarray(0, KEY_BYTES), "AES-GCM", false, ["encrypt", "decrypt"]);
  return { chunkKey, commitment: both.subarray(KEY_BYTES) };
}

// Where each chunk is; the last may be shorter, and is there even of nothing.
function cut(length, size) {
  const count = Math.max(1, Math.ceil(length / size));
  return Array.from({ length: count }, (_, number) => (
    { number, start: number * size, end: Math.min(length, (number + 1) * size), last: number === count - 1 }
  ));
}

const nonce = (number, last) => concat(unsigned(number, 11), [last ? 1 : 0]);

async function openChunk(key, { number, last }, chunk) {
  if (chunk.length < TAG_BYTES || (number && chunk.length === TAG_BYTES)) {
    throw new Cut(`The sealed content is cut in its chunk ${number}.`);
  }
  const opened = await tryToOpen(key, nonce(number, last), chunk);
  if (opened) return opened;
  if (last && (await tryToOpen(key, nonce(number, false), chunk))) {
    throw new Cut(`The sealed content is cut: it ends with its chunk ${number}, which is not the last.`);
  }
  throw new Damaged(`The sealed content is damaged in its chunk ${number}${last ? ", or cut there" : ""}.`);
}

async function tryToOpen(key, iv, chunk) {
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, chunk));
  } catch (error) {
    if (error.name === "OperationError") return null; // the tag does not fit
    throw error;
  }
}

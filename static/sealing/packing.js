// How a task or a result becomes one stretch of content whose size tells little: fogagent/sealing/packing.py.

import { concat, fromText, unsigned } from "./bytes.js";
import { CHUNK_LOG2, HEADER_BYTES, TAG_BYTES } from "./content.js";
import { BadContent, TooLarge } from "./errors.js";

export const BUCKETS = Array.from({ length: 13 }, (_, log2) => 2 ** (12 + log2));
const LENGTH_BYTES = 4;

// Bytes of content that have `bucket` bytes when sealed.
export function room(bucket) {
  const chunks = Math.ceil((bucket - HEADER_BYTES) / (2 ** CHUNK_LOG2 + TAG_BYTES));
  return bucket - HEADER_BYTES - chunks * TAG_BYTES;
}

// The bucket of so much content. Raises TooLarge.
export function paddedSize(contentBytes) {
  const found = BUCKETS.find((bucket) => room(bucket) >= contentBytes);
  if (found) return found;
  throw new TooLarge(`At most ${room(BUCKETS.at(-1))} bytes can be sealed as one, these are ${contentBytes}.`);
}

// How many bytes a head and parts of these sizes have before they are padded.
export const packedSize = (head, sizes) =>
  [fromText(JSON.stringify(head)).length, ...sizes].reduce((whole, size) => whole + LENGTH_BYTES + size, 0);

// Content, padded. Raises TooLarge.
export function pack(head, parts) {
  const pieces = [fromText(JSON.stringify(head)), ...parts].flatMap((part) => [unsigned(part.length, LENGTH_BYTES), part]);
  const content = concat(...pieces);
  return concat(content, new Uint8Array(room(paddedSize(content.length)) - content.length));
}

// The head, and so many parts. Raises BadContent.
export function unpack(content, parts) {
  const pieces = [];
  let rest = content;
  for (let index = 0; index <= parts; index += 1) {
    const end = LENGTH_BYTES + rest.subarray(0, LENGTH_BYTES).reduce((number, byte) => number * 256 + byte, 0);
    if (end > rest.length) throw new BadContent("What was sealed breaks the rules: it is shorter than it says.");
    pieces.push(rest.slice(LENGTH_BYTES, end));
    rest = rest.subarray(end);
  }
  return { head: parsed(pieces[0]), parts: pieces.slice(1) };
}

function parsed(bytes) {
  let head = null;
  try {
    head = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // as what is no object
  }
  if (typeof head !== "object" || head === null) throw new BadContent("What was sealed breaks the rules: its head is not JSON.");
  return head;
}

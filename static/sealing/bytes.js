// Bytes, and how they are written down. Numbers are unsigned and big-endian everywhere.

const text = new TextEncoder();
const AT_ONCE = 3 * 8192; // so many fit into one call of fromCharCode, and base64 goes by threes

export const fromText = (written) => text.encode(written);

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const equal = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

// A number as so many bytes. Raises RangeError where it has no place there.
export function unsigned(number, size) {
  let rest = BigInt(number);
  if (rest < 0n || rest >= 1n << BigInt(8 * size)) throw new RangeError(`${number} has no place in ${size} bytes.`);
  const bytes = new Uint8Array(size);
  for (let at = size - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function fromHex(written) {
  if (!/^([0-9a-f]{2})*$/.test(written)) throw new TypeError("These are not bytes in hexadecimal.");
  return Uint8Array.from(written.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function toBase64(bytes) {
  const pieces = [];
  for (let at = 0; at < bytes.length; at += AT_ONCE) {
    pieces.push(btoa(String.fromCharCode.apply(null, bytes.subarray(at, at + AT_ONCE))));
  }
  return pieces.join("");
}

// Raises where it is not base64.
export function fromBase64(written) {
  const characters = atob(written);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at += 1) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

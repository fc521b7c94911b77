// The relay directory: the nodes and the keys to seal for, signed by the panel. fogagent/overlay/directory.py.

import { concat, equal, fromText, sha256, toHex, unsigned } from "./bytes.js";
import { BadDirectory } from "./errors.js";

const PURPOSE = fromText("fogpanel directory v1\0");
const MAX_RELAYS = 20_000;

// A whole directory: {version, made_at, relays}, those by identity in hexadecimal. `panelKey` is the panel's, `now`
// seconds since the epoch. Raises BadDirectory.
export async function judge(encoded, panelKey, now) {
  const changes = read(encoded);
  if (!(await isSigned(changes, panelKey))) {
    throw new BadDirectory(`The directory ${changes.version} of nodes was not signed by this panel.`);
  }
  if (now >= changes.expires_at) {
    throw new BadDirectory(
      `The directory ${changes.version} of nodes expired on ${inUtc(changes.expires_at)}, and here it is ${inUtc(now)}. `
      + "If the panel works, this machine's clock is ahead.",
    );
  }
  if (!equal(await digest(changes.relays), changes.digest)) {
    throw new BadDirectory(`The directory ${changes.version} of nodes is not the one that was signed.`);
  }
  const { version, made_at, relays } = changes;
  return { version: Number(version), made_at, relays };
}

// A time as people compare it with their clock.
export const inUtc = (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;

// Integers of 64 bits come as BigInt, all others as numbers.
function read(encoded) {
  try {
    const { base, version, made_at, expires_at, upserts, digest, signature } = MessagePack.decode(encoded, { useBigInt64: true });
    const relays = new Map(upserts.map(asRelay).map((relay) => [toHex(relay.identity), relay]));
    const right = Number(base) === 0 && made_at <= expires_at && relays.size === upserts.length && relays.size <= MAX_RELAYS;
    if (!right) throw new TypeError("It is not a whole directory, names a relay twice, or has too many.");
    return { version, made_at, expires_at, relays, digest: bytes(digest, 32), signature: bytes(signature, 64) };
  } catch (error) {
    throw new BadDirectory(`The directory of nodes breaks its rules: ${error.message}`, { cause: error });
  }
}

// What is left out has its default.
function asRelay({ address = "", family = "", region = "", flags = [], bandwidth_kbps = 0, networks = [], ...given }) {
  return {
    identity: bytes(given.identity, 32),
    sealing_key: bytes(given.sealing_key, 32),
    encoding: encoding({ ...given, address, family, region, flags, bandwidth_kbps, networks }),
  };
}

// As it is signed.
function encoding(relay) {
  const flags = relay.flags.join(",") + (relay.networks.length ? `;${relay.networks.join(",")}` : "");
  const texts = [relay.name, relay.address, relay.family, relay.region, flags].map(fromText);
  const parts = [...texts, relay.certificate];
  return concat(
    bytes(relay.identity, 32),
    bytes(relay.onion_key, 32),
    bytes(relay.sealing_key, 32),
    unsigned(relay.node, 8),
    unsigned(relay.bandwidth_kbps, 8),
    ...parts.map((part) => unsigned(part.length, 2)),
    ...parts,
  );
}

function bytes(given, length) {
  if (!(given instanceof Uint8Array) || given.length !== length) throw new TypeError(`There are not ${length} bytes where there must be.`);
  return given;
}

const digest = (relays) => sha256(concat(...[...relays.keys()].sort().map((identity) => relays.get(identity).encoding)));

async function isSigned({ version, made_at, expires_at, digest, signature }, panelKey) {
  const times = new DataView(new ArrayBuffer(16));
  times.setFloat64(0, made_at);
  times.setFloat64(8, expires_at);
  const signed = concat(PURPOSE, unsigned(version, 8), new Uint8Array(times.buffer), digest);
  const key = await crypto.subtle.importKey("raw", panelKey, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, signed);
}

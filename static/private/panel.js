// Speaking with the panel: its API, with the session of this page, and its signed directory of nodes.

import { fromBase64, toHex } from "../sealing/bytes.js";
import { inUtc, judge } from "../sealing/directory.js";
import * as keyring from "./keyring.js";

const TRIES = 3;
const PAUSE_MS = 1000;

// The panel's answer was an error: `code` is for programs, `errors` are [{field, message}].
export class Refused extends Error {
  constructor({ detail, code = "", errors = [] }, status) {
    super(detail);
    Object.assign(this, { code, errors, status });
  }
}

// It gave no answer.
export class Unreachable extends Error {}

// What is known here speaks against the panel. `accept` has it forgotten, for who knows why that is so.
export class Doubt extends Error {}

// The panel shows another key than the one that is known here.
export class KeyChanged extends Doubt {
  constructor(known, shown) {
    super(
      `This panel shows another key than before: ${toHex(shown)}, not ${toHex(known)}. Somebody may be in between, or it was `
      + "set up anew. Nothing was sealed. Ask its operator, to whom “Add node” shows the key.",
    );
    this.accept = () => keyring.trust(shown);
  }
}

// The panel gives an older directory than it gave before.
export class OlderDirectory extends Doubt {
  constructor(panelKey, given, seen) {
    super(
      `The panel’s directory of nodes is refused, so nothing was sealed. It is version ${given.version} of ${inUtc(given.made_at)}, `
      + `but on ${inUtc(seen.seen_at)} version ${seen.version} of ${inUtc(seen.made_at)} was seen in this browser. Nodes may stand `
      + "in it that were thrown out since: somebody may be in between, or the panel was restored from a backup. Then it signs a "
      + "newer one when it is started. Ask its operator.",
    );
    this.accept = () => keyring.goByDirectory(panelKey, given);
  }
}

export const get = async (path) => parsed(await answered("GET", path));

// Named by a key, so that it is done once however often it is sent. `sent` is told how much of 1 has gone.
export async function post(path, body, sent = () => {}) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": csrfToken(), "Idempotency-Key": crypto.randomUUID() };
  return parsed(await answered("POST", path, headers, JSON.stringify(body), sent));
}

// The relays of the directory that the panel gives now, by identity. Raises BadDirectory, KeyChanged and OlderDirectory.
export async function knownRelays() {
  const key = await panelKey();
  // Before the panel is asked: what another tab sees meanwhile may be newer than our answer.
  const seen = await keyring.seenDirectory(key);
  const given = await judge(new Uint8Array(await answered("GET", "/relay-directory")), key, Date.now() / 1000);
  if (seen && given.version < seen.version) throw new OlderDirectory(key, given, seen);
  await keyring.noteDirectory(key, given);
  return given.relays;
}

// Pinned on first use, as ssh does it: who could sign a directory in the panel's name could have everything sealed for himself.
// Raises KeyChanged.
export async function panelKey() {
  const shown = fromBase64((await get("/agents/panel")).panel_key);
  const known = await keyring.pinnedKey(shown);
  if (toHex(known) !== toHex(shown)) throw new KeyChanged(known, shown);
  return known;
}

async function answered(method, path, headers, body, sent) {
  for (let tried = 1; ; tried += 1) {
    try {
      const { status, response } = await asked(method, path, headers, body, sent);
      if (status < 300) return response;
      throw new Refused(problem(response, status), status);
    } catch (error) {
      const mayPass = error instanceof Unreachable || error.status === 503;
      if (!mayPass || tried === TRIES) throw error;
      await new Promise((done) => { setTimeout(done, PAUSE_MS * tried); });
    }
  }
}

// With XMLHttpRequest, since fetch does not tell how much was sent.
function asked(method, path, headers = {}, body = null, sent = null) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, `/api/v1${path}`);
    request.responseType = "arraybuffer";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (sent) request.upload.addEventListener("progress", ({ loaded, total }) => sent(loaded / total));
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Unreachable("The panel gives no answer; is the connection there? Try again.")));
    request.send(body);
  });
}

const parsed = (response) => JSON.parse(new TextDecoder().decode(response));

function problem(response, status) {
  try {
    return parsed(response);
  } catch {
    return { detail: `The panel answered with an error (${status}).` };
  }
}

const csrfToken = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];

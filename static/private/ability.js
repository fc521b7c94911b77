// Whether this browser can seal, on this page.

import * as x25519 from "../sealing/x25519.js";
import * as keyring from "./keyring.js";

// Why it cannot, as a sentence; empty where it can.
export async function whyNot() {
  if (!globalThis.crypto?.subtle) {
    return "Browsers encrypt only on pages that came over https or from their own machine (localhost), and this one did not.";
  }
  try {
    await x25519.publicKey(await x25519.newPrivateKey());
    await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  } catch {
    return "This browser lacks X25519 or Ed25519, with which tasks are sealed; newer ones have both.";
  }
  try {
    await keyring.check();
  } catch (error) {
    return error.message;
  }
  return "";
}

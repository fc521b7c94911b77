// What each privacy level costs for what the form holds, before anything of it is sent.

import { BUCKETS, paddedSize, room } from "../sealing/packing.js";
import { amount, duration, times } from "./amounts.js";
import { get } from "./panel.js";
import { sizesOf } from "./submission.js";

const NOT_YET = "not measured yet";
let asked = { bucket: BUCKETS[0], told: Promise.resolve({ items: [] }) }; // the page comes with the first

// Show it. The panel is asked about the size after padding, which it will see anyway, and not about the one before;
// it is asked where that has changed, or `anew`.
export async function showCosts(form, levels, anew) {
  const { open, packed } = sizesOf(form);
  const bucket = bucketOf(packed);
  fill(levels.querySelector("[data-level=public]"), "send", amount(open));
  if (anew || asked?.bucket !== bucket) asked = { bucket, told: get(`/privacy?size=${room(bucket ?? BUCKETS[0])}`) };
  const mine = asked;
  try {
    const { items } = await mine.told;
    if (mine === asked) for (const quote of items) show(levels, quote, bucket);
  } catch (error) {
    if (mine === asked) asked = null; // so that it is asked again
    throw error;
  }
}

// Null where it is too large to be sealed.
function bucketOf(packed) {
  try {
    return paddedSize(packed);
  } catch {
    return null;
  }
}

function show(levels, { level: name, refusal, start_s, samples, transfers, bytes_per_s }, bucket) {
  const level = levels.querySelector(`[data-level="${CSS.escape(name)}"]`);
  if (!level) return;
  const sealed = bucket ? `${amount(bucket)} padded, over a network ${times(transfers)}` : "too large to be sealed";
  fill(level, "start", start_s === null ? NOT_YET : `${duration(start_s)}, the median of ${samples}`);
  if (name !== "public") fill(level, "send", sealed);
  fill(level, "speed", bytes_per_s === null ? NOT_YET : `${amount(bytes_per_s)}/s`);
  const sentence = level.querySelector(".refusal");
  sentence.textContent = refusal;
  sentence.hidden = !refusal;
}

function fill(level, cost, text) {
  const element = level?.querySelector(`[data-cost=${cost}]`);
  if (element) element.textContent = text;
}

// What each privacy level costs for what the form holds, before anything of it is sent.

import { BUCKETS, paddedSize, room } from "../sealing/packing.js";
import { amount, duration, times } from "./amounts.js";
import { get } from "./panel.js";
import { sizesOf } from "./submission.js";

const NOT_YET = "not measured yet";
let asked = null; // for how many bytes, and what the panel told

// Show it. The panel is asked about the size after padding, which it will see anyway, and not about the one before.
export async function showCosts(form, levels) {
  const { open, packed } = sizesOf(form);
  const bucket = bucketOf(packed);
  if (asked?.bucket !== bucket) asked = { bucket, told: get(`/privacy?size=${room(bucket ?? BUCKETS[0])}`) };
  const mine = asked;
  try {
    const { items } = await mine.told;
    if (mine === asked) for (const quote of items) show(levels, quote, open, bucket);
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

function show(levels, { level: name, refusal, start_s, samples, transfers, bytes_per_s }, open, bucket) {
  const level = levels.querySelector(`[data-level="${CSS.escape(name)}"]`);
  if (!level) return;
  const sealed = bucket ? `${amount(bucket)} padded, over a network ${times(transfers)}` : "too large to be sealed";
  fill(level, "start", start_s === null ? NOT_YET : `${duration(start_s)}, the median of ${samples}`);
  fill(level, "send", name === "public" ? amount(open) : sealed);
  fill(level, "speed", bytes_per_s === null ? NOT_YET : `${amount(bytes_per_s)}/s`);
  const sentence = level.querySelector(".refusal");
  sentence.textContent = refusal;
  sentence.hidden = !refusal;
}

function fill(level, cost, text) {
  const element = level?.querySelector(`[data-cost=${cost}]`);
  if (element) element.textContent = text;
}

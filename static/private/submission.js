// From the form of a new task to what the panel may be told of it and what is sealed.
//
// Public tasks are checked by the panel (tasks/submission.py); of one that it cannot see, what is inside is checked
// here by the same rules. The rest it checks when it is asked for a reservation, also that no container is sealed.

import { fromText } from "../sealing/bytes.js";
import { MAX_STDIN_BYTES, taskSize } from "../sealing/task.js";
import { readPairs, splitWords } from "./words.js";

export const MAX_SOURCE_BYTES = 1024 * 1024;
export const MAX_MODULE_BYTES = 16 * 1024 * 1024;
export const MAX_ARGS = 256;
export const MAX_ARGS_BYTES = 32 * 1024;
export const MAX_ENV_BYTES = 32 * 1024;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,99}$/;
const UNSTORABLE = /[\0\ud800-\udfff]/u; // with u, only surrogates that are alone
const MODULE = Uint8Array.of(0x00, 0x61, 0x73, 0x6d);
const COMPONENT = Uint8Array.of(0x0d, 0x00, 0x01, 0x00);

const TAKES_ARGV = ["command", "container"];
const OUTSIDE_TEXTS = ["disk_mb", "gpus", "strategy", "region", "priority", "max_attempts"];

// What is wrong with the fields of the form: [{field, message}], as the API tells it.
export class WrongFields extends Error {
  constructor(errors) {
    super(errors.map(({ message }) => message).join(" "));
    this.errors = errors;
  }
}

// What is chosen, also where it cannot be had.
export const levelOf = (form) => form.querySelector("[name=privacy]:checked")?.value ?? "public";

// {told, terms, inside}: the body of POST /reservations, the terms, and what is to be sealed. Raises WrongFields.
export async function readSubmission(form) {
  const reading = new Reading(form);
  const terms = reading.terms();
  const told = { ...reading.outside(), ...toldOf(terms), privacy: levelOf(form) };
  const inside = await reading.inside(terms.driver);
  if (reading.errors.length) throw new WrongFields(reading.errors);
  return { told, terms, inside };
}

// How many bytes it has as it stands, for what that costs: as it is, and packed to be sealed. Nothing is checked.
export function sizesOf(form) {
  const reading = new Reading(form);
  const terms = reading.terms();
  const sizes = [reading.payloadSize(terms.driver), fromText(form.elements.stdin.value).length];
  return { open: sizes[0] + sizes[1], packed: taskSize(terms, reading.words(), ...sizes) };
}

const argsField = (driver) => (driver === "command" ? "command" : "args");

// What the terms are called in a specification. Cores are told so that they come out as the same number.
const toldOf = ({ cpu_millis, ...terms }) => ({ ...terms, cores: cpu_millis / 1000 });

class Reading {
  constructor(form) {
    this.fields = form.elements;
    this.errors = [];
  }

  refuse(field, rule) {
    this.errors.push({ field, message: `${field}: ${rule}` });
  }

  terms() {
    const driver = this.fields.driver.value;
    return {
      driver,
      timeout_s: this.number("timeout_s"),
      cpu_millis: Math.round(1000 * this.number("cores")),
      memory_mb: this.number("memory_mb"),
      network: TAKES_ARGV.includes(driver) && this.fields.network.checked,
    };
  }

  // An empty field means its default, which must not be left to the panel here: it is sealed as a term.
  number(name) {
    const input = this.fields[name];
    if (input.validity.badInput) this.refuse(name, "must be a number.");
    return Number(input.value || input.dataset.default);
  }

  outside() {
    const { fields } = this;
    const told = Object.fromEntries(OUTSIDE_TEXTS.map((name) => [name, fields[name].value.trim()]));
    const name = fields.name.value.trim();
    const flags = { region_required: fields.region_required.checked, onion_required: fields.onion_required.checked };
    const { pairs, wrong } = readPairs(fields.labels.value.split(","));
    if (wrong) this.refuse("labels", `write name=value, with commas between; “${wrong}” is not such a pair.`);
    const all = { name, ...told, ...flags, labels: pairs ?? {} };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "" && value !== false));
  }

  async inside(driver) {
    const words = this.words();
    this.checkArgs(driver, words.args);
    this.checkEnv(words.env);
    return { ...words, payload: await this.payload(driver), stdin: this.stdin() };
  }

  // Arguments and environment, as far as they can be read.
  words() {
    const field = argsField(this.fields.driver.value);
    const args = splitWords(this.fields[field].value);
    if (!args) this.refuse(field, "a quote is not closed; close it or escape it with \\.");
    const { pairs, wrong } = readPairs(this.fields.env.value.split("\n"));
    if (wrong) this.refuse("env", `write one NAME=value a line; “${wrong}” is not such a pair.`);
    return { image: "", args: args ?? [], env: pairs ?? {} };
  }

  checkArgs(driver, args) {
    const field = argsField(driver);
    if (driver === "command" && !args.length) {
      this.refuse(field, "is missing; the driver command needs the command and its arguments.");
    } else if (driver === "command" && !args[0].trim()) this.refuse(field, "must begin with the name of the program to run.");
    if (args.length > MAX_ARGS) this.refuse(field, `must be at most ${MAX_ARGS} texts, were ${args.length}.`);
    this.checkTexts(field, args, MAX_ARGS_BYTES);
  }

  checkEnv(env) {
    const wrong = Object.keys(env).find((name) => !ENV_NAME.test(name));
    if (wrong !== undefined) {
      this.refuse("env", `names are letters, digits and _, do not start with a digit and have at most 100 characters; “${wrong.slice(0, 40)}” is not such a name.`);
    }
    if (Object.keys(env).length > MAX_ARGS) this.refuse("env", `must be at most ${MAX_ARGS} names, were ${Object.keys(env).length}.`);
    this.checkTexts("env", [...Object.keys(env), ...Object.values(env)], MAX_ENV_BYTES);
  }

  checkTexts(field, texts, most) {
    if (texts.some((text) => UNSTORABLE.test(text))) this.refuse(field, "must be text without NUL characters and lone surrogates.");
    this.limit(field, texts.reduce((size, text) => size + fromText(text).length, 0), most);
  }

  limit(field, size, most) {
    if (size > most) this.refuse(field, `at most ${most.toLocaleString("en")} bytes, was ${size.toLocaleString("en")}.`);
  }

  upload(driver) {
    return ["python", "wasm"].includes(driver) ? this.fields.upload.files[0] : undefined;
  }

  payloadSize(driver) {
    return this.upload(driver)?.size ?? (driver === "python" ? fromText(this.fields.source.value).length : 0);
  }

  async payload(driver) {
    const upload = this.upload(driver);
    if (upload) return this.file(driver, upload);
    if (driver === "wasm") this.refuse("upload", "is missing; the driver wasm needs a WebAssembly module.");
    if (driver !== "python") return new Uint8Array(0);
    const source = fromText(this.fields.source.value);
    if (!this.fields.source.value.trim()) this.refuse("source", "is missing; the driver python needs the text of a script.");
    this.limit("source", source.length, MAX_SOURCE_BYTES);
    return source;
  }

  async file(driver, upload) {
    if (!upload.size) this.refuse("upload", "the file is empty; choose another.");
    this.limit("upload", upload.size, driver === "python" ? MAX_SOURCE_BYTES : MAX_MODULE_BYTES);
    if (this.errors.length) return new Uint8Array(0);
    let content = null;
    try {
      content = new Uint8Array(await upload.arrayBuffer());
    } catch {
      this.refuse("upload", "the file cannot be read any more; choose it again."); // it was changed or removed since
      return new Uint8Array(0);
    }
    if (driver === "wasm") this.checkModule(content);
    return content;
  }

  checkModule(content) {
    const begins = (bytes, at) => bytes.every((byte, index) => content[at + index] === byte);
    if (!begins(MODULE, 0)) this.refuse("upload", "must start with the bytes 00 61 73 6d of a WebAssembly module.");
    else if (begins(COMPONENT, 4)) {
      this.refuse("upload", "is a WebAssembly component; build it as a core module for WASI preview 1 instead.");
    }
  }

  stdin() {
    const content = fromText(this.fields.stdin.value);
    this.limit("stdin", content.length, MAX_STDIN_BYTES);
    return content;
  }
}

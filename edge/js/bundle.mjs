// Verifies a bundle and predicts with it, as the Python runtime does: trust anchor, signature of the manifest, model, expiry,
// digests of the files; only then anything else is read.
//
// Rows have the inputs by their own names. Calendar parts are not derived from a time column here.

import { createHash, createPublicKey, verify } from "node:crypto";
import { lstat, readFile, readdir, realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import "./no_telemetry.mjs"; // before onnxruntime-node
import { InferenceSession, Tensor } from "onnxruntime-node";

const TRUTHS = { True: "true", TRUE: "true", False: "false", FALSE: "false" };
const CLOCK_ERROR = 24 * 3600 * 1000; // ms

/** An error with the exit code of the Python runtime. */
export class EdgeError extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

const untrusted = (message) => new EdgeError(3, `${message}; get the bundle again`);
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** Verify the bundle in a folder; returns its manifest and the bytes of its files. */
export async function openBundle(folder, trustFile, now = Date.now()) {
  try {
    return await verified(folder, trustFile, now);
  } catch (error) {
    // Valid JSON may still be no object, or lack a member.
    throw error instanceof EdgeError ? error : untrusted(`${folder} with ${trustFile} cannot be read (${error.message})`);
  }
}

async function verified(folder, trustFile, now) {
  const inside = (await realpath(folder).catch(() => folder)) + sep;
  if ((await realpath(trustFile).catch(() => "")).startsWith(inside)) {
    throw new EdgeError(3, `${trustFile} lies inside the bundle, which cannot vouch for itself; install it apart`);
  }
  const anchor = JSON.parse(await plainFile(trustFile, 64 * 1024));
  if (anchor.format !== "trueup-trust/1") throw new EdgeError(3, `${trustFile} is no trust anchor of this format`);
  const data = await plainFile(join(folder, "manifest.json"), 16 * 2 ** 20);
  checkSignature(data, await plainFile(join(folder, "manifest.sig"), 4096), anchor);
  const manifest = JSON.parse(data);
  if (manifest.format !== "trueup-bundle/1") throw new EdgeError(3, `the format ${manifest.format} is not known`);
  if (manifest.model !== anchor.model) throw new EdgeError(5, `the bundle is for ${manifest.model}, not ${anchor.model}`);
  if (!(now < Date.parse(manifest.expires))) throw new EdgeError(6, `the manifest expired at ${manifest.expires}`);
  if (!(now >= Date.parse(manifest.issued) - CLOCK_ERROR)) throw new EdgeError(6, "the clock is before the manifest");
  const names = Object.keys(manifest.files);
  const extra = (await readdir(folder)).filter((name) => !["manifest.json", "manifest.sig", ...names].includes(name));
  if (extra.length) throw untrusted(`${extra[0]} is not in the manifest`);
  const files = {};
  for (const name of names) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw untrusted(`${name} is not a plain file name`);
    files[name] = await plainFile(join(folder, name), manifest.files[name].bytes);
    if (files[name].length !== manifest.files[name].bytes) throw untrusted(`${name} is torn`);
    if (sha256(files[name]) !== manifest.files[name].sha256) throw untrusted(`${name} differs from what was signed`);
  }
  return { manifest, files };
}

/** Load a verified bundle; `predict(row)` returns a number, or an object with the probability of each class. */
export async function load(folder, trustFile) {
  const bundle = await openBundle(folder, trustFile);
  return { manifest: bundle.manifest, predict: await predictor(bundle) };
}

/** The function that predicts a row with a verified bundle. */
export async function predictor({ manifest, files }) {
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };
  const session = await InferenceSession.create(files["model.onnx"], options);
  const encoders = manifest.inputs.map(encoder);
  const names = new Set(manifest.inputs.map((input) => input.name));
  return async (row) => {
    const unknown = Object.keys(row).find((name) => !names.has(name));
    if (unknown !== undefined) throw new EdgeError(2, `${unknown} is not an input of this model`);
    const features = Float64Array.from(encoders, (encode) => encode(row));
    const answer = await session.run({ features: new Tensor("float64", features, [1, features.length]) });
    const values = Array.from(answer.prediction.data);
    if (manifest.task !== "multiclass") return values[0];
    return Object.fromEntries(manifest.output.classes.map((name, position) => [name, values[position]]));
  };
}

function checkSignature(data, signatureFile, anchor) {
  const { key_id: keyId, signature } = JSON.parse(signatureFile);
  const key = anchor.keys.find((entry) => entry.key_id === keyId);
  if (key === undefined) throw new EdgeError(3, `signed with the key ${keyId}, which the trust anchor does not have`);
  const raw = Buffer.from(key.public, "hex");
  if (raw.length !== 32 || sha256(raw).slice(0, 16) !== keyId) throw new EdgeError(3, `${keyId} is no usable key`);
  const jwk = { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") };
  const message = Buffer.concat([Buffer.from("trueup-bundle-1\n"), data]);
  const valid = /^[0-9a-f]{128}$/.test(signature);
  if (!valid || !verify(null, message, createPublicKey({ key: jwk, format: "jwk" }), Buffer.from(signature, "hex"))) {
    throw untrusted("the signature is wrong");
  }
}

async function plainFile(path, limit) {
  const about = await lstat(path).catch(() => undefined);
  if (!about?.isFile()) throw untrusted(`${path} is missing or not a plain file`);
  if (about.size > limit) throw untrusted(`${path} is larger than ${limit} bytes`);
  return readFile(path);
}

/** A member of a row, and not one that all objects have, such as `constructor`; null if it is missing. */
const own = (row, name) => (Object.hasOwn(row, name) ? (row[name] ?? null) : null);

/** The function that makes a number of one input's value in a row. */
function encoder(input) {
  const missing = input.missing ?? NaN;
  const unknown = input.unknown ?? NaN;
  if (input.kind === "category") {
    const codes = new Map(input.categories.map((text, code) => [text, code]));
    return (row) => {
      const value = own(row, input.name);
      if (value === null || Number.isNaN(value)) return missing;
      if (!["string", "boolean", "number"].includes(typeof value)) {
        throw new EdgeError(2, `${input.name} is a ${typeof value}; a text is needed, null if it is missing`);
      }
      const text = String(value);
      return codes.get(text) ?? codes.get(TRUTHS[text]) ?? unknown;
    };
  }
  const rounded = input.dtype === "float32" ? Math.fround : (value) => value;
  return (row) => {
    const value = own(row, input.name);
    if (value !== null && !["number", "boolean"].includes(typeof value)) {
      throw new EdgeError(2, `${input.name} is a ${typeof value}; a number is needed, null if it is missing`);
    }
    const number = value === null ? NaN : rounded(Number(value));
    if (Number.isNaN(number)) return missing;
    if (!Number.isFinite(number) && !input.infinite) throw new EdgeError(2, `${input.name} is infinite`);
    return number;
  };
}

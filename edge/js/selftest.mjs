// node selftest.mjs BUNDLE --trust trust.json
//
// Verifies a bundle and predicts its parity rows, which must agree with those of the machine where it was made. Exit codes
// are those of `python -m trueup_edge`; the reason of a refusal is one line on standard error.

import { parseArgs } from "node:util";
import { EdgeError, openBundle, predictor } from "./bundle.mjs";

const INFINITE = { Infinity: Infinity, "-Infinity": -Infinity }; // JSON has none, so parity rows write them as text

async function selfTest(folder, trustFile) {
  const bundle = await openBundle(folder, trustFile);
  const { manifest, files } = bundle;
  const predict = await predictor(bundle);
  const numbers = new Set(manifest.inputs.filter((input) => input.kind === "number").map((input) => input.name));
  const lines = files["parity.jsonl"].toString().split("\n").filter(Boolean);
  if (!lines.length) throw new EdgeError(7, "parity.jsonl has no rows, so nothing can be compared");
  let largest = 0;
  for (const [index, line] of lines.entries()) {
    const { row, prediction: expected } = JSON.parse(line);
    for (const name of numbers) if (row[name] in INFINITE) row[name] = INFINITE[row[name]];
    const prediction = await predict(row);
    // An object has keys such as "10" in an order of its own.
    const predicted = typeof prediction === "number" ? [prediction] : manifest.output.classes.map((name) => prediction[name]);
    const apart = predicted.map((value, k) => Math.abs(value - expected[k]) / Math.max(1, Math.abs(expected[k])));
    const difference = predicted.length === expected.length ? Math.max(...apart) : NaN;
    if (!(difference <= manifest.tolerance)) {
      throw new EdgeError(7, `row ${index + 1} of parity.jsonl: predicted ${predicted}, expected ${expected}`);
    }
    largest = Math.max(largest, difference);
  }
  const { model, version, epoch, tolerance } = manifest;
  return `${model} version ${version}, epoch ${epoch}: verified; ${lines.length} rows predicted as where it was made (largest difference ${largest}, allowed ${tolerance})`;
}

try {
  const { values, positionals } = parseArgs({ options: { trust: { type: "string" } }, allowPositionals: true });
  if (positionals.length !== 1 || !values.trust) throw new EdgeError(2, "usage: node selftest.mjs BUNDLE --trust trust.json");
  console.log(await selfTest(positionals[0], values.trust));
} catch (error) {
  console.error(String(error.message).split("\n")[0]);
  process.exitCode = error.exitCode ?? (error.code?.startsWith("ERR_PARSE_ARGS") ? 2 : error instanceof SyntaxError ? 3 : 7);
}

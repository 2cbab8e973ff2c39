// JSON.parse sees the model that the judge sees, for every body of corpus.json that is judged.
//
// Bodies that the judge refuses are not compared: upstreams never get them.

import { readFileSync } from "node:fs";

const bodyOf = (entry) =>
  "base64" in entry ? Buffer.from(entry.base64, "base64") : Buffer.from(entry.body, "utf8");

const modelOf = (body) => {
  if (body.length === 0) return null;
  const document = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body));
  return document === null ? null : (document.model ?? null);
};

const main = () => {
  const corpus = JSON.parse(readFileSync(new URL("corpus.json", import.meta.url), "utf8"));
  const judged = corpus.filter((entry) => !("refused" in entry));
  for (const entry of judged) {
    let seen;
    try {
      seen = modelOf(bodyOf(entry));
    } catch (error) {
      console.log(`node: ${entry.name}: judged, but not read: ${error.message}`);
      return 1;
    }
    if (seen !== entry.model) {
      console.log(`node: ${entry.name}: the judge sees ${entry.model}, the parser ${seen}`);
      return 1;
    }
  }
  console.log(`node: ${judged.length} of ${corpus.length} bodies are judged, and read as the judge does`);
  return judged.length > 0 ? 0 : 1;
};

process.exitCode = main();

// Answers of transformers.js: node ask_transformers_js.mjs REQUEST.json ANSWERS.json
// A request is a list of {task, root, bundle, calls: [[arguments, options], ...]}; the answers come in the same order.
import { readFileSync, writeFileSync } from "node:fs";
import { Tensor, env, pipeline } from "@huggingface/transformers";

const [request, answers] = process.argv.slice(2);
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useFSCache = false;

// JSON of what a pipeline gives: tensors become nested lists.
const plain = (value) => (value instanceof Tensor ? value.tolist() : value);

const results = [];
for (const { task, root, bundle, calls } of JSON.parse(readFileSync(request, "utf-8"))) {
  env.localModelPath = root;
  try {
    const ask = await pipeline(task, bundle, { dtype: "fp32", device: "cpu" });
    const found = [];
    for (const [inputs, options] of calls) found.push(plain(await ask(...inputs, options)));
    results.push(found);
    await ask.dispose();
  } catch (error) {
    results.push({ error: `${error}` });
  }
}
writeFileSync(answers, JSON.stringify(results));

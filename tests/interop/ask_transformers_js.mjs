// Answers of transformers.js: node ask_transformers_js.mjs REQUEST.json ANSWERS.json
// A request is a list of {task, root, bundle, dtype, calls: [[arguments, options], ...]}, perhaps with model_file_name;
// the answers come in the same order: what the pipeline gives or, where it writes, the rows of tokens that it made its text of.
import { readFileSync, writeFileSync } from "node:fs";
import { Tensor, env, pipeline } from "@huggingface/transformers";

const [request, answers] = process.argv.slice(2);
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useFSCache = false;

// JSON of what a pipeline gives: tensors become nested lists.
const plain = (value) => (value instanceof Tensor ? value.tolist() : value);

// Have a pipeline's model keep the tokens that it writes.
const listen = (ask) => {
  const heard = {};
  const generate = ask.model.generate.bind(ask.model);
  ask.model.generate = async (...given) => (heard.tokens = await generate(...given));
  return heard;
};

const results = [];
for (const { task, root, bundle, dtype, model_file_name, calls } of JSON.parse(readFileSync(request, "utf-8"))) {
  env.localModelPath = root;
  try {
    const ask = await pipeline(task, bundle, { dtype: dtype ?? undefined, model_file_name, device: "cpu" });
    const heard = listen(ask);
    const found = [];
    for (const [inputs, options] of calls) {
      heard.tokens = null;
      const result = plain(await ask(...inputs, options));
      found.push(heard.tokens === null ? result : heard.tokens.tolist().map((row) => row.map(Number)));
    }
    results.push(found);
    await ask.dispose();
  } catch (error) {
    results.push({ error: `${error}` });
  }
}
writeFileSync(answers, JSON.stringify(results));

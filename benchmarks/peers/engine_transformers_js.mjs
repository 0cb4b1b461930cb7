// transformers.js as an engine: node engine_transformers_js.mjs ENGINE PATH OPTION TOKENIZER THREADS answers the same
// lines of JSON as engines.py. PATH is a directory in its layout, OPTION its dtype; it reads the tokenizer in PATH.
import { basename, dirname } from "node:path";
import { createInterface } from "node:readline";
import { Tensor, env, pipeline } from "@huggingface/transformers";

// As in engines.py: calls that are not timed, and milliseconds until no other engine's threads are awake.
const WAKE = 2;
const SETTLE = 50;

const [, path, dtype, , threads] = process.argv.slice(2);
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useFSCache = false;
env.localModelPath = dirname(path);
const classify = await pipeline("text-classification", basename(path), {
  dtype,
  device: "cpu",
  session_options: { intraOpNumThreads: Number(threads) },
});

const seconds = async (work) => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1e3;
};

const timeGraph = async ({ rows, tokens, calls }) => {
  const size = rows * tokens;
  const ids = BigInt64Array.from({ length: size }, () => BigInt(200 + Math.floor(600 * Math.random())));
  const inputs = {
    input_ids: new Tensor("int64", ids, [rows, tokens]),
    attention_mask: new Tensor("int64", new BigInt64Array(size).fill(1n), [rows, tokens]),
  };
  await new Promise((resolve) => setTimeout(resolve, SETTLE));
  const times = [];
  for (let number = -WAKE; number < calls; number += 1) {
    const taken = await seconds(() => classify.model(inputs));
    if (number >= 0) times.push(taken);
  }
  return times;
};

const classifyAll = async ({ texts, batch_size }) => {
  for (let first = 0; first < texts.length; first += batch_size) {
    await classify(texts.slice(first, first + batch_size));
  }
};

const answer = async (request) => {
  if ("rows" in request) return { seconds: await timeGraph(request) };
  if ("batch_size" in request) return { seconds: await seconds(() => classifyAll(request)) };
  const outputs = [];
  for (const text of request.texts) {
    const { logits } = await classify.model(classify.tokenizer(text, { truncation: true }));
    outputs.push(logits.tolist()[0]);
  }
  return { outputs };
};

console.log('"ready"');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}

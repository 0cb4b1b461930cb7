// node client.mjs edgepipe run ./bundle --serve-stdin < texts.txt
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [program, ...rest] = process.argv.slice(2);
const model = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] });
const answers = createInterface({ input: model.stdout })[Symbol.asyncIterator]();

async function nextAnswer() {
  const { value, done } = await answers.next();
  if (done) throw new Error("it ended");
  return JSON.parse(value);
}

const { ready } = await nextAnswer();
console.error(`${ready.task}, ${ready.dtype}`);
let id = 0;
for await (const text of createInterface({ input: process.stdin })) {
  model.stdin.write(JSON.stringify({ id: id++, inputs: text, parameters: {} }) + "\n");
  const { output, error } = await nextAnswer();
  console.log(error ? `${error.type}: ${error.message}` : JSON.stringify(output));
}
model.stdin.end(); // no more: it ends
process.exitCode = await new Promise((resolve) => model.on("exit", (code) => resolve(code ?? 1)));

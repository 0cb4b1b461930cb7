"""The bar: what anybody would write with `tokenizers`, onnxruntime and numpy, and no library around them."""

import json
import sys

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer


def classifier(tokenizer, session, labels):
    names = [node.name for node in session.get_inputs()]

    def classify(text):
        encoding = tokenizer.encode(text)
        values = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
        values["token_type_ids"] = encoding.type_ids
        logits = session.run(None, {name: np.array([values[name]]) for name in names})[0][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int(scores.argmax())
        return {"label": labels[str(best)], "score": float(scores[best])}

    return classify


if __name__ == "__main__":
    folder, text, threads, seconds = sys.argv[1:]
    options = SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    with open(f"{folder}/config.json") as config:
        classify = classifier(Tokenizer.from_file(f"{folder}/tokenizer.json"), session, json.load(config)["id2label"])
    print(classify(text), flush=True)

    from measure import measure

    measure(classify, text, seconds)

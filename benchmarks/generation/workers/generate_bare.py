"""The bar: what anybody would write around `InferenceSession.run`, for greedy search on a decoder-only graph."""

import sys

import numpy as np
from generation_worker import serve
from onnxruntime import InferenceSession, SessionOptions

folder, threads, _ = sys.argv[1:]
options = SessionOptions()
options.intra_op_num_threads = int(threads)
session = InferenceSession(f"{folder}/onnx/model.onnx", options, providers=["CPUExecutionProvider"])
empty = {
    node.name: np.zeros((1, node.shape[1], 0, node.shape[3]), np.float32)
    for node in session.get_inputs()
    if node.name.startswith("past_key_values")
}
names = ["logits", *(name.replace("past_key_values", "present") for name in empty)]


def write(prompt, new, beams, note):
    past, ids, total, tokens = dict(empty), np.array([prompt]), len(prompt), []
    keep = np.array(1)
    for _ in range(new):
        mask = np.ones((1, total), np.int64)
        positions = np.arange(total - ids.shape[1], total)[None]
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "num_logits_to_keep": keep}
        logits, *present = session.run(names, feeds | past)
        past = dict(zip(empty, present, strict=True))
        tokens.append(logits[0, -1].argmax())
        note(tokens[-1])
        ids, total = np.array([[tokens[-1]]]), total + 1
    return tokens


serve(write)

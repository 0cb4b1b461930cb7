"""transformers' pipeline on optimum-onnx, in the environment that optimum-onnx asks for."""

import sys

from onnxruntime import SessionOptions
from optimum.onnxruntime import ORTModelForSequenceClassification, pipeline
from transformers import AutoTokenizer

folder, text, threads, seconds = sys.argv[1:]
options = SessionOptions()
options.intra_op_num_threads = int(threads)
model = ORTModelForSequenceClassification.from_pretrained(folder, file_name="model.onnx", session_options=options)
classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
print(classify(text)[0], flush=True)

from measure import measure  # noqa: E402

measure(classify, text, seconds)

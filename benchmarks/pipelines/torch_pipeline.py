"""transformers' own pipeline, on torch."""

import sys

import torch
from transformers import pipeline

folder, text, threads, seconds = sys.argv[1:]
torch.set_num_threads(int(threads))
classify = pipeline("text-classification", model=folder, device="cpu")
print(classify(text)[0], flush=True)

from measure import measure  # noqa: E402

measure(classify, text, seconds)

"""transformers.pipeline over a KeyDataset: `key_dataset.py TASK CHECKPOINT PARQUET ROWS THREADS`; rows and seconds."""

import json
import sys
import time

import torch
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

task, checkpoint, file, rows, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
data = Dataset.from_parquet(file).select(range(int(rows)))
options = {"return_tensors": True} if task == "feature-extraction" else {}
run = pipeline(task, model=checkpoint, device="cpu", **options)
found = []
for batch_size in (1, 8):
    for _ in run(KeyDataset(data.select(range(8)), "text"), batch_size=batch_size, truncation=True):
        pass
    begin = time.perf_counter()
    for _ in run(KeyDataset(data, "text"), batch_size=batch_size, truncation=True):
        pass
    found.append(time.perf_counter() - begin)
print(json.dumps({"rows": int(rows), "seconds": min(found)}))

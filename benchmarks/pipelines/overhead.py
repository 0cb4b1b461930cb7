"""What edgepipe adds to one request, beside the bare script in the same process and on the same session, in turns.

Two processes differ by more than what is looked for here. In one process, with one session, only what lies around
`session.run` differs. Prints one line of JSON, in microseconds.
"""

import json
import statistics
import sys
import time

from benchmarks.pipelines.bare import classifier
from tokenizers import Tokenizer

from edgepipe import pipeline

folder, text, threads, seconds = sys.argv[1:]
ours = pipeline("text-classification", folder, dtype="fp32", num_threads=int(threads))
with open(f"{folder}/config.json") as config:
    labels = json.load(config)["id2label"]
theirs = classifier(Tokenizer.from_file(f"{folder}/tokenizer.json"), ours.model.session._session, labels)

times: dict[str, list[float]] = {"ours": [], "script": []}
end = time.perf_counter() + float(seconds)
while len(times["ours"]) < 50 or time.perf_counter() < end:
    for name, classify in (("ours", ours), ("script", theirs)):
        start = time.perf_counter()
        classify(text)
        times[name].append((time.perf_counter() - start) * 1e6)
kept = {name: values[20:] for name, values in times.items()}  # without the warm-up
medians = {name: statistics.median(values) for name, values in kept.items()}
print(
    json.dumps(
        {f"{name}_us": value for name, value in medians.items()}
        | {"added_us": medians["ours"] - medians["script"], "ratio": medians["ours"] / medians["script"]}
    )
)

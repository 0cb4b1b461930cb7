"""edgepipe's pipeline over a list of texts: `our_pipeline.py BUNDLE PARQUET`; rows, and seconds of the faster way."""

import json
import sys
import time

from pyarrow import parquet

from edgepipe import pipeline
from edgepipe.backend.threads import available_threads

bundle, file = sys.argv[1:]
texts = parquet.read_table(file)["text"].to_pylist()
found = []
for options in ({}, {"workers": available_threads(), "num_threads": 1}):
    with pipeline(model=bundle, **options) as task:
        run = task.embed if task.name == "feature-extraction" else task
        run(texts[:20])
        begin = time.perf_counter()
        assert len(run(texts)) == len(texts)
        found.append(time.perf_counter() - begin)
print(json.dumps({"rows": len(texts), "seconds": min(found)}))

"""edgepipe, as a user would write it."""

import sys

from edgepipe import pipeline

folder, text, threads, seconds, dtype, memory = sys.argv[1:]
classify = pipeline("text-classification", folder, dtype=dtype, num_threads=int(threads), low_memory=memory == "low")
print(classify(text)[0], flush=True)

from measure import measure  # noqa: E402

measure(classify, text, seconds)

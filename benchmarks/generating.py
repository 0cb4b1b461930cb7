"""What every contender of generation.py does: answer each line of standard input with a line of JSON."""

import json
import sys
import time


def answer(write, overhead=None):
    """Answer ``{"prompt": [ids], "new": 64, "beams": 1}`` with the seconds it took and the tokens.

    Args:
        write: Takes a prompt, how many tokens to write, and how many beams; returns the new tokens.
        overhead: Gives the seconds of the last call that were not the graph's.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.perf_counter()
        tokens = write(asked["prompt"], asked["new"], asked["beams"])
        told = {"seconds": time.perf_counter() - start, "tokens": [int(token) for token in tokens]}
        if overhead is not None:
            told["overhead_seconds"] = overhead(told["seconds"])
        print(json.dumps(told), flush=True)

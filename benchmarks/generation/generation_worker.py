"""What every contender of tokens_per_second.py does: answer each line of standard input with a line of JSON."""

import json
import statistics
import sys
import time


def serve(write, in_graph=None):
    """Answer ``{"prompt": [ids], "new": 64, "beams": 1}`` with the seconds it took and the tokens.

    Args:
        write: Takes a prompt, how many tokens to write, and how many beams; returns the new tokens.
        in_graph: Gives the seconds of each run of a graph in the last call.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        tokens = write(request["prompt"], request["new"], request["beams"])
        answer = {"seconds": time.perf_counter() - start, "tokens": [int(token) for token in tokens]}
        if in_graph is not None:
            runs = in_graph()
            answer["overhead_seconds"] = answer["seconds"] - sum(runs)
            answer["step_seconds"] = statistics.median(runs[1:] or runs)
        print(json.dumps(answer), flush=True)

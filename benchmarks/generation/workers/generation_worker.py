"""What every contender that writes does: answer each line of standard input with a line of JSON."""

import json
import statistics
import sys
import time


def serve(write, in_graph=None):
    """Answer ``{"prompt": [ids], "new": 64, "beams": 1}`` with the seconds it took and the tokens.

    Where the contender says when a token comes, the answer also has the seconds to the first.

    Args:
        write: Takes a prompt, how many tokens to write, how many beams, and a function that may be called with each
            token as it comes; returns the new tokens.
        in_graph: Gives the seconds of each run of a graph in the last call.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request, times = json.loads(line), []
        start = time.perf_counter()
        tokens = write(request["prompt"], request["new"], request["beams"], _note(times))
        answer = {"seconds": time.perf_counter() - start, "tokens": [int(token) for token in tokens]}
        if times:
            answer["first_seconds"] = times[0] - start
        if in_graph is not None:
            runs = in_graph()
            answer["overhead_seconds"] = answer["seconds"] - sum(runs)
            answer["step_seconds"] = statistics.median(runs[1:] or runs)
        print(json.dumps(answer), flush=True)


def _note(times):
    def note(_token):
        times.append(time.perf_counter())

    return note

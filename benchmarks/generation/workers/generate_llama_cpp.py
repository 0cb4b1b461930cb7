"""llama.cpp on a GGUF file, by llama-cpp-python."""

import sys

from generation_worker import serve
from llama_cpp import Llama

file, threads = sys.argv[1:3]
# Room for the longest prompt of the benchmarks, which is one batch, and for what is written behind it.
model = Llama(file, n_ctx=1024, n_batch=512, n_threads=int(threads), n_threads_batch=int(threads), verbose=False)


def write(prompt, new, beams, note):
    # Without it the beginning that two prompts share would be computed once.
    model.reset()
    tokens = []
    for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
        note(token)
        tokens.append(token)
        if len(tokens) == new:
            return tokens
    raise AssertionError("it writes without an end")


serve(write)

"""onnxruntime-genai on what its model builder writes."""

import json
import sys

import numpy as np
import onnxruntime_genai
from generation_worker import serve

folder, threads = sys.argv[1:3]
config = onnxruntime_genai.Config(folder)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": int(threads)}}}}))
model = onnxruntime_genai.Model(config)


def write(prompt, new, beams, note):
    parameters = onnxruntime_genai.GeneratorParams(model)
    length = len(prompt) + new
    parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array([prompt], np.int32))
    tokens = []
    while len(tokens) < new:
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
        note(tokens[-1])
    return tokens


serve(write)

"""OpenVINO GenAI on what optimum-intel exports; the option is the precision it computes in, or nothing for its own."""

import sys

import numpy as np
import openvino
import openvino_genai
from generation_worker import serve

folder, threads, precision = sys.argv[1:]
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": int(threads), "CACHE_DIR": f"{folder}/cache"}
if precision:
    settings |= {"INFERENCE_PRECISION_HINT": precision}
pipeline = openvino_genai.LLMPipeline(folder, "CPU", **settings)


class Notes(openvino_genai.StreamerBase):
    """A streamer of tokens."""

    def __init__(self, note):
        super().__init__()
        self._note = note

    def write(self, token):
        self._note(token)
        return openvino_genai.StreamingStatus.RUNNING

    def end(self):
        """Nothing is left to do."""


def write(prompt, new, beams, note):
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = new, True, False
    ids = np.array([prompt], np.int64)
    given = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
    return pipeline.generate(given, config, Notes(note)).tokens[0]


serve(write)

"""edgepipe's search on a bundle, and how much of its time is not the graph's; the option may be DTYPE@DEVICE."""

import sys
import time

import numpy as np
from generation_worker import serve

from edgepipe import Bundle
from edgepipe.backend.onnxruntime.inference_session import OrtSession
from edgepipe.backend.onnxruntime.io_binding import IoBinding
from edgepipe.backend.openvino.ov_host import ArrayBinding
from edgepipe.backend.session import SessionConfig
from edgepipe.generation.config_sources import generation_config
from edgepipe.generation.generate import generate, stream
from edgepipe.models.decoder.decoder_loading import load_decoder

folder, threads, option = sys.argv[1:]
dtype, _, device = option.partition("@")
decoder = load_decoder(Bundle.load(folder), dtype, SessionConfig(device or None, num_threads=int(threads)))
runs = []


def timed(run):
    def wrapper(*arguments):
        start = time.perf_counter()
        try:
            return run(*arguments)
        finally:
            runs.append(time.perf_counter() - start)

    return wrapper


for kind in (IoBinding, OrtSession, ArrayBinding):
    kind.run = timed(kind.run)


def write(prompt, new, beams, note):
    runs.clear()
    options = {"max_new_tokens": new, "min_new_tokens": new, "num_beams": beams, "do_sample": False}
    config = generation_config(decoder, {}, options)
    ids = np.array([prompt], np.int64)
    if beams > 1:
        return generate(decoder, ids, np.ones_like(ids), config)[0][0].token_ids[-new:]
    tokens = []
    for token in stream(decoder, ids, np.ones_like(ids), config):
        note(token)
        tokens.append(token)
    return tokens


serve(write, lambda: runs)

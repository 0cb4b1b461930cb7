"""Engines that run an encoder: ``engines.py ENGINE PATH OPTION TOKENIZER THREADS`` answers lines of JSON.

A request is one of these; times are in seconds.

- ``{"rows": 8, "tokens": 128, "calls": 5}``: the graph alone, as many calls; the answer has ``seconds`` of each.
- ``{"texts": [...]}``: texts one by one; the answer has their ``outputs``, logits or the vectors of sentences.
- ``{"texts": [...], "batch_size": 8}``: tokenized, padded to the longest of each batch, run, and the best label of each
  found, as a script would, or its vector; the answer has ``seconds`` for all of them.

Each engine is what its own documentation shows: no more, and nothing that slows it. This file runs in the environments
of the others, so it imports nothing of this project but `edgepipe` for its own engine. transformers.js has the same
requests in ``engine_transformers_js.mjs``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

# A graph: token ids and attention mask, int64 of (rows, tokens), to logits or hidden states.
Run = Callable[[Any, Any], Any]
# Calls that are not timed before those that are.
_WAKE = 2
# onnxruntime's threads spin for a while after a run, and would disturb the next engine.
_SETTLE = 0.05


def edgepipe(path: str, option: str, threads: int) -> tuple[Run | None, Callable[..., Any]]:
    """A bundle; the option is ``<dtype>@<device>``. One for feature extraction gives the vectors of sentences."""
    from edgepipe import pipeline

    dtype, _, device = option.partition("@")
    task: Any = pipeline(None, path, dtype=dtype, device=device, num_threads=threads)
    if hasattr(task, "embed"):
        return None, task.embed
    session = task.model.session
    return _by_names(session.inputs, lambda feeds: next(iter(session.run(feeds).values()))), task


def onnxruntime(path: str, option: str, threads: int) -> tuple[Run, None]:
    """A graph in twenty lines."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return _by_names(names, lambda feeds: session.run(None, feeds)[0]), None


def openvino(path: str, option: str, threads: int) -> tuple[Run, None]:
    """A graph with its LATENCY hint and a cache of its own; the option is the precision, or nothing for its default."""
    from openvino import Core

    core = Core()
    core.set_property({"CACHE_DIR": str(Path(path).parent / f"cache-{option}")})
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    model = core.compile_model(path, "CPU", config | ({"INFERENCE_PRECISION_HINT": option} if option else {}))
    request = model.create_infer_request()
    names = [next(iter(port.get_names())) for port in model.inputs]
    return _by_names(names, lambda feeds: request.infer(feeds)[0]), None


def torch(path: str, option: str, threads: int) -> tuple[Run, None]:
    """A checkpoint in PyTorch; the option is ``fp32`` or ``bf16``, ``compiled`` may follow."""
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(threads)
    precision, _, compiled = option.partition(" ")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    call = torch.compile(model, dynamic=True) if compiled else model

    def run(ids: Any, mask: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = call(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits
            return logits.float().numpy()

    return run, None


def ctranslate2(path: str, option: str, threads: int) -> tuple[Run, None]:
    """An encoder without its head; the option is the type it computes in."""
    import ctranslate2

    encoder = ctranslate2.Encoder(path, compute_type=option, intra_threads=threads)

    def run(ids: Any, mask: Any) -> Any:
        rows = [row[: int(length)].tolist() for row, length in zip(ids, mask.sum(1), strict=True)]
        return np.asarray(encoder.forward_batch(rows).last_hidden_state)

    return run, None


def sentence_transformers(path: str, option: str, threads: int) -> tuple[None, Callable[..., Any]]:
    """The vectors of sentences; the option is the backend, and the graph's file where that is not torch."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    backend, _, graph = option.partition(" ")
    settings: dict[str, Any] = {}
    if backend == "onnx":
        from onnxruntime import SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = threads
        settings = {"provider": "CPUExecutionProvider", "session_options": options, "file_name": graph}
    if backend == "openvino":
        # As in openvino above; by itself it would compute fp32 in bf16 where the processor has that.
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        config["CACHE_DIR"] = str(Path(path) / f"cache-{Path(graph).stem}")
        exact = {} if "int8" in graph else {"INFERENCE_PRECISION_HINT": "f32"}
        settings = {"ov_config": config | exact, "file_name": graph}
    model = SentenceTransformer(path, device="cpu", backend=backend, model_kwargs=settings)
    return None, partial(model.encode, show_progress_bar=False)


def _by_names(names: Any, run: Callable[[dict[str, Any]], Any]) -> Run:
    def call(ids: Any, mask: Any) -> Any:
        given = {"input_ids": ids, "attention_mask": mask}
        return run({name: given[name] if name in given else np.zeros_like(ids) for name in names})

    return call


ENGINES: dict[str, Callable[[str, str, int], tuple[Any, Any]]] = {
    load.__name__: load for load in (edgepipe, onnxruntime, openvino, torch, ctranslate2, sentence_transformers)
}


class _Requests:
    def __init__(self, run: Run | None, read: Callable[..., Any] | None, tokenizer: str) -> None:
        """An engine has a graph that is run, a function that reads texts, or both."""
        self._run = run
        self._read = read or self._script
        self._tokenizer = Tokenizer.from_file(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(512)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "rows" in request:
            return {"seconds": self._time_graph(**request)}
        if "batch_size" in request:
            start = time.perf_counter()
            self._read(request["texts"], batch_size=request["batch_size"])
            return {"seconds": time.perf_counter() - start}
        return {"outputs": [self._answer_one(text)[0].tolist() for text in request["texts"]]}

    def _answer_one(self, text: str) -> Any:
        return self._read([text], batch_size=1) if self._run is None else self._run(*self._encode([text]))

    def _time_graph(self, rows: int, tokens: int, calls: int) -> list[float]:
        assert self._run is not None
        ids = np.random.default_rng(0).integers(200, 800, (rows, tokens))
        mask = np.ones_like(ids)
        time.sleep(_SETTLE)
        times = []
        for number in range(-_WAKE, calls):
            start = time.perf_counter()
            self._run(ids, mask)
            if number >= 0:
                times.append(time.perf_counter() - start)
        return times

    def _encode(self, texts: list[str]) -> tuple[Any, Any]:
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        longest = max(map(len, rows))
        ids = np.array([row + [0] * (longest - len(row)) for row in rows])
        return ids, (np.arange(longest) < [[len(row)] for row in rows]).astype(np.int64)

    def _script(self, texts: list[str], batch_size: int) -> list[int]:
        assert self._run is not None
        best: list[int] = []
        for first in range(0, len(texts), batch_size):
            best += self._run(*self._encode(texts[first : first + batch_size])).argmax(1).tolist()
        return best


def main() -> None:
    engine, path, option, tokenizer, threads = sys.argv[1:]
    requests = _Requests(*ENGINES[engine](path, option, int(threads)), tokenizer)
    print('"ready"', flush=True)
    for line in sys.stdin:
        print(json.dumps(requests.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

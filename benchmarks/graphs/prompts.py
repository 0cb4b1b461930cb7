"""What a decoder takes to read a prompt, and where that goes: python -m benchmarks.graphs.prompts BUNDLE

Prompts are random ids, one at a time, in turns with each other; ratios are to the first variant. It says how far
logits of the last token are from fp32's, and what each kind of operator takes by onnxruntime's profiler. w8 and q4 are
beside w8-rows and q4-rows, whose prompts are in integers, where the bundle has them.

`--parts` has a decoder read the prompt in parts of at most so many tokens, in turns: attention computes the scores of
all pairs of tokens that are read together.

`--openvino BUNDLE` adds the variants of a bundle that was exported with `--target openvino`, on that engine. `--steps`
adds what a token behind the prompt takes. On a busy machine `--processor-time` with `--threads 1` counts
processor time, which others disturb less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.turns import ROUNDS, format_medians, measure_medians
from numpy.typing import NDArray

from edgepipe import Bundle
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.bundle.layout import LOGITS, LOGITS_TO_KEEP
from edgepipe.models.decoder import causal
from edgepipe.models.decoder.decoder_loading import load_decoder
from edgepipe.models.variants import load_graph, profile_variant

Feeds = dict[str, NDArray[Any]]


def prompt(session: Session, ids: NDArray[np.int64]) -> Feeds:
    """What a graph reads for a prompt without a past, of whose last token alone logits are wanted."""
    arrays: Feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.size)[None]}
    feeds = {name: arrays[name] for name in session.inputs if name in arrays}
    for name, dtype in session.inputs.items():
        if name not in feeds:
            _, heads, _, width = session.input_shapes[name]
            feeds[name] = np.zeros((1, int(heads or 0), 0, int(width or 0)), dtype)
    if LOGITS_TO_KEEP in session.optional_inputs:
        feeds[LOGITS_TO_KEEP] = np.array(1, session.optional_inputs[LOGITS_TO_KEEP])
    return feeds


def time_steps(
    bundle: Bundle, dtypes: Sequence[str], config: SessionConfig, ids: NDArray[np.int64]
) -> dict[str, Callable[[], object]]:
    """Runs of one more token behind the prompt, with the cache that edgepipe has."""
    runs: dict[str, Callable[[], object]] = {}
    for dtype in dtypes:
        decoding = load_decoder(bundle, dtype, config).begin(ids, np.ones_like(ids), 2 * ids.size)
        decoding.step(ids)
        runs[dtype] = partial(decoding.step, ids[:, :1])
    return runs


def time_parts(
    bundle: Bundle, dtypes: Sequence[str], config: SessionConfig, ids: NDArray[np.int64], parts: Sequence[int]
) -> dict[str, Callable[[], object]]:
    """Runs of a decoder that reads the prompt in parts."""

    def read(decoder: Any, longest: int) -> None:
        causal._LONGEST_PART = longest
        decoder.begin(ids, np.ones_like(ids), ids.size).step(ids)

    decoders = {dtype: load_decoder(bundle, dtype, config) for dtype in dtypes}
    return {
        f"{dtype} by {longest}": partial(read, decoder, longest)
        for dtype, decoder in decoders.items()
        for longest in parts
    }


def describe_operators(bundle: Bundle, dtype: str, config: SessionConfig, feeds: Feeds, calls: int) -> str:
    """The share of each kind of operator that takes a hundredth at least."""
    operators = profile_variant(bundle, dtype, config, feeds, calls).operators
    whole = sum(own.seconds for own in operators)
    parts = [f"{own.kind} {own.seconds / whole:.0%}" for own in operators if own.seconds > whole / 100]
    return ", ".join(parts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle of a decoder with fp32")
    parser.add_argument("--openvino", type=Path, help="one of the same checkpoint, exported with --target openvino")
    parser.add_argument("--dtypes", nargs="+", default=["w8", "w8-rows", "q4", "q4-rows", "int8", "fp32"])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--steps", action="store_true", help="what a token behind the prompt takes, too")
    parser.add_argument("--parts", nargs="+", type=int, help="read the prompt in parts of at most so many tokens")
    parser.add_argument("--processor-time", action="store_true", help="count processor time")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    here, there = (SessionConfig(device, num_threads=arguments.threads) for device in ("cpu", "openvino"))
    bundle = Bundle.load(arguments.bundle)
    dtypes = [dtype for dtype in arguments.dtypes if dtype in bundle.dtypes]
    ids = np.random.default_rng(0).integers(0, int(bundle.config["vocab_size"]), (1, arguments.tokens))
    runs: dict[str, Callable[[], Any]] = {}
    if arguments.parts:
        runs = time_parts(bundle, dtypes, here, ids, arguments.parts)
        found = measure_medians(runs, arguments.rounds, arguments.calls, clock=clock)
        print(f"prompt of {ids.size}: {format_medians(found, next(iter(runs)), 'ms', 1e3, 1)}", flush=True)
        return
    sessions = {dtype: load_graph(bundle, dtype, here) for dtype in dtypes}
    feeds = {name: prompt(session, ids) for name, session in sessions.items()}
    runs = {name: partial(session.run, feeds[name]) for name, session in sessions.items()}
    steps = time_steps(bundle, dtypes, here, ids) if arguments.steps else {}
    if arguments.openvino is not None:
        other = Bundle.load(arguments.openvino)
        shared = [dtype for dtype in dtypes if dtype in other.dtypes]
        loaded = {dtype: load_decoder(other, dtype, there).session for dtype in shared}
        runs |= {f"{dtype}, OpenVINO": partial(own.run, prompt(own, ids)) for dtype, own in loaded.items()}
        if arguments.steps:
            behind = time_steps(other, shared, there, ids)
            steps |= {f"{dtype}, OpenVINO": run for dtype, run in behind.items()}
    found = measure_medians(runs, arguments.rounds, arguments.calls, clock=clock)
    print(f"prompt of {ids.size}: {format_medians(found, dtypes[0], 'ms', 1e3, 1)}", flush=True)
    if steps:
        found = measure_medians(steps, arguments.rounds, arguments.calls, clock=clock)
        print(f"a token behind it: {format_medians(found, dtypes[0], 'ms', 1e3, 2)}", flush=True)
    exact = load_graph(bundle, "fp32", here).run(prompt(sessions[dtypes[0]], ids))[LOGITS]
    for name, run in runs.items():
        away = float(np.sqrt(np.mean((run()[LOGITS][:, -1] - exact[:, -1]) ** 2)))
        print(f"{name}: logits {away / float(exact[:, -1].std()):.4f} of their spread from fp32's", flush=True)
    for dtype in dtypes:
        print(f"{dtype}: {describe_operators(bundle, dtype, here, feeds[dtype], arguments.calls)}", flush=True)


if __name__ == "__main__":
    main()

"""What onnxruntime's rewrites of graphs gain or cost on this machine: python -m benchmarks.graphs.fusions BUNDLE

Each variant as edgepipe loads it, which refuses some rewrites (`SLOWER_ON_CPU` of
`edgepipe.backend.onnxruntime.inference_session`), then with all of them, and with each of `--without` refused too;
rounds in turn, medians, ratios to the first. Inputs as in `benchmarks.graphs.quantized`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.graphs.quantized import cases, make_parser, random_inputs
from benchmarks.turns import format_medians, measure_medians

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime import inference_session
from edgepipe.backend.session import Session, SessionConfig


def load(graph: Path, config: SessionConfig, disabled: tuple[str, ...]) -> Session:
    """A session without these rewrites."""
    with patch.object(inference_session, "SLOWER_ON_CPU", disabled):
        return create_session(graph, config)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="rewrites to refuse, one at a time")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    config = SessionConfig(num_threads=arguments.threads)
    own = inference_session.SLOWER_ON_CPU
    settings = {"edgepipe": own, "all": ()} | {f"without {name}": (*own, name) for name in arguments.without}
    for dtype in bundle.dtypes:
        sessions = {name: load(bundle.graph(dtype), config, disabled) for name, disabled in settings.items()}
        first = sessions["edgepipe"]
        for case, shapes in cases(first):
            inputs = random_inputs(first, shapes, int(bundle.config["vocab_size"]))
            runs = {name: partial(own.run, inputs) for name, own in sessions.items()}
            found = measure_medians(runs, arguments.rounds, arguments.calls)
            print(f"{dtype}, {case}: {format_medians(found, 'edgepipe', 'ms', 1e3, 2)}", flush=True)


if __name__ == "__main__":
    main()

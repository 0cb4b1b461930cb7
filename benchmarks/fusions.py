"""What onnxruntime's rewrites of graphs gain or cost on this machine: python -m benchmarks.fusions BUNDLE

Each variant as edgepipe loads it, which refuses some rewrites (`edgepipe.session.SLOWER_ON_CPU`), then with all of
them, and with each of `--without` refused too; rounds in turn, medians, ratios to the first. Inputs as in
`benchmarks.quantized`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

from benchmarks.quantized import cases, feeds, milliseconds

from edgepipe import Bundle, session
from edgepipe.session import Session, SessionConfig


def loaded(graph: Path, config: SessionConfig, refused: tuple[str, ...]) -> Session:
    """A session without these rewrites."""
    with patch.object(session, "SLOWER_ON_CPU", refused):
        return Session(graph, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="rewrites to refuse, one at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=10)
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    config = SessionConfig(num_threads=arguments.threads)
    own = session.SLOWER_ON_CPU
    settings = {"edgepipe": own, "all": ()} | {f"without {name}": (*own, name) for name in arguments.without}
    for dtype in bundle.dtypes:
        sessions = {name: loaded(bundle.graph(dtype), config, refused) for name, refused in settings.items()}
        first = sessions["edgepipe"]
        for case, shapes in cases(first):
            inputs = dict.fromkeys(sessions, feeds(first, shapes, int(bundle.config["vocab_size"])))
            found = milliseconds(sessions, inputs, arguments.rounds, arguments.calls)
            each = ", ".join(f"{name} {ms:.2f} ms ({ms / found['edgepipe']:.2f})" for name, ms in found.items())
            print(f"{dtype}, {case}: {each}", flush=True)


if __name__ == "__main__":
    main()

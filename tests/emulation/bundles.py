"""The bundles whose variants are checked: one of each kind of graph, made on this machine by the exporter.

Weights are random, so a variant's quality says nothing. What counts is whether a processor computes what this one does.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulation.environment import BUILD, REPOSITORY, say

EMBEDDED = "embedded"

_ENCODER = ("fp32", "int8", "int8-rows", "int8-static", "w8", "q4", "fp16")
_DECODER = ("fp32", "int8", "w8", "q4", "fp16")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of graph.

    Attributes:
        family: The name of the tiny model.
        dtypes: The variants that are exported.
        config: What is larger than in the other tests: layers as wide as kernels are made for.
    """

    family: str
    dtypes: tuple[str, ...]
    config: Mapping[str, Any]


KINDS = {
    "encoder": Kind(
        "bert",
        _ENCODER,
        {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4},
    ),
    "decoder": Kind(
        "llama",
        _DECODER,
        {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "encoder-decoder": Kind("t5", _DECODER, {"d_model": 128, "d_kv": 32, "d_ff": 256}),
}

# What 8-bit variants are made for: products that are exact, and products that saturate (x86 without VNNI).
TARGETS = ("arm64", "avx2")
# Variants that are the same whatever the target is are checked once.
SAME_EVERYWHERE = ("fp32", "w8", "q4", "fp16")


def make_bundles() -> dict[tuple[str, str], Path]:
    """The folder of each bundle, by its kind and its target; what has not changed since is not made again."""
    from edgepipe.backend.machine import saturates

    folder = BUILD / "bundles"
    record, now = folder / "sources.txt", _hash_sources()
    if not record.is_file() or record.read_text(encoding="utf-8") != now:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # Where this machine's own products saturate, what it records of a variant for others is wrong.
    targets = [target for target in TARGETS if target == "avx2" or not saturates()]
    if len(targets) < len(TARGETS):
        say("This processor's 8-bit products saturate: int8 for arm64 cannot be recorded here, and is left out.")
    found = {}
    for name, kind in KINDS.items():
        for target in targets:
            path = found[name, target] = folder / f"{name}-{target}"
            if not path.is_dir():
                say(f"Exporting {path.name}.")
                _export(kind, target, path)
    record.write_text(now, encoding="utf-8")
    return found


def _export(kind: Kind, target: str, path: Path) -> None:
    from edgepipe_export import export
    from tests.tiny import build
    from tests.tiny.generative import ENCODER_DECODERS, build_generative

    if kind.family == "bert":
        task = "text-classification"
        model, tokenizer = build(kind.family, task=task, **kind.config)
    else:
        task = "text2text-generation" if kind.family in ENCODER_DECODERS else "text-generation"
        model, tokenizer = build_generative(kind.family, **kind.config)
    first = target == TARGETS[0]
    dtypes = [dtype for dtype in kind.dtypes if first or dtype == "fp32" or dtype not in SAME_EVERYWHERE]
    # Random weights leave near decisions, which the gate would refuse.
    export(
        model, path, task=task, tokenizer=tokenizer, dtypes=dtypes, target=target, force=True, budget=0, progress=False
    )


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for folder in ("runtime", "export", "tests/tiny"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()

"""The bundles whose variants are checked, and whose instructions are counted: one of each kind of graph.

This machine's exporter makes them. Weights are random, so a variant's quality says nothing. What is checked is whether
a processor computes what this one does.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
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
        sizes_of: The model that has these sizes, but for the vocabulary; empty where none has.
    """

    family: str
    dtypes: tuple[str, ...]
    config: Mapping[str, Any]
    sizes_of: str = ""


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

# Those whose instructions are counted: layers as wide and as many as in models that devices run.
COUNTED = {
    "encoder": Kind(
        "bert",
        _ENCODER,
        {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12},
        "MiniLM-L6",
    ),
    "decoder": Kind(
        "llama",
        _DECODER,
        {
            **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6},
            **{"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64},
        },
        "SmolLM-135M with 6 of its 30 layers",
    ),
    "encoder-decoder": Kind(
        "t5",
        _DECODER,
        {
            # T5's own names, and the general ones that tests.tiny sets, which mean the same.
            **{"d_model": 512, "hidden_size": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "num_attention_heads": 8},
            **{"num_layers": 6, "num_hidden_layers": 6, "num_decoder_layers": 6},
        },
        "T5-small",
    ),
}

# What 8-bit variants are made for: products that are exact, and products that saturate (x86 without VNNI).
TARGETS = ("arm64", "avx2")
# Variants that are the same whatever the target is are checked once.
SAME_EVERYWHERE = ("fp32", "w8", "q4", "fp16")


def make_bundles(
    kinds: Mapping[str, Kind] = KINDS, folder: Path = BUILD / "bundles", targets: Sequence[str] = TARGETS
) -> dict[tuple[str, str], Path]:
    """The folder of each bundle, by its kind and its target; what has not changed since is not made again.

    Args:
        kinds: Of graphs.
        folder: Where they are.
        targets: What 8-bit variants are made for. The first bundle of a kind has the other variants, too.
    """
    from edgepipe.backend.machine import saturates

    record, now = folder / "sources.txt", _hash_sources()
    if not record.is_file() or record.read_text(encoding="utf-8") != now:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        record.write_text(now, encoding="utf-8")
    # Where this machine's own products saturate, what it records of a variant for others is wrong.
    if saturates() and "arm64" in targets:
        say("This processor's 8-bit products saturate: int8 for arm64 cannot be recorded here, and is left out.")
        targets = ("avx2",)
    found = {}
    for name, kind in kinds.items():
        for target in targets:
            path = found[name, target] = folder / f"{name}-{target}"
            if not path.is_dir():
                say(f"Exporting {path.name}.")
                _export(kind, target, path, first=target == targets[0])
    return found


def _export(kind: Kind, target: str, path: Path, *, first: bool) -> None:
    from edgepipe_export import export
    from tests.tiny import build
    from tests.tiny.generative import ENCODER_DECODERS, build_generative

    if kind.family == "bert":
        task = "text-classification"
        model, tokenizer = build(kind.family, task=task, **kind.config)
    else:
        task = "text2text-generation" if kind.family in ENCODER_DECODERS else "text-generation"
        model, tokenizer = build_generative(kind.family, **kind.config)
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

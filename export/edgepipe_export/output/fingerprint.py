"""What decides a measurement: the graph and all beside it, the data, the versions, and the machine.

Names decide nothing: a checkpoint that was trained further has the same one. What arithmetic in 8 bits gives depends on
the processor's instructions, and how sums are split on the threads, so figures of quality depend on the machine too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgepipe
from edgepipe.backend.machine import cpu_flags, machine_name
from edgepipe_export.output.cache import hash_json
from edgepipe_export.quantization.recipe import FP32
from edgepipe_export.requirements import package_versions

if TYPE_CHECKING:
    from edgepipe.bundle.manifest import Manifest
    from edgepipe_export.calibration.dataset import Dataset
    from edgepipe_export.checkpoint.load import LoadedCheckpoint
    from edgepipe_export.quantization.target import Target


def fingerprint(folder: Path, manifest: Manifest, target: Target, calibration: Dataset | None) -> str:
    """A digest of what all measurements of an export depend on.

    Args:
        folder: The bundle while it is made, with the fp32 graphs and all shared files.
        manifest: Its manifest.
        target: The processor that variants are for.
        calibration: What variants are calibrated with and measured on, as the user gave it; None for the built-in
            texts. How it is split is in each key.
    """
    files = {entry.path: entry.sha256 for entry in (*manifest.files, *manifest.variants[FP32].files)}
    files["config.json"] = _hash_config(folder / "config.json")
    return hash_json(
        {
            "files": files,
            "task": manifest.task,
            "limits": [manifest.max_length, manifest.max_target_length],
            "target": target.name,
            "data": None if calibration is None else calibration.digest,
            "versions": package_versions(),
            "sources": _hash_sources(),
            "machine": [machine_name(), sorted(cpu_flags())],
        }
    )


def hash_reference(loaded: LoadedCheckpoint) -> str | None:
    """A digest of the PyTorch model that fp32 is compared with.

    Returns:
        None where what it computes is not known by its weights and transformers' version: a model or tokenizer that
        the caller loaded, or code that came with the checkpoint.
    """
    import torch

    request = loaded.checkpoint.request
    given = loaded.checkpoint.directory is None or not isinstance(request.tokenizer, (str, Path, type(None)))
    classes = (type(loaded.model), type(loaded.tokenizer))
    if given or request.trust_remote_code or not all(_is_known(kind) for kind in classes):
        return None
    found = hashlib.sha256(json.dumps([kind.__qualname__ for kind in classes]).encode())
    config = json.loads(loaded.model.config.to_json_string(use_diff=False))
    found.update(hash_json({name: value for name, value in config.items() if name != "_name_or_path"}).encode())
    for name, tensor in loaded.model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return found.hexdigest()


def _is_known(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("transformers", "edgepipe_export")


def _hash_config(path: Path) -> str:
    """What the model's config says, but for the names of the variants, which are another thing."""
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return hash_json({name: value for name, value in content.items() if name != "transformers.js_config"})


@cache
def _hash_sources() -> str:
    """A digest of our own code: a version number stays while it is being worked on."""
    found = hashlib.sha256()
    for root in (Path(edgepipe.__file__).parent, Path(__file__).parents[1]):
        for path in sorted(root.rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()

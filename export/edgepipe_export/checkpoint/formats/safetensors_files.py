"""Whether the files of a checkpoint's weights are whole, by their headers: before anything is loaded.

The format: eight bytes with the length of the header (little-endian), the header in JSON, with the place of each tensor
in what follows, and the tensors without gaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from edgepipe.bundle.integrity import parse_json
from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.loading_errors import read_object

_INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
# The longest header that is read, in bytes; the format allows 100 MB, and 100,000 tensors need a tenth of it.
_LONGEST_HEADER = 32_000_000


def check_safetensors(directory: Path) -> None:
    """Check that every file of weights has the size that its header says, and that no shard is missing or is no such.

    transformers loads what an index names whatever it is: a name that ends otherwise is unpickled.

    Raises:
        CheckpointError: one does not; the message names the file.
    """
    _check_named_weights(directory)
    shards = {index: _read_shards(index) for index in sorted(directory.glob("*.safetensors.index.json"))}
    # The layers of sentence-transformers have directories of their own.
    modules = directory.glob("[0-9]*_*/model.safetensors")
    for path in sorted((*directory.glob("*model*.safetensors"), *modules)):
        _check_size(path)
    index = directory / _INDEX
    if index not in shards or (directory / "model.safetensors").is_file():
        return
    missing = [name for name in shards[index] if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} lacks {', '.join(missing)}, which {_INDEX} names; copy or download them again"
        )


def _read_shards(index: Path) -> list[str]:
    """The files that an index names, each of them safetensors of the same directory."""
    named = read_object(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise CheckpointError(f"{index} is not an index of shards; copy or download it again")
    names: list[str] = sorted(set(named.values()))
    for name in names:
        _require_own(index, name, ".safetensors")
    return names


def _check_named_weights(directory: Path) -> None:
    """Check the file of weights that config.json names in place of model.safetensors, if it names one."""
    config = directory / "config.json"
    named = read_object(config).get("transformers_weights") if config.is_file() else None
    if named is not None:
        _require_own(config, named, (".safetensors", ".safetensors.index.json"))


def _require_own(where: Path, name: Any, endings: str | tuple[str, ...]) -> None:
    parts = PurePosixPath(name).parts if isinstance(name, str) else ("..",)
    if not str(name).endswith(endings) or ".." in parts or parts[:1] == ("/",) or "\\" in str(name):
        raise CheckpointError(
            f"{where} names {name!r:.200} as a file of weights, which is no safetensors file within {where.parent}; "
            "nothing was loaded: get the checkpoint from a source that you trust"
        )


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if (first + file.read(len(_LFS_POINTER) - 8)) == _LFS_POINTER:
                raise CheckpointError(f"{path} is a pointer of Git LFS, not the weights; fetch them with: git lfs pull")
            file.seek(8)
            header = file.read(length) if length <= _LONGEST_HEADER else b""
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if length <= _LONGEST_HEADER and len(header) < length:
        raise CheckpointError(f"{path} is truncated: it ends within its header; copy or download it again")
    try:
        tensors = [entry for name, entry in parse_json(header).items() if name != "__metadata__"]
        expected = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} is not a safetensors file; copy or download it again") from error
    if size != expected:
        what = "truncated" if size < expected else "damaged"
        raise CheckpointError(
            f"{path} is {what}: it has {size} bytes, its header says {expected}; copy or download it again"
        )

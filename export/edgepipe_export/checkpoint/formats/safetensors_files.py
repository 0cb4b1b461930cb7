"""Whether the files of a checkpoint's weights are whole, by their headers: before anything is loaded.

The format: eight bytes with the length of the header (little-endian), the header in JSON, with the place of each tensor
in what follows, and the tensors without gaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
from pathlib import Path

from edgepipe.errors import CheckpointError

_INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
# The longest header that the format allows, in bytes.
_LONGEST_HEADER = 100_000_000


def check_safetensors(directory: Path) -> None:
    """Check that every file of weights has the size that its header says, and that no shard is missing.

    Raises:
        CheckpointError: one does not; the message names the file.
    """
    # The layers of sentence-transformers have directories of their own.
    for path in sorted((*directory.glob("model*.safetensors"), *directory.glob("[0-9]*_*/model.safetensors"))):
        _check_size(path)
    index = directory / _INDEX
    if not index.is_file() or (directory / "model.safetensors").is_file():
        return
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of shards; copy or download it again") from error
    missing = [str(name) for name in names if not (directory / str(name)).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} lacks {', '.join(missing)}, which {_INDEX} names; copy or download them again"
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
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        expected = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} is not a safetensors file; copy or download it again") from error
    if size != expected:
        what = "truncated" if size < expected else "damaged"
        raise CheckpointError(
            f"{path} is {what}: it has {size} bytes, its header says {expected}; copy or download it again"
        )

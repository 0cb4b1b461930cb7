"""Files of weights that are not whole are named, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.formats.safetensors_files import check_safetensors
from edgepipe_export.checkpoint.resolve import Request, resolve


def write(path: Path) -> bytes:
    path.parent.mkdir(exist_ok=True)
    save_file({"a": torch.ones(3, 2), "b": torch.zeros(5)}, path, {"format": "pt"})
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (-1, "is truncated: it has {size} bytes, its header says {whole}; copy or download it again"),
        (20, "is truncated: it ends within its header"),
        (4, "is truncated: it ends within its header"),
        (0, "is not a safetensors file"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model-00002-of-00003.safetensors", "1_Dense/model.safetensors"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, kept: int, said: str) -> None:
    for other in ("model.safetensors", "model-00001-of-00003.safetensors"):
        write(tmp_path / other)
    content = write(tmp_path / name)
    check_safetensors(tmp_path)
    (tmp_path / name).write_bytes(content[:kept])
    with pytest.raises(CheckpointError) as caught:
        check_safetensors(tmp_path)
    expected = said.format(size=len(content[:kept]), whole=len(content))
    assert str(caught.value).startswith(f"{tmp_path / name} {expected}")


def test_a_checkpoint_is_refused_before_it_is_loaded(own_checkpoint: Path) -> None:
    path = own_checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        resolve(Request(own_checkpoint))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"\xff" * 64, "is not a safetensors file"),
        ((5).to_bytes(8, "little") + b"[1,2]", "is not a safetensors file"),
    ],
)
def test_another_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors {said}"):
        check_safetensors(tmp_path)


def test_bytes_behind_the_last_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(write(path) + b"more")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: it has \d+ bytes"):
        check_safetensors(tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    write(tmp_path / first)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": first, "b": second}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"lacks {second}, which model\.safetensors\.index\.json names"):
        check_safetensors(tmp_path)
    write(tmp_path / second)
    check_safetensors(tmp_path)
    index.write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        check_safetensors(tmp_path)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "../other.safetensors", "/model.safetensors", "a\\b.safetensors"]
)
@pytest.mark.parametrize("way", ["index", "another index", "config"])
def test_a_file_that_is_unpickled_or_outside(tmp_path: Path, way: str, name: str) -> None:
    write(tmp_path / "model.safetensors" if way != "index" else tmp_path / "dummy.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    index = "model.safetensors.index.json" if way == "index" else "other.safetensors.index.json"
    if way == "config":
        (tmp_path / "config.json").write_text(json.dumps({"transformers_weights": name}), encoding="utf-8")
    else:
        (tmp_path / index).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="as a file of weights, which is no safetensors file within"):
        check_safetensors(tmp_path)


@pytest.mark.parametrize("content", [{"weight_map": {"a": 3}}, {"weight_map": []}, {"weight_map": None}])
def test_an_index_of_something_else(tmp_path: Path, content: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not an index of shards"):
        check_safetensors(tmp_path)


def test_json_that_is_too_deep(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    (tmp_path / "model.safetensors.index.json").write_text(deep, encoding="utf-8")
    with pytest.raises(CheckpointError, match="within each other too often"):
        check_safetensors(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    header = deep.encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        check_safetensors(tmp_path)

"""Weights from safetensors files, against the package of that name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgepipe.embeddings.safetensors import read_safetensors
from edgepipe.errors import BundleError


def test_safetensors_of_every_float_type(tmp_path: Path) -> None:
    values = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 4)))
    tensors = {str(dtype): values.to(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], tensor.to(torch.float32).numpy())


def test_what_is_no_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(BundleError, match=r"w\.safetensors is missing"):
        read_safetensors(path)
    save_file({"a": torch.ones(4)}, path)
    whole = path.read_bytes()
    for content in (b"", b"\x01", b"not a header at all", whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="is no safetensors file"):
            read_safetensors(path)
    save_file({"a": torch.ones(4, dtype=torch.int64)}, path)
    with pytest.raises(BundleError, match="I64"):
        read_safetensors(path)


def test_the_file_may_lie_in_any_order_and_say_more(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "np"},
        "late": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]},
        "one": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [8, 8]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    values = np.float32(2.5).tobytes() + np.array([1, -2], np.float16).tobytes()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)
    found = read_safetensors(path)
    assert {name: (tensor.shape, tensor.ravel().tolist()) for name, tensor in found.items()} == {
        "late": ((2,), [1, -2]),
        "one": ((), [2.5]),
        "none": ((0, 3), []),
    }
    assert all(tensor.flags.writeable for tensor in found.values())


@pytest.mark.parametrize(
    "places",
    [[(0, 16), (0, 16)], [(0, 16), (12, 16)], [(4, 16)], [(0, 8), (12, 16)], [(0, 1 << 40)], [(16, 0)], [(-8, 8)]],
)
def test_tensors_that_share_bytes_or_leave_gaps(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    header = {
        str(number): {"dtype": "F32", "shape": [-1], "data_offsets": place} for number, place in enumerate(places)
    }
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    with pytest.raises(BundleError, match="its tensors overlap, leave gaps"):
        read_safetensors(path)


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a": {}}', b'{"a": {"data_offsets": [0]}}', b'{"a": 1}', b"[1]"])
def test_headers_of_something_else(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BundleError, match="is no safetensors file"):
        read_safetensors(path)
    path.write_bytes((1 << 60).to_bytes(8, "little") + header)
    with pytest.raises(BundleError, match="its header is too long"):
        read_safetensors(path)

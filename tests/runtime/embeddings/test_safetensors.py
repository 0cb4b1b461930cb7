"""Weights from safetensors files, against the package of that name."""

from __future__ import annotations

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

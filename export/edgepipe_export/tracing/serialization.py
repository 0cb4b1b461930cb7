"""Graphs on disk: the weights always outside, where onnxruntime maps them instead of copying."""

from __future__ import annotations

from pathlib import Path

import onnx_ir

# Weights start on a page of their own, so that a mapped weight shares its pages with no other.
_PAGE = 4096


def save_graph(model: onnx_ir.Model, path: Path) -> tuple[Path, Path]:
    """Write a graph and, beside it, its weights as ``<name>_data``, the name transformers.js looks for.

    Returns:
        The two files.
    """
    weights = path.with_name(path.name + "_data")
    onnx_ir.save(model, path, external_data=weights.name, alignment=_PAGE, align_threshold=16 * _PAGE)
    return path, weights
